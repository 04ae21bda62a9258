"""The outer face as the network sees it: coarse and centre images, or one fine grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector.layout import FINE_COARSE_REPEAT, Layout

__all__ = ["OuterFineGrid"]


class OuterFineGrid(nn.Module):
    """Gather the outer face on the 45 x 72 fine grid and pool it.

    npho is divided by the number of cells a tube covers (15, or 6 in the dense patch), time is
    copied.  Pooling averages npho over whole windows; time over the cells that have one.
    """

    sensors: Tensor
    mask_sensors: Tensor
    area: Tensor

    def __init__(self, layout: Layout, pool: tuple[int, int] | None, sentinel_time: float) -> None:
        super().__init__()
        self.pool = pool
        self.sentinel_time = sentinel_time
        self.shape = layout.outer_fine.shape
        self.register_buffer(
            "sensors", torch.from_numpy(layout.outer_fine.copy()).flatten(), persistent=False
        )
        masked = layout.outer_fine
        if layout.name == "research":
            # The mask of existing checkpoints is that of the coarse tubes alone.
            masked = layout.outer_coarse.repeat(FINE_COARSE_REPEAT[0], axis=0)
            masked = masked.repeat(FINE_COARSE_REPEAT[1], axis=1)
        self.register_buffer(
            "mask_sensors", torch.from_numpy(masked.copy()).flatten(), persistent=False
        )
        area = torch.from_numpy(layout.outer_fine_area.copy()).to(torch.get_default_dtype())
        self.register_buffer("area", area, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, 4760, 2) into the image (batch, 2, height, width)."""
        grid = x.index_select(1, self.sensors).reshape(-1, *self.shape, 2)
        npho, time = grid[..., 0] / self.area, grid[..., 1]
        if self.pool is not None:
            npho = functional.avg_pool2d(npho.unsqueeze(1), self.pool).squeeze(1)
            time = self._pool_time(time, self.pool)
        return torch.stack([npho, time], dim=1)

    def visible(self, visible: Tensor) -> Tensor:
        """Turn (batch, 4760, 1), 1 where a sensor is seen, into (batch, 1, height, width).

        A pooled cell is hidden if any of its window is.
        """
        grid = visible.index_select(1, self.mask_sensors).reshape(-1, 1, *self.shape)
        return grid if self.pool is None else -functional.max_pool2d(-grid, self.pool)

    def _pool_time(self, time: Tensor, pool: tuple[int, int]) -> Tensor:
        valid = (time != self.sentinel_time).to(time.dtype)
        stacked = torch.stack([time * valid, valid], dim=1)
        total, fraction = functional.avg_pool2d(stacked, pool).unbind(dim=1)
        # The window size cancels in the ratio; an empty window has total 0 and becomes sentinel.
        empty = fraction == 0
        mean = total / torch.where(empty, torch.ones_like(fraction), fraction)
        return torch.where(empty, torch.full_like(mean, self.sentinel_time), mean)
