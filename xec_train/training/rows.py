"""The loop for what fits in memory: rows computed once, gone through many times."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from xec_deploy.cli.progress import progress_of
from xec_train.config import ViewFit
from xec_train.training.average import WeightAverage
from xec_train.training.optimiser import adamw, set_rate

__all__ = ["RowStore", "fit_rows"]

GRADIENT_LIMIT: Final = 5.0


class RowStore:
    """Rows that come in batches, in one piece of memory from the start.

    Joining batches in the end would need twice the memory, and a slice that is kept keeps all of
    its batch.

    Parameters
    ----------
    most
        Largest number of rows.
    dtype
        Of what is stored.
    """

    def __init__(self, most: int, dtype: torch.dtype = torch.float32) -> None:
        self._most = most
        self._dtype = dtype
        self._stored = torch.empty(0)
        self._count = 0

    def add(self, rows: Tensor) -> None:
        """Store (n, ...) rows from any device."""
        if not self._count:
            self._stored = torch.empty(self._most, *rows.shape[1:], dtype=self._dtype)
        self._stored[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    @property
    def rows(self) -> Tensor:
        """All rows so far."""
        return self._stored[: self._count]


def fit_rows(
    trained: nn.Module,
    rows: int,
    loss: Callable[[Tensor], Tensor],
    options: ViewFit,
    *,
    seed: int,
    slow: nn.Module | None = None,
    share: float = 1.0,
) -> float:
    """Train on rows in random order, ``options.epochs`` times; leave averaged weights behind.

    AdamW with a cosine schedule after a warm-up of a fiftieth of the steps.

    Parameters
    ----------
    trained
        Holds the parameters to train.
    rows
        How many rows there are; a batch has all of them if they are fewer than one.
    loss
        The numbers of some rows, (batch,) int64 on the CPU, to the loss of them.
    options
        Epochs, batch size, learning rate, weight decay, decay of the average.
    seed
        Of the order.
    slow, share
        A part of ``trained`` with a share of the learning rate.

    Returns
    -------
    loss
        The last one.
    """
    generator = torch.Generator().manual_seed(seed)
    average = WeightAverage(copy.deepcopy(trained), options.ema_decay)
    optimiser = adamw(
        trained, lr=options.lr, weight_decay=options.weight_decay, slow=slow, share=share
    )
    size = min(options.batch_size, rows)
    batches = rows // size
    steps = options.epochs * batches
    warm = max(1, steps // 50)
    last = torch.zeros(())
    trained.train()
    with progress_of("fit", options.epochs * rows) as progress:
        for step in range(steps):
            if step % batches == 0:
                order = torch.randperm(rows, generator=generator)
            first = step % batches * size
            course = 0.5 * (1 + math.cos(math.pi * step / steps))
            set_rate(optimiser, options.lr * min(1.0, (step + 1) / warm) * course)
            last = loss(order[first : first + size])
            last.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained.parameters(), GRADIENT_LIMIT)
            optimiser.step()
            optimiser.zero_grad()
            average.update(trained, step + 1)
            progress(size)
    trained.load_state_dict(average.module.state_dict())
    return float(last.detach())
