"""What a worker of a cluster does: a file, an entry range of one, or the joining of ranges.

Everything here runs in the process of a worker, and arguments and results travel by pickle.
Errors of the user's (a bad file, a full disk) are results, not exceptions: running a task again
elsewhere would not cure them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from distributed import get_worker

from xec_deploy import __version__
from xec_deploy.backends import AUTO
from xec_deploy.backends.measure import events_per_second, sample_events
from xec_deploy.bundle import Bundle, open_bundle
from xec_deploy.errors import BundleError, InferenceError, OutputBusy, UsageError, XecError
from xec_deploy.events import InputFile, open_events
from xec_deploy.inference import (
    FileResult,
    InferenceSummary,
    infer,
    infer_range,
    join_ranges,
    split_entries,
)
from xec_deploy.inference.job import Job
from xec_deploy.inference.locking import FileLock
from xec_deploy.inference.options import Options
from xec_deploy.inference.statistics import PackedStatistics
from xec_deploy.inference.target import Target, piece_name

__all__ = [
    "Choice",
    "Outcome",
    "Work",
    "choose",
    "infer_entries",
    "infer_file",
    "join_entries",
]

MEASURING_S: Final = 0.5
"""How long the engine is measured."""
PATIENCE_S: Final = 120.0
"""How long the lock of a worker that was lost to the scheduler, but lives on, is waited for."""

Entries = tuple[int, int]

_BUSY: Final = threading.Lock()
"""Held by the task of this process: its engine has all threads, and it is in its folder."""


@dataclass(frozen=True)
class Work:
    """One input and what is wanted of it.

    Attributes
    ----------
    folder
        Where the work was given out; paths are relative to it.
    bundle, identity
        Path of the bundle, and its hashes where the work was given out.
    item, output
        Input and result file.
    options
        Options of `infer` as the user stated them.
    pinned
        What the first worker chose where the user left it open: results begun now are made so.
    cores
        Cores of a worker; None for the threads that Dask gave it.
    largest
        Entries of a file above which it is split, and entries of a part.
    version
        Of the package where the work was given out.
    """

    folder: str
    bundle: str
    identity: dict[str, str]
    item: InputFile
    output: str
    options: dict[str, Any]
    pinned: dict[str, Any] = field(default_factory=dict)
    cores: int | None = None
    largest: int = 50_000
    version: str = __version__


@dataclass(frozen=True)
class Choice:
    """What the first worker chose where the user left it open, and how fast that is.

    Attributes
    ----------
    pinned
        Options, the same for all workers from now on.
    engine
        Description for the summary.
    events_per_s
        Of this worker.
    """

    pinned: dict[str, Any]
    engine: dict[str, Any]
    events_per_s: float


@dataclass(frozen=True)
class Outcome:
    """What became of a task; one of the three.

    Attributes
    ----------
    result
        Of a file that is done.
    ranges
        Entry ranges of a file that is to be split, or the one that is complete.
    error
        Why there is neither.
    statistics
        Of the events of a file that is done.
    """

    result: FileResult | None = None
    ranges: tuple[Entries, ...] = ()
    error: XecError | None = None
    seconds: float = 0.0
    resumed: int = 0
    statistics: PackedStatistics | None = None

    @property
    def starved(self) -> bool:
        """Whether it may succeed with more memory."""
        return isinstance(self.error, InferenceError)


def choose(work: Work) -> Choice:
    """Load the engine, and measure it.

    Raises
    ------
    XecError
        If nothing can be run here.
    """
    try:
        with _BUSY:
            _go_to(work)
            bundle = _bundle(work)
            job = Job.make(bundle, Options.of(_on_this_worker(work, work.options)))
            events = sample_events(bundle, job.request)
            rate = events_per_second(job.backend, events, MEASURING_S)
    except XecError:
        raise
    except Exception as error:
        # Engines raise what they like, among it bare Exception.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InferenceError(
            f"the engine failed on the first worker ({reason})",
            where=get_worker().address,
            fix="If it ran out of memory, give workers more, or pass a smaller --batch.",
        ) from error
    pinned = {key: job.choice[key] for key in ("backend", "precision", "batch")}
    return Choice(pinned, job.describe(), rate)


def infer_file(work: Work) -> Outcome:
    """Infer a file, or say how to split it."""

    def run() -> Outcome:
        target = Target(Path(work.output), (work.item,))
        ranges = _ranges(work, target)
        if ranges:
            return Outcome(ranges=ranges)
        _wait_for(target, "lock")
        summary = infer(_bundle(work), [work.item], work.output, **_decided(work, target))
        return _of(summary)

    return _guarded(work, run)


def infer_entries(work: Work, entries: Entries) -> Outcome:
    """Infer a part of a file."""

    def run() -> Outcome:
        target = Target(Path(work.output), (work.item,))
        _wait_for(target, piece_name(0, entries[0]) + ".lock")
        options = _decided(work, target)
        done = infer_range(_bundle(work), work.item, work.output, entries, **options)
        return Outcome(ranges=(done.entries,), seconds=done.seconds, resumed=done.resumed)

    return _guarded(work, run)


def join_entries(work: Work, ranges: tuple[Entries, ...]) -> Outcome:
    """Make the result file of parts that are complete."""

    def run() -> Outcome:
        target = Target(Path(work.output), (work.item,))
        _wait_for(target, "lock")
        # Forced once, by the parts: now it would throw them away.
        options = {**_decided(work, target), "force": False}
        return _of(join_ranges(_bundle(work), work.item, work.output, ranges, **options))

    return _guarded(work, run)


def _of(summary: InferenceSummary) -> Outcome:
    return Outcome(summary.files[0], statistics=summary.packed)


def _guarded(work: Work, run: Callable[[], Outcome]) -> Outcome:
    try:
        with _BUSY:
            _go_to(work)
            return run()
    except MemoryError:
        return Outcome(error=InferenceError("there was not enough memory"))
    except XecError as error:
        # What it carries for the command line does not travel.
        error.summary = None
        return Outcome(error=error)


def _go_to(work: Work) -> None:
    """Go where the command was given, so that paths mean, and results state, the same."""
    try:
        os.chdir(work.folder)
    except OSError as error:
        raise UsageError(
            f"a worker does not see this folder ({error.strerror})",
            where=f"{work.folder} on {get_worker().address}",
            fix="Work in one that all machines share.",
        ) from error


def _ranges(work: Work, target: Target) -> tuple[Entries, ...]:
    """Return the parts of a file that is worth splitting, none for another one."""
    options = Options.of(_decided(work, target))
    whole = options.entries is None and options.runs is None
    if not whole or (target.path.exists() and not options.force):
        return ()
    item = replace(work.item, tree=work.item.tree or options.tree)
    try:
        with open_events(
            item, npho_branch=options.npho_branch, time_branch=options.time_branch
        ) as events:
            count = events.num_entries
    except XecError:
        # It is reported by who infers it.
        return ()
    begun = [] if options.force else [header.get("entries") for header in target.headers()]
    if count <= work.largest or [0, count] in begun:
        return ()
    return tuple(split_entries(count, batch=options.batch or 1, size=work.largest))


def _decided(work: Work, target: Target) -> dict[str, Any]:
    """Return the options with nothing left open, unless results exist: any choice is theirs.

    Results that were begun go on as they were begun, where the user does not say otherwise.
    """
    if work.options.get("force"):
        return _on_this_worker(work, {**work.options, **work.pinned})
    if target.path.exists():
        return _on_this_worker(work, work.options)
    begun = next((header.get("choice") for header in target.headers()), None) or {}
    open_keys = [key for key in work.pinned if work.options.get(key) in {None, AUTO}]
    kept = {key: begun[key] for key in open_keys if key in begun}
    return _on_this_worker(work, {**work.options, **work.pinned, **kept})


def _on_this_worker(work: Work, options: dict[str, Any]) -> dict[str, Any]:
    """Give the engine the cores of this worker, unless the user stated sessions or threads.

    On a CPU that is a session a core, as one process alone would have it; a GPU has its own.
    """
    stated = options.get("threads") is not None or options.get("sessions") is not None
    if stated or options.get("device", "cpu") != "cpu":
        return options
    return {**options, "sessions": work.cores or get_worker().state.nthreads, "threads": 1}


def _bundle(work: Work) -> Bundle:
    """Return the bundle, opened and with its engine loaded once in a worker."""
    if work.version != __version__:
        raise UsageError(
            f"the worker has version {__version__} of xec-deploy, the work is of {work.version}",
            where=get_worker().address,
            fix="Use the same environment on all machines.",
        )
    bundle = _opened(work.bundle, tuple(sorted(work.identity.items())))
    if bundle.identity != work.identity:
        _opened.cache_clear()
        raise BundleError(
            "the bundle a worker sees is another one",
            where=f"{work.bundle} on {get_worker().address}",
            fix="Put it on a file system that all machines share.",
        )
    return bundle


@lru_cache(maxsize=1)
def _opened(path: str, identity: tuple[tuple[str, str], ...]) -> Bundle:
    del identity  # a bundle that was exported anew is another one
    return open_bundle(path)


def _wait_for(target: Target, name: str) -> None:
    """Wait until nobody is at these rows: the task may have been taken from a worker that lives on.

    Raises
    ------
    OutputBusy
        If it takes too long.
    """
    if not target.folder.is_dir():
        return
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            FileLock(target.folder / name, target.path).release()
        except OutputBusy:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
        else:
            return
