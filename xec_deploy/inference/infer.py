"""The main job: files of raw events to files of physics numbers."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final, Literal

import numpy as np

from xec_deploy.backends import AUTO, Backend, RunOptions
from xec_deploy.bundle import Bundle, open_bundle
from xec_deploy.errors import InputError, UsageError, XecError
from xec_deploy.events import (
    Column,
    DeadChannels,
    EventFile,
    InputFile,
    ResultWriter,
    dead_channels,
    expand_inputs,
    open_events,
)
from xec_deploy.inference.columns import evaluate, result_columns
from xec_deploy.inference.conventional import CONVENTIONAL_COLUMNS, Conventional, conventional
from xec_deploy.inference.outputs import make_folder, plan_outputs
from xec_deploy.inference.provenance import (
    input_record,
    matches,
    now,
    read_provenance,
    recipe_record,
)
from xec_deploy.inference.status import Status

__all__ = ["DEFAULT_BATCH", "FileResult", "InferenceSummary", "infer"]

logger = logging.getLogger(__name__)

DEFAULT_BATCH: Final = 16
"""Small batches stay in the cache of a CPU."""

Outcome = Literal["done", "skipped", "failed"]
Rows = dict[str, Any]


@dataclass(frozen=True)
class FileResult:
    """What became of one input file."""

    input: str
    output: str | None
    outcome: Outcome
    entries: int = 0
    seconds: float = 0.0
    status_counts: dict[str, int] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class InferenceSummary:
    """What became of all input files."""

    files: tuple[FileResult, ...]

    def of(self, outcome: Outcome) -> tuple[FileResult, ...]:
        """Return the files with an outcome."""
        return tuple(file for file in self.files if file.outcome == outcome)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Job:
    """Everything that is the same for all files."""

    bundle: Bundle
    backend: Backend
    recipe: dict[str, Any]
    dead: DeadChannels
    keep: tuple[str, ...]
    conventional: Conventional | None
    batch: int
    branches: dict[str, str | None]
    force: bool
    progress: Callable[[int], Any]


def infer(
    bundle: Bundle | str | PathLike[str],
    inputs: Sequence[str | PathLike[str]] | str | PathLike[str],
    output: str | PathLike[str],
    *,
    backend: str = AUTO,
    device: str = "cpu",
    precision: str = "fp32",
    batch: int = DEFAULT_BATCH,
    threads: int | None = None,
    tree: str | None = None,
    npho_branch: str | None = None,
    time_branch: str | None = None,
    dead: str | None = None,
    keep: Sequence[str] = (),
    reco: str = "none",
    geometry: str | PathLike[str] | None = None,
    reco_constants: str | PathLike[str] | None = None,
    single: bool = False,
    force: bool = False,
    progress: Callable[[int], Any] | None = None,
) -> InferenceSummary:
    """Run a bundle over files of events and write one result file per input.

    Memory does not depend on the size of the input.  A file that cannot be used is recorded in
    the summary and the others finish; results get their name only when complete, with as many
    entries as the input.  Existing results of the same inputs, bundle and options are kept.

    Parameters
    ----------
    bundle
        Bundle or its path.
    inputs
        Files, globs, URLs, ``file.root:tree`` or ``@list``.
    output
        A ``.root`` file, or a folder for several inputs.
    backend, device, precision, threads
        Engine and how to run it.
    batch
        Events run at once.
    tree, npho_branch, time_branch
        Names in the files; detected if None.
    dead
        Source of dead channels, see :func:`xec_deploy.events.dead_channels`.
    keep
        Branches passed through.
    reco
        ``conventional`` for the conventional reconstruction beside the network's results, see
        :func:`xec_deploy.cpp.reconstruct`; ``none`` for the network alone.
    geometry, reco_constants
        Sensor table and file of constants for it, the design and the project's simulation by
        default.
    single
        Join the results of all inputs in one file.
    force
        Replace existing results.
    progress
        Called with the number of events after each batch.

    Raises
    ------
    UsageError, BundleError, CheckFailed
        If nothing can be run at all.
    """
    arguments = [inputs] if isinstance(inputs, str | PathLike) else list(inputs)
    files = expand_inputs(arguments, tree=tree)
    planned = plan_outputs(files, output, single=single)
    if batch < 1:
        raise UsageError(f"a batch of {batch} events", fix="Pass --batch 1 or more.")
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    beside = conventional(reco, geometry=geometry, constants=reco_constants, threads=threads)
    columns = {**result_columns(opened.manifest), **(CONVENTIONAL_COLUMNS if beside else {})}
    clash = [name for name in keep if name in columns]
    if clash:
        raise UsageError(
            f"--keep {clash[0]!r}: the results have a branch of that name already",
            fix="Leave it out of --keep.",
        )
    dead_source = dead_channels(dead)
    engine = opened.backend(
        backend, precision=precision, options=RunOptions(device=device, threads=threads)
    )
    job = _Job(
        bundle=opened,
        backend=engine,
        recipe=recipe_record(
            opened,
            engine,
            precision,
            dead_source,
            tuple(keep),
            batch,
            reco=beside.describe() if beside else None,
        ),
        dead=dead_source,
        keep=tuple(keep),
        conventional=beside,
        batch=batch,
        branches={"npho_branch": npho_branch, "time_branch": time_branch},
        force=force,
        progress=progress or (lambda _: None),
    )
    if single:
        return _infer_single(job, files, planned[0])
    return InferenceSummary(
        tuple(_infer_file(job, item, path) for item, path in zip(files, planned, strict=True))
    )


def _infer_file(job: _Job, item: InputFile, path: Path) -> FileResult:
    """Process one file to its own output."""
    started, start = now(), time.perf_counter()
    counts: dict[str, int] = {}
    try:
        with _open(job, item) as events:
            source = input_record(events)
            if path.exists() and not job.force:
                return _existing(job, item, path, source)
            columns = _columns(job, events)
            make_folder(path)
            with ResultWriter(path, columns) as writer:
                for rows in _rows(job, events, counts):
                    writer.extend(rows)
                provenance = _provenance(job, [source], started)
                writer.commit(provenance, expected_entries=events.num_entries)
            entries = events.num_entries
    except (InputError, UsageError) as error:
        # Not only a bad input: the other files finish as well if the dead-channel file of one run
        # or one output cannot be used.
        return _failed(item, error)
    seconds = time.perf_counter() - start
    return FileResult(item.path, str(path), "done", entries, seconds, counts)


def _infer_single(job: _Job, files: Sequence[InputFile], path: Path) -> InferenceSummary:
    """Process all files to one output; a bad file contributes nothing."""
    if path.exists() and not job.force:
        return _existing_single(job, files, path)
    started = now()
    results: list[FileResult] = []
    sources: list[dict[str, Any]] = []
    with ExitStack() as stack:
        writer: ResultWriter | None = None
        empty: dict[str, Column] | None = None
        total = 0
        for item in files:
            start = time.perf_counter()
            counts: dict[str, int] = {}
            try:
                with _open(job, item) as events:
                    columns, source = _columns(job, events), input_record(events)
                    entries = events.num_entries
                    if writer is not None and entries:
                        _check_kept(columns, writer.columns, events.path)
                    # Complete before the first row is written: a file that breaks half way must
                    # not leave half of its entries behind.  On disk, because kept branches may
                    # be as large as the input.
                    spool = stack.enter_context(TemporaryFile())
                    parts = _spool(_rows(job, events, counts), columns, spool)
            except (InputError, UsageError) as error:
                results.append(_failed(item, error))
                continue
            # A file without events knows the length of a vector branch no better than we do.
            empty = empty or columns
            if writer is None and entries:
                make_folder(path)
                writer = stack.enter_context(ResultWriter(path, columns))
            for part in _unspool(spool, columns, parts):
                assert writer is not None  # noqa: S101 - a file with rows has made it
                writer.extend(part)
            spool.close()
            total += entries
            sources.append(source)
            seconds = time.perf_counter() - start
            results.append(FileResult(item.path, str(path), "done", entries, seconds, counts))
        if writer is None and empty is not None:
            make_folder(path)
            writer = stack.enter_context(ResultWriter(path, empty))
        if writer is not None:
            writer.commit(_provenance(job, sources, started), expected_entries=total)
    return InferenceSummary(tuple(results))


def _failed(item: InputFile, error: XecError) -> FileResult:
    """Report an input that cannot be used; the others go on."""
    # A sentence for the user, not a traceback.
    logger.error("%s", error)
    return FileResult(item.path, None, "failed", error=str(error))


def _open(job: _Job, item: InputFile) -> EventFile:
    return open_events(item, keep=job.keep, dead=job.dead, **job.branches)


def _columns(job: _Job, events: EventFile) -> dict[str, Column]:
    kept = {name: Column(dtype, None, shape) for name, (dtype, shape) in events.kept.items()}
    beside = CONVENTIONAL_COLUMNS if job.conventional else {}
    return {**result_columns(job.bundle.manifest), **beside, **kept}


def _check_kept(columns: Mapping[str, Column], first: Mapping[str, Column], where: str) -> None:
    """Refuse kept branches that do not fit those of the first file."""
    for name, column in columns.items():
        expected = first[name]
        if column.shape != expected.shape or not np.can_cast(
            column.element, expected.element, "same_kind"
        ):
            raise InputError(
                f"--keep {name!r} is {_kind(column)}, in the first file {_kind(expected)}",
                where=where,
                fix="Leave it out of --keep, or infer the files one by one.",
            )


def _kind(column: Column) -> str:
    return f"{np.dtype(column.dtype).name}{list(column.shape) if column.shape else ''}"


def _spool(rows: Iterator[Rows], names: Iterable[str], file: IO[bytes]) -> int:
    """Write rows to a temporary file; return in how many parts."""
    count, ordered = 0, list(names)
    for part in rows:
        count += 1
        for name in ordered:
            np.save(file, part[name])
    file.seek(0)
    return count


def _unspool(file: IO[bytes], names: Iterable[str], parts: int) -> Iterator[Rows]:
    ordered = list(names)
    for _ in range(parts):
        yield {name: np.load(file) for name in ordered}


def _rows(job: _Job, events: EventFile, counts: dict[str, int]) -> Iterator[Rows]:
    for batch in events.batches(job.batch):
        rows = evaluate(job.bundle.manifest, job.backend, batch)
        for flag in Status:
            found = int(np.count_nonzero(rows["status"] & flag))
            if found:
                name = flag.name or str(int(flag))
                counts[name] = counts.get(name, 0) + found
        beside = job.conventional.rows(batch) if job.conventional else {}
        yield {**rows, **beside, **batch.extra}
        job.progress(len(batch))


def _existing(job: _Job, item: InputFile, path: Path, source: dict[str, Any]) -> FileResult:
    existing = read_provenance(path)
    if existing is not None and matches(existing, job.recipe, [source]):
        logger.info("%s: finished before with the same bundle and options, kept", path)
        return FileResult(item.path, str(path), "skipped", source["entries"])
    raise InputError(
        "the output exists and was made from another input, bundle or options",
        where=str(path),
        fix="Pass --force to replace it, or choose another output.",
    )


def _existing_single(job: _Job, files: Sequence[InputFile], path: Path) -> InferenceSummary:
    """Keep joined results if they were made of the same inputs."""
    results: list[FileResult] = []
    sources: list[dict[str, Any]] = []
    for item in files:
        try:
            with _open(job, item) as events:
                sources.append(input_record(events))
        except (InputError, UsageError) as error:
            results.append(_failed(item, error))
            continue
        entries = sources[-1]["entries"]
        results.append(FileResult(item.path, str(path), "skipped", entries))
    existing = read_provenance(path)
    if existing is not None and matches(existing, job.recipe, sources):
        return InferenceSummary(tuple(results))
    raise UsageError(
        "the output exists and was made from other inputs, bundle or options",
        where=str(path),
        fix="Pass --force to replace it, or choose another output.",
    )


def _provenance(job: _Job, sources: list[dict[str, Any]], started: str) -> dict[str, Any]:
    inputs = {"input": sources[0]} if len(sources) == 1 else {"inputs": sources}
    return {
        **job.recipe,
        **inputs,
        "command": sys.argv,
        "started": started,
        "finished": now(),
    }
