"""Parity of a bundle: every engine against float64, on golden and on measured events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.bundle import Bundle, open_bundle
from xec_deploy.detector import GeometryLike
from xec_deploy.errors import UsageError
from xec_deploy.gates import load_gates
from xec_deploy.parity.engines import CPP, Subject, default_engines, open_subject
from xec_deploy.parity.events import ParityEvents, golden_events, read_events
from xec_deploy.parity.macro import compare_with_macro
from xec_deploy.parity.metrics import compare
from xec_deploy.parity.preprocessing import compare_preprocessing
from xec_deploy.parity.reference import graph_reference, torch_reference
from xec_deploy.parity.results import Comparison, EventSet, ParityReport

__all__ = ["DEFAULT_EVENTS", "check_parity"]

DEFAULT_EVENTS: Final = 64
"""Measured events compared; the reference is slow."""
BATCH: Final = 16

References = dict[str, dict[str, NDArray[np.float64]]]


def check_parity(
    bundle: Bundle | str | PathLike[str],
    *,
    data: Sequence[str] = (),
    against: Sequence[str] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    macro: str | PathLike[str] | None = None,
    geometry: GeometryLike | None = None,
    events: int = DEFAULT_EVENTS,
    progress: Callable[[int], Any] | None = None,
) -> ParityReport:
    """Compare engines with float64 on the same raw events.

    The reference of the golden events is torch in float64, computed on export.  That of ``data``
    is the checkpoint in float64 where one is given, else the bundle's fp32 graph evaluated in
    float64; either must reproduce the golden events.

    Parameters
    ----------
    bundle
        Bundle or its path; all its precisions are compared.
    data
        Files of events.
    against
        Engines, see :data:`~xec_deploy.parity.engines.ENGINES`; None for all but torch, which
        needs ``checkpoint``.
    checkpoint
        The file the bundle was exported from.
    macro
        Events and results of the experiment's position fit, see
        :func:`~xec_deploy.parity.macro.compare_with_macro`: the C++ fit is compared too.
    geometry
        The geometry the macro ran with; None for the design.
    events
        Events of ``data`` to compare.
    progress
        Called with the number of events the reference has just done.

    Raises
    ------
    UsageError, InputError, BundleError, MissingExtra
        If there is nothing to compare, or something cannot be used.
    CheckFailed
        If the reference does not reproduce the golden events.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    if events < 1:
        raise UsageError(f"{events} events to compare", fix="Pass --events 1 or more.")
    engines = tuple(dict.fromkeys(against)) if against else default_engines(checkpoint)
    if macro is not None and CPP not in engines:
        raise UsageError(
            "the macro's fits are compared with the C++ ones", fix="Add cpp to --against."
        )
    # Engines first: a name that is wrong should not wait for the reference.
    subjects = list(_subjects(opened, engines, checkpoint))
    sets, references, facts = _event_sets(opened, data, checkpoint, events, progress)
    comparisons = [
        comparison
        for subject in subjects
        for name, chosen in sets.items()
        for comparison in _compare(opened, subject, name, chosen, references)
    ]
    gates = load_gates()
    preprocessing = (
        compare_preprocessing(opened.manifest.normalisation, sets, allowed=gates.preprocessing)
        if CPP in engines
        else ()
    )
    fits = () if macro is None else compare_with_macro(macro, geometry, gates.macro)
    return ParityReport(
        path=str(opened.path),
        bundle=opened.identity,
        gates_version=gates.version,
        event_sets=facts,
        comparisons=tuple(comparisons),
        preprocessing=preprocessing,
        macro=fits,
    )


def _subjects(
    bundle: Bundle, engines: Sequence[str], checkpoint: str | PathLike[str] | None
) -> Iterator[Subject]:
    for engine in engines:
        for precision in bundle.manifest.graphs or ("fp32",):
            subject = open_subject(engine, bundle, precision, checkpoint)
            if subject is not None:
                yield subject


def _event_sets(
    bundle: Bundle,
    data: Sequence[str],
    checkpoint: str | PathLike[str] | None,
    limit: int,
    progress: Callable[[int], Any] | None,
) -> tuple[dict[str, ParityEvents], References, tuple[EventSet, ...]]:
    """Return events, their reference results, and what to say of both."""
    sets: dict[str, ParityEvents] = {}
    references: References = {}
    facts: list[EventSet] = []
    if bundle.golden is not None:
        sets["golden"] = golden_events(bundle.golden)
        references["golden"] = bundle.golden.outputs
        facts.append(
            EventSet("golden", sets["golden"].sources, len(bundle.golden), "torch in float64")
        )
    if data:
        measured = sets["data"] = read_events(data, limit)
        reference = (
            graph_reference(bundle) if checkpoint is None else torch_reference(bundle, checkpoint)
        )
        references["data"] = reference.run(measured, progress or (lambda _: None))
        facts.append(
            EventSet(
                "data", measured.sources, len(measured), reference.description, reference.error
            )
        )
    if not sets:
        raise UsageError(
            "a lone ONNX file has no golden events",
            where=str(bundle.path),
            fix="Pass events with --data, or a bundle folder.",
        )
    return sets, references, tuple(facts)


def _compare(
    bundle: Bundle, subject: Subject, name: str, events: ParityEvents, references: References
) -> tuple[Comparison, ...]:
    parts = [
        subject.run(events.npho[rows], events.time[rows], events.dead[rows])
        for rows in (slice(first, first + BATCH) for first in range(0, len(events), BATCH))
    ]
    outputs = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return compare(
        bundle.manifest,
        references[name],
        outputs,
        events.labels,
        engine=subject.engine,
        version=subject.version,
        device=subject.device,
        precision=subject.precision,
        event_set=name,
        gate=load_gates().of(subject.precision),
    )
