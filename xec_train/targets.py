"""Scales of the targets: how physical units meet the loss.

The heads learn standardised quantities, ``target = mean + spread * output``.  Folding mean and
spread into the last linear layer afterwards gives a model that emits physical units, as every
checkpoint does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xec_train.config import TaskConfig
from xec_train.data import RawBatch
from xec_train.models import TaskName

__all__ = ["TargetScale", "fold_scales", "measure_scales"]


@dataclass(frozen=True)
class TargetScale:
    """Mean and spread of a target, and the error that counts as one in the loss; (components,)."""

    mean: Tensor
    spread: Tensor
    loss: Tensor


def measure_scales(
    batches: Iterable[RawBatch], tasks: Mapping[TaskName, TaskConfig], events: int = 5000
) -> dict[TaskName, TargetScale]:
    """Measure mean and spread on the first ``events`` events."""
    collected: dict[TaskName, list[Tensor]] = {}
    seen = 0
    for batch in batches:
        for task, target in batch.targets.items():
            collected.setdefault(task, []).append(target)
        seen += len(batch.npho)
        if seen >= events:
            break
    scales = {}
    for task, parts in collected.items():
        values = torch.cat(parts).double()
        spread = values.std(dim=0).clamp_min(1e-6)
        stated = tasks[task].loss_scale
        loss = spread if stated is None else torch.tensor(stated, dtype=torch.float64)
        scales[task] = TargetScale(
            values.mean(dim=0).float(), spread.float(), loss.expand_as(spread).float()
        )
    return scales


def fold_scales(heads: nn.ModuleDict, scales: Mapping[TaskName, TargetScale]) -> dict[str, Tensor]:
    """Return weight and bias of the last layers, by state-dict name, in physical units."""
    folded: dict[str, Tensor] = {}
    for task, scale in scales.items():
        name = f"heads.{task}.{len(heads[task]) - 1}"  # type: ignore[arg-type]
        last = heads[task][-1]  # type: ignore[index]
        with torch.no_grad():
            folded[f"{name}.weight"] = (scale.spread[:, None].to(last.weight) * last.weight).clone()
            folded[f"{name}.bias"] = (
                scale.mean.to(last.bias) + scale.spread.to(last.bias) * last.bias
            ).clone()
    return folded
