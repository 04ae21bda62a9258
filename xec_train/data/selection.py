"""Which events are trained on: those with finite truth, in the fiducial volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector.constants import INVALID_ABOVE
from xec_deploy.errors import InputError, UsageError, nearest
from xec_deploy.events import TRUTH_BRANCHES, EventFile, find_truth
from xec_deploy.events.failures import place
from xec_train.config.sections import Fiducial
from xec_train.data.truth import N_GAMMA_CLASSES, TRUTH_COMPONENTS
from xec_train.models import TaskName

__all__ = ["Selected", "Selection"]


@dataclass(frozen=True)
class Selected:
    """Truth of consecutive events and which of them are used.

    Attributes
    ----------
    targets
        Per task (n, components) float32.
    finite
        (n,) bool: every target is known.
    inside
        (n,) bool: in the fiducial volume, where one is asked for.
    """

    targets: dict[TaskName, NDArray[np.float32]]
    finite: NDArray[np.bool_]
    inside: NDArray[np.bool_]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n,) bool: the event is trained on, if its arrays can be read."""
        return self.finite & self.inside


@dataclass(frozen=True)
class Selection:
    """What is asked of an event.

    Attributes
    ----------
    tasks
        Tasks whose truth is read; none for unlabelled events.
    fiducial
        Cuts on the true position; None or not enabled for none.
    names
        Truth branches by task, where the usual names do not serve.
    """

    tasks: tuple[TaskName, ...]
    fiducial: Fiducial | None = None
    names: Mapping[TaskName, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for task in self.names:
            if task not in TRUTH_BRANCHES:
                raise UsageError(
                    f"data.truth names a task {task!r} that does not exist",
                    fix=nearest(task, TRUTH_BRANCHES),
                )

    @property
    def cuts(self) -> Fiducial | None:
        """The fiducial cuts if they apply."""
        return self.fiducial if self.fiducial is not None and self.fiducial.enabled else None

    def branches(self, names: Sequence[str], where: str) -> dict[TaskName, str]:
        """Find the truth branches to read among ``names``.

        Raises
        ------
        InputError
            If one is missing; ``where`` says in which file.
        """
        found = find_truth(names)
        chosen: dict[TaskName, str] = {}
        for task in self._needed():
            branch = self.names.get(task, found.get(task))
            purpose = f"task {task!r}" if task in self.tasks else "the fiducial cuts (uvwFI)"
            if branch is None:
                usual = " or ".join(TRUTH_BRANCHES[task].candidates)
                raise InputError(
                    f"no truth branch for {purpose}",
                    where=where,
                    fix=f"It is called {usual}; name another one with data.truth.{task}, or "
                    "train only tasks the files have the truth of.",
                )
            if branch not in names:
                raise InputError(
                    f"no branch {branch!r} with the truth for {purpose}",
                    where=where,
                    fix=nearest(branch, names),
                )
            chosen[task] = branch
        return chosen

    def check(self, events: EventFile, branches: Mapping[TaskName, str]) -> None:
        """Compare the widths of an open file's truth branches with the tasks.

        Raises
        ------
        InputError
            If a branch has not as many values as the task.
        """
        for task, branch in branches.items():
            _, shape = events.kept[branch]
            width = int(np.prod(shape))
            if width != TRUTH_COMPONENTS[task]:
                raise InputError(
                    f"branch {branch!r} has {width} components, "
                    f"task {task!r} needs {TRUTH_COMPONENTS[task]}",
                    where=place(events.path, events.tree),
                    fix=f"Name another branch with data.truth.{task}.",
                )

    def select(
        self, kept: Mapping[str, NDArray[Any]], branches: Mapping[TaskName, str], count: int
    ) -> Selected:
        """Look at the truth of ``count`` consecutive events."""
        finite, inside = np.ones(count, bool), np.ones(count, bool)
        targets: dict[TaskName, NDArray[np.float32]] = {}
        for task in self.tasks:
            with np.errstate(over="ignore"):  # what float32 cannot hold is no truth
                target = kept[branches[task]].astype(np.float32).reshape(count, -1)
            # Like the sensors' values, an unknown truth may be marked by 1e10; NaN compares False.
            finite &= (np.abs(target) <= INVALID_ABOVE).all(axis=1)
            if task == "n_gamma":
                finite &= np.isin(target[:, 0], np.arange(N_GAMMA_CLASSES))
            targets[task] = target
        if self.cuts is not None:
            position = kept[branches["uvwFI"]].astype(np.float64).reshape(count, 3)
            inside = _inside(position, self.cuts)
        return Selected(targets, finite, inside)

    def _needed(self) -> tuple[TaskName, ...]:
        needed = dict.fromkeys(self.tasks)
        if self.cuts is not None:
            needed.setdefault("uvwFI")
        return tuple(needed)


def _inside(uvw: NDArray[np.float64], cuts: Fiducial) -> NDArray[np.bool_]:
    u, v, w = uvw.T
    inside: NDArray[np.bool_] = (abs(u) < cuts.u_max) & (abs(v) < cuts.v_max) & (w >= cuts.w_min)
    if cuts.w_max is not None:
        inside &= w < cuts.w_max
    return inside
