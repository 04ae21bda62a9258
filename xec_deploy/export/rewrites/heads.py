"""The heads in use as one: their first layers read the same features."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.export.rewrites.replace import constant, exact, replace
from xec_train.models.research.regressor import XECMultiHeadModel
from xec_train.models.tasks import TaskName

__all__ = ["JoinedRegressor", "join_heads"]


def join_heads(module: nn.Module) -> nn.Module:
    """Evaluate the heads of the active tasks in four products."""
    return replace(module, XECMultiHeadModel, JoinedRegressor)


class JoinedRegressor(nn.Module):
    """:class:`~xec_train.models.research.regressor.XECMultiHeadModel`, heads joined.

    The first Linear is one product; the others are one product per head, batched, or
    block-diagonal where they are tiny.
    """

    first: nn.Parameter
    first_bias: nn.Parameter
    scale: nn.Parameter
    shift: nn.Parameter
    second: nn.Parameter
    second_bias: nn.Parameter
    third: nn.Parameter
    third_bias: nn.Parameter

    def __init__(self, model: XECMultiHeadModel) -> None:
        super().__init__()
        self.config = model.config
        self.backbone = model.backbone
        heads = [cast("nn.Sequential", model.heads[task]) for task in self.config.active_tasks]
        first, norm, _, _, second, _, third = (list(layers) for layers in zip(*heads, strict=True))
        like = cast("nn.Linear", first[0]).weight
        self.eps = cast("nn.LayerNorm", norm[0]).eps
        for name, value in (
            ("first", torch.cat(_all(first, "weight")).T),
            ("first_bias", torch.stack(_all(first, "bias"))),
            ("scale", torch.stack(_all(norm, "weight"))),
            ("shift", torch.stack(_all(norm, "bias"))),
            ("second", torch.stack(_all(second, "weight")).transpose(1, 2)),
            ("second_bias", torch.stack(_all(second, "bias")).unsqueeze(1)),
            ("third", torch.block_diag(*_all(third, "weight")).T),  # type: ignore[no-untyped-call]
            ("third_bias", torch.cat(_all(third, "bias"))),
        ):
            self.register_parameter(name, constant(value, like))

    def forward(self, x: Tensor) -> dict[TaskName, Tensor]:
        """Turn (batch, 4760, 2) into {task: (batch, outputs)}, means before log variances."""
        tasks = self.config.active_tasks
        hidden = (self.backbone(x).flatten(1) @ self.first).reshape(-1, *self.first_bias.shape)
        width = hidden.shape[-1]
        hidden = functional.layer_norm(hidden + self.first_bias, (width,), eps=self.eps)
        hidden = functional.gelu(hidden * self.scale + self.shift).transpose(0, 1)
        hidden = functional.gelu(hidden @ self.second + self.second_bias).transpose(0, 1)
        outputs = hidden.flatten(1) @ self.third + self.third_bias
        sizes = [self.config.outputs_of(task) for task in tasks]
        return dict(zip(tasks, torch.split(outputs, sizes, dim=1), strict=True))


def _all(layers: list[nn.Module], name: str) -> list[Tensor]:
    return [exact(cast("Tensor", getattr(layer, name))) for layer in layers]
