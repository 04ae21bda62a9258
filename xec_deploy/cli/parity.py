"""``xec-deploy parity``."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xec_deploy.cli.console import output_console
from xec_deploy.cli.progress import progress_of
from xec_deploy.errors import ExitCode
from xec_deploy.parity import (
    DEFAULT_EVENTS,
    ENGINES,
    BitComparison,
    Comparison,
    MacroComparison,
    ParityReport,
    WorstEvent,
    check_parity,
)

__all__ = ["parity"]


@click.command(epilog="Example: xec-deploy parity compact.xec --data run430000.root --against cpp")
@click.argument("bundle", metavar="B.xec")
@click.option(
    "--data", multiple=True, metavar="F.root", help="Events beside the golden ones (repeatable)."
)
@click.option(
    "--against",
    metavar="NAME,..",
    help=f"Engines to compare: {', '.join(ENGINES)}. By default those installed, torch only with "
    "--checkpoint.",
)
@click.option(
    "--checkpoint", help="The file the bundle was exported from: reference for --data, and torch."
)
@click.option(
    "--macro",
    metavar="F.npz",
    help="Events and results of the experiment's position fit: compare the C++ fit as well.",
)
@click.option("--geometry", metavar="F.csv", help="The sensor table the macro ran with.")
@click.option(
    "--events",
    type=click.IntRange(min=1),
    default=DEFAULT_EVENTS,
    show_default=True,
    help="Events of --data to compare.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def parity(
    bundle: str,
    data: tuple[str, ...],
    against: str | None,
    checkpoint: str | None,
    macro: str | None,
    geometry: str | None,
    events: int,
    as_json: bool,
) -> int:
    """Compare engines with float64 on the same raw events, in resolutions of the detector.

    The golden events of BUNDLE are always compared, with torch in float64; --data adds measured
    or simulated ones. Exit code 4 if an engine is beyond its gate.
    """
    names = [name.strip() for name in against.split(",") if name.strip()] if against else None
    with progress_of("reference") as progress:
        report = check_parity(
            bundle,
            data=data,
            against=names,
            checkpoint=checkpoint,
            macro=macro,
            geometry=geometry,
            events=events,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _print(report)
    return ExitCode.DONE if report.passed else ExitCode.CHECK_FAILED


def _print(report: ParityReport) -> None:
    console = output_console()
    for chosen in report.event_sets:
        error = chosen.reference_error
        checked = "" if error is None else f", itself {error:.1e} sigma from the golden events"
        console.print(
            Text(f"{chosen.name}: {chosen.events} events; reference {chosen.reference}{checked}")
        )
    console.print()
    _print_comparisons(console, report.comparisons)
    if report.preprocessing:
        console.print()
        _print_preprocessing(console, report.preprocessing)
    if report.macro:
        console.print()
        _print_macro(console, report.macro)
    console.print()
    verdict = "[green]passed[/]" if report.passed else "[red]failed[/]"
    console.print(f"gates version {report.gates_version}: {verdict}")


def _print_comparisons(console: Console, comparisons: tuple[Comparison, ...]) -> None:
    def subject(part: Comparison) -> tuple[str, str, str, str]:
        return part.engine, part.version, part.precision, part.event_set

    for (engine, version, precision, events), parts in groupby(comparisons, key=subject):
        rows = list(parts)
        console.print(
            Text.assemble(
                (f"{engine} {precision}", "bold"),
                f" ({version}) on {rows[0].events} {events} events, gate {rows[0].gate:g} sigma",
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


def _verdict(part: Comparison | BitComparison | MacroComparison) -> Text:
    if isinstance(part, Comparison) and part.one_sided:
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
