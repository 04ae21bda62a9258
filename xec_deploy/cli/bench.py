"""``xec-deploy bench``."""

from __future__ import annotations

import json

import click
from rich.table import Table
from rich.text import Text

from xec_deploy.backends import BACKENDS
from xec_deploy.bench import BenchReport, OpClass, run_benchmark
from xec_deploy.cli.console import output_console
from xec_deploy.cli.progress import progress_of
from xec_deploy.errors import ExitCode

__all__ = ["bench"]


@click.command(epilog="Example: xec-deploy bench compact.xec --data run430000.root")
@click.argument("bundle", metavar="B.xec")
@click.option(
    "--data", multiple=True, metavar="F.root", help="Events for a whole inference (repeatable)."
)
@click.option(
    "--backend",
    metavar="NAME,..",
    help=f"Engines: {', '.join(BACKENDS)}. Those that auto considers if absent.",
)
@click.option("--precision", metavar="NAME,..", help="Precisions; all there are if absent.")
@click.option("--device", default="cpu", show_default=True, help="Where the engines run.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.0),
    default=0.5,
    show_default=True,
    help="Measuring time of a setting.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def bench(
    bundle: str,
    data: tuple[str, ...],
    backend: str | None,
    precision: str | None,
    device: str,
    seconds: float,
    as_json: bool,
) -> int:
    """Measure how fast BUNDLE runs on this machine, and where the time goes.

    Events a second by engine, precision, batch, sessions and threads; the share of the rate at
    which the engine multiplies large matrices, measured in the same run; the time by class of
    operators; and with --data the stages of a whole inference. Engines that do not reproduce the
    golden events are measured and marked; exit code 4 if none does.
    """
    with progress_of("bench", unit="settings") as progress:
        report = run_benchmark(
            bundle,
            data=data,
            backends=backend.split(",") if backend else None,
            precisions=precision.split(",") if precision else None,
            device=device,
            seconds=seconds,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        print_report(report)
    return ExitCode.DONE if report.fastest is not None else ExitCode.CHECK_FAILED


def print_report(report: BenchReport) -> None:
    """Print tables of rates, of operators and of stages."""
    console = output_console()
    machine = report.machine
    console.print(
        Text(
            f"{report.path}: {report.mflop:.4g} MFLOP an event in matrix products; "
            f"{machine['processor']}, {machine['cores']} cores"
        )
    )
    console.print(_rates(report))
    for engine in report.engines:
        if engine.error is not None:
            console.print(Text(f"{engine.backend} {engine.precision}: {engine.error}", "red"))
    classes = _classes(report)
    if classes is not None:
        console.print(classes)
    if report.stages:
        console.print(_stages(report))


def _rates(report: BenchReport) -> Table:
    table = Table(
        "engine", "precision", "batch", "sessions", "threads", "events/s", "of the ceiling",
        box=None, pad_edge=False,
    )  # fmt: skip
    for engine in report.engines:
        for item in engine.measurements:
            best = item is engine.best
            share = ""
            if best and engine.ceiling_gflops is not None and engine.ceiling_share is not None:
                share = f"{engine.ceiling_share:.0%} of {engine.ceiling_gflops:.0f} GFLOP/s"
            table.add_row(
                engine.backend,
                engine.precision,
                str(item.batch),
                str(item.sessions),
                str(item.threads),
                f"{item.events_per_s:.0f}" if item.events_per_s >= 10 else f"{item.events_per_s}",
                share,
                style="bold" if best else None,
            )
    return table


def _classes(report: BenchReport) -> Table | None:
    able = [engine for engine in report.engines if engine.op_classes]
    if not able:
        return None
    heads = [f"{engine.backend} {engine.precision}" for engine in able]
    table = Table("share of the time", *heads, box=None, pad_edge=False)
    names = dict.fromkeys(item.name for engine in able for item in engine.op_classes)
    for name in names:
        cells = []
        for engine in able:
            found = [item for item in engine.op_classes if item.name == name]
            cells.append(_class(found[0]) if found else "")
        table.add_row(name, *cells)
    return table


def _class(item: OpClass) -> str:
    operators = ", ".join(f"{name} {share:.0%}" for name, share in item.operators.items())
    return f"{item.share:.0%} ({operators})"


def _stages(report: BenchReport) -> Table:
    table = Table("stage", "seconds", box=None, pad_edge=False)
    for name, value in report.stages.items():
        shown = f"{value:.0f}" if name.startswith("events") else f"{value:.3f}"
        table.add_row(name.replace("_", " "), shown)
    return table
