"""The writing stage: rows to the part folder, and complete ones to result files."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from xec_deploy.errors import InputError, XecError
from xec_deploy.events import Column, InputFile
from xec_deploy.events.failures import is_url
from xec_deploy.inference.assembly import Assembled, assemble
from xec_deploy.inference.inferring import BatchRows
from xec_deploy.inference.job import Job
from xec_deploy.inference.provenance import now
from xec_deploy.inference.reading import ItemDone, ItemFailed, ItemSkipped, Note, TargetDone
from xec_deploy.inference.results import FileResult
from xec_deploy.inference.statistics import RunStatistics
from xec_deploy.inference.styles import result_style
from xec_deploy.inference.target import Target

__all__ = ["Writer", "finish_target"]

logger = logging.getLogger(__name__)

STARVED_SHARE: Final = 0.1
SHORT_SECONDS: Final = 5.0
"""Of a shorter run the first batches are most of it."""
MOST_ADVICE: Final = 3


@dataclass
class Writer:
    """Takes notes of the stages before it; a result is assembled while the next file goes on.

    Attributes
    ----------
    job
        What is done.
    progress
        Called with the number of events after each batch.
    statistics
        Of finished results.
    results
        What became of each input.
    advice
        On files that are slow to read.
    """

    job: Job
    progress: Callable[[int], Any]
    statistics: RunStatistics
    results: dict[InputFile, FileResult] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)
    _done: list[ItemDone] = field(default_factory=list)
    _finishing: Future[dict[InputFile, FileResult]] | None = None
    _executor: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="finish")
    )

    def take_all(self, notes: Iterable[Note | BatchRows]) -> None:
        """Deal with everything that comes.

        Raises
        ------
        OutputError
            If something cannot be written.  What was written stays, to go on with.
        """
        try:
            for note in notes:
                self._take(note)
        finally:
            # What is being put together is finished also where something else went wrong.
            try:
                self._wait()
            finally:
                self._executor.shutdown()

    def advise(self, stages: Mapping[str, float]) -> tuple[str, ...]:
        """Say what is wrong with the files, if the engine had to wait for them."""
        starved, total = stages["starved"], stages["total"]
        if starved < STARVED_SHARE * total or total < SHORT_SECONDS:
            return ()
        return (f"the engine waited for input {starved / total:.0%} of the time", *self.advice)

    def _take(self, note: Note | BatchRows) -> None:
        if isinstance(note, BatchRows):
            note.piece.spool.append(note.rows, note.counts)
            self.progress(len(note.rows["status"]))
        elif isinstance(note, ItemDone):
            self._accept(note)
        elif isinstance(note, ItemFailed):
            self._discard(note)
        elif isinstance(note, ItemSkipped):
            path = None if note.left_out else str(note.target.path)
            self.results[note.item] = FileResult(note.item.path, path, "skipped", note.entries)
        elif isinstance(note, TargetDone):
            self._finish(note)

    def _accept(self, note: ItemDone) -> None:
        if note.advice is not None and len(self.advice) < MOST_ADVICE:
            self.advice.append(note.advice)
        for piece in note.pieces:
            piece.spool.flush()
        first = next((done for done in self._done if _entries(done)), None)
        if first is not None and _entries(note):
            try:
                check_kept(note.columns, first.columns, note.item.path)
            except InputError as error:
                self._discard(ItemFailed(note.target, note.item, note.pieces, error))
                return
        self._done.append(note)

    def _discard(self, note: ItemFailed) -> None:
        """Report an input that cannot be used; the others go on."""
        # A sentence for the user, not a traceback.
        logger.error("%s", note.error)
        done = sum(piece.spool.next_entry - piece.entries[0] for piece in note.pieces)
        for piece in note.pieces:
            if _may_come_back(note):
                piece.spool.flush()
            else:
                note.target.pieces.remove(piece)
                piece.spool.discard()
        self.results[note.item] = FileResult(
            note.item.path, None, "failed", done, error=str(note.error)
        )

    def _finish(self, note: TargetDone) -> None:
        done, self._done = self._done, []
        self._wait()
        if not done:
            note.target.remove_if_empty()
            note.target.close()
            return
        self._finishing = self._executor.submit(
            finish_target, self.job, note.target, done, note.started, self.statistics
        )

    def _wait(self) -> None:
        finishing, self._finishing = self._finishing, None
        if finishing is not None:
            self.results.update(finishing.result())


def finish_target(
    job: Job, target: Target, done: Iterable[ItemDone], started: str, statistics: RunStatistics
) -> dict[InputFile, FileResult]:
    """Assemble the results of the inputs that were read to the end.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    items = list(done)
    # A file without events knows the length of a vector branch no better than we do.
    model = next((item for item in items if _entries(item)), items[0])
    columns = model.columns
    sources = [item.source for item in items]
    inputs = {"input": sources[0]} if len(sources) == 1 else {"inputs": sources}
    provenance = {
        **job.recipe,
        "threads": job.choice["threads"],
        **inputs,
        "command": list(sys.argv if job.options.command is None else job.options.command),
        "started": started,
        "finished": now(),
    }
    found = assemble(
        target,
        [item.pieces for item in items],
        columns,
        result_style(job.options.style, columns, job.options.keep),
        format=job.options.format,
        provenance=provenance,
        look=statistics.look,
    )
    for item in items:
        for piece in item.pieces:
            statistics.count(piece.spool.counts)
    results = {
        item.item: _result(target, item, counted)
        for item, counted in zip(items, found, strict=True)
    }
    # The list of targets lives as long as the work, thousands of files.
    target.pieces.clear()
    return results


def _result(target: Target, done: ItemDone, counted: Assembled) -> FileResult:
    return FileResult(
        input=done.item.path,
        output=str(target.path),
        outcome="done",
        entries=counted.entries,
        seconds=time.perf_counter() - done.started,
        status_counts=counted.status_counts,
        resumed=sum(piece.spool.resumed for piece in done.pieces),
    )


def check_kept(columns: dict[str, Column], first: dict[str, Column], where: str) -> None:
    """Refuse kept branches that do not fit those of the first file.

    Raises
    ------
    InputError
        Naming the branch.
    """
    for name, column in columns.items():
        expected = first.get(name)
        if (
            expected is None
            or column.shape != expected.shape
            or not np.can_cast(column.element, expected.element, "same_kind")
        ):
            raise InputError(
                f"--keep {name!r} is {_kind(column)}, in the first file {_kind(expected)}",
                where=where,
                fix="Leave it out of --keep, or infer the files one by one.",
            )


def _kind(column: Column | None) -> str:
    if column is None:
        return "absent"
    return f"{np.dtype(column.dtype).name}{list(column.shape) if column.shape else ''}"


def _entries(done: ItemDone) -> int:
    return sum(stop - start for start, stop in (piece.entries for piece in done.pieces))


def _may_come_back(note: ItemFailed) -> bool:
    """Whether the same input may be read to the end another time: the network's or disk's fault."""
    return is_url(note.item.path) or _errno(note.error) is not None


def _errno(error: XecError) -> int | None:
    cause = error.__cause__
    return cause.errno if isinstance(cause, OSError) else None
