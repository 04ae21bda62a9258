"""Events that come more than once: the same run and event number in one or several files."""

from __future__ import annotations

import heapq
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.inference.spool import Rows
from xec_deploy.inference.target import Piece

__all__ = ["DuplicateFinder", "SeenEvents"]

MEMORY_BYTES: Final = 64 * 2**20
"""A bit for each event number: half a billion of them."""
EXAMPLES: Final = 5
BITS: Final = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1).sum(axis=1)
"""How many bits each byte has."""


@dataclass(frozen=True)
class SeenEvents:
    """What a `DuplicateFinder` has found in an input, small enough to travel.

    Attributes
    ----------
    count, examples, complete
        As of the finder.
    path
        The input.
    runs
        For each run a bit for each event number that was seen, compressed by zlib.
    """

    count: int
    examples: tuple[tuple[int, int, str], ...]
    complete: bool
    path: str
    runs: dict[int, bytes]


@dataclass
class DuplicateFinder:
    """Remembers which events it has seen, in memory that does not grow beyond a limit.

    Attributes
    ----------
    count
        Events that had been seen before.
    examples
        The first of them: run, event, file.
    complete
        False if event numbers were too large to remember them all.
    """

    count: int = 0
    examples: list[tuple[int, int, str]] = field(default_factory=list)
    complete: bool = True
    _seen: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    _bytes: int = 0
    _path: str = ""

    def look(self, piece: Piece, rows: Rows) -> None:
        """Look at rows of results, unless their numbers were made up for want of branches."""
        source = piece.source
        has_run = source["branches"]["run"] is not None or source["run"] is not None
        if has_run and source["branches"]["event"] is not None:
            self.add(rows["run"], rows["event"], source["path"])

    def add(self, run: NDArray[Any], event: NDArray[Any], path: str) -> None:
        """Look at the events (n,) of a file."""
        self._path = path
        for number in np.unique(run):
            self._add_run(int(number), np.asarray(event[run == number], np.int64), path)

    def packed(self) -> SeenEvents:
        """Return what was found in one input, for `merge`."""
        runs = {run: zlib.compress(bits.tobytes(), 1) for run, bits in self._seen.items()}
        return SeenEvents(self.count, tuple(self.examples), self.complete, self._path, runs)

    def merge(self, other: SeenEvents) -> None:
        """Look at the events of an input at which another finder has looked."""
        self.count += other.count
        self.complete &= other.complete
        examples = list(other.examples)
        for run, packed in other.runs.items():
            theirs = np.trim_zeros(np.frombuffer(zlib.decompress(packed), np.uint8), "b")
            bits = self._bits_of(run, 8 * len(theirs) - 1)
            if bits is None:
                self.complete = False
                continue
            common = bits[: len(theirs)] & theirs
            self.count += int(BITS[common].sum())
            for byte in np.flatnonzero(common)[:EXAMPLES]:
                places = np.flatnonzero(np.unpackbits(common[byte], bitorder="little"))
                examples += [(run, int(8 * byte + place), other.path) for place in places]
            bits[: len(theirs)] |= theirs
        room = EXAMPLES - len(self.examples)
        self.examples += heapq.nsmallest(room, set(examples))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"count": self.count, "examples": self.examples, "complete": self.complete}

    def _add_run(self, run: int, event: NDArray[np.int64], path: str) -> None:
        event = event[event >= 0]
        if not len(event):
            return
        bits = self._bits_of(run, int(event.max()))
        if bits is None:
            self.complete = False
            return
        unique, counts = np.unique(event, return_counts=True)
        mask = (1 << (unique & 7)).astype(np.uint8)
        known = (bits[unique >> 3] & mask) != 0
        repeated = unique[known | (counts > 1)]
        self.count += int(known.sum() + (counts - 1).sum())
        for number in repeated[: EXAMPLES - len(self.examples)]:
            self.examples.append((run, int(number), path))
        np.bitwise_or.at(bits, unique >> 3, mask)

    def _bits_of(self, run: int, largest: int) -> NDArray[np.uint8] | None:
        """Return the bits of a run, enough for an event number; None if they are too many."""
        old = self._seen.get(run, np.zeros(0, np.uint8))
        if largest >> 3 < len(old):
            return old
        size = max((largest >> 3) + 1, 2 * len(old), 1024)
        if self._bytes + size - len(old) > MEMORY_BYTES:
            return None
        new = np.zeros(size, np.uint8)
        new[: len(old)] = old
        self._bytes += size - len(old)
        self._seen[run] = new
        return new
