"""Parity of a bundle: every engine against float64, on golden and on measured events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, Final

from xec_deploy.backends.cores import arithmetic_of
from xec_deploy.bundle import Bundle, open_bundle
from xec_deploy.detector import GeometryLike
from xec_deploy.errors import UsageError, XecError
from xec_deploy.events import file_checksum
from xec_deploy.events.failures import is_url
from xec_deploy.gates import Gates, load_gates
from xec_deploy.parity.engines import CPP, Subject, Wanted, open_subject
from xec_deploy.parity.events import ParityEvents, golden_events, read_events
from xec_deploy.parity.macro import measure_macro
from xec_deploy.parity.measurement import MeasuredEvents, MeasuredRow, Measurement
from xec_deploy.parity.metrics import Outputs, differences, quantities, reference_values
from xec_deploy.parity.preprocessing import compare_preprocessing
from xec_deploy.parity.provenance import measured_here
from xec_deploy.parity.reference import graph_reference, torch_reference
from xec_deploy.parity.repeats import BATCH, Base, repeat_batches, repeat_opening, run_events
from xec_deploy.parity.report import ParityReport, judge
from xec_deploy.parity.results import EventSet, NotRun, Repeat
from xec_deploy.parity.rows import plan_rows, sentence

__all__ = ["DEFAULT_EVENTS", "check_parity", "measure_parity"]

DEFAULT_EVENTS: Final = 64
"""Measured events compared; the reference is slow."""

Tell = Callable[[int], Any]


def check_parity(
    bundle: Bundle | str | PathLike[str],
    *,
    gates: Gates | None = None,
    **options: Any,
) -> ParityReport:
    """Compare engines with float64 on the same raw events, and judge what comes out.

    Parameters
    ----------
    bundle
        Bundle or its path.
    gates
        What to judge by; None for the package's.
    options
        Those of :func:`measure_parity`, with its errors.
    """
    return judge(measure_parity(bundle, **options), gates or load_gates())


def measure_parity(
    bundle: Bundle | str | PathLike[str],
    *,
    data: Sequence[str] = (),
    against: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    device: str | None = None,
    checkpoint: str | PathLike[str] | None = None,
    macro: str | PathLike[str] | None = None,
    geometry: GeometryLike | None = None,
    events: int = DEFAULT_EVENTS,
    repeats: bool = True,
    progress: Tell | None = None,
) -> Measurement:
    """Compare engines with float64 on the same raw events.

    The reference of the golden events is torch in float64, computed on export.  That of ``data``
    is the checkpoint in float64 where one is given, else the bundle's fp32 graph evaluated in
    float64; either must reproduce the golden events.

    Parameters
    ----------
    bundle
        Bundle or its path.
    data
        Files of events.
    against
        Engines, see :data:`~xec_deploy.parity.engines.ENGINES`; None for all that are here but
        torch, which needs ``checkpoint``.
    precisions
        See :func:`~xec_deploy.parity.rows.plan_rows`; None for the bundle's graphs.
    device
        ``cpu`` or ``cuda``; None for both.
    checkpoint
        The file the bundle was exported from.
    macro
        Events and results of the experiment's position fit, see
        :func:`~xec_deploy.parity.macro.measure_macro`: the C++ fit is compared too.
    geometry
        The geometry the macro ran with; None for the design.
    events
        Events of ``data`` to compare.
    repeats
        Whether events are run again in other batches and through engines opened anew.
    progress
        Called with the number of events that the reference or an engine has just done.

    Raises
    ------
    UsageError, InputError, BundleError, MissingExtra
        If there is nothing to compare, or something cannot be used.
    CheckFailed
        If the reference does not reproduce the golden events.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    tell = progress or (lambda _: None)
    if events < 1:
        raise UsageError(f"{events} events to compare", fix="Pass --events 1 or more.")
    named = tuple(dict.fromkeys(against)) if against else None
    if macro is not None and named is not None and CPP not in named:
        raise UsageError(
            "the macro's fits are compared with the C++ ones", fix="Add cpp to --against."
        )
    # Engines first: a name that is wrong should not wait for the reference.
    planned, absent = plan_rows(opened, named, precisions, device, checkpoint)
    loaded, refused = _open_all(opened, planned, checkpoint, named)
    sets = list(_event_sets(opened, data, checkpoint, events, tell))
    rows: list[MeasuredRow] = []
    again: list[Repeat] = []
    for wanted, subject in loaded:
        try:
            outputs = [run_events(subject.run, part, tell) for part, _, _ in sets]
        except Exception as error:  # noqa: BLE001 - engines raise what they like
            refused.append(_failure(wanted, error))
            continue
        rows.append(_row(subject, sets, outputs))
        if repeats:
            found, missing = _repeat(wanted, subject, opened, checkpoint, sets, outputs, tell)
            again += found
            refused += missing
    with_cpp = any(row.engine == CPP for row in rows)
    arrays = {measured.facts.name: part for part, measured, _ in sets}
    return Measurement(
        path=str(opened.path),
        bundle=opened.identity,
        event_sets=tuple(measured for _, measured, _ in sets),
        rows=tuple(rows),
        repeats=tuple(again),
        preprocessing=compare_preprocessing(opened.manifest.normalisation, arrays, allowed=0)
        if with_cpp
        else (),
        macro=None if macro is None else measure_macro(macro, geometry),
        not_run=(*absent, *refused),
        provenance=measured_here(),
    )


