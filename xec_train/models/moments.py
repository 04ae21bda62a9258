"""Moments of the light distribution: what a physicist would compute first.

Charge sums by face, charge-weighted centroids and widths on the inner face with weights q, q^2
and q^3, the effective number of lit sensors, and charge-weighted mean times.  The heads see them
beside the tokens and, through a linear anchor, start from the estimate they give; the network
then learns the correction, which is small and smooth where the quantity itself spans hundreds of
times its resolution.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from xec_deploy.detector.constants import FACES, N_MPPC
from xec_deploy.detector.geometry import design_geometry
from xec_deploy.normalisation import Normalisation

__all__ = ["N_MOMENTS", "Moments"]

N_MOMENTS: Final = 22

KILOPHOTON: Final = 1000.0
U_SCALE: Final = 20.0
V_SCALE: Final = 40.0
INNER_SUM: Final = 400.0
PMT_SUM: Final = 300.0
LOG_SUM: Final = 4.0
LOG_SENSORS: Final = 5.0
TINY: Final = 1e-3


class Moments(nn.Module):
    """Normalised events (batch, 4760, 2) to (batch, 22) features of order one."""

    inner_basis: Tensor
    face_of: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.normalisation = normalisation
        geometry = design_geometry()
        u, v = torch.from_numpy(geometry.uvw[:N_MPPC, :2].copy()).T / torch.tensor(
            [[U_SCALE], [V_SCALE]], dtype=torch.float64
        )
        basis = torch.stack([torch.ones_like(u), u, v, u * u, v * v], dim=-1)
        faces = torch.from_numpy(geometry.face.astype("int64"))
        face_of = nn.functional.one_hot(faces, len(FACES))
        kind = torch.get_default_dtype()
        self.register_buffer("inner_basis", basis.to(kind), persistent=False)
        self.register_buffer("face_of", face_of.to(kind), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features; dead channels have weight zero and sums are scaled for them."""
        npho, time = x[..., 0], x[..., 1]
        live = (npho != self.normalisation.sentinel_npho).to(x.dtype)
        charge = (self.normalisation.inverse(npho, torch) / KILOPHOTON).clamp_min(0.0) * live
        sums = charge @ self.face_of
        sums = sums * self.face_of.sum(dim=0) / (live @ self.face_of).clamp_min(1.0)
        pmt = sums[:, 1:].sum(dim=1, keepdim=True)
        inner = charge[:, :N_MPPC]
        first, second = self._spatial(inner), self._spatial(inner * inner)
        third = self._spatial(inner * inner * inner)
        effective = torch.log(first[0] * first[0] / second[0]) - LOG_SENSORS
        return torch.cat(
            [
                sums[:, :1] / INNER_SUM,
                pmt / PMT_SUM,
                torch.log(sums + TINY) - LOG_SUM,
                *first[1:],
                *second[1:],
                third[1],
                effective,
                *self._times(charge, time),
            ],
            dim=1,
        )

    def _spatial(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return sum (batch, 1), centroid (batch, 2) and logarithmic width (batch, 2)."""
        moment = weight @ self.inner_basis
        total = moment[:, :1].clamp_min(TINY)
        mean, square = moment[:, 1:3] / total, moment[:, 3:] / total
        width = 0.5 * torch.log((square - mean * mean).clamp_min(TINY * TINY)) + 2.0
        return total, mean, width

    def _times(self, charge: Tensor, time: Tensor) -> list[Tensor]:
        """Return mean times [ns]: inner face weighted with q and q^2, PMTs weighted with q."""
        timed = (time != self.normalisation.sentinel_time).to(time.dtype)
        nanoseconds = self.normalisation.inverse_time(time) * 1e9
        weight = charge * timed
        inner, pmt = slice(None, N_MPPC), slice(N_MPPC, None)
        return [
            ((w * nanoseconds[:, part]).sum(1) / w.sum(1).clamp_min(TINY))[:, None]
            for w, part in (
                (weight[:, inner], inner),
                (weight[:, inner] * charge[:, inner], inner),
                (weight[:, pmt], pmt),
            )
        ]
