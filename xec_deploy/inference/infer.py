"""The main job: files of raw events to files of physics numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from os import PathLike
from typing import Any, Final

from xec_deploy.backends import AUTO
from xec_deploy.bundle import Bundle
from xec_deploy.detector import N_SENSORS
from xec_deploy.errors import ExitCode, Interrupted, UsageError, XecError
from xec_deploy.events import InputFile, SensorArrays, expand_inputs
from xec_deploy.inference.inferring import REQUESTS, infer_notes
from xec_deploy.inference.job import Job
from xec_deploy.inference.options import Options
from xec_deploy.inference.outputs import plan_outputs
from xec_deploy.inference.overlap import Ahead, Channel
from xec_deploy.inference.reading import read_targets
from xec_deploy.inference.results import FileResult, InferenceSummary
from xec_deploy.inference.statistics import RunStatistics
from xec_deploy.inference.stopping import StopRequest, stop_on_signals
from xec_deploy.inference.target import Target
from xec_deploy.inference.writing import Writer

__all__ = ["batch_memory", "infer", "run_pipeline"]

logger = logging.getLogger(__name__)

READERS: Final = 2
"""Threads that decompress: photons and times."""
QUEUE_BYTES: Final = 48 * 2**20
"""Memory for batches on their way, unless three of them need more."""
MOST_AHEAD: Final = 16
EVENT_BYTES: Final = N_SENSORS * 9
"""Photons, time and flag of each channel of an event."""


def infer(
    bundle: Bundle | str | PathLike[str],
    inputs: Sequence[str | PathLike[str] | InputFile] | str | PathLike[str],
    output: str | PathLike[str],
    *,
    backend: str = AUTO,
    device: str = "cpu",
    precision: str = "fp32",
    batch: int | None = None,
    sessions: int | None = None,
    threads: int | None = None,
    tree: str | None = None,
    npho_branch: str | None = None,
    time_branch: str | None = None,
    dead: str | None = None,
    inpaint: str | None = None,
    keep: Sequence[str] = (),
    entries: str | None = None,
    runs: str | None = None,
    reco: str = "none",
    geometry: str | PathLike[str] | None = None,
    reco_constants: str | PathLike[str] | None = None,
    style: str = "xec",
    format: str = "ttree",  # noqa: A002 - the user's word for it
    single: bool = False,
    force: bool = False,
    command: Sequence[str] | None = None,
    progress: Callable[[int], Any] | None = None,
) -> InferenceSummary:
    """Run a bundle over files of events and write one result file per input.

    Reading, inferring and writing overlap; memory does not depend on the size of the input.  A
    file that cannot be used is recorded in the summary and the others finish; results get their
    name only when complete, with as many entries as asked for.  Existing results of the same
    inputs, bundle and options are kept, and unfinished ones (``OUTPUT.part``) are continued.

    Parameters
    ----------
    bundle
        Bundle or its path.
    inputs
        Files, globs, URLs, ``file.root:tree`` or ``@list``.
    output
        A ``.root`` file, or a folder for several inputs.
    backend, device, precision
        Engine and how to run it.  Backend ``auto`` takes the fastest, precision ``auto`` the
        fastest of those whose parity is recorded in the bundle and within its gate.
    batch, sessions, threads
        Events of a batch, batches that run at the same time, and threads of each; None for what
        suits the engine.
    tree, npho_branch, time_branch
        Names in the files; detected if None.
    dead
        Source of dead channels, see :func:`xec_deploy.events.dead_channels`.
    inpaint
        How dead channels are filled: ``model``, ``solid-angle``, ``neighbours`` or ``none``; None
        for what the bundle does.
    keep
        Branches passed through.
    entries
        ``A:B``: of each input only entries A up to but without B.
    runs
        ``430000-430100`` or several with commas: only entries of these runs.
    reco
        ``conventional`` for the conventional reconstruction beside the network's results, see
        :func:`xec_deploy.cpp.reconstruct`; ``none`` for the network alone.
    geometry, reco_constants
        Sensor table and file of constants for it, the design and the project's simulation by
        default.
    style
        ``xec``, or ``legacy`` for the tree and branches of the research script.
    format
        ``ttree`` or ``rntuple``.
    single
        Join the results of all inputs in one file.
    force
        Replace existing results, and start unfinished ones anew.
    command
        Command line for the provenance; that of this process if None.
    progress
        Called with the number of events after each batch.

    Raises
    ------
    UsageError, BundleError, CheckFailed
        If nothing can be run at all.
    Interrupted
        After SIGTERM or SIGINT; ``summary`` says how far it came.
    OutputError, InferenceError
        If results cannot be written, or the engine fails; ``summary`` likewise.
    """
    options = Options.of(
        {
            "backend": backend,
            "device": device,
            "precision": precision,
            "batch": batch,
            "sessions": sessions,
            "threads": threads,
            "tree": tree,
            "npho_branch": npho_branch,
            "time_branch": time_branch,
            "dead": dead,
            "inpaint": inpaint,
            "keep": keep,
            "entries": entries,
            "runs": runs,
            "reco": reco,
            "geometry": geometry,
            "reco_constants": reco_constants,
            "style": style,
            "format": format,
            "force": force,
            "command": None if command is None else tuple(command),
        }
    )
    arguments = [inputs] if isinstance(inputs, str | PathLike) else list(inputs)
    listed = expand_inputs(arguments, tree=tree)
    files = [item for item in listed if options.selection.may_have(item.run)]
    if not files:
        raise UsageError(f"no input of runs {runs}", fix="Correct --runs, or the run list.")
    planned = plan_outputs(files, output, single=single)
    targets = (
        [Target(planned[0], tuple(files), joined=True)]
        if single
        else [Target(path, (item,)) for item, path in zip(files, planned, strict=True)]
    )
    job = Job.make(bundle, options, targets)
    with stop_on_signals() as stop:
        return run_pipeline(job, files, targets, stop, progress or (lambda _: None))


def run_pipeline(
    job: Job,
    files: Sequence[InputFile],
    targets: Sequence[Target],
    stop: StopRequest,
    progress: Callable[[int], Any],
) -> InferenceSummary:
    """Read, infer and write at the same time, and say what came of it.

    Raises
    ------
    XecError
        With the attribute ``summary``.
    """
    start = time.perf_counter()
    ahead = min(max(QUEUE_BYTES // (job.request * EVENT_BYTES), 2), MOST_AHEAD)
    memory = batch_memory(job, ahead)
    statistics = RunStatistics.against(job.input_range)
    writer = Writer(job, progress, statistics)
    error: XecError | None = None
    with ExitStack() as stack:
        for target in targets:
            stack.callback(target.close)
        executor = stack.enter_context(ThreadPoolExecutor(READERS, thread_name_prefix="decompress"))
        read = Ahead(read_targets(job, targets, memory, executor, stop), ahead, "read")
        stack.callback(read.close)
        stack.callback(memory.close)
        inferred = Ahead(infer_notes(job, read, memory, stop), ahead, "infer")
        stack.callback(inferred.close)
        try:
            writer.take_all(inferred)
        except XecError as found:
            error = found
        unfinished = _unfinished(targets, writer)
    total = time.perf_counter() - start
    stages = {
        "read": read.working - memory.waited,
        "infer": inferred.working - read.waited,
        "write": total - inferred.waited,
        "starved": read.waited,
        "total": total,
    }
    results = tuple(
        writer.results.get(item)
        or unfinished.get(item)
        or FileResult(item.path, None, "unfinished")
        for item in files
    )
    summary = InferenceSummary(
        results,
        job.describe(),
        stages,
        advice=writer.advise(stages),
        packed=statistics.packed() if len(files) == 1 else None,
        **statistics.to_dict(),
    )
    for line in (*summary.advice, statistics.warning()):
        if line is not None:
            logger.warning("%s", line)
    if error is None and stop and summary.of("unfinished"):
        error = Interrupted(
            f"stopped by {stop.reason}",
            fix="Finished files are complete; run the same command again to continue.",
        )
    if error is not None:
        if error.exit_code is ExitCode.PARTIAL:
            error.summary = summary
        raise error
    return summary


def batch_memory(job: Job, ahead: int) -> Channel[SensorArrays]:
    """Return memory for batches: one being filled, those waiting, those being inferred."""
    count = ahead + REQUESTS + 1
    memory: Channel[SensorArrays] = Channel(count)
    for _ in range(count):
        memory.put(SensorArrays.empty(job.request))
    return memory


def _unfinished(targets: Sequence[Target], writer: Writer) -> dict[InputFile, FileResult]:
    """Write what is still in memory, and count what there is to go on with."""
    found: dict[InputFile, FileResult] = {}
    for target in targets:
        for piece in target.pieces:
            item, spool = piece.item, piece.spool
            if item in writer.results:
                continue
            # A full disk may be why the work ended; the ledger has what came before.
            with suppress(XecError):
                spool.flush(synchronise=True)
            done = spool.next_entry - piece.entries[0]
            before = found[item].entries if item in found else 0
            found[item] = FileResult(
                item.path,
                str(target.path),
                "unfinished",
                before + done,
                resumed=spool.resumed,
            )
    return found
