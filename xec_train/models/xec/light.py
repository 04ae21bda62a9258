"""Photons of an event as the architecture sees them, with dead sensors filled.

A dead sensor is not a dark one: near a shallow conversion a single MPPC holds a tenth of the
light.  It is filled with the mean of its live neighbours and never enters as a number of its own;
which sensors were live is kept as a map beside the light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import design_geometry
from xec_deploy.detector.neighbours import same_face_neighbours
from xec_deploy.normalisation import Normalisation

__all__ = ["TINY", "FilledLight", "Light", "sum_3x3"]

KILOPHOTON: Final = 1000.0
TINY: Final = 1e-3
"""Added to sums that may vanish, in kilophotons or counts."""
PASSES: Final = 2
"""A dead MPPC is filled from the live ones of the eight around it, one without such from those
that were filled in the pass before: enough for boards, which are rows."""
PMT_DISTANCE: Final = 11.0
"""Neighbours [cm] a dead PMT is filled from."""


@dataclass(frozen=True, eq=False)
class Light:
    """Light of a batch in kilophotons.

    Attributes
    ----------
    inner
        (batch, 93, 44), dead MPPCs filled.
    inner_live
        (batch, 93, 44), 1 where live, else 0.
    pmt
        (batch, 668) of the sensors from 4092 on, dead ones filled.
    measured
        (batch, 4760), 0 where dead.
    """

    inner: Tensor
    inner_live: Tensor
    pmt: Tensor
    measured: Tensor


class FilledLight(nn.Module):
    """Normalised events (batch, 4760, 2) to their :class:`Light`."""

    neighbours: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.normalisation = normalisation
        graph = same_face_neighbours(design_geometry(), PMT_DISTANCE)
        pmts = c.N_SENSORS - c.N_MPPC
        adjacency = np.zeros((pmts, pmts))
        for tube in range(pmts):
            adjacency[graph.of(c.N_MPPC + tube) - c.N_MPPC, tube] = 1.0
        matrix = torch.from_numpy(adjacency).to(torch.get_default_dtype())
        self.register_buffer("neighbours", matrix, persistent=False)

    def forward(self, x: Tensor) -> Light:
        """Undo the normalisation of npho and fill what is dead."""
        npho = x[..., 0]
        live = (npho != self.normalisation.sentinel_npho).to(x.dtype)
        photons = self.normalisation.inverse(npho, torch) * (1.0 / KILOPHOTON)
        measured = photons.clamp_min(0.0) * live
        shape = (-1, c.INNER_ROWS, c.INNER_COLUMNS)
        inner, inner_live = (part[:, : c.N_MPPC].reshape(shape) for part in (measured, live))
        return Light(
            inner=self._fill_inner(inner, inner_live),
            inner_live=inner_live,
            pmt=self._fill_pmts(measured[:, c.N_MPPC :], live[:, c.N_MPPC :]),
            measured=measured,
        )

    def _fill_inner(self, image: Tensor, live: Tensor) -> Tensor:
        known = live
        for _ in range(PASSES):
            visible = image * known
            around, count = sum_3x3(visible), sum_3x3(known)
            # Products select as torch.where does, and take a third of its time.
            image = visible + (1.0 - known) * (around / count.clamp_min(1.0))
            known = count.clamp_max(1.0)
        return image

    def _fill_pmts(self, charge: Tensor, live: Tensor) -> Tensor:
        around, count = (torch.stack([charge, live]) @ self.neighbours).unbind(0)
        return charge * live + (1.0 - live) * (around / count.clamp_min(1.0))


def sum_3x3(image: Tensor) -> Tensor:
    """Sum each pixel of (batch, height, width) with its eight neighbours, zero outside.

    Four additions of shifted images; pooling layers take several times as long on a CPU.
    """
    padded = functional.pad(image, (1, 1, 1, 1))
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
