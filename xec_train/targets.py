"""Scales of the targets: how physical units meet the loss.

The heads learn scaled quantities, ``target = offset + unit * output``, where the offset is the mean
of the target or the anchor's estimate of it.  Folding offset and unit into the last linear layer
afterwards gives a model that emits physical units, as every checkpoint does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xec_train.config import TaskConfig
from xec_train.data import RawBatch
from xec_train.models import TaskName, XECMultiHeadModel
from xec_train.models.research.regressor import LAST_LAYER

__all__ = ["TargetScale", "fold_scales", "measure_scales"]


@dataclass(frozen=True)
class TargetScale:
    """Mean and spread of a target, and the error that counts as one in the loss; (components,)."""

    mean: Tensor
    spread: Tensor
    loss: Tensor

    def unit(self, *, anchored: bool) -> Tensor:
        """Physical size of a head's output of one.

        A head alone must cover the spread of the target.  On top of an anchor it gives a
        correction of the order of the resolution; in that unit the noise of gradient steps,
        which is relative to one, stays far below it.
        """
        return self.loss if anchored else self.spread


def measure_scales(
    batches: Iterable[RawBatch], tasks: Mapping[TaskName, TaskConfig]
) -> dict[TaskName, TargetScale]:
    """Measure mean and spread of the targets of some batches."""
    collected: dict[TaskName, list[Tensor]] = {}
    for batch in batches:
        for task, target in batch.targets.items():
            collected.setdefault(task, []).append(target)
    scales = {}
    for task, parts in collected.items():
        values = torch.cat(parts).double()
        spread = values.std(dim=0, correction=0).clamp_min(1e-6)
        stated = tasks[task].loss_scale
        loss = (
            spread
            if stated == "spread"
            else torch.tensor(1.0 if stated is None else stated, dtype=torch.float64)
        )
        scales[task] = TargetScale(
            values.mean(dim=0).float(), spread.float(), loss.expand_as(spread).float()
        )
    return scales


def fold_scales(
    model: XECMultiHeadModel, scales: Mapping[TaskName, TargetScale]
) -> dict[str, Tensor]:
    """Return the last layers, by state-dict name, that give physical units."""
    state = model.state_dict()
    folded: dict[str, Tensor] = {}
    for task, scale in scales.items():
        last = f"heads.{task}.{LAST_LAYER}"
        unit = scale.unit(anchored=model.config.moments).to(state[f"{last}.weight"])
        folded[f"{last}.weight"] = unit[:, None] * state[f"{last}.weight"]
        folded[f"{last}.bias"] = unit * state[f"{last}.bias"]
        if not model.config.moments:
            folded[f"{last}.bias"] = folded[f"{last}.bias"] + scale.mean.to(unit)
    return folded
