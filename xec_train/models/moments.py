"""Moments of the light distribution: what a physicist would compute first.

Charge sums by face, centroids and widths on the inner face under a Gaussian window that follows
the light, and mean times corrected for the flight of the photons.  The heads see them beside the
tokens and, through an anchor, start from the estimate they give; the network then learns the
correction, which is small and smooth where the quantity itself spans hundreds of times its
resolution.

The window is that of adaptive moments with a fixed round shape: G. M. Bernstein and M. Jarvis,
Astron. J. 123 (2002) 583.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import design_geometry
from xec_deploy.normalisation import Normalisation

__all__ = ["N_MOMENTS", "Moments"]

N_KEYS: Final = 7
N_MOMENTS: Final = 30 + N_KEYS * (N_KEYS + 1) // 2

KILOPHOTON: Final = 1000.0
U_SCALE: Final = 20.0
V_SCALE: Final = 40.0
SUM_SCALE: Final = 200.0
LOG_SUM: Final = 4.0
TINY: Final = 1e-3
WINDOW: Final = 3.5
"""Width of the Gaussian window [cm]; wide enough for shallow and for deep showers."""
WIDE_WINDOW: Final = 9.0
ITERATIONS: Final = 4
DEPTHS: Final = (1.0, 4.0, 10.0)
"""Depths [cm] for which mean emission times are computed; the true one lies in between."""
LONGEST: Final = 200.0
"""Times [ns] beyond this, either way, are not those of an event's light."""
TIME_SIGMA: Final = (10.0, 0.1)
"""Time resolution of a channel [ns]: per root photoelectron, and its floor."""


