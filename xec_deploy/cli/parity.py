"""``xec-deploy parity``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from xec_deploy.bundle import open_bundle
from xec_deploy.cli.console import output_console
from xec_deploy.cli.parity_tables import print_report
from xec_deploy.cli.progress import progress_of
from xec_deploy.errors import ExitCode, OutputError, UsageError
from xec_deploy.parity import (
    DEFAULT_EVENTS,
    ENGINES,
    Measurement,
    judge,
    load_gates,
    measure_parity,
    read_gates,
)
from xec_deploy.parity.record import record_parity
from xec_deploy.parity.stored import load_measurement, save_measurement

__all__ = ["parity"]


@click.command(
    epilog="""Examples:

    \b
    xec-deploy parity compact.xec --data run430000.root --against cpp
    xec-deploy parity compact.xec --data run430000.root --precision all --page parity.html
    xec-deploy parity compact.xec --data run430000.root --precision all --record
    xec-deploy parity compact.xec --data run430000.root --store parity.npz
    xec-deploy parity --from parity.npz --gates mine.yaml
    """
)
@click.argument("bundle", metavar="[B.xec]", required=False)
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
    "--precision",
    metavar="NAME,..",
    help="Precisions to compare: names of graphs, 'int8' for int8-cpu and int8-trt, what an engine "
    "makes of the fp32 graph ('bf16'), or 'all'. By default the bundle's graphs.",
)
@click.option("--device", help="cpu, cuda or cuda:1; all there are if absent.")
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
@click.option(
    "--no-repeats",
    is_flag=True,
    help="Leave out the same events in other batches and through engines opened again.",
)
@click.option("--gates", metavar="F.yaml", help="Gates in the place of xec_deploy/gates.yaml's.")
@click.option("--store", metavar="F.npz", help="Keep all differences, to judge them again.")
@click.option("--from", "stored", metavar="F.npz", help="Judge stored differences; run nothing.")
@click.option(
    "--record",
    is_flag=True,
    help="Write the figures into the bundle, where infer --precision auto finds them.",
)
@click.option("--page", metavar="F.html", help="Write a page with tables and plots.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def parity(
    bundle: str | None,
    stored: str | None,
    gates: str | None,
    store: str | None,
    record: bool,
    page: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Compare engines with float64 on the same raw events, in resolutions of the detector.

    The golden events of B.xec are always compared, with torch in float64; --data adds measured
    or simulated ones. Exit code 4 if an engine is beyond its gate.
    """
    chosen = load_gates() if gates is None else read_gates(gates)
    if bundle is None and record:
        raise UsageError("--record needs the bundle to write to", fix="Pass B.xec.")
    if bundle is not None and stored is not None and not record:
        raise UsageError(
            f"--from runs nothing, so that nothing is asked of {bundle}",
            fix="Leave it out, or add --record to write the figures into it.",
        )
    _refuse_absent_folders(store, page)
    if stored is not None:
        measurement = _stored(stored, options)
    elif bundle is None:
        raise UsageError("there is no bundle to compare", fix="Pass B.xec, or --from F.npz.")
    else:
        measurement = _measured(bundle, options)
    if store is not None:
        save_measurement(measurement, store)
    report = judge(measurement, chosen)
    console = Console(stderr=True)
    if record and bundle is not None:
        written = record_parity(open_bundle(bundle), measurement, report)
        console.print(f"recorded in {written}", highlight=False, soft_wrap=True)
    if page is not None:
        # Late: it needs the extra for plots.
        from xec_deploy.parity.page import write_page  # noqa: PLC0415

        write_page(report, measurement, page)
        console.print(f"page: {page}", highlight=False, soft_wrap=True)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        print_report(output_console(), report)
    return ExitCode.DONE if report.passed else ExitCode.CHECK_FAILED


def _refuse_absent_folders(*paths: str | None) -> None:
    """Find out before the engines run, not after, that there is no place for what they give."""
    for path in paths:
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise OutputError(
                "there is no such folder",
                where=str(Path(path).parent),
                fix=f"Make it, or write {Path(path).name} elsewhere.",
            )


def _measured(bundle: str, options: dict[str, Any]) -> Measurement:
    with progress_of("parity") as progress:
        return measure_parity(
            bundle,
            data=options["data"],
            against=_names(options["against"]),
            precisions=_names(options["precision"]),
            device=options["device"],
            checkpoint=options["checkpoint"],
            macro=options["macro"],
            geometry=options["geometry"],
            events=options["events"],
            repeats=not options["no_repeats"],
            progress=progress,
        )


def _stored(path: str, options: dict[str, Any]) -> Measurement:
    """Read stored differences; nothing can be asked of them that was not measured."""
    for name, value in options.items():
        if value and name != "events":
            raise UsageError(
                f"--{name.replace('_', '-')} asks for something to be run, and --from runs nothing",
                fix="Leave one of the two out.",
            )
    return load_measurement(path)


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text else None
