"""``xec-deploy demo``: the whole path on a simulated run."""

from __future__ import annotations

from pathlib import Path

import click

from xec_deploy.bundle import open_bundle, shipped_bundle
from xec_deploy.cli.infer import print_summary
from xec_deploy.cli.progress import progress_of
from xec_deploy.inference import infer
from xec_deploy.simulation import SimulationConfig, write_simulation

__all__ = ["demo"]

DEMO_SEED = 20260301
DEMO_RUN = 460000


@click.command(epilog="Example: xec-deploy demo demo/ --events 2000")
@click.argument("directory", default="demo", type=click.Path(path_type=Path))
@click.option("--events", default=1500, show_default=True, type=click.IntRange(min=10))
def demo(directory: Path, events: int) -> None:
    """Simulate a run, infer it with the shipped bundle, and report, in DIRECTORY.

    Needs neither torch nor a GPU. Ends with the path of a picture and of a page to open.
    """
    from xec_deploy.report import make_report  # noqa: PLC0415 - needs the plot extra

    directory.mkdir(parents=True, exist_ok=True)
    raw, results = directory / "events.root", directory / "results.root"
    config = SimulationConfig(seed=DEMO_SEED, first_run=DEMO_RUN)
    with progress_of("simulate", events) as progress:
        write_simulation(raw, config, events, progress=progress)
    click.echo(f"simulated {events} events: {raw}")
    with progress_of("infer", events) as progress:
        summary = infer(open_bundle(shipped_bundle()), raw, results, force=True, progress=progress)
    print_summary(summary)
    made = make_report(results, directory / "report", events=raw)
    click.echo(f"picture  {made.pictures[0]}")
    click.echo(f"page     {made.page}")