class Moments(nn.Module):
    """Normalised events (batch, 4760, 2) to (batch, N_MOMENTS) features of order one."""

    face_of: Tensor
    u_axis: Tensor
    v_axis: Tensor
    position: Tensor
    efficiency: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.normalisation = normalisation
        geometry = design_geometry()
        uvw = geometry.uvw[: c.N_MPPC].reshape(c.INNER_ROWS, c.INNER_COLUMNS, 3)
        efficiency = np.where(geometry.is_mppc, c.MPPC_PDE, c.PMT_QE)
        for name, values in (
            ("face_of", np.eye(len(c.FACES))[geometry.face]),
            ("u_axis", uvw[0, :, 0]),
            ("v_axis", uvw[:, 0, 1]),
            ("position", geometry.position),
            ("efficiency", efficiency),
        ):
            tensor = torch.from_numpy(np.array(values)).to(torch.get_default_dtype())
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features; dead channels are filled from their neighbourhood."""
        npho, time = x[..., 0], x[..., 1]
        live = (npho != self.normalisation.sentinel_npho).to(x.dtype)
        charge = (self.normalisation.inverse(npho, torch) / KILOPHOTON).clamp_min(0.0) * live
        image = self._filled_image(charge, live)
        sums = charge @ self.face_of
        sums = sums * self.face_of.sum(dim=0) / (live @ self.face_of).clamp_min(1.0)
        sums = torch.cat([image.sum(dim=(1, 2))[:, None], sums[:, 1:]], dim=1)
        centre = self._brightest(image)
        for _ in range(ITERATIONS):
            centre, charge_in, variance = self._window(image, centre, WINDOW)
        _, charge_wide, variance_wide = self._window(image, centre, WIDE_WINDOW)
        uv = centre / torch.tensor([U_SCALE, V_SCALE], dtype=x.dtype, device=x.device)
        log_total = torch.log(sums[:, :1] + TINY)
        share = log_total - torch.log(charge_in + TINY)
        width = torch.log(variance + TINY) - 2.0
        linear = sums / SUM_SCALE
        keys = torch.cat(
            [linear[:, :1], linear[:, 1:].sum(1, keepdim=True), uv, share, width], dim=1
        )
        features = [
            linear,
            torch.log(sums + TINY) - LOG_SUM,
            uv,
            share,
            log_total - torch.log(charge_wide + TINY),
            width,
            torch.log(variance_wide + TINY) - 3.0,
            linear[:, :1] * torch.stack([share[:, 0] ** 2, share[:, 0] ** 3], dim=1),
            (uv * uv) * uv,
            share**3,
            *self._mean_times(charge, time),
            *self._flight_free_times(charge, time, centre),
        ]
        rows, columns = torch.triu_indices(N_KEYS, N_KEYS, device=x.device)
        products = keys.index_select(1, rows) * keys.index_select(1, columns)
        return torch.cat([*features, products], dim=1)

    def _filled_image(self, charge: Tensor, live: Tensor) -> Tensor:
        """Return the inner face (batch, 93, 44), dead channels the mean of their neighbours."""
        shape = (-1, 1, c.INNER_ROWS, c.INNER_COLUMNS)
        image, alive = charge[:, : c.N_MPPC].reshape(shape), live[:, : c.N_MPPC].reshape(shape)
        total, count = (functional.avg_pool2d(part, 3, 1, 1) for part in (image, alive))
        return torch.where(alive > 0, image, total / count.clamp_min(TINY)).squeeze(1)

    def _brightest(self, image: Tensor) -> Tensor:
        """Return (batch, 2) u, v [cm]: mean position weighted with the fourth power of charge."""
        smooth = functional.avg_pool2d(image[:, None], 3, 1, 1).squeeze(1)
        # Relative to the maximum, so that the power cannot overflow for any photon count.
        weight = (smooth / smooth.amax(dim=(1, 2), keepdim=True).clamp_min(TINY)) ** 4
        total = weight.sum(dim=(1, 2)).clamp_min(TINY)
        u = (weight.sum(dim=1) * self.u_axis).sum(dim=1) / total
        v = (weight.sum(dim=2) * self.v_axis).sum(dim=1) / total
        return torch.stack([u, v], dim=1)

    def _window(self, image: Tensor, centre: Tensor, width: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return centroid (batch, 2), charge (batch, 1) and variance (batch, 2) in a window."""
        du, dv = self.u_axis - centre[:, :1], self.v_axis - centre[:, 1:]
        in_u, in_v = (torch.exp(d * d * (-0.5 / width**2)) for d in (du, dv))
        along_u = torch.stack([in_u, in_u * du, in_u * du * du], dim=2)
        along_v = torch.stack([in_v, in_v * dv, in_v * dv * dv], dim=1)
        moments = along_v @ image @ along_u
        total = moments[:, 0, 0].clamp_min(TINY)[:, None]
        shift = torch.stack([moments[:, 0, 1], moments[:, 1, 0]], dim=1) / total
        square = torch.stack([moments[:, 0, 2], moments[:, 2, 0]], dim=1) / total
        return centre + shift, total, (square - shift * shift).clamp_min(0.0)

    def _mean_times(self, charge: Tensor, time: Tensor) -> list[Tensor]:
        """Return charge-weighted mean times [ns] of the inner face and the PMTs."""
        timed, nanoseconds = self._times(time)
        weight = charge * timed
        parts = (slice(None, c.N_MPPC), slice(c.N_MPPC, None))
        return [_mean(nanoseconds[:, part], weight[:, part]) for part in parts]

    def _flight_free_times(self, charge: Tensor, time: Tensor, centre: Tensor) -> list[Tensor]:
        """Return mean emission times [ns] for light from the centroid at the fixed depths."""
        timed, nanoseconds = self._times(time)
        electrons = (charge * (KILOPHOTON * self.efficiency)).clamp_min(1.0)
        weight = timed / (TIME_SIGMA[0] ** 2 / electrons + TIME_SIGMA[1] ** 2)
        means = []
        for depth in DEPTHS:
            radius, phi = c.R_EFF + depth, centre[:, 1] / c.R_EFF
            source = torch.stack(
                [-radius * torch.cos(phi), radius * torch.sin(phi), centre[:, 0]], dim=1
            )
            square = (
                (source * source).sum(1, keepdim=True)
                + (self.position * self.position).sum(1)
                - 2.0 * source @ self.position.T
            )
            flight = square.clamp_min(TINY).sqrt() * (1e9 * c.REFRACTIVE_INDEX / c.SPEED_OF_LIGHT)
            means.append(_mean(nanoseconds - flight, weight))
        return means

    def _times(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights 0 or 1 and times [ns]; times no light can have count as absent."""
        nanoseconds = self.normalisation.inverse_time(time) * 1e9
        timed = (time != self.normalisation.sentinel_time) & (nanoseconds.abs() < LONGEST)
        return timed.to(time.dtype), nanoseconds.clamp(-LONGEST, LONGEST)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum(1, keepdim=True).clamp_min(TINY)
    return (values * weight).sum(1, keepdim=True) / total
