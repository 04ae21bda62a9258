"""Parts of a file for other machines: entry ranges that are inferred anywhere and then joined."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

from xec_deploy.bundle import Bundle
from xec_deploy.errors import Interrupted, UsageError
from xec_deploy.events import FileWatch, InputFile, expand_inputs
from xec_deploy.events.blocks import BlockMemory
from xec_deploy.inference.infer import batch_memory
from xec_deploy.inference.inferring import BatchRows, infer_notes
from xec_deploy.inference.job import Job
from xec_deploy.inference.options import Options
from xec_deploy.inference.overlap import Ahead
from xec_deploy.inference.provenance import input_record, now
from xec_deploy.inference.reading import ItemDone, open_piece, read_piece
from xec_deploy.inference.results import InferenceSummary, RangeResult
from xec_deploy.inference.statistics import RunStatistics
from xec_deploy.inference.stopping import stop_on_signals
from xec_deploy.inference.target import Target
from xec_deploy.inference.writing import finish_target

__all__ = ["infer_range", "join_ranges"]

AHEAD = 4


def infer_range(
    bundle: Bundle | str | PathLike[str],
    input: str | PathLike[str] | InputFile,  # noqa: A002 - the user's word for it
    output: str | PathLike[str],
    entries: tuple[int, int],
    *,
    batch: int,
    **options: Any,
) -> RangeResult:
    """Infer some entries of a file into ``OUTPUT.part``, to be joined with others.

    Any number may run at the same time, on any machine that sees the folder.  One that was
    stopped goes on where it was.

    Parameters
    ----------
    bundle, input, output
        As of :func:`infer`; one input and the result file of all of it.
    entries
        First entry, a multiple of ``batch``, and the one after the last; see
        :func:`split_entries`.
    batch
        Events run at once, the same for all ranges.
    options
        Those of :func:`infer` that concern one input.

    Raises
    ------
    InputError, UsageError, OutputError, InferenceError
        If it cannot be done.
    Interrupted
        After SIGTERM or SIGINT.
    """
    chosen, item, target = _one(input, output, {**options, "batch": batch})
    start = time.perf_counter()
    job = Job.make(bundle, chosen, [target])
    with ExitStack() as stack:
        stack.callback(target.close)
        stop = stack.enter_context(stop_on_signals())
        target.check()
        target.folder.mkdir(exist_ok=True)
        watch = FileWatch(item.path)
        events = stack.enter_context(job.open(item))
        source = input_record(events, watch, job.selection)
        piece = open_piece(job, target, 0, item, events, entries, source)
        memory = batch_memory(job, AHEAD)
        executor = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="decompress"))
        batches = read_piece(job, piece, events, None, memory, executor, BlockMemory())
        read = stack.enter_context(Ahead(batches, AHEAD, "read"))
        stack.callback(memory.close)
        for found in infer_notes(job, read, memory, stop):
            if isinstance(found, BatchRows):
                piece.spool.append(found.rows, found.counts)
        piece.spool.flush(synchronise=True)
        watch.check()
        if not piece.complete:
            raise Interrupted(f"stopped by {stop.reason}", fix="Run it again to continue.")
    return RangeResult(
        item.path,
        str(target.path),
        entries,
        piece.spool.resumed,
        time.perf_counter() - start,
    )


def join_ranges(
    bundle: Bundle | str | PathLike[str],
    input: str | PathLike[str] | InputFile,  # noqa: A002 - the user's word for it
    output: str | PathLike[str],
    ranges: Sequence[tuple[int, int]],
    *,
    batch: int,
    **options: Any,
) -> InferenceSummary:
    """Make the result file from ranges that :func:`infer_range` has completed.

    Parameters
    ----------
    bundle, input, output, batch, options
        As they were for the ranges.
    ranges
        All of them, in order, without gaps.

    Raises
    ------
    UsageError
        If ranges are missing or were made with other options.
    InputError
        If the input has changed.
    """
    chosen, item, target = _one(input, output, {**options, "batch": batch})
    started, start = now(), time.perf_counter()
    job = Job.make(bundle, chosen, [target])
    with ExitStack() as stack:
        stack.callback(target.close)
        watch = FileWatch(item.path)
        stack.callback(watch.close)
        with job.open(item) as events:
            source = input_record(events, watch, job.selection)
            wanted = job.selection.ranges(events)
            target.acquire()
            pieces = [open_piece(job, target, 0, item, events, pair, source) for pair in ranges]
            columns = job.columns_of(events)
        missing = [piece.entries for piece in pieces if not piece.complete]
        if missing:
            raise UsageError(
                f"entries {missing[0][0]} to {missing[0][1] - 1} are not complete",
                where=str(target.folder),
                fix="Run infer_range on them.",
            )
        if _covered(ranges) != wanted:
            raise UsageError(
                "the ranges are not those of the file, in order and without gaps",
                where=item.path,
                fix="Cut it with split_entries.",
            )
        source["checksum"] = watch.finish()
        done = ItemDone(target, item, tuple(pieces), source, columns, start)
        statistics = RunStatistics.against(job.input_range)
        found = finish_target(job, target, [done], started, statistics)
    return InferenceSummary(
        (found[item],),
        job.describe(),
        {"total": time.perf_counter() - start},
        packed=statistics.packed(),
        **statistics.to_dict(),
    )


def _one(
    source: str | PathLike[str] | InputFile, output: str | PathLike[str], options: dict[str, Any]
) -> tuple[Options, InputFile, Target]:
    chosen = Options.of(options)
    items = expand_inputs([source], tree=chosen.tree)
    if len(items) != 1:
        raise UsageError(f"{len(items)} inputs", where=str(source), fix="Name one file.")
    return chosen, items[0], Target(Path(output), (items[0],))


def _covered(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if joined and joined[-1][1] == first:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return joined
