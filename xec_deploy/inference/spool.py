"""Rows of results on their way: a flat file of segments, and a ledger that vouches for them.

A ROOT file that is being written cannot be taken up by another process, so rows are first
appended to ``NAME.rows`` (the columns of a segment one after the other, little endian) and each
segment is entered in ``NAME.ledger``, a line of JSON with its entries, size and hash.  Because of
the hash the order in which the two files reach the disk does not matter: after a kill, or a power
cut, the segments up to the first that is not as the ledger says are good, and the rest is cut off.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from xec_deploy.errors import OutputError
from xec_deploy.events import Column
from xec_deploy.inference.locking import FileLock

__all__ = ["LEDGER", "Rows", "Spool", "entries_done", "read_header", "writing"]

Rows = dict[str, NDArray[Any]]

FORMAT: Final = 1
SEGMENT_SECONDS: Final = 2.0
"""Work that a kill may cost."""
SEGMENT_BYTES: Final = 4 * 2**20
"""Memory for rows that wait; fast engines fill it sooner."""
SYNC_SECONDS: Final = 30.0
"""Work that a power cut may cost: only then do the files have to have reached the disk."""
LEDGER: Final = ".ledger"
ROWS: Final = ".rows"
CONTINUE: Final = "Make room (see the quota as well) and run the same command: it goes on."


@dataclass(frozen=True)
class Segment:
    """Consecutive entries in the file of rows."""

    entries: tuple[int, int]
    offset: int
    size: int
    checksum: str
    counts: dict[str, int] = field(default_factory=dict)
    """What was counted of the events."""

    @classmethod
    def parse(cls, line: bytes) -> Segment:
        """Read a line of the ledger."""
        record = json.loads(line)
        first, last = record["entries"]
        return cls(
            (first, last),
            record["offset"],
            record["size"],
            record["checksum"],
            record.get("counts", {}),
        )

    def line(self) -> bytes:
        """Return the line of the ledger."""
        return json.dumps({**vars(self), "entries": list(self.entries)}).encode() + b"\n"


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn a failure to write into an `OutputError` that says how to go on."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"writing failed ({error.strerror or error})", where=str(path), fix=CONTINUE
        ) from error


class Spool:
    """Rows of the entries ``start`` to ``stop``, taken up where an earlier process stopped.

    Parameters
    ----------
    folder, name
        Where the two files are; the ledger is locked.
    output
        The result they are for, for messages.

    Attributes
    ----------
    header
        What the rows were made from, as `begin` was told; None if there is none yet.
    next_entry
        First entry that is not in the spool.
    resumed
        Entries that an earlier process has made.
    counts
        Sums of what was counted of the entries.

    Raises
    ------
    UsageError
        If another job writes these rows.
    """

    def __init__(self, folder: Path, name: str, output: Path) -> None:
        self._ledger_path, self._rows_path = folder / (name + LEDGER), folder / (name + ROWS)
        self._lock = FileLock(folder / (name + ".lock"), output)
        self._end = 0
        self._pending: list[Rows] = []
        self._pending_bytes = 0
        self._pending_counts: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._files: tuple[IO[bytes], IO[bytes]] | None = None
        self.columns: dict[str, Column] = {}
        self.header = read_header(self._ledger_path)
        self.start = self.next_entry = self.resumed = 0
        self._flushed = self._synchronised = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self, header: Mapping[str, Any], columns: Mapping[str, Column], start: int) -> None:
        """Start anew: whatever was there is gone."""
        self.columns, self.start, self.next_entry = dict(columns), start, start
        self.header = dict(header)
        self._end = 0
        with writing(self._ledger_path):
            self._files = self._ledger_path.open("wb"), self._rows_path.open("w+b")
            record = {"format": FORMAT, **header}
            self._files[0].write(json.dumps(record, sort_keys=True).encode() + b"\n")
            self._files[0].flush()

    def resume(self, columns: Mapping[str, Column], start: int) -> None:
        """Go on after the last good segment."""
        self.columns, self.start, self.next_entry = dict(columns), start, start
        with writing(self._ledger_path):
            self._rows_path.touch()
            self._files = self._ledger_path.open("r+b"), self._rows_path.open("r+b")
            ledger, rows = self._files
            kept = len(ledger.readline())
            for line in ledger:
                segment = self._accept(line, rows)
                if segment is None:
                    break
                kept += len(line)
                self._end += segment.size
                self.next_entry = segment.entries[1]
                self.counts.update(segment.counts)
            for file, size in ((ledger, kept), (rows, self._end)):
                file.truncate(size)
                file.seek(size)
        self.resumed = self.next_entry - start

    def append(self, rows: Rows, counts: Mapping[str, int] | None = None) -> None:
        """Add the rows of the next entries, and what was counted of them.

        They reach the file in a while, see `flush`.
        """
        native = {
            name: np.ascontiguousarray(rows[name], np.dtype(column.dtype).newbyteorder("<"))
            for name, column in self.columns.items()
        }
        self._pending.append(native)
        self._pending_counts.update(counts or {})
        self._pending_bytes += sum(values.nbytes for values in native.values())
        due = time.monotonic() - self._flushed >= SEGMENT_SECONDS
        if due or self._pending_bytes >= SEGMENT_BYTES:
            self.flush()

    def flush(self, *, synchronise: bool = False) -> None:
        """Write what was appended, as one segment.

        Raises
        ------
        OutputError
            If it cannot be written; the spool stays as it was and can be resumed.
        """
        if self._files is None:
            return
        ledger, rows = self._files
        with writing(self._rows_path):
            if self._pending:
                self._write_segment(ledger, rows)
            now = self._flushed = time.monotonic()
            if synchronise or now - self._synchronised >= SYNC_SECONDS:
                for file in (rows, ledger):
                    os.fdatasync(file.fileno())
                self._synchronised = now

    def segments(self) -> Iterator[Rows]:
        """Read the rows back, a segment at a time."""
        with self._ledger_path.open("rb") as ledger, self._rows_path.open("rb") as file:
            ledger.readline()
            for line in ledger:
                segment = Segment.parse(line)
                count = segment.entries[1] - segment.entries[0]
                content = file.read(segment.size)
                rows, offset = {}, 0
                for name, column in self.columns.items():
                    dtype = np.dtype(column.dtype).newbyteorder("<")
                    shape = (count, *column.shape)
                    size = int(np.prod(shape, dtype=np.int64))
                    values = np.frombuffer(content, dtype, size, offset)
                    rows[name] = values.reshape(shape)
                    offset += values.nbytes
                yield rows

    def close(self) -> None:
        """Let go of the files and the lock; rows that were not flushed are lost."""
        for file in self._files or ():
            # closing flushes, which on a full disk fails once more; the ledger decides anyway
            try:
                file.close()
            except OSError:
                continue
        self._files = None
        self._lock.release()

    def discard(self) -> None:
        """Remove the files."""
        self.close()
        for path in (self._ledger_path, self._rows_path, self._lock.path):
            path.unlink(missing_ok=True)

    def _write_segment(self, ledger: IO[bytes], rows: IO[bytes]) -> None:
        # After a failure (a full disk) this runs again and must write the same place.
        digest, size = xxhash.xxh3_128(), 0
        count = sum(len(part[next(iter(self.columns))]) for part in self._pending)
        rows.seek(self._end)
        for name in self.columns:
            for part in self._pending:
                content = part[name].data.cast("B") if part[name].size else b""
                digest.update(content)
                rows.write(content)
                size += len(content)
        rows.flush()
        entries = (self.next_entry, self.next_entry + count)
        checksum = f"xxh3_128:{digest.hexdigest()}"
        segment = Segment(entries, self._end, size, checksum, dict(self._pending_counts))
        ledger.write(segment.line())
        ledger.flush()
        self._end += size
        self.next_entry += count
        self.counts.update(self._pending_counts)
        self._pending, self._pending_bytes = [], 0
        self._pending_counts = Counter()

    def _accept(self, line: bytes, rows: IO[bytes]) -> Segment | None:
        """Return the segment of a line if it continues the spool and its rows are as stated."""
        try:
            segment = Segment.parse(line)
        except (ValueError, KeyError, TypeError):
            return None
        continues = segment.entries[0] == self.next_entry and segment.offset == self._end
        if not line.endswith(b"\n") or not continues:
            return None
        digest = xxhash.xxh3_128(rows.read(segment.size)).hexdigest()
        return segment if segment.checksum == f"xxh3_128:{digest}" else None


def entries_done(ledger: Path) -> int:
    """Return how many entries the whole lines of a ledger speak of."""
    done = 0
    with ledger.open("rb") as file:
        file.readline()
        for line in file:
            try:
                first, last = Segment.parse(line).entries
            except (ValueError, KeyError, TypeError):
                break
            done += last - first
    return done


def read_header(ledger: Path) -> dict[str, Any] | None:
    """Return what a ledger says its rows were made from; None if it says nothing."""
    try:
        with ledger.open("rb") as file:
            line = file.readline()
        header = json.loads(line) if line.endswith(b"\n") else None
    except (OSError, ValueError):
        return None
    return header if isinstance(header, dict) and header.get("format") == FORMAT else None
