"""The page of a comparison: one file, plots inside, nothing loaded from elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

from xec_deploy.errors import OutputError
from xec_deploy.parity.figures import draw_parity
from xec_deploy.parity.measurement import Measurement
from xec_deploy.parity.report import ParityReport
from xec_deploy.parity.results import Comparison, Repeat, WorstEvent
from xec_deploy.parity.summary import RowSummary, missing_rows, summarise
from xec_deploy.report.page import flatten, render_template
from xec_deploy.report.style import plot_style
from xec_deploy.whole_file import write_whole

__all__ = ["write_page"]

TEMPLATE: Final = "parity.html.j2"
MINUS: Final = "\N{MINUS SIGN}"
TIMES: Final = "\N{MULTIPLICATION SIGN}"
SUPERSCRIPT: Final = {
    # Of the block of superscripts, three are where Latin-1 had them.
    "-": "\u207b",
    **{str(n): chr(0x2070 + n) for n in range(10)},
    "1": "\u00b9",
    "2": "\u00b2",
    "3": "\u00b3",
}


def write_page(report: ParityReport, measurement: Measurement, path: str | PathLike[str]) -> Path:
    """Write the page of a report.

    Parameters
    ----------
    report, measurement
        Verdicts, and the differences they are made of.
    path
        The HTML file.

    Raises
    ------
    MissingExtra
        If matplotlib or jinja2 is not installed.
    OutputError
        If it cannot be written.
    """
    rows = summarise(report)
    with tempfile.TemporaryDirectory(prefix="xec-parity-") as folder, plot_style():
        figures = list(draw_parity(report, measurement, Path(folder)))
        text = render_template(
            "xec_deploy.parity",
            TEMPLATE,
            figures,
            report=report,
            rows=[_row(row) for row in rows],
            worst=list(_worst_events(rows)),
            details=[_detail(row) for row in rows],
            missing=missing_rows(report.not_run),
            provenance=list(_provenance(report)),
            number=number,
        )
    target = Path(path)
    try:
        write_whole(target, text.encode())
    except OSError as error:
        raise OutputError(
            f"the page cannot be written ({error.strerror})", where=str(path)
        ) from error
    return target


def number(value: float) -> str:
    """Format a figure to two digits, as people write it, with a raised exponent."""
    text = f"{value:.2g}"
    mantissa, _, exponent = text.partition("e")
    if exponent:
        text = f"{mantissa} {TIMES} 10{''.join(SUPERSCRIPT[c] for c in str(int(exponent)))}"
    return text.replace("-", MINUS)


def _row(row: RowSummary) -> dict[str, Any]:
    spread, bias, largest = row.spread, row.bias, row.maximum
    return {
        "name": _name(row),
        "version": row.version,
        "spread": number(spread.relative_spread),
        "spread_of": spread.quantity,
        "bias": number(bias.relative_bias),
        "bias_of": bias.quantity,
        "largest": number(largest.maximum / largest.resolution),
        "largest_of": largest.quantity,
        "gate": f"{row.gate:g}",
        "share": max(spread.relative_spread, abs(bias.relative_bias)) / row.gate,
        "batch": _repeated(row.repeat("batch")),
        "rebuild": _repeated(row.repeat("rebuild")),
        "passed": row.passed,
    }


def _repeated(part: Repeat | None) -> str:
    if part is None:
        return "not looked at"
    return "same bits" if part.bit_equal else number(part.largest)


def _worst_events(rows: Sequence[RowSummary]) -> Iterator[dict[str, Any]]:
    """Yield, for each row, the events farthest off in the quantity that is farthest off."""
    for row in rows:
        sets = dict.fromkeys(part.event_set for part in row.comparisons)
        for name in sets:
            parts = [part for part in row.comparisons if part.event_set == name]
            part = max(parts, key=lambda one: one.maximum / one.resolution)
            yield {
                "row": _name(row),
                "set": name,
                "quantity": part.quantity,
                "events": [
                    {
                        "label": _label(event),
                        "difference": f"{number(event.difference)} {part.unit or ''}".strip(),
                        "relative": number(event.difference / part.resolution),
                    }
                    for event in part.worst
                ],
            }


def _detail(row: RowSummary) -> dict[str, Any]:
    sets = dict.fromkeys(part.event_set for part in row.comparisons)
    return {
        "name": _name(row),
        "passed": row.passed,
        "sets": [
            {
                "name": name,
                "parts": [_figures(p) for p in row.comparisons if p.event_set == name],
            }
            for name in sets
        ],
        "repeats": [
            {
                "variant": part.variant,
                "events": part.events,
                "other_bits": part.other_bits,
                "largest": number(part.largest),
                "where": "" if part.worst is None else f"{part.quantity} of {_label(part.worst)}",
                "gate": f"{part.gate:g}",
                "passed": part.passed,
            }
            for part in row.repeats
        ],
    }


def _figures(part: Comparison) -> dict[str, Any]:
    return {
        "quantity": part.quantity,
        "unit": part.unit or "",
        "bias": number(part.bias),
        "p50": number(part.p50),
        "p99": number(part.p99),
        "maximum": number(part.maximum),
        "spread": number(part.relative_spread),
        "relative_bias": number(part.relative_bias),
        "events": part.events,
        "one_sided": part.one_sided,
        "passed": part.passed,
        "worst": _label(part.worst[0]) if part.worst else "",
    }


def _provenance(report: ParityReport) -> Iterator[tuple[str, str]]:
    yield "bundle", report.path
    yield from flatten(report.bundle, "bundle.")
    for events in report.event_sets:
        for source, checksum in zip(events.sources, events.checksums, strict=True):
            yield f"{events.name} events", f"{source} ({checksum or 'no checksum'})"
    facts = dict(report.provenance or {})
    engines = facts.pop("engines", [])
    yield from flatten(facts)
    for engine in engines:
        settings = ", ".join(
            f"{key} {value}"
            for key, value in engine["settings"].items()
            if key not in {"name", "version", "device"}
        )
        name = f"{engine['engine']} {engine['precision']}"
        graph = engine["graph_sha256"] or "checkpoint"
        yield name, f"{engine['version']} on {engine['device']}; {settings}; graph {graph[:16]}"


def _name(row: RowSummary) -> str:
    where = "" if row.device == "cpu" else f" on {row.device}"
    return f"{row.engine} {row.precision}{where}"


def _label(event: WorstEvent) -> str:
    if event.run is None:
        return f"golden event {event.entry}"
    return f"run {event.run} event {event.event} ({Path(event.source).name}, entry {event.entry})"
