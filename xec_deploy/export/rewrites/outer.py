"""The pooled fine grid of the outer face as products over its tubes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.export.rewrites.replace import constant, exact, replace
from xec_train.models.research.outer import OuterFineGrid

__all__ = ["PooledTubes", "pool_tubes"]


def pool_tubes(module: nn.Module) -> nn.Module:
    """Pool the fine grid of the outer face without building it."""
    return replace(module, OuterFineGrid, lambda old: old if old.pool is None else PooledTubes(old))


class PooledTubes(nn.Module):
    """:class:`~xec_train.models.research.outer.OuterFineGrid` with a pool.

    Repeating the tubes on the grid, dividing by the cells of a tube, and averaging are one matrix
    for npho; for times, which are averaged over the cells that have one, numerator and denominator
    are products with another.
    """

    tubes: Tensor
    npho: nn.Parameter
    time: nn.Parameter

    def __init__(self, grid: OuterFineGrid) -> None:
        super().__init__()
        assert grid.pool is not None  # noqa: S101 - the caller's condition
        self.grid = grid
        self.pool, self.sentinel_time, self.shape = grid.pool, grid.sentinel_time, grid.shape
        tubes, places = torch.unique(grid.sensors, return_inverse=True)
        self.register_buffer("tubes", tubes, persistent=False)
        repeated = functional.one_hot(places).T.to(torch.float64)
        repeated = repeated.reshape(1, len(tubes), *self.shape)
        for name, cells in (("npho", repeated / exact(grid.area)), ("time", repeated)):
            matrix = functional.avg_pool2d(cells, self.pool)[0]
            self.pooled = matrix.shape[1:]
            self.register_parameter(name, constant(matrix.flatten(1), grid.area))

    def visible(self, visible: Tensor) -> Tensor:
        """Turn (batch, 4760, 1) into (batch, 1, height, width); see the original."""
        return self.grid.visible(visible)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, 4760, 2) into the image (batch, 2, height, width)."""
        tubes = x.index_select(1, self.tubes)
        npho, time = tubes[..., 0] @ self.npho, tubes[..., 1]
        valid = (time != self.sentinel_time).to(time.dtype)
        total, fraction = (time * valid) @ self.time, valid @ self.time
        empty = fraction == 0
        mean = total / torch.where(empty, 1.0, fraction)
        time = torch.where(empty, self.sentinel_time, mean)
        return torch.stack([npho, time], dim=1).reshape(-1, 2, *self.pooled)
