"""Scales of the targets: how physical units meet the loss.

The heads learn standardised quantities, ``target = mean + spread * output``.  Folding mean and
spread into the last linear layer afterwards gives a model that emits physical units, as every
checkpoint does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xec_train.config import TaskConfig
from xec_train.data import RawBatch
from xec_train.models import TaskName, XECMultiHeadModel
from xec_train.models.regressor import LAST_LAYER

__all__ = ["TargetScale", "fit_anchors", "fold_scales", "measure_scales"]


@dataclass(frozen=True)
class TargetScale:
    """Mean and spread of a target, and the error that counts as one in the loss; (components,)."""

    mean: Tensor
    spread: Tensor
    loss: Tensor


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
        spread = values.std(dim=0).clamp_min(1e-6)
        stated = tasks[task].loss_scale
        loss = spread if stated is None else torch.tensor(stated, dtype=torch.float64)
        scales[task] = TargetScale(
            values.mean(dim=0).float(), spread.float(), loss.expand_as(spread).float()
        )
    return scales


def fit_anchors(
    model: XECMultiHeadModel,
    moments: Tensor,
    targets: Mapping[TaskName, Tensor],
    scales: Mapping[TaskName, TargetScale],
) -> dict[str, Tensor]:
    """Fit the linear anchors to scaled targets by least squares.

    Gradient steps would need a large part of the training for what a linear fit gives at once.

    Parameters
    ----------
    model
        A regressor with moments.
    moments, targets
        (n, 22) and per task (n, components), of the same events.
    scales
        Of the targets.

    Returns
    -------
    state
        State-dict entries: the anchors, and last layers of the heads set to zero, so that the
        model starts at the estimate of the anchors.
    """
    state = model.state_dict()
    design = torch.cat([moments, torch.ones(len(moments), 1)], dim=1).double()
    fitted: dict[str, Tensor] = {}
    for task, scale in scales.items():
        scaled = ((targets[task] - scale.mean) / scale.spread).double()
        solution = torch.linalg.lstsq(design, scaled).solution.to(moments.dtype)
        values = {"weight": solution[:-1].T, "bias": solution[-1]}
        for kind, value in values.items():
            anchor, last = f"anchors.{task}.{kind}", f"heads.{task}.{LAST_LAYER}.{kind}"
            fitted[anchor] = torch.zeros_like(state[anchor])
            fitted[anchor][: value.shape[0]] = value
            fitted[last] = torch.zeros_like(state[last])
    return fitted


def fold_scales(
    model: XECMultiHeadModel, scales: Mapping[TaskName, TargetScale]
) -> dict[str, Tensor]:
    """Return weight and bias of the last layers, by state-dict name, in physical units."""
    state = model.state_dict()
    folded: dict[str, Tensor] = {}
    for task, scale in scales.items():
        last = f"heads.{task}.{LAST_LAYER}"
        spread = scale.spread.to(state[f"{last}.weight"])
        folded[f"{last}.weight"] = spread[:, None] * state[f"{last}.weight"]
        folded[f"{last}.bias"] = scale.mean.to(spread) + spread * state[f"{last}.bias"]
        if model.config.moments:
            for name, factor in (("weight", spread[:, None]), ("bias", spread)):
                folded[f"anchors.{task}.{name}"] = factor * state[f"anchors.{task}.{name}"]
    return folded
