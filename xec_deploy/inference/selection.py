"""Which entries of an input are wanted: an entry range, runs, or all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.errors import InputError, UsageError
from xec_deploy.events import EventFile

__all__ = ["Selection", "parse_entries", "parse_runs", "split_entries"]

MOST_RANGES: Final = 1000
"""A file whose runs alternate more often is not in the order of the measurement."""


@dataclass(frozen=True)
class Selection:
    """Entries and runs that are wanted; None for all.

    Attributes
    ----------
    entries
        First entry and the one after the last; None for the end of the file.
    runs
        First and last run number of each range.
    """

    entries: tuple[int, int | None] | None = None
    runs: tuple[tuple[int, int], ...] | None = None

    def describe(self) -> dict[str, Any] | None:
        """Return plain values for the provenance; None if all entries are wanted."""
        if self.entries is None and self.runs is None:
            return None
        return {
            "entries": None if self.entries is None else list(self.entries),
            "runs": None if self.runs is None else [list(pair) for pair in self.runs],
        }

    def may_have(self, run: int | None) -> bool:
        """Tell whether an input with this run number in a run list may have wanted entries."""
        return run is None or self.runs is None or bool(self._wanted(np.array([run]))[0])

    def ranges(self, events: EventFile) -> list[tuple[int, int]]:
        """Return the entry ranges of a file that are wanted, in order.

        Raises
        ------
        InputError
            If the file has not the entries asked for.
        """
        first, last = 0, events.num_entries
        if self.entries is not None:
            first, end = self.entries
            last = last if end is None else end
            if not first <= last <= events.num_entries:
                raise InputError(
                    f"the file has {events.num_entries} entries, asked for are "
                    f"{first} to {last - 1}",
                    where=events.path,
                    fix="Correct --entries.",
                )
        if self.runs is None:
            return [(first, last)]
        found = self._of_runs(events, first, last)
        if len(found) > MOST_RANGES:
            raise InputError(
                f"the wanted runs are scattered over {len(found)} places",
                where=events.path,
                fix="Sort the file by run, or infer it without --runs.",
            )
        return found

    def _of_runs(self, events: EventFile, first: int, last: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for start, runs in events.run_numbers(first, last):
            for begin, end in _stretches(self._wanted(runs)):
                if found and found[-1][1] == start + begin:
                    found[-1] = found[-1][0], start + end
                else:
                    found.append((start + begin, start + end))
        return found

    def _wanted(self, runs: NDArray[np.int64]) -> NDArray[np.bool_]:
        wanted = np.zeros(len(runs), bool)
        for low, high in self.runs or ():
            wanted |= (runs >= low) & (runs <= high)
        return wanted


def parse_entries(text: str) -> tuple[int, int | None]:
    """Read ``A:B`` (half open), ``A:`` or ``:B``.

    Raises
    ------
    UsageError
        If it is none of them.
    """
    match = re.fullmatch(r"(\d*):(\d*)", text.strip())
    if match is None or match.group() == ":":
        raise UsageError(
            f"--entries {text!r} is no range", fix="Write A:B, from entry A up to but without B."
        )
    first, last = int(match[1] or 0), int(match[2]) if match[2] else None
    if last is not None and last <= first:
        raise UsageError(f"--entries {text!r} is empty", fix="Write A:B with A below B.")
    return first, last


def parse_runs(text: str) -> tuple[tuple[int, int], ...]:
    """Read ``430000``, ``430000-430100`` or several of them with commas.

    Raises
    ------
    UsageError
        If a part is none of them.
    """
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if high < low:
            raise UsageError(
                f"--runs {text!r}: {part.strip()!r} is no run or range of runs",
                fix="Write 430000-430100, or several with commas.",
            )
        ranges.append((low, high))
    return tuple(ranges)


def split_entries(count: int, *, batch: int, size: int, start: int = 0) -> list[tuple[int, int]]:
    """Cut ``count`` entries from ``start`` on into ranges for `infer_range`.

    Parameters
    ----------
    count
        Number of entries.
    batch
        Events run at once; ranges begin at multiples of it, so that every event is in the same
        batch as in one go.
    size
        Entries of a range, rounded up to whole batches.
    start
        First entry.
    """
    if batch < 1 or size < 1:
        raise UsageError(f"ranges of {size} entries in batches of {batch}", fix="Use 1 or more.")
    step = -(-size // batch) * batch
    stop = start + count
    return [(first, min(first + step, stop)) for first in range(start, stop, step)] or [
        (start, stop)
    ]


def _stretches(wanted: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
