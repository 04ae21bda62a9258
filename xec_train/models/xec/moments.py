"""Moments of the light distribution: what a physicist would compute first.

Charge sums by face; centroids, widths and higher moments on the inner face under Gaussian windows
of several sizes that follow the light; mean times corrected for the flight of the photons.

The window is that of adaptive moments with a fixed round shape: G. M. Bernstein and M. Jarvis,
Astron. J. 123 (2002) 583.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import design_geometry
from xec_deploy.normalisation import Normalisation
from xec_train.models.xec.fovea import inner_axes
from xec_train.models.xec.light import TINY, Light, sum_3x3

__all__ = ["N_MOMENTS", "Moments"]

N_KEYS: Final = 7
WINDOW: Final = 3.5
"""Width [cm] of the window that is moved to the light; wide enough for any depth."""
OTHER_WINDOWS: Final = (1.5, 2.2, 5.0, 7.0, 9.0)
"""Widths [cm] of windows at the same place: narrow ones find the core of a shower, wide ones what
lies beside it."""
WINDOW_MOMENTS: Final = 10
N_MOMENTS: Final = 27 + WINDOW_MOMENTS * len(OTHER_WINDOWS) + N_KEYS * (N_KEYS + 1) // 2

U_SCALE: Final = 20.0
V_SCALE: Final = 40.0
SUM_SCALE: Final = 200.0
LOG_SUM: Final = 4.0
ITERATIONS: Final = 4
DEPTHS: Final = (1.0, 4.0, 10.0)
"""Depths [cm] for which mean emission times are computed; the true one lies in between."""
LONGEST: Final = 200.0
"""Times [ns] beyond this, either way, are not those of an event's light."""
TIME_SIGMA: Final = (10.0, 0.1)
"""Time resolution of a channel [ns]: per root photoelectron, and its floor."""


class Moments(nn.Module):
    """Light and normalised times to (batch, N_MOMENTS) features of order one, and the centre."""

    face_of_pmt: Tensor
    u_axis: Tensor
    v_axis: Tensor
    position: Tensor
    efficiency: Tensor
    scale: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.normalisation = normalisation
        geometry = design_geometry()
        u_axis, v_axis = inner_axes()
        efficiency = np.where(geometry.is_mppc, c.MPPC_PDE, c.PMT_QE)
        for name, values in (
            ("face_of_pmt", np.eye(len(c.FACES))[geometry.face[c.N_MPPC :], 1:]),
            ("u_axis", u_axis.numpy()),
            ("v_axis", v_axis.numpy()),
            ("position", geometry.position),
            ("efficiency", efficiency),
            ("scale", np.array([U_SCALE, V_SCALE])),
        ):
            tensor = torch.from_numpy(np.array(values)).to(torch.get_default_dtype())
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, light: Light, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moments and the centre of the light, u and v (batch, 2) [cm]."""
        image = light.inner
        inner = image.sum(dim=(1, 2))[:, None]
        sums = torch.cat([inner, light.pmt @ self.face_of_pmt], dim=1)
        centre = self._brightest(image)
        for _ in range(ITERATIONS):
            _, moments = self._window(image, centre, WINDOW)
            centre = centre + moments[:, :2]
        charge, moments = self._window(image, centre, WINDOW)
        uv = centre / self.scale
        log_total = torch.log(sums[:, :1] + TINY)
        share = log_total - torch.log(charge + TINY)
        width = torch.log(moments[:, 2:4].clamp_min(0.0) + TINY) - 2.0
        linear = sums / SUM_SCALE
        others = [
            self._shape(image, centre, width_of_window, log_total)
            for width_of_window in OTHER_WINDOWS
        ]
        outer = linear[:, 1:].sum(1, keepdim=True)
        keys = torch.cat([linear[:, :1], outer, uv, share, width], dim=1)
        features = [
            linear,
            torch.log(sums + TINY) - LOG_SUM,
            uv,
            share,
            width,
            linear[:, :1] * torch.stack([share[:, 0] ** 2, share[:, 0] ** 3], dim=1),
            (uv * uv) * uv,
            share**3,
            *self._mean_times(light, time),
            *self._flight_free_times(light, time, centre),
            *others,
        ]
        rows, columns = torch.triu_indices(N_KEYS, N_KEYS, device=keys.device)
        products = keys.index_select(1, rows) * keys.index_select(1, columns)
        return torch.cat([*features, products], dim=1), centre

    def _brightest(self, image: Tensor) -> Tensor:
        """Return (batch, 2) u, v [cm]: mean position weighted with the fourth power of charge."""
        smooth = sum_3x3(image)
        # Relative to the maximum, so that the power cannot overflow for any photon count.
        weight = smooth / smooth.amax(dim=(1, 2), keepdim=True).clamp_min(TINY)
        weight = (weight * weight) * (weight * weight)
        total = weight.sum(dim=(1, 2)).clamp_min(TINY)
        u = (weight.sum(dim=1) * self.u_axis).sum(dim=1) / total
        v = (weight.sum(dim=2) * self.v_axis).sum(dim=1) / total
        return torch.stack([u, v], dim=1)

    def _window(self, image: Tensor, centre: Tensor, width: float) -> tuple[Tensor, Tensor]:
        """Return charge (batch, 1) and moments (batch, 9) about the centre, in powers of cm.

        Moments: u, v, uu, vv, uv, uuu, vvv, uuv, uvv.  Those of uu and vv are about the
        centroid.
        """
        du, dv = self.u_axis - centre[:, :1], self.v_axis - centre[:, 1:]
        in_u, in_v = (torch.exp(d * d * (-0.5 / width**2)) for d in (du, dv))
        along_u = torch.stack([in_u, in_u * du, in_u * du * du, in_u * du * du * du], dim=2)
        along_v = torch.stack([in_v, in_v * dv, in_v * dv * dv, in_v * dv * dv * dv], dim=1)
        raw = along_v @ image @ along_u
        charge = raw[:, 0, 0].clamp_min(TINY)
        powers = ((0, 1), (1, 0), (0, 2), (2, 0), (1, 1), (0, 3), (3, 0), (1, 2), (2, 1))
        u, v, uu, vv, *rest = (raw[:, i, j] / charge for i, j in powers)
        return charge[:, None], torch.stack([u, v, uu - u * u, vv - v * v, *rest], dim=1)

    def _shape(self, image: Tensor, centre: Tensor, width: float, log_total: Tensor) -> Tensor:
        """Return (batch, 10): shift of the centroid [cm], share of the charge, scaled moments."""
        charge, moments = self._window(image, centre, width)
        share = log_total - torch.log(charge + TINY)
        second, third = moments[:, 2:5] / width**2, moments[:, 5:] / width**3
        return torch.cat([moments[:, :2], share, second, third], dim=1)

    def _mean_times(self, light: Light, time: Tensor) -> list[Tensor]:
        """Return charge-weighted mean times [ns] of the inner face and the PMTs."""
        timed, nanoseconds = self._times(time)
        weight = light.measured * timed
        parts = (slice(None, c.N_MPPC), slice(c.N_MPPC, None))
        return [_mean(nanoseconds[:, part], weight[:, part]) for part in parts]

    def _flight_free_times(self, light: Light, time: Tensor, centre: Tensor) -> list[Tensor]:
        """Return mean emission times [ns] for light from the centroid at the fixed depths.

        Channels weigh by their photon statistics, so few valid times (2-6 % of the channels in
        some files) give a noisier mean and not another one.
        """
        timed, nanoseconds = self._times(time)
        electrons = (light.measured * (1000.0 * self.efficiency)).clamp_min(1.0)
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
