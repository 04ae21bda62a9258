"""The learning rate, as a function of the optimiser's steps.

Everything is counted in steps, which gradient accumulation and several processes have already made
fewer; a schedule therefore looks the same whatever they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from torch.optim import Optimizer

from xec_deploy.errors import UsageError
from xec_train.config.sections import TrainingConfig
from xec_train.training.optimiser import set_rate

__all__ = ["LearningRate", "SchedulePlan", "course"]

WARMUP_START: Final = 0.01
"""Where the linear warm-up starts, as a share of the rate."""
ONECYCLE_START: Final = 25.0
ONECYCLE_END: Final = 1e4
PROGRESS: Final = ("steps", "best", "waited", "reduction")
"""What of a schedule changes."""


@dataclass(frozen=True)
class SchedulePlan:
    """A schedule in steps.

    Attributes
    ----------
    kind
        ``none`` (constant), ``cosine``, ``onecycle``, ``cosine_restarts`` or ``plateau``.
    lr
        The rate after the warm-up, or the peak of ``onecycle``.
    lr_min
        Where ``cosine`` and ``cosine_restarts`` end, and ``plateau`` does not go below.
    start
        Step of the training at which the schedule begins: 0, or where it was refreshed.
    total, warmup, period
        Steps of the schedule, of the linear warm-up (``onecycle`` has its own) and of the first
        period of ``cosine_restarts``; each further one is ``period_factor`` times longer.
    rise
        Share of ``onecycle`` in which the rate rises.
    patience, reduction
        Validations without improvement after which ``plateau`` multiplies the rate by
        ``reduction``.
    """

    kind: str
    lr: float
    total: int
    start: int = 0
    lr_min: float = 0.0
    warmup: int = 0
    rise: float = 0.3
    period: int = 1
    period_factor: int = 1
    patience: int = 5
    reduction: float = 0.5

    @classmethod
    def of(cls, options: TrainingConfig, steps_per_epoch: int, start: int = 0) -> SchedulePlan:
        """Return the plan a section ``training`` asks for, from step ``start`` on."""
        # Only the regressor has the keys of the rarer schedules.
        extra = options.model_dump()
        onecycle = options.lr_scheduler == "onecycle"
        return cls(
            kind=options.lr_scheduler,
            lr=(onecycle and extra.get("max_lr")) or options.lr,
            start=start,
            total=options.epochs * steps_per_epoch - start,
            lr_min=options.lr_min,
            warmup=round(options.warmup_epochs * steps_per_epoch),
            rise=extra.get("pct_start", 0.3),
            period=extra.get("lr_restart_period", 1) * steps_per_epoch,
            period_factor=extra.get("lr_restart_mult", 1),
            patience=extra.get("lr_patience", 5),
            reduction=extra.get("lr_factor", 0.5),
        )


def course(plan: SchedulePlan) -> Callable[[int], float]:
    """Return the function from step to learning rate, without what a plateau changes."""
    if plan.kind == "onecycle":
        return lambda step: _onecycle(plan, step)

    def rate(step: int) -> float:
        if step < plan.warmup:
            return plan.lr * (WARMUP_START + (1.0 - WARMUP_START) * step / plan.warmup)
        if plan.kind == "cosine":
            return _cosine(plan, step - plan.warmup, plan.total - plan.warmup)
        if plan.kind == "cosine_restarts":
            return _restarts(plan, step - plan.warmup)
        return plan.lr

    return rate


class LearningRate:
    """Sets the learning rate of an optimiser, step by step.

    The state is the number of steps and what a plateau has done, so that a resumed training goes
    on with the very rate the uninterrupted one has.
    """

    def __init__(self, optimiser: Optimizer, plan: SchedulePlan) -> None:
        self.optimiser = optimiser
        self.plan = plan
        self.steps = 0
        self.best = math.inf
        self.waited = 0
        self.reduction = 1.0
        self._course = course(plan)
        self._apply()

    @property
    def value(self) -> float:
        """The rate of the coming step."""
        lowest = self.plan.lr_min if self.plan.kind == "plateau" else 0.0
        return max(self._course(self.steps) * self.reduction, min(lowest, self.plan.lr))

    def step(self) -> None:
        """Go on by one step of the optimiser."""
        self.steps += 1
        self._apply()

    def validated(self, loss: float) -> None:
        """Take note of a validation loss: ``plateau`` waits for improvement by 1e-4 of it."""
        if self.plan.kind != "plateau":
            return
        enough = math.inf if math.isinf(self.best) else self.best - 1e-4 * abs(self.best)
        if loss < enough:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.plan.patience:
            self.waited = 0
            self.reduction *= self.plan.reduction
            self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs: plain numbers."""
        return {"plan": asdict(self.plan), **{name: getattr(self, name) for name in PROGRESS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another one stopped.

        Raises
        ------
        UsageError
            If that one followed another plan.
        """
        saved = SchedulePlan(**state["plan"])
        # A refreshed schedule begins later and is shorter; it is the same if it ends alike.
        mine, theirs = (
            {**asdict(plan), "total": plan.start + plan.total, "start": 0}
            for plan in (self.plan, saved)
        )
        different = [name for name in mine if mine[name] != theirs[name]]
        if different:
            name = different[0]
            raise UsageError(
                f"the schedule differs from the checkpoint's: {name} {theirs[name]!r} there, "
                f"{mine[name]!r} here",
                fix="Leave training as it was, or begin a new schedule with checkpoint.refresh_lr.",
            )
        self.plan, self._course = saved, course(saved)
        for name in PROGRESS:
            setattr(self, name, state[name])
        self._apply()

    def _apply(self) -> None:
        set_rate(self.optimiser, self.value)


def _between(start: float, end: float, share: float) -> float:
    """Go from start to end along half a cosine."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, share))))


def _cosine(plan: SchedulePlan, step: int, steps: int) -> float:
    return _between(plan.lr, min(plan.lr_min, plan.lr), step / max(1, steps))


def _restarts(plan: SchedulePlan, step: int) -> float:
    period = plan.period
    while step >= period:
        step -= period
        period *= plan.period_factor
    return _cosine(plan, step, period)


def _onecycle(plan: SchedulePlan, step: int) -> float:
    """Smith and Topin (2018), as ``torch.optim.lr_scheduler.OneCycleLR`` has it."""
    start = plan.lr / ONECYCLE_START
    peak = max(plan.rise * plan.total - 1.0, 0.0)
    if step < peak:
        return _between(start, plan.lr, step / peak)
    fall = max(plan.total - 1.0 - peak, 1.0)
    return _between(plan.lr, start / ONECYCLE_END, (step - peak) / fall)
