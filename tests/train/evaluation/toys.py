"""A method with known errors, and events with truth alone for it."""

import numpy as np
import torch

from xec_train.data import RawBatch
from xec_train.evaluation.methods import Estimates

ERRORS = {"energy": 0.001, "timing": 0.07, "u": 0.25, "v": 0.3, "w": 0.5}
"""Errors of `Smeared` in GeV, ns and cm."""


class Smeared:
    """A network that knows the truth but for Gaussian errors of known size."""

    kind = "network"

    def __init__(self, name="smeared", scale=1.0, claimed=None, seed=1):
        self.name, self.scale, self.claimed = name, scale, claimed
        self.random = np.random.default_rng(seed)

    def estimate(self, batch):
        truth = {
            "energy": batch.targets["energy"][:, 0],
            "timing": batch.targets["timing"][:, 0],
            **dict(zip("uvw", batch.targets["uvwFI"].T, strict=True)),
        }
        values = {
            name: (true.numpy() + self.random.normal(0, self.scale * ERRORS[name], len(true)))
            for name, true in truth.items()
        }
        sigmas = {}
        if self.claimed is not None:
            sigmas = {name: np.full(len(batch), self.claimed * ERRORS[name]) for name in values}
        return Estimates(values, sigmas)

    def describe(self):
        return {"method": "smeared truth"}


def batches(n, size=250, seed=0):
    """Events without light but with truth, in batches."""
    random = np.random.default_rng(seed)
    for start in range(0, n, size):
        count = min(size, n - start)
        yield RawBatch(
            npho=torch.zeros(count, 4760),
            time=torch.zeros(count, 4760),
            dead=torch.zeros(count, 4760, dtype=torch.bool),
            targets={
                "energy": torch.tensor(random.uniform(0.015, 0.06, (count, 1))),
                "timing": torch.tensor(random.uniform(-5, 0, (count, 1))),
                "uvwFI": torch.tensor(
                    random.uniform((-24, -70, 0), (24, 70, 15), (count, 3)), dtype=torch.float32
                ),
            },
            run=torch.full((count,), 7),
            event=torch.arange(start, start + count),
        )
