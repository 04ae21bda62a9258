"""The inferring stage: batches to rows of results."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from xec_deploy.errors import InferenceError, XecError
from xec_deploy.events import SensorArrays
from xec_deploy.events.failures import place
from xec_deploy.inference.columns import evaluate
from xec_deploy.inference.job import Job
from xec_deploy.inference.overlap import Channel
from xec_deploy.inference.reading import Batch, Note
from xec_deploy.inference.spool import Rows
from xec_deploy.inference.status import Status
from xec_deploy.inference.stopping import StopRequest
from xec_deploy.inference.target import Piece
from xec_deploy.normalisation.input_range import event_quantities

__all__ = ["REQUESTS", "BatchRows", "infer_batch", "infer_notes"]


REQUESTS: Final = 2
"""Requests to the engine under way at the same time."""
UNUSABLE: Final = Status.TOO_MANY_DEAD | Status.NO_VALID_INPUT | Status.UNREADABLE


@dataclass(frozen=True)
class BatchRows:
    """Results of consecutive entries of a piece.

    Attributes
    ----------
    piece, rows
        Where they belong, and the rows.
    counts
        What is compared with the events of the training; empty if the bundle does not know them.
    """

    piece: Piece
    rows: Rows
    counts: Mapping[str, int] = field(default_factory=dict)


def infer_notes(
    job: Job, notes: Iterable[Note], memory: Channel[SensorArrays], stop: StopRequest
) -> Generator[Note | BatchRows, None, None]:
    """Replace batches by their results; everything else passes, in order.

    A second request is begun before the first is done, so that no session of the engine waits
    for the others.  ``stop`` ends the iteration: what waits is dropped, what was inferred is
    handed on.
    """
    under_way: deque[tuple[Note, Future[BatchRows] | None]] = deque()

    def hand_on(most: int) -> Iterator[Note | BatchRows]:
        """Yield from the oldest on until only so many requests are left."""
        while under_way and (under_way[0][1] is None or len(under_way) > most):
            note, future = under_way.popleft()
            if future is None or not isinstance(note, Batch):
                yield note
                continue
            rows = future.result()
            if note.events.memory is not None:
                memory.put(note.events.memory)
            yield rows

    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="request") as pool:
        for note in notes:
            if stop:
                break
            future = pool.submit(infer_batch, job, note) if isinstance(note, Batch) else None
            under_way.append((note, future))
            yield from hand_on(REQUESTS - 1)
        yield from hand_on(0)


def infer_batch(job: Job, batch: Batch) -> BatchRows:
    """Run a batch.

    Raises
    ------
    InferenceError
        If the engine fails, naming file and entries.
    """
    events = batch.events
    try:
        rows = evaluate(job.bundle.manifest, job.backend, events, job.inpainting)
        beside = job.conventional.rows(events) if job.conventional else {}
    except XecError:
        raise
    except Exception as error:
        # Engines raise what they like, among it bare Exception.
        source, first = batch.piece.source, events.entry_start
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InferenceError(
            f"{job.backend.name} failed ({reason})",
            where=place(source["path"], source["tree"], None, (first, first + len(events))),
            fix="If it ran out of memory, pass a smaller --batch with --force.",
        ) from error
    found = {**rows, **beside, **events.extra}
    if job.input_range is None:
        return BatchRows(batch.piece, found)
    quantities = event_quantities(
        events.npho, events.time, events.dead, job.bundle.manifest.normalisation.npho_threshold
    )
    usable = (rows["status"] & UNUSABLE) == 0
    rows["status"][usable & job.input_range.outside(quantities)] |= Status.OUTSIDE_TRAINING
    counts = job.input_range.counts({name: values[usable] for name, values in quantities.items()})
    return BatchRows(batch.piece, found, counts)
