"""What the inpainter starts from: logarithms of the light, and what neighbours say of a sensor.

The light on a sensor is that of its neighbours up to the ratio of the solid angles they see the
shower under, and a ratio is a difference of logarithms.  Both are computed; learned is what they
lack: how deep the shower is, how it is shaped, what the noise allows to be taken from each
neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import design_geometry
from xec_deploy.normalisation import Normalisation
from xec_train.models.xec.light import FilledLight
from xec_train.models.xec.moments import Moments

__all__ = ["FEATURES", "LogLight", "Surroundings", "Views"]

FLOOR: Final = 4.0
"""Added to the root of the photons before the logarithm: one photoelectron makes about three."""
DARKEST: Final = 0.1
BRIGHTEST: Final = 1e5
"""Limits of a predicted root of photons."""
DEPTHS: Final = (0.5, 2.0, 6.0, 14.0)
"""Depths [cm] for which solid angles are compared; the true one lies in between."""
INNER_WIDTH: Final = 1.0
"""Width of the neighbourhood of an MPPC [sensors]."""
TUBE_WIDTH: Final = 7.0
"""Width of the neighbourhood of a PMT [cm]."""
FAINT: Final = 1e-3
"""Weight of the mean over all sensors of a kind, beside one of order 1 for each live neighbour."""
SOFTENING: Final = 0.5
"""Added to squared distances [cm^2]: a sensor is not a point."""
OFFSET_SCALE: Final = 10.0
FEATURES: Final = 4 + len(DEPTHS)
"""Numbers of a sensor in `Views.features`."""


class LogLight:
    """Photons to the logarithm of their root, and back."""

    @staticmethod
    def of(photons: Tensor) -> Tensor:
        """Transform photons; what is negative counts as none."""
        return torch.log(torch.sqrt(photons.clamp_min(0.0)) + FLOOR)

    @staticmethod
    def photons(value: Tensor) -> Tensor:
        """Transform back, within the limits of what a sensor can see."""
        root = torch.exp(value.clamp(max=float(np.log(BRIGHTEST)))) - FLOOR
        return root.clamp_min(DARKEST) ** 2


@dataclass(frozen=True, eq=False)
class Views:
    """What is computed of a batch before the first weight.

    Attributes
    ----------
    light
        (batch, 4760) logarithms, 0 where not live.
    live
        (batch, 4760), 1 where live, else 0.
    base
        (batch, 4760) mean logarithm of the live neighbours.
    features
        (batch, 4760, FEATURES): base, weight of the live neighbours, offset from the light along u
        and v, and for each depth how much larger than theirs the solid angle is.
    moments
        (batch, N_MOMENTS).
    """

    light: Tensor
    live: Tensor
    base: Tensor
    features: Tensor
    moments: Tensor


class Surroundings(nn.Module):
    """Normalised events (batch, 4760, 2) to their `Views`; it has no weights."""

    along_u: Tensor
    along_v: Tensor
    tubes: Tensor
    position: Tensor
    normal: Tensor
    plane: Tensor
    u_v: Tensor
    depth: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.filled = FilledLight(normalisation)
        self.moments = Moments(normalisation)
        geometry = design_geometry()
        tube, face = geometry.position[c.N_MPPC :], geometry.face[c.N_MPPC :]
        distance = np.linalg.norm(tube[:, None] - tube[None], axis=2)
        for name, values in (
            ("along_u", _kernel(c.INNER_COLUMNS)),
            ("along_v", _kernel(c.INNER_ROWS)),
            ("tubes", np.exp(-0.5 * (distance / TUBE_WIDTH) ** 2) * (face[:, None] == face)),
            ("position", geometry.position),
            ("normal", geometry.normal),
            ("plane", (geometry.normal * geometry.position).sum(axis=1)),
            ("u_v", geometry.uvw[:, :2]),
            ("depth", np.array(DEPTHS)),
        ):
            tensor = torch.from_numpy(np.array(values)).to(torch.get_default_dtype())
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: Tensor) -> Views:
        """Look at events whose hidden sensors have the values of dead ones."""
        npho, time = x.unbind(-1)
        live = (npho != self.normalisation.sentinel_npho).to(x.dtype)
        light = LogLight.of(self.normalisation.inverse(npho, torch)) * live
        moments, centre = self.moments(self.filled(x), time)
        solid_angle = self._solid_angles(centre)
        weight = self._around(live[:, None])
        summed = self._around(torch.cat([light[:, None], solid_angle * live[:, None]], dim=1))
        total = weight + FAINT
        base = (summed[:, 0] + FAINT * _overall_mean(light, live)) / total[:, 0]
        ratio = solid_angle - (summed[:, 1:] + FAINT * solid_angle) / total
        offset = ((self.u_v - centre[:, None]) / OFFSET_SCALE).clamp(-5.0, 5.0)
        own = torch.stack([base, weight[:, 0]], dim=2)
        features = torch.cat([own, offset, ratio.transpose(1, 2).clamp(-3.0, 3.0)], dim=2)
        return Views(light, live, base, features, moments)

    def _around(self, values: Tensor) -> Tensor:
        """Sum (batch, n, 4760) over the neighbourhood of each sensor, by distance."""
        inner = torch.unflatten(values[..., : c.N_MPPC], 2, (c.INNER_ROWS, c.INNER_COLUMNS))
        inner = self.along_v @ inner @ self.along_u
        return torch.cat([inner.flatten(2), values[..., c.N_MPPC :] @ self.tubes], dim=2)

    def _solid_angles(self, centre: Tensor) -> Tensor:
        """Return half the logarithm of the solid angle (batch, depths, 4760), up to a constant."""
        radius = c.R_EFF + self.depth
        phi = centre[:, 1:] / c.R_EFF
        source = torch.stack(
            [
                -radius * torch.cos(phi),
                radius * torch.sin(phi),
                centre[:, :1].expand(-1, len(self.depth)),
            ],
            dim=2,
        )
        height = (source @ self.normal.T - self.plane).clamp_min(0.1)
        square = (
            (source * source).sum(2, keepdim=True)
            + (self.position * self.position).sum(1)
            - 2.0 * source @ self.position.T
        )
        return 0.5 * torch.log(height) - 0.75 * torch.log(square.clamp_min(0.0) + SOFTENING)


def _kernel(count: int) -> NDArray[np.float64]:
    steps = np.arange(count)
    kernel: NDArray[np.float64] = np.exp(-0.5 * ((steps[:, None] - steps[None]) / INNER_WIDTH) ** 2)
    return kernel


def _overall_mean(light: Tensor, live: Tensor) -> Tensor:
    """Return for each sensor (batch, 4760) the mean of all live ones of its kind."""
    means = []
    for part in (slice(None, c.N_MPPC), slice(c.N_MPPC, None)):
        total = light[:, part].sum(1, keepdim=True) / live[:, part].sum(1, keepdim=True).clamp_min(
            1.0
        )
        means.append(total.expand(-1, light[:, part].shape[1]))
    return torch.cat(means, dim=1)
