"""``xec-train simulate``."""

from __future__ import annotations

from pathlib import Path

import click

from xec_deploy.cli.progress import progress_of
from xec_deploy.errors import MissingExtra
from xec_deploy.simulation import (
    BLOCK_EVENTS,
    Arrays,
    SimulationConfig,
    choose_arrays,
    write_simulation,
)

__all__ = ["simulate"]


@click.command(epilog="Example: xec-train simulate -o data/train --events 160000 --files 16")
@click.option("-o", "--output", required=True, help="A .root file, or a prefix for --files.")
@click.option("--config", help="YAML with keys of the simulation; defaults otherwise.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--events", default=10000, show_default=True, type=click.IntRange(min=1))
@click.option("--files", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--geometry", help="CSV of surveyed sensor positions.")
@click.option("--device", default="cpu", show_default=True, help="cpu (NumPy) or a torch device.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1))
def simulate(
    output: str,
    config: str | None,
    overrides: tuple[str, ...],
    events: int,
    files: int,
    geometry: str | None,
    device: str,
    threads: int,
) -> None:
    """Simulate events with truth and write them as the experiment's ROOT files.

    The same seed gives the same events, however many files or threads.
    """
    from xec_deploy.detector import load_geometry  # noqa: PLC0415

    sample = _simulation_config(config, overrides)
    arrays = _arrays(device)
    per_file = -(-events // files)
    per_file += -per_file % BLOCK_EVENTS if files > 1 else 0
    sensors = load_geometry(geometry) if geometry else None
    with progress_of("simulate", events) as progress:
        for index, first in enumerate(range(0, events, per_file)):
            path = Path(output if files == 1 else f"{output}_{index:03d}.root")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_simulation(
                path,
                sample,
                min(per_file, events - first),
                first_event=first,
                geometry=sensors,
                arrays=arrays,
                threads=threads,
                progress=progress,
            )
            click.echo(path)


def _simulation_config(path: str | None, overrides: tuple[str, ...]) -> SimulationConfig:
    if path is None and not overrides:
        return SimulationConfig()
    try:
        from xec_train.config import build_config, load_config  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "pyyaml", "train", needed_for="--config") from error
    if path is None:
        return build_config(SimulationConfig, {}, overrides, "--set")
    return load_config(SimulationConfig, path, overrides)


def _arrays(device: str) -> Arrays:
    try:
        return choose_arrays(device)
    except ModuleNotFoundError as error:
        raise MissingExtra("torch", "train", needed_for=f"--device {device}") from error
