"""Which parts of a network can be made cheap: one group at a time, then as many as the gate takes.

Errors of groups add about in quadrature.  So the squared error of a group alone is its price and
its multiply-adds are its worth; groups are taken in the order of worth for the price as long as
the sum stays below the gate, and the choice is then measured: what was predicted wrongly is
corrected by giving up the most expensive group left, or by trying the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import onnx

from calibration.score import Judge, Score

__all__ = ["QUICK_EVENTS", "Choice", "GroupError", "search", "sensitivity"]

MARGIN: Final = 0.9
"""Share of the gate a choice may use: the judged events are a sample."""
MAX_TRIALS: Final = 12
QUICK_EVENTS: Final = 96
"""Events on which groups are measured alone: an estimate will do for the order."""

Build = Callable[[frozenset[str]], onnx.ModelProto]
"""From the groups in low precision to a graph."""


@dataclass(frozen=True)
class GroupError:
    """What one group alone does to the result, and what it is worth."""

    group: str
    score: Score
    multiply_adds: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "group": self.group,
            "multiply_adds": self.multiply_adds,
            **self.score.to_dict(),
        }


@dataclass(frozen=True)
class Choice:
    """The groups in low precision and how the graph with them scores.

    Attributes
    ----------
    low, high
        Groups in low precision, and those that stay in float.
    score
        Of the chosen graph.
    everything
        Of the graph with all groups in low precision.
    sensitivity
        Each group alone, worst first; empty if everything passed at once.
    steps
        Every measured choice: number of groups, share of the multiply-adds, score.
    """

    low: tuple[str, ...]
    high: tuple[str, ...]
    score: Score
    everything: Score
    sensitivity: tuple[GroupError, ...]
    steps: tuple[tuple[int, float, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "low": list(self.low),
            "high": list(self.high),
            "score": self.score.to_dict(),
            "everything": self.everything.to_dict(),
            "sensitivity": [group.to_dict() for group in self.sensitivity],
            "steps": [
                {"groups": groups, "share_of_multiply_adds": share, "worst": worst}
                for groups, share, worst in self.steps
            ],
        }


def sensitivity(
    build: Build,
    judge: Judge,
    worth: Mapping[str, int],
    progress: Callable[[int], Any] = lambda _: None,
) -> tuple[GroupError, ...]:
    """Return what each group does alone, worst first; arguments as of `search`."""
    errors = []
    for group, multiply_adds in worth.items():
        errors.append(GroupError(group, judge.score(build(frozenset({group}))), multiply_adds))
        progress(1)
    return tuple(sorted(errors, key=lambda one: one.score.worst, reverse=True))


def search(
    build: Build,
    judge: Judge,
    worth: Mapping[str, int],
    gate: float,
    *,
    errors: Sequence[GroupError] | None = None,
    progress: Callable[[int], Any] = lambda _: None,
) -> Choice:
    """Find the groups that can be in low precision.

    Parameters
    ----------
    build
        Makes the graph for a set of groups.
    judge
        Scores it.
    worth
        Group -> multiply-adds an event.
    gate
        Largest allowed spread and bias [detector resolutions].
    errors
        Of `sensitivity`, if it was measured already; else it is if it is needed.
    progress
        Told how many graphs were measured.
    """
    measure = _Measure(build, judge, progress)
    everything = measure(frozenset(worth))
    limit = gate * MARGIN
    chosen, score = frozenset(worth), everything
    if everything.worst > limit:
        if errors is None:
            errors = sensitivity(build, judge.some(QUICK_EVENTS), worth, progress)
        chosen, score = _largest(measure, errors, limit)
    total = max(sum(worth.values()), 1)
    return Choice(
        low=tuple(group for group in worth if group in chosen),
        high=tuple(group for group in worth if group not in chosen),
        score=score,
        everything=everything,
        sensitivity=tuple(errors or ()),
        steps=tuple(
            (len(groups), sum(worth[group] for group in groups) / total, found.worst)
            for groups, found in measure.known.items()
        ),
    )


class _Measure:
    """Scores of sets of groups, each computed once."""

    def __init__(self, build: Build, judge: Judge, progress: Callable[[int], Any]) -> None:
        self._build, self._judge, self._progress = build, judge, progress
        self.known: dict[frozenset[str], Score] = {}

    def __call__(self, groups: frozenset[str]) -> Score:
        if groups not in self.known:
            self.known[groups] = self._judge.score(self._build(groups))
            self._progress(1)
        return self.known[groups]


def _largest(
    measure: _Measure, errors: Sequence[GroupError], limit: float
) -> tuple[frozenset[str], Score]:
    """Return the most valuable set of groups within the limit, as far as the search finds it."""
    by_price = sorted(errors, key=lambda one: one.score.worst**2 / max(one.multiply_adds, 1))
    count = _predicted(by_price, limit)
    groups = [one.group for one in by_price]
    best: tuple[frozenset[str], Score] = frozenset(), measure(frozenset())
    tried: set[int] = set()
    for _ in range(MAX_TRIALS):
        if count in tried or not 0 <= count <= len(groups):
            break
        tried.add(count)
        chosen = frozenset(groups[:count])
        score = measure(chosen)
        if score.worst <= limit:
            best = chosen, score
            count += 1
        else:
            count -= 1
    # What comes later may still fit where its predecessor did not.
    for group in groups[len(best[0]) + 1 :][:MAX_TRIALS]:
        chosen = best[0] | {group}
        score = measure(chosen)
        if score.worst <= limit:
            best = chosen, score
    return best


def _predicted(errors: Sequence[GroupError], limit: float) -> int:
    total, count = 0.0, 0
    for one in errors:
        total += one.score.worst**2
        if total > limit**2:
            break
        count += 1
    return count
