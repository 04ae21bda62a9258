"""Inference of many files on a Dask cluster, with the values of a run on one machine."""

from __future__ import annotations

import logging
import queue
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from xec_deploy.bundle import open_bundle
from xec_deploy.cluster.connect import connect
from xec_deploy.cluster.tasks import (
    Choice,
    Outcome,
    Work,
    choose,
    infer_entries,
    infer_file,
    join_entries,
)
from xec_deploy.errors import InferenceError, Interrupted, UsageError, XecError
from xec_deploy.events import expand_inputs
from xec_deploy.inference import FileResult, InferenceSummary, plan_outputs
from xec_deploy.inference.job import input_range_of
from xec_deploy.inference.options import Options
from xec_deploy.inference.statistics import PackedStatistics, RunStatistics
from xec_deploy.inference.stopping import StopRequest, stop_on_signals
from xec_deploy.normalisation.input_range import InputRange

__all__ = ["infer_on_cluster"]

logger = logging.getLogger(__name__)

TASK_S: Final = 120.0
"""Work of a part of a file: long beside its start."""
LONG_TASK_S: Final = 1200.0
"""Above it a file is split even where there are files for everyone: a split one is read twice,
because its checksum is taken when the parts are joined."""
FILES_A_WORKER: Final = 4
"""With so many files a worker no one is idle for long at the end."""
TASK_ENTRIES: Final = (2_000, 200_000)
"""Bounds of a part's entries."""
LOOK_S: Final = 0.5
"""How often to look whether to stop."""
PATIENCE_S: Final = 30.0
"""After how long to say that there is no worker yet."""

Kind = Literal["file", "entries", "join"]
FUNCTIONS: Final = {"file": infer_file, "entries": infer_entries, "join": join_entries}


@dataclass(frozen=True)
class _Task:
    """A task for input ``index``.

    ``host`` is the machine it has for itself, after it failed for want of memory.
    """

    kind: Kind
    index: int
    arguments: tuple[Any, ...] = ()
    host: str | None = None


@dataclass
class _Split:
    """A file that was split: its ranges and those that are complete."""

    ranges: tuple[tuple[int, int], ...]
    missing: set[tuple[int, int]]
    seconds: float = 0.0
    resumed: int = 0
    started: float = field(default_factory=time.perf_counter)


def infer_on_cluster(
    where: str,
    bundle: str | PathLike[str],
    inputs: Sequence[str | PathLike[str]] | str | PathLike[str],
    output: str | PathLike[str],
    *,
    single: bool = False,
    entries_a_task: int | None = None,
    progress: Callable[[int], Any] | None = None,
    **options: Any,
) -> InferenceSummary:
    """Run a bundle over files on a cluster and write one result file per input.

    A worker infers a file, or an entry range of a large one, at a time.  What a worker that is
    lost has begun is continued by another one.  Batch and engine are the same on all workers, so
    that values are those of a run on one machine, bit for bit.  A task that fails for want of
    memory is run again when the others are done, as the only one on its machine.

    Parameters
    ----------
    where
        Cluster, see :func:`xec_deploy.cluster.connect.connect`.
    bundle, inputs, output, progress
        As of :func:`xec_deploy.inference.infer`; on a file system that all machines share.
    single
        Refused: results of many machines are joined by ``xec-deploy merge``.
    entries_a_task
        Entries above which a file is split, and of a part.  If None, files are split in parts of
        two minutes where there are fewer than four for each worker, else in parts of twenty.
    options
        All others of :func:`xec_deploy.inference.infer`.

    Raises
    ------
    UsageError, BundleError, CheckFailed, MissingExtra
        If nothing can be run at all.
    Interrupted
        After SIGTERM or SIGINT, or if the cluster is gone; ``summary`` says how far it came.
    """
    if single:
        raise UsageError(
            "results of several machines cannot go to one file",
            where="--single",
            fix="Leave it out and join the results with xec-deploy merge.",
        )
    if entries_a_task is not None and entries_a_task < 1:
        raise UsageError(f"{entries_a_task} entries a task", fix="Give one or more.")
    chosen = Options.of({"command": tuple(sys.argv), **options})
    arguments = [inputs] if isinstance(inputs, str | PathLike) else list(inputs)
    files = expand_inputs(arguments, tree=chosen.tree)
    planned = plan_outputs(files, output, single=False)
    opened = open_bundle(bundle)
    known = input_range_of(opened)
    stated = {key: value for key, value in vars(chosen).items() if value != vars(Options())[key]}
    works = [
        Work(
            folder=str(Path.cwd()),
            bundle=str(bundle),
            identity=opened.identity,
            item=item,
            output=str(path),
            options=stated,
        )
        for item, path in zip(files, planned, strict=True)
    ]
    with stop_on_signals() as stop, connect(where) as (client, cores):
        works = [replace(work, cores=cores) for work in works]
        run = _Run(client, works, known, stop, progress or (lambda _: None))
        return run.go(entries_a_task)