EventsWithReference = tuple[ParityEvents, MeasuredEvents, Outputs]


def _open_all(
    bundle: Bundle,
    planned: Sequence[Wanted],
    checkpoint: str | PathLike[str] | None,
    named: Sequence[str] | None,
) -> tuple[list[tuple[Wanted, Subject]], list[NotRun]]:
    """Load every row; one that cannot be loaded is said to be missing."""
    loaded: list[tuple[Wanted, Subject]] = []
    refused: list[tuple[Wanted, XecError]] = []
    for wanted in planned:
        try:
            loaded.append((wanted, open_subject(wanted, bundle, checkpoint, batch=BATCH)))
        except XecError as error:
            refused.append((wanted, error))
    running = {wanted.engine for wanted, _ in loaded}
    for wanted, problem in refused:
        # An engine that was asked for and can do nothing at all is no row to be overlooked.
        if not running or (named is not None and wanted.engine not in running):
            raise problem
    return loaded, [
        NotRun(wanted.engine, wanted.device, wanted.precision, sentence(problem))
        for wanted, problem in refused
    ]


def _failure(wanted: Wanted, error: Exception) -> NotRun:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return NotRun(wanted.engine, wanted.device, wanted.precision, f"it failed ({reason})", True)


def _row(
    subject: Subject, sets: Sequence[EventsWithReference], outputs: Sequence[Outputs]
) -> MeasuredRow:
    return MeasuredRow(
        engine=subject.engine,
        version=subject.version,
        device=subject.device,
        precision=subject.precision,
        graph_sha256=subject.graph_hash(),
        arithmetic=arithmetic_of(subject.device),
        settings=subject.settings,
        differences={
            measured.facts.name: differences(measured.quantities, reference, values)
            for (_, measured, reference), values in zip(sets, outputs, strict=True)
        },
    )


def _repeat(
    wanted: Wanted,
    subject: Subject,
    bundle: Bundle,
    checkpoint: str | PathLike[str] | None,
    sets: Sequence[EventsWithReference],
    outputs: Sequence[Outputs],
    tell: Tell,
) -> tuple[list[Repeat], list[NotRun]]:
    base = Base.of([part for part, _, _ in sets], [m.quantities for _, m, _ in sets], outputs)
    found: list[Repeat] = []
    missing: list[NotRun] = []
    for repeat in (repeat_batches, repeat_opening):
        try:
            for one in repeat(wanted, subject, base, bundle, checkpoint, tell):
                (found if isinstance(one, Repeat) else missing).append(one)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - engines raise what they like
            missing.append(_failure(wanted, error))
    return found, missing


def _event_sets(
    bundle: Bundle,
    data: Sequence[str],
    checkpoint: str | PathLike[str] | None,
    limit: int,
    tell: Tell,
) -> Iterator[EventsWithReference]:
    """Yield events, what to say of them, and their reference results."""
    if bundle.golden is None and not data:
        raise UsageError(
            "a lone ONNX file has no golden events",
            where=str(bundle.path),
            fix="Pass events with --data, or a bundle folder.",
        )
    if bundle.golden is not None:
        events = golden_events(bundle.golden)
        yield _with_reference(
            bundle, "golden", events, bundle.golden.outputs, "torch in float64", None
        )
    if data:
        measured = read_events(data, limit)
        reference = (
            graph_reference(bundle) if checkpoint is None else torch_reference(bundle, checkpoint)
        )
        outputs = reference.run(measured, tell)
        yield _with_reference(
            bundle, "data", measured, outputs, reference.description, reference.error
        )


def _with_reference(
    bundle: Bundle,
    name: str,
    events: ParityEvents,
    outputs: Outputs,
    description: str,
    error: float | None,
) -> EventsWithReference:
    golden = name == "golden"
    checksums = (
        (bundle.manifest.golden_sha256,)
        if golden
        else tuple(None if is_url(path) else file_checksum(path) for path in events.sources)
    )
    facts = EventSet(name, events.sources, checksums, len(events), description, error)
    wanted = quantities(bundle.manifest, outputs)
    values = reference_values(wanted, outputs)
    return events, MeasuredEvents(facts, events.labels, wanted, values), outputs
