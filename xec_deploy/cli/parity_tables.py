"""A parity report as tables on a terminal."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xec_deploy.parity import (
    BitComparison,
    Comparison,
    MacroComparison,
    ParityReport,
    Repeat,
    WorstEvent,
)
from xec_deploy.parity.summary import RowSummary, missing_rows, summarise

__all__ = ["print_report"]


def print_report(console: Console, report: ParityReport) -> None:
    """Print every quantity, the repetitions, and at the end a line for each engine."""
    for chosen in report.event_sets:
        error = chosen.reference_error
        checked = "" if error is None else f", itself {error:.1e} sigma from the golden events"
        console.print(
            Text(f"{chosen.name}: {chosen.events} events; reference {chosen.reference}{checked}")
        )
    console.print()
    _print_comparisons(console, report.comparisons)
    if report.repeats:
        console.print()
        _print_repeats(console, report.repeats)
    if report.preprocessing:
        console.print()
        _print_preprocessing(console, report.preprocessing)
    if report.macro:
        console.print()
        _print_macro(console, report.macro)
    console.print()
    _print_summary(console, summarise(report))
    for missing in missing_rows(report.not_run):
        mark = Text("failed  ", "red") if missing.failed else Text("not run ", "yellow")
        console.print(mark + Text(str(missing)))
    verdict = Text("passed", "green") if report.passed else Text("failed", "red")
    gates = report.gates
    source = "" if gates.source == "xec-deploy" else f" with {gates.source}"
    console.print(Text(f"gates version {gates.version}{source}: ") + verdict)


def _print_comparisons(console: Console, comparisons: tuple[Comparison, ...]) -> None:
    def subject(part: Comparison) -> tuple[str, str, str, str, str]:
        return part.engine, part.version, part.device, part.precision, part.event_set

    for (engine, version, device, precision, events), parts in groupby(comparisons, key=subject):
        rows = list(parts)
        where = "" if device == "cpu" else f" on {device}"
        console.print(
            Text.assemble(
                (f"{engine} {precision}", "bold"),
                f"{where} ({version}) on {rows[0].events} {events} events, "
                f"gate {rows[0].gate:g} sigma",
            )
        )
        table = Table(
            "quantity",
            *("bias", "p50", "p99", "max"),
            "unit",
            "spread/sigma",
            "bias/sigma",
            "verdict",
            "worst event",
            box=None,
            pad_edge=False,
        )
        for part in rows:
            figures = (part.bias, part.p50, part.p99, part.maximum)
            table.add_row(
                part.quantity,
                *(f"{value:.2g}" for value in figures),
                part.unit or "1",
                f"{part.relative_spread:.2g}",
                f"{part.relative_bias:.2g}",
                _verdict(part),
                _label(part.worst[0]) if part.worst else Text(""),
            )
        console.print(table)
    if any(part.assumed_resolution for part in comparisons):
        console.print(
            "A quantity without a detector resolution is measured on a scale on which the fp32 "
            "gate is a relative difference of 1e-5."
        )


def _print_repeats(console: Console, repeats: tuple[Repeat, ...]) -> None:
    table = Table(
        "the same events once more",
        *("how", "events", "other bits", "largest/sigma", "of", "gate", "verdict"),
        box=None,
        pad_edge=False,
    )
    previous = None
    for part in repeats:
        name = _name(part)
        table.add_row(
            "" if name == previous else name,
            part.variant,
            str(part.events),
            str(part.other_bits),
            f"{part.largest:.2g}",
            part.quantity or "",
            f"{part.gate:g}",
            _verdict(part),
        )
        previous = name
    console.print(table)


def _print_summary(console: Console, rows: tuple[RowSummary, ...]) -> None:
    table = Table(
        "in detector sigma",
        *("spread", "of", "bias", "of", "largest", "of", "gate"),
        *("other batches", "opened again", "verdict"),
        box=None,
        pad_edge=False,
    )
    for row in rows:
        spread, bias, largest = row.spread, row.bias, row.maximum
        table.add_row(
            Text(_name(row), "bold"),
            *(f"{spread.relative_spread:.2g}", spread.quantity),
            *(f"{bias.relative_bias:.2g}", bias.quantity),
            *(f"{largest.maximum / largest.resolution:.2g}", largest.quantity),
            f"{row.gate:g}",
            _repeated(row.repeat("batch")),
            _repeated(row.repeat("rebuild")),
            Text("ok", "green") if row.passed else Text("failed", "red"),
        )
    console.print(table)


def _name(part: RowSummary | Repeat) -> str:
    where = "" if part.device == "cpu" else f" on {part.device}"
    return f"{part.engine} {part.precision}{where}"


def _repeated(part: Repeat | None) -> str:
    if part is None:
        return "not looked at"
    return "same bits" if part.bit_equal else f"{part.largest:.2g}"


def _verdict(part: Comparison | Repeat | BitComparison | MacroComparison) -> Text:
    if isinstance(part, Comparison | Repeat) and part.one_sided:
        return Text(f"failed: {part.one_sided} events not a number in one only", "red")
    return Text("ok", "green") if part.passed else Text("failed", "red")


def _label(event: WorstEvent) -> Text:
    if event.run is None:
        return Text(f"golden event {event.entry}")
    return Text(f"run {event.run} event {event.event} ({Path(event.source).name})")


def _print_preprocessing(console: Console, parts: tuple[BitComparison, ...]) -> None:
    table = Table("C++ preprocessing", "values", "other bits", "verdict", box=None, pad_edge=False)
    for part in parts:
        where = "" if part.first is None else f", first at {part.first}"
        table.add_row(part.inputs, str(part.values), f"{part.different}{where}", _verdict(part))
    console.print(table)


def _print_macro(console: Console, parts: tuple[MacroComparison, ...]) -> None:
    table = Table(
        "C++ fit less the macro's",
        *("values", "p50", "p99", "max", "unit", "tolerance"),
        *("within", "as good", "failed", "verdict"),
        box=None,
        pad_edge=False,
    )
    for part in parts:
        figures = (part.p50, part.p99, part.maximum)
        table.add_row(
            part.quantity,
            str(part.values),
            *(f"{value:.2g}" for value in figures),
            part.unit or "1",
            f"{part.tolerance:g}",
            *(str(count) for count in (part.within, part.better, part.failed)),
            _verdict(part),
        )
    console.print(table)
