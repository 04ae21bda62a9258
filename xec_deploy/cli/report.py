"""``xec-deploy report``."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command(epilog="Example: xec-deploy report results.root -o report/")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option(
    "--events",
    type=click.Path(path_type=Path),
    help="The input file, if it is no longer where the provenance says.",
)
def report(results: Path, output: Path, events: Path | None) -> None:
    """Make plots (PNG, PDF) and one self-contained HTML page from results of infer."""
    from xec_deploy.report import make_report  # noqa: PLC0415 - needs the plot extra

    made = make_report(results, output, events=events)
    click.echo(f"page     {made.page}")
    for picture in made.pictures:
        click.echo(f"picture  {picture}")
