"""What a validation says of the hidden sensors: errors in photons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import design_geometry
from xec_train.inpainter.losses import Hidden, photon_statistics

__all__ = ["SensorErrors"]

SUMS: Final = ("count", "error", "absolute", "square", "relative")


class SensorErrors:
    """Sums over hidden sensors, by face, from which all processes' metrics follow."""

    def __init__(self) -> None:
        self.sums: NDArray[np.float64] = np.zeros((len(c.FACES), len(SUMS)))
        self.losses: dict[str, NDArray[np.float64]] = {}
        face = np.array(design_geometry().face, dtype=np.int64)
        self._face = torch.from_numpy(face)

    def add(
        self, photons: Tensor, hidden: Hidden, losses: Mapping[str, tuple[Tensor, Tensor]]
    ) -> None:
        """Add sensors: predictions (m,) [photons], the truth, sums of losses and of weights."""
        error = (photons - hidden.photons).double()
        unit = photon_statistics(hidden.photons, hidden.sensors).double()
        values = torch.stack(
            [torch.ones_like(error), error, error.abs(), error.square(), (error / unit).square()]
        )
        face = self._face.to(hidden.sensors.device)[hidden.sensors]
        sums = values.new_zeros(len(SUMS), len(c.FACES)).index_add_(1, face, values)
        self.sums += sums.T.cpu().numpy()
        for name, pair in losses.items():
            numbers = np.array([float(value) for value in pair])
            self.losses[name] = self.losses.get(name, np.zeros(2)) + numbers

    @staticmethod
    def joined(parts: Iterable[SensorErrors]) -> SensorErrors:
        """Return the sum over processes."""
        total = SensorErrors()
        for part in parts:
            total.sums += part.sums
            for name, numbers in part.losses.items():
                total.losses[name] = total.losses.get(name, np.zeros(2)) + numbers
        return total

    def loss_parts(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the sums of losses and of weights by channel."""
        return {
            name: (torch.tensor(loss), torch.tensor(weight))
            for name, (loss, weight) in self.losses.items()
        }

    def metrics(self, *, errors: bool, by_face: bool) -> dict[str, float]:
        """Return bias, mean absolute and root mean square errors [photons], and the pull.

        The pull is the root mean square error in units of the photon statistics of the sensors.
        """
        found: dict[str, float] = {}
        if errors:
            found |= _figures("npho", self.sums.sum(axis=0))
        if by_face:
            for face, sums in zip(c.FACES, self.sums, strict=True):
                found |= _figures(face, sums) if sums[0] else {}
        return found


def _figures(name: str, sums: NDArray[np.float64]) -> dict[str, float]:
    count, error, absolute, square, relative = (float(value) for value in sums)
    count = max(count, 1.0)
    return {
        f"val_{name}_bias": error / count,
        f"val_{name}_mae": absolute / count,
        f"val_{name}_rmse": (square / count) ** 0.5,
        f"val_{name}_pull": (relative / count) ** 0.5,
    }