class _Run:
    """Gives out tasks and takes what comes back."""

    def __init__(
        self,
        client: Client,
        works: list[Work],
        known: InputRange | None,
        stop: StopRequest,
        progress: Callable[[int], Any],
    ) -> None:
        self.client, self.works, self.stop, self.progress = client, works, stop, progress
        self.known = known
        self.results: dict[int, FileResult] = {}
        self.statistics: dict[int, PackedStatistics] = {}
        self.splits: dict[int, _Split] = {}
        self.starved: list[_Task] = []
        self.engine: dict[str, Any] = {}
        self.tasks: dict[Future, _Task] = {}
        self.arrived: queue.SimpleQueue[Future] = queue.SimpleQueue()

    def go(self, entries_a_task: int | None) -> InferenceSummary:
        """Do all of it."""
        start = time.perf_counter()
        choice = self._first_choice()
        self.engine = choice.engine
        least, most = TASK_ENTRIES
        enough = len(self.works) >= FILES_A_WORKER * len(self._workers())
        part = choice.events_per_s * (LONG_TASK_S if enough else TASK_S)
        largest = entries_a_task or min(max(int(part), least), most)
        self.works = [replace(work, pinned=choice.pinned, largest=largest) for work in self.works]
        logger.info(
            "workers run %s, %.0f events/s on the first; files are split into %d entries",
            choice.engine["name"],
            choice.events_per_s,
            largest,
        )
        for index in range(len(self.works)):
            self._submit(_Task("file", index))
        self._take_all()
        self._run_starved()
        return self._summary(time.perf_counter() - start)

    def _first_choice(self) -> Choice:
        """Let the first worker choose what the user left open."""
        future = self.client.submit(choose, self.works[0], pure=False)
        future.add_done_callback(self.arrived.put)
        told = False
        start = time.monotonic()
        while True:
            try:
                self.arrived.get(timeout=LOOK_S)
                found: Choice = future.result()
            except queue.Empty:
                self._check_alive([future])
                if not told and time.monotonic() - start > PATIENCE_S and not self._hosts():
                    logger.warning("the cluster has no worker yet; waiting for the first one")
                    told = True
            except KilledWorker as error:
                raise InferenceError(
                    "every worker that loaded the engine died",
                    fix="Give a worker more memory; its log says more.",
                ) from error
            else:
                return found

    def _submit(self, task: _Task) -> None:
        future = self.client.submit(
            FUNCTIONS[task.kind],
            self.works[task.index],
            *task.arguments,
            pure=False,
            workers=task.host,
            # A machine may be lost as well.
            allow_other_workers=task.host is not None,
            # A file that was begun is finished before the next one.
            priority=0 if task.kind == "file" else 1,
        )
        self.tasks[future] = task
        future.add_done_callback(self.arrived.put)

    def _take_all(self) -> None:
        """Wait for all tasks, and those they lead to."""
        while self.tasks:
            self._check_alive(list(self.tasks))
            try:
                future = self.arrived.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            if future.status in {"cancelled", "lost"}:
                # Nobody drops tasks, unless the scheduler is gone.
                self._check_alive(list(self.tasks))
            task = self.tasks.pop(future)
            self._take(task, _outcome(future))
            if task.host is not None and self.starved:
                self._submit(replace(self.starved.pop(), host=task.host))

    def _take(self, task: _Task, outcome: Outcome) -> None:
        if outcome.starved and task.host is None:
            self.starved.append(task)
        elif outcome.error is not None:
            self._fail(task, outcome.error)
        elif task.kind == "entries":
            self._take_entries(task, outcome)
        elif outcome.ranges:
            self.splits[task.index] = _Split(outcome.ranges, set(outcome.ranges))
            for entries in outcome.ranges:
                self._submit(_Task("entries", task.index, (entries,)))
        elif outcome.result is not None:
            self._finish(task, outcome.result)
            if outcome.statistics is not None:
                self.statistics[task.index] = outcome.statistics

    def _take_entries(self, task: _Task, outcome: Outcome) -> None:
        split = self.splits[task.index]
        (entries,) = outcome.ranges
        split.missing.discard(entries)
        split.seconds += outcome.seconds
        split.resumed += outcome.resumed
        self.progress(entries[1] - entries[0])
        if not split.missing and task.index not in self.results:
            self._submit(_Task("join", task.index, (split.ranges,)))

    def _finish(self, task: _Task, result: FileResult) -> None:
        if result.error is not None:
            logger.error("%s", result.error)
        split = self.splits.get(task.index)
        if split is not None:
            seconds = time.perf_counter() - split.started
            result = replace(result, seconds=seconds, resumed=split.resumed)
        elif result.outcome == "done":
            self.progress(result.entries - result.resumed)
        self.results[task.index] = result

    def _fail(self, task: _Task, error: XecError) -> None:
        """Report an input that cannot be done; the others go on."""
        if task.index not in self.results:
            logger.error("%s", error)
            path = self.works[task.index].item.path
            self.results[task.index] = FileResult(path, None, "failed", error=str(error))

    def _run_starved(self) -> None:
        """Run what failed for want of memory once more, one task at a time on each machine.

        A smaller batch would need less memory, but change the last bits of values.
        """
        while self.starved:
            while not (hosts := self._hosts()):
                self._check_alive([])
                time.sleep(LOOK_S)
            logger.warning(
                "%d tasks ran out of memory: they are run again with the same batch, so that "
                "values stay the same, one at a time on each of %d machines",
                len(self.starved),
                len(hosts),
            )
            for host in hosts[: len(self.starved)]:
                self._submit(replace(self.starved.pop(), host=host))
            self._take_all()

    def _hosts(self) -> list[str]:
        """Return the machines that have workers."""
        return sorted({worker["host"] for worker in self._workers().values()})

    def _workers(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.client.scheduler_info(n_workers=-1)["workers"]
        return found

    def _check_alive(self, waiting: list[Future]) -> None:
        """Raise if there is nothing to wait for.

        Raises
        ------
        Interrupted
            With the summary.
        """
        reason = f"stopped by {self.stop.reason}" if self.stop else ""
        if not reason and self.client.status != "running":
            reason = "the scheduler of the cluster is gone"
        if not reason:
            return
        if self.client.status == "running":
            self.client.cancel(waiting)
        error = Interrupted(
            reason,
            fix="Finished files are complete; run the same command again to continue.",
        )
        error.summary = self._summary(0.0)
        raise error

    def _summary(self, seconds: float) -> InferenceSummary:
        files = tuple(
            self.results.get(index) or FileResult(work.item.path, None, "unfinished")
            for index, work in enumerate(self.works)
        )
        # In the order of the files, as on one machine: a duplicate is the one that comes later.
        statistics = RunStatistics.against(self.known)
        for index in sorted(self.statistics):
            statistics.merge(self.statistics[index])
        warning = statistics.warning()
        if warning is not None:
            logger.warning("%s", warning)
        return InferenceSummary(files, self.engine, {"total": seconds}, **statistics.to_dict())


def _outcome(future: Future) -> Outcome:
    """Return what a task returned, or why it did not."""
    if future.status in {"cancelled", "lost"}:
        return Outcome(error=UsageError("the cluster dropped the task", fix="Run it again."))
    error = future.exception()
    if error is None:
        found: Outcome = future.result()
        return found
    if isinstance(error, KilledWorker):
        # Most often the kernel or Dask killed it for its memory.
        return Outcome(
            error=InferenceError(
                "the workers that tried died, most likely for want of memory",
                fix="Give a worker more memory, or pass a smaller --batch with --force.",
            )
        )
    if isinstance(error, XecError):
        return Outcome(error=error)
    raise error
