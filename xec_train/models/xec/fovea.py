"""The inner face seen as an eye sees: sharp around the light, coarse far from it.

A conversion lights a spot a few centimetres wide anywhere on 93 x 44 sensors.  The view follows
the spot: amplitudes are sampled on a grid centred on the light, finely near the centre and ever
more coarsely outwards, by Gaussian kernels as wide as the grid is there.  Whatever lies under the
kernels is averaged, so no pixel is skipped, and the network meets every conversion at the same
place, which is what makes millimetres learnable from few events.

Sampling is two small matrix products per event; the log-polar idea is E. L. Schwartz, Biol.
Cybern. 25 (1977) 181, on a Cartesian grid.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import design_geometry

__all__ = ["FoveatedView", "inner_axes"]

NARROWEST: Final = 0.6
"""Width of the sharpest kernel [cm], two fifths of a pitch: below, sampling would alias."""


def inner_axes() -> tuple[Tensor, Tensor]:
    """Return u of the 44 columns and v of the 93 rows of the inner face [cm]."""
    uvw = design_geometry().uvw[: c.N_MPPC].reshape(c.INNER_ROWS, c.INNER_COLUMNS, 3)
    u, v = np.array(uvw[0, :, 0]), np.array(uvw[:, 0, 1])
    dtype = torch.get_default_dtype()
    return torch.from_numpy(u).to(dtype), torch.from_numpy(v).to(dtype)


class FoveatedView(nn.Module):
    """Images of the inner face (batch, 93, 44) to views (batch, points, points) around a centre.

    Parameters
    ----------
    rings
        Sample points on each side of the centre; ``2 rings + 1`` along each axis.
    step
        Distance of the first one [cm].
    growth
        Ratio of each distance to the one before.
    """

    offset: Tensor
    width: Tensor
    u_axis: Tensor
    v_axis: Tensor

    def __init__(self, rings: int, step: float, growth: float) -> None:
        super().__init__()
        outwards = np.cumsum(step * growth ** np.arange(rings))
        offset = np.concatenate([-outwards[::-1], [0.0], outwards])
        width = np.maximum(0.5 * np.gradient(offset), NARROWEST)
        dtype = torch.get_default_dtype()
        u_axis, v_axis = inner_axes()
        for name, tensor in (
            ("offset", torch.from_numpy(offset).to(dtype)),
            ("width", torch.from_numpy(width).to(dtype)),
            ("u_axis", u_axis),
            ("v_axis", v_axis),
        ):
            self.register_buffer(name, tensor, persistent=False)

    @property
    def points(self) -> int:
        """Sample points along each axis."""
        return len(self.offset)

    def forward(self, image: Tensor, live: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted mean of an image under each kernel, and the share that is live.

        ``image`` and ``live`` are (batch, 93, 44), ``centre`` (batch, 2) is u, v [cm].  A kernel
        beyond the edge of the face sees the nearest sensors; one that sees none gives zero.
        """
        along_u = self._kernels(self.u_axis, centre[:, :1]).transpose(1, 2)
        along_v = self._kernels(self.v_axis, centre[:, 1:])
        weight = along_v.sum(2)[:, :, None] * along_u.sum(1)[:, None, :]
        weight = weight.clamp_min(1e-2)
        lines = along_v @ torch.cat([image, live], dim=2)
        seen, open_part = (part @ along_u / weight for part in lines.chunk(2, dim=2))
        return seen, open_part

    def _kernels(self, axis: Tensor, centre: Tensor) -> Tensor:
        at = (centre + self.offset)[:, :, None]
        distance = (axis - at) / self.width[:, None]
        return torch.exp(-0.5 * distance * distance)
