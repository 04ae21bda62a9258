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
POWERS: Final = ((0, 1), (1, 0), (0, 2), (2, 0), (1, 1), (0, 3), (3, 0), (1, 2), (2, 1))
"""Of v and u in the moments under a window."""
WINDOW_MOMENTS: Final = len(POWERS) + 1
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
    sensors: Tensor
    electrons: Tensor
    depths: Tensor
    exponent: Tensor
    shape_scale: Tensor
    scale: Tensor
    order: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.normalisation = normalisation
        geometry = design_geometry()
        u_axis, v_axis = inner_axes()
        efficiency = np.where(geometry.is_mppc, c.MPPC_PDE, c.PMT_QE)
        position = geometry.position
        square = (position * position).sum(axis=1)
        windows = np.array([WINDOW, *OTHER_WINDOWS])[:, None]
        for name, values in (
            ("face_of_pmt", np.eye(len(c.FACES))[geometry.face[c.N_MPPC :], 1:]),
            ("u_axis", u_axis.numpy()),
            ("v_axis", v_axis.numpy()),
            ("sensors", np.stack([*(-2.0 * position.T), np.ones_like(square), square])),
            ("electrons", 1000.0 * efficiency),
            ("depths", np.array(DEPTHS)),
            ("exponent", -0.5 / windows**2),
            ("shape_scale", 1.0 / windows[1:] ** np.array([0, 0, 0, 2, 2, 2, 3, 3, 3, 3])),
            ("scale", np.array([U_SCALE, V_SCALE])),
        ):
            tensor = torch.from_numpy(np.array(values)).to(torch.get_default_dtype())
            self.register_buffer(name, tensor, persistent=False)
        order = torch.tensor([4 * v_power + u_power for v_power, u_power in POWERS])
        self.register_buffer("order", order, persistent=False)

    def forward(self, light: Light, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moments and the centre of the light, u and v (batch, 2) [cm]."""
        image = light.inner
        inner = image.sum(dim=(1, 2))[:, None]
        sums = torch.cat([inner, light.pmt @ self.face_of_pmt], dim=1)
        centre = self._brightest(image)
        for _ in range(ITERATIONS):
            centre = centre + self._shift(image, centre)
        charge, moments = self._windows(image, centre)
        uv = centre / self.scale
        log_total = torch.log(sums[:, :1] + TINY)
        shares = log_total - torch.log(charge + TINY)
        share = shares[:, :1]
        width = torch.log(moments[:, 0, 2:4].clamp_min(0.0) + TINY) - 2.0
        linear = sums / SUM_SCALE
        shapes = torch.cat([moments[:, 1:, :2], shares[:, 1:, None], moments[:, 1:, 2:]], dim=2)
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
            *self._times(light, time, centre),
            (shapes * self.shape_scale).flatten(1),
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

    def _shift(self, image: Tensor, centre: Tensor) -> Tensor:
        """Return the centroid (batch, 2) [cm] under the window that is moved, from its centre."""
        du, dv = self.u_axis - centre[:, :1], self.v_axis - centre[:, 1:]
        in_u, in_v = (torch.exp(d * d * (-0.5 / WINDOW**2)) for d in (du, dv))
        raw = torch.stack([in_v, in_v * dv], dim=1) @ image @ torch.stack([in_u, in_u * du], dim=2)
        charge = raw[:, 0, 0].clamp_min(TINY)
        return torch.stack([raw[:, 0, 1], raw[:, 1, 0]], dim=1) / charge[:, None]

    def _windows(self, image: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Return charge (batch, windows) and moments (batch, windows, 9), in powers of cm.

        Of ``WINDOW`` first, then of the others; all of them in one product.  Moments about the
        centre: u, v, uu, vv, uv, uuu, vvv, uuv, uvv.  Those of uu and vv are about the centroid.
        """
        along_u, along_v = (
            self._powers(axis - centre[:, [column]])
            for column, axis in enumerate((self.u_axis, self.v_axis))
        )
        batch, windows, powers, rows = along_v.shape
        lines = along_v.reshape(batch, windows * powers, rows) @ image
        lines = lines.reshape(batch, windows, powers, lines.shape[2])
        raw = (lines @ along_u.transpose(2, 3)).flatten(2)
        charge = raw[:, :, 0].clamp_min(TINY)
        moments = raw.index_select(2, self.order) / charge[:, :, None]
        mean = moments[:, :, :2]
        second = moments[:, :, 2:4] - mean * mean
        return charge, torch.cat([mean, second, moments[:, :, 4:]], dim=2)

    def _powers(self, distance: Tensor) -> Tensor:
        """Turn distances (batch, n) into windows times their powers, (batch, windows, 4, n)."""
        window = torch.exp((distance * distance)[:, None] * self.exponent)
        first = window * distance[:, None]
        second = first * distance[:, None]
        return torch.stack([window, first, second, second * distance[:, None]], dim=2)

    def _times(self, light: Light, time: Tensor, centre: Tensor) -> list[Tensor]:
        """Return five mean times (batch, 1) [ns].

        Weighted with the charge, of the inner face and of the PMTs; then emission times for light
        from the centroid at the fixed depths.  In those, channels weigh by their photon statistics,
        so few valid times (2-6 % of the channels in some files) give a noisier mean and not
        another one.
        """
        timed, nanoseconds = self._valid_times(time)
        weight = light.measured * timed
        parts = (slice(None, c.N_MPPC), slice(c.N_MPPC, None))
        means = [_mean(nanoseconds[:, part], weight[:, part]) for part in parts]
        electrons = (light.measured * self.electrons).clamp_min(1.0)
        weight = timed / (TIME_SIGMA[0] ** 2 / electrons + TIME_SIGMA[1] ** 2)
        total = weight.sum(1, keepdim=True).clamp_min(TINY)
        flight = self._flight_times(centre)
        late = ((nanoseconds[:, None] - flight) @ weight[:, :, None])[:, :, 0] / total
        return [*means, late]

    def _flight_times(self, centre: Tensor) -> Tensor:
        """Return flight times [ns] from the centroid at each depth, (batch, depths, 4760)."""
        radius, phi = c.R_EFF + self.depths, centre[:, 1:] / c.R_EFF
        source = torch.stack(
            [
                -radius * torch.cos(phi),
                radius * torch.sin(phi),
                centre[:, :1].expand_as(radius * phi),
            ],
            dim=2,
        )
        # One product gives squared distances: (s, s s, 1) . (-2 p, 1, p p).
        length = (source * source).sum(2, keepdim=True)
        square = torch.cat([source, length, torch.ones_like(length)], dim=2) @ self.sensors
        return square.clamp_min(TINY).sqrt() * (1e9 * c.REFRACTIVE_INDEX / c.SPEED_OF_LIGHT)

    def _valid_times(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights 0 or 1 and times [ns]; times no light can have count as absent."""
        nanoseconds = self.normalisation.inverse_time(time) * 1e9
        timed = (time != self.normalisation.sentinel_time) & (nanoseconds.abs() < LONGEST)
        return timed.to(time.dtype), nanoseconds.clamp(-LONGEST, LONGEST)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum(1, keepdim=True).clamp_min(TINY)
    return (values * weight).sum(1, keepdim=True) / total
