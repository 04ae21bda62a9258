"""The reading stage: inputs to batches, file after file, from where an earlier run stopped."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

from xec_deploy.errors import InputError, UsageError, XecError
from xec_deploy.events import Column, EventBatch, EventFile, FileWatch, InputFile, SensorArrays
from xec_deploy.events.advice import reading_advice
from xec_deploy.events.blocks import BlockMemory
from xec_deploy.inference.job import Job
from xec_deploy.inference.overlap import Channel
from xec_deploy.inference.provenance import (
    differences,
    input_record,
    now,
    read_provenance,
    same_input,
    same_inputs,
)
from xec_deploy.inference.spool import Spool
from xec_deploy.inference.stopping import StopRequest
from xec_deploy.inference.target import Piece, Target, piece_name

__all__ = [
    "Batch",
    "ItemDone",
    "ItemFailed",
    "ItemSkipped",
    "Note",
    "TargetDone",
    "open_piece",
    "read_piece",
    "read_targets",
]

logger = logging.getLogger(__name__)

COLLECT_AFTER: Final = 64
"""Files whose closed objects may stand: they refer to each other in circles, and where the list of
inputs is long the interpreter waits for hundreds of files until it looks for such."""
FORCE = "Pass --force to replace it, or choose another output."


@dataclass(frozen=True)
class Batch:
    """Events of a piece."""

    piece: Piece
    events: EventBatch


@dataclass(frozen=True)
class ItemDone:
    """All of an input has been read, and it stayed the same meanwhile."""

    target: Target
    item: InputFile
    pieces: tuple[Piece, ...]
    source: dict[str, Any]
    columns: dict[str, Column]
    started: float
    advice: str | None = None


@dataclass(frozen=True)
class ItemFailed:
    """An input cannot be used; what was made of it is discarded."""

    target: Target
    item: InputFile
    pieces: tuple[Piece, ...]
    error: XecError


@dataclass(frozen=True)
class ItemSkipped:
    """The results of an input are there already, or it has no entry that is wanted."""

    target: Target
    item: InputFile
    entries: int
    left_out: bool = False


@dataclass(frozen=True)
class TargetDone:
    """All inputs of a target have been dealt with."""

    target: Target
    started: str


Note = Batch | ItemDone | ItemFailed | ItemSkipped | TargetDone


def read_targets(
    job: Job,
    targets: Iterable[Target],
    memory: Channel[SensorArrays],
    executor: Executor,
    stop: StopRequest,
) -> Generator[Note, None, None]:
    """Yield the events of all inputs in batches, and a note at the end of each.

    Parameters
    ----------
    job
        What to do with them.
    targets
        Outputs with their inputs.
    memory
        Memory for batches; who uses a batch gives it back.
    executor
        Decompresses ahead.
    stop
        Ends the iteration after the present batch.
    """
    blocks, read = BlockMemory(), 0
    for target in targets:
        started = now()
        if target.path.exists() and not job.options.force:
            yield from _existing(job, target)
            continue
        for number, item in enumerate(target.items):
            yield from _read_item(job, target, number, item, memory, executor, blocks, stop)
            read += 1
            if read % COLLECT_AFTER == 0:
                gc.collect()
            if stop:
                return
        yield TargetDone(target, started)


def _read_item(
    job: Job,
    target: Target,
    number: int,
    item: InputFile,
    memory: Channel[SensorArrays],
    executor: Executor,
    blocks: BlockMemory,
    stop: StopRequest,
) -> Iterator[Note]:
    started = time.perf_counter()
    pieces: list[Piece] = []
    try:
        with ExitStack() as stack:
            watch = FileWatch(item.path)
            stack.callback(watch.close)
            events = stack.enter_context(job.open(item))
            source = input_record(events, watch, job.selection)
            ranges = job.selection.ranges(events)
            if not ranges:
                yield ItemSkipped(target, item, 0, left_out=True)
                return
            target.acquire()
            for entries in ranges:
                piece = open_piece(job, target, number, item, events, entries, source)
                pieces.append(piece)
                for batch in read_piece(job, piece, events, watch, memory, executor, blocks):
                    yield batch
                    if stop:
                        return
            source["checksum"] = watch.finish()
            columns, advice = job.columns_of(events), reading_advice(events)
    except (InputError, UsageError) as error:
        # Not only a bad input: the other files finish as well if the dead-channel file of one run
        # or one output cannot be used.
        yield ItemFailed(target, item, tuple(pieces), error)
        return
    yield ItemDone(target, item, tuple(pieces), source, columns, started, advice)


def read_piece(
    job: Job,
    piece: Piece,
    events: EventFile,
    watch: FileWatch | None,
    memory: Channel[SensorArrays],
    executor: Executor,
    blocks: BlockMemory,
) -> Generator[Batch, None, None]:
    """Yield the events of a piece that have not been done before."""
    total = max(events.num_entries, 1)
    batches = events.batches(
        job.request,
        piece.spool.next_entry,
        piece.entries[1],
        memory=memory.get,
        executor=executor,
        blocks=blocks,
    )
    for batch in batches:
        if watch is not None:
            watch.advance((batch.entry_start + len(batch)) / total)
        yield Batch(piece, batch)


def open_piece(
    job: Job,
    target: Target,
    number: int,
    item: InputFile,
    events: EventFile,
    entries: tuple[int, int],
    source: dict[str, Any],
) -> Piece:
    """Open the spool of a piece, and go on in it if it was made from the same in the same way.

    Raises
    ------
    UsageError
        If another job is at it, or it was begun with other options.
    OutputError
        If it cannot be written.
    """
    spool = Spool(target.folder, piece_name(number, entries[0]), target.path)
    piece = Piece(item, source, entries, spool)
    target.pieces.append(piece)
    columns = job.columns_of(events)
    header = {
        "recipe": job.recipe,
        "choice": job.choice,
        "input": source,
        "entries": list(entries),
        "columns": {name: _kind(column) for name, column in columns.items()},
        "started": now(),
    }
    before = None if job.options.force else spool.header
    if before is None:
        spool.begin(header, columns, entries[0])
        return piece
    other = differences(before.get("recipe", {}), job.recipe, ())
    if other:
        raise UsageError(
            f"unfinished results were begun with another {' and '.join(other)}",
            where=str(target.folder),
            fix="Use the same options to finish them, or pass --force to start anew.",
        )
    same = same_input(before.get("input"), source) and all(
        before.get(key) == header[key] for key in ("entries", "columns")
    )
    if same:
        spool.resume(columns, entries[0])
        if spool.resumed:
            logger.info("%s: continues at entry %d", target.path, spool.next_entry)
    else:
        logger.warning("%s starts anew: the input is another one now", target.path)
        spool.begin(header, columns, entries[0])
    return piece


def _existing(job: Job, target: Target) -> Iterator[Note]:
    """Keep results that are there if they were made of the same inputs in the same way."""
    found: list[tuple[InputFile, dict[str, Any], int]] = []
    failed: list[ItemFailed] = []
    for item in target.items:
        try:
            watch = FileWatch(item.path)
            with job.open(item) as events:
                source = input_record(events, watch, job.selection)
                count = sum(stop - start for start, stop in job.selection.ranges(events))
                found.append((item, source, count))
        except (InputError, UsageError) as error:
            failed.append(ItemFailed(target, item, (), error))
    yield from failed
    existing = read_provenance(target.path)
    if not found:
        return
    if existing is None:
        other = ["origin"]
    else:
        other = differences(existing, job.recipe, job.open_choices)
        if not same_inputs(existing, [source for _, source, _ in found]):
            other.append("input")
    if not other:
        logger.info("%s: finished before with the same bundle and options, kept", target.path)
        for item, _, count in found:
            yield ItemSkipped(target, item, count)
        _remove_leftovers(target)
        return
    refusal = UsageError(
        f"the output exists and has another {' and '.join(other)}",
        where=str(target.path),
        fix=FORCE,
    )
    if target.joined:
        raise refusal
    for item, *_ in found:
        yield ItemFailed(target, item, (), refusal)


def _remove_leftovers(target: Target) -> None:
    """Remove the folder of a job that was killed after it had named its result."""
    if target.folder.is_dir():
        with suppress(UsageError):
            target.acquire()
            target.remove()


def _kind(column: Column) -> list[Any]:
    return [str(column.element), list(column.shape)]
