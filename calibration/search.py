"""Which parts of a network can be made cheap: one group at a time, then as many as the gate takes.

Errors of groups add about in quadrature.  So the squared error of a group alone is its price and
its multiply-adds are its worth; groups are taken in the order of worth for the price as long as
the sum stays below the gate, and the choice is then measured: what was predicted wrongly is
corrected by giving up the most expensive group left, or by trying the next one.  Of the groups that
were left out, single weights are tried in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import onnx

from calibration.score import Judge, Score

__all__ = ["MARGIN", "QUICK_EVENTS", "Choice", "GroupError", "search", "sensitivity"]

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
        Groups in low precision, and those that stay in float; of groups that are divided, their
        parts.
    score
        Of the chosen graph.
    everything
        Of the graph with all groups in low precision.
    sensitivity
        Each group alone, worst first; empty if everything passed at once.
    steps
        Every measured choice: number of groups and parts, share of the multiply-adds, score.
    share
        Of the multiply-adds in low precision.
    """

    low: tuple[str, ...]
    high: tuple[str, ...]
    score: Score
    everything: Score
    sensitivity: tuple[GroupError, ...]
    steps: tuple[tuple[int, float, float], ...]
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "low": list(self.low),
            "high": list(self.high),
            "share": self.share,
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
    parts: Mapping[str, Mapping[str, int]] | None = None,
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
    parts
        Group -> part -> multiply-adds, which ``build`` takes like groups; None to take groups
        whole.
    errors
        Of `sensitivity`, if it was measured already; else it is if it is needed.
    progress
        Told how many graphs were measured.
    """
    measure = _Measure(build, judge, progress)
    everything = measure(frozenset(worth))
    limit = gate * MARGIN
    chosen, score = frozenset(worth), everything
    units = dict(worth)
    if everything.worst > limit:
        quick = judge.some(QUICK_EVENTS)
        if errors is None:
            errors = sensitivity(build, quick, worth, progress)
        nothing = frozenset[str]()
        chosen, score = _largest(measure, errors, limit, (nothing, measure(nothing)))
        divided = {
            group: members
            for group, members in (parts or {}).items()
            if group not in chosen and len(members) > 1
        }
        if divided:
            units = {group: value for group, value in worth.items() if group not in divided}
            pieces = {name: value for one in divided.values() for name, value in one.items()}
            units |= pieces
            more = sensitivity(build, quick, pieces, progress)
            chosen, score = _largest(measure, more, limit, (chosen, score))
    total = max(sum(worth.values()), 1)
    value = {**worth, **units}
    return Choice(
        low=tuple(unit for unit in units if unit in chosen),
        high=tuple(unit for unit in units if unit not in chosen),
        score=score,
        everything=everything,
        sensitivity=tuple(errors or ()),
        steps=tuple(
            (len(names), sum(value[name] for name in names) / total, found.worst)
            for names, found in measure.known.items()
        ),
        share=sum(value[name] for name in chosen) / total,
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


_Found = tuple[frozenset[str], Score]


def _largest(
    measure: _Measure, errors: Sequence[GroupError], limit: float, begin: _Found
) -> _Found:
    """Return the most valuable set within the limit that contains ``begin``, as far as found."""
    base, start = begin
    by_price = sorted(errors, key=lambda one: one.score.worst**2 / max(one.multiply_adds, 1))
    names = [one.group for one in by_price]
    count = _predicted(by_price, limit, start.worst)
    best, taken = begin, 0
    tried: set[int] = set()
    for _ in range(MAX_TRIALS):
        if count in tried or not 0 < count <= len(names):
            break
        tried.add(count)
        chosen = base | frozenset(names[:count])
        score = measure(chosen)
        if score.worst <= limit:
            best, taken = (chosen, score), count
            count += 1
        else:
            count -= 1
    # What comes later may still fit where its predecessor did not.
    promising = [one.group for one in by_price[taken:] if one.score.worst <= limit]
    for name in promising[:MAX_TRIALS]:
        chosen = best[0] | {name}
        score = measure(chosen)
        if score.worst <= limit:
            best = chosen, score
    return best


def _predicted(errors: Sequence[GroupError], limit: float, start: float) -> int:
    total, count = start**2, 0
    for one in errors:
        total += one.score.worst**2
        if total > limit**2:
            break
        count += 1
    return count
