"""How physical units meet the network: scales of the targets, and heads that emit physical units.

The last layer of a head learns in a unit of its own, ``output = offset + unit * learned``, which
makes every quantity of order one for the optimiser.  Folding offset and unit into weight and bias
gives a plain layer with the same output, as every checkpoint has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from xec_train.config import TaskConfig
from xec_train.data import RawBatch
from xec_train.models import TASK_DIMENSIONS, TaskName

__all__ = [
    "CLASSES",
    "ScaledLinear",
    "TargetScale",
    "TargetScales",
    "fold_scales",
    "learned_target",
    "measure_scales",
    "scale_heads",
    "unfold_scales",
    "use_scales",
]

CLASSES: Final[TaskName] = "n_gamma"
"""The task that is a class, and has no scale."""
KINDS: Final = ("mean", "spread", "loss")
SMALLEST: Final = 1e-6
"""Smallest value of which the logarithm is taken, and smallest spread."""


@dataclass(frozen=True)
class TargetScale:
    """Of a target as it is learned, (components,) float32 each.

    Attributes
    ----------
    mean, spread
        Over some training events.
    loss
        The error that counts as one in the loss.
    stated
        Whether the configuration says so (``loss_scale``).
    """

    mean: Tensor
    spread: Tensor
    loss: Tensor
    stated: bool

    @property
    def correction(self) -> Tensor:
        """Physical size of a head's output of one where it corrects an anchor.

        A correction is of the order of the resolution; in that unit the noise of gradient steps,
        which is relative to one, stays far below it.
        """
        return self.loss if self.stated else self.spread


def learned_target(target: Tensor, config: TaskConfig) -> Tensor:
    """Return what the network learns of a physical target: itself, or its logarithm."""
    return target.clamp_min(SMALLEST).log() if config.log_transform else target


def measure_scales(
    batches: Iterable[RawBatch], tasks: Mapping[TaskName, TaskConfig], *, automatic: bool = False
) -> dict[TaskName, TargetScale]:
    """Measure mean and spread of the targets of some batches.

    With ``automatic`` balance a task without ``loss_scale`` is measured by its spread, so that the
    learned weights start near where they belong.
    """
    collected: dict[TaskName, list[Tensor]] = {}
    for batch in batches:
        for task, target in batch.targets.items():
            if task != CLASSES:
                collected.setdefault(task, []).append(learned_target(target, tasks[task]))
    scales = {}
    for task, parts in collected.items():
        values = torch.cat(parts).double()
        spread = values.std(dim=0, correction=0).clamp_min(SMALLEST)
        stated = tasks[task].loss_scale
        if stated == "spread" or (stated is None and automatic):
            loss = spread
        else:
            loss = torch.tensor(1.0 if stated is None else stated, dtype=torch.float64)
        scales[task] = TargetScale(
            values.mean(dim=0).float(),
            spread.float(),
            loss.expand_as(spread).float(),
            stated is not None,
        )
    return scales


class TargetScales(nn.Module):
    """Scales of the tasks, as buffers that a resumed training finds in its checkpoint."""

    def __init__(self, tasks: Mapping[TaskName, TaskConfig]) -> None:
        super().__init__()
        self.stated = {
            task: config.loss_scale is not None for task, config in tasks.items() if task != CLASSES
        }
        for task in self.stated:
            for kind in KINDS:
                self.register_buffer(f"{task}_{kind}", torch.ones(TASK_DIMENSIONS[task]))

    def __getitem__(self, task: TaskName) -> TargetScale:
        mean, spread, loss = (self.get_buffer(f"{task}_{kind}") for kind in KINDS)
        return TargetScale(mean, spread, loss, self.stated[task])

    def use(self, scales: Mapping[TaskName, TargetScale]) -> None:
        """Take measured scales."""
        for task in self.stated:
            for kind in KINDS:
                self.get_buffer(f"{task}_{kind}").copy_(getattr(scales[task], kind))


class ScaledLinear(nn.Linear):
    """A linear layer whose output is ``offset + unit * (weight x + bias)``, in float32.

    Offset and unit, (outputs,), are set by :meth:`use`; until then they are 0 and 1.
    """

    offset: Tensor
    unit: Tensor

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__(plain.in_features, plain.out_features)
        self.weight, self.bias = plain.weight, plain.bias
        self.register_buffer("offset", torch.zeros(plain.out_features))
        self.register_buffer("unit", torch.ones(plain.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, inputs) into (batch, outputs)."""
        # Added outside of autocast's bfloat16, which has three digits.
        return self.offset + self.unit * super().forward(x).float()

    def use(self, scale: TargetScale, *, anchored: bool) -> None:
        """Set offset and unit; outputs beyond the components are log variances."""
        components = len(scale.mean)
        unit = scale.correction if anchored else scale.spread
        self.unit[:components] = unit
        self.offset[:components] = 0.0 if anchored else scale.mean
        if self.out_features > components:
            self.offset[components:] = 2.0 * unit.log()


def scale_heads(model: nn.Module) -> None:
    """Make the last linear layer of every head ``heads.<task>`` a :class:`ScaledLinear`."""
    for task, head in model.get_submodule("heads").named_children():
        if task == CLASSES:
            continue
        name, last = [
            (name, layer) for name, layer in head.named_modules() if isinstance(layer, nn.Linear)
        ][-1]
        parent, _, own = name.rpartition(".")
        setattr(head.get_submodule(parent), own, ScaledLinear(last))


def use_scales(model: nn.Module, scales: Mapping[TaskName, TargetScale], *, anchored: bool) -> None:
    """Set the units of the scaled heads of a model."""
    for name, layer in _scaled(model):
        task = name.split(".")[1]
        layer.use(scales[task], anchored=anchored)  # type: ignore[index]


def fold_scales(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a scaled model as that of a plain one with the same outputs."""
    state = model.state_dict()
    for name, layer in _scaled(model):
        unit, offset = state.pop(f"{name}.unit"), state.pop(f"{name}.offset")
        state[f"{name}.weight"] = unit[:, None] * layer.weight.detach()
        state[f"{name}.bias"] = unit * layer.bias.detach() + offset
    return state


def unfold_scales(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return (part of) the state of a plain model as of this scaled one with the same outputs."""
    learned = dict(state)
    for name, layer in _scaled(model):
        weight, bias = f"{name}.weight", f"{name}.bias"
        if weight in state:
            learned[weight] = state[weight] / layer.unit[:, None]
            learned[bias] = (state[bias] - layer.offset) / layer.unit
    return learned


def _scaled(model: nn.Module) -> list[tuple[str, ScaledLinear]]:
    return [(n, layer) for n, layer in model.named_modules() if isinstance(layer, ScaledLinear)]
