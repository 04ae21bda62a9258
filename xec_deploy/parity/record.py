"""A report's figures as proofs in the bundle, for `infer --precision auto`."""

from __future__ import annotations

from pathlib import Path

from xec_deploy.backends import BACKENDS
from xec_deploy.bundle import Bundle
from xec_deploy.bundle.proofs import Figure, Proof, record_proofs
from xec_deploy.errors import UsageError
from xec_deploy.parity.measurement import MeasuredRow, Measurement
from xec_deploy.parity.report import ParityReport

__all__ = ["record_parity"]


def record_parity(bundle: Bundle, measurement: Measurement, report: ParityReport) -> Path:
    """Write the figures of every engine that ``infer`` can choose into the bundle.

    Passed or failed: what failed is not to be tried again by measuring its speed.

    Parameters
    ----------
    bundle
        A folder.
    measurement, report
        What was measured on this bundle, and the figures made of it.

    Raises
    ------
    UsageError
        If the bundle is a lone file, is another one, or nothing was measured that can be chosen.
    OutputError
        If it cannot be written.
    """
    if not bundle.path.is_dir():
        raise UsageError(
            "parity is recorded in a bundle", where=str(bundle.path), fix="Pass a folder NAME.xec."
        )
    present = [record.canonical_sha256 for record in bundle.manifest.graphs.values()]
    proofs = [
        _proof(row, row.graph_sha256, report)
        for row in measurement.rows
        if row.engine in BACKENDS and row.graph_sha256 is not None and row.graph_sha256 in present
    ]
    if not proofs:
        other = any(row.engine in BACKENDS and row.graph_sha256 for row in measurement.rows)
        raise UsageError(
            f"the graphs that were compared are those of {measurement.path}, not of this bundle"
            if other
            else "nothing was compared that infer could choose",
            where=str(bundle.path),
            fix="Compare graphs of this bundle in engines of infer: leave --against out.",
        )
    return record_proofs(bundle.path, proofs, present)


def _proof(row: MeasuredRow, graph: str, report: ParityReport) -> Proof:
    key = (row.engine, row.device, row.precision)
    figures = [
        Figure(
            event_set=part.event_set,
            quantity=part.quantity,
            events=part.events,
            one_sided=part.one_sided,
            spread=part.relative_spread,
            bias=part.relative_bias,
        )
        for part in report.comparisons
        if (part.engine, part.device, part.precision) == key
    ]
    repeats = [p for p in report.repeats if (p.engine, p.device, p.precision) == key]
    lost = any(part.one_sided for part in repeats) or any(
        part.failed for part in report.not_run if (part.engine, part.device, part.precision) == key
    )
    facts = report.provenance or {}
    return Proof(
        engine=row.engine,
        version=row.version,
        device=row.device.partition(":")[0],
        arithmetic=row.arithmetic,
        precision=row.precision,
        graph_sha256=graph,
        figures=tuple(figures),
        repeats=None if lost else max((part.largest for part in repeats), default=None),
        measured={
            "made": facts.get("made"),
            "version": facts.get("versions", {}).get("xec-deploy"),
            "files": {
                Path(source).name: checksum
                for events in report.event_sets
                for source, checksum in zip(events.sources, events.checksums, strict=True)
            },
        },
    )
