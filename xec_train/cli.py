"""The ``xec-train`` command line."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

from xec_deploy import __version__
from xec_deploy.cli.app import LazyGroup, run
from xec_deploy.cli.progress import progress_of
from xec_deploy.errors import MissingExtra
from xec_deploy.simulation import (
    BLOCK_EVENTS,
    Arrays,
    SimulationConfig,
    choose_arrays,
    write_simulation,
)

__all__ = ["main"]

COMMANDS = {
    "regressor": ("xec_train.cli:regressor", "Train the multi-task regressor."),
    "simulate": ("xec_train.cli:simulate", "Simulate events and write them as ROOT."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__)
def cli() -> None:
    """Train networks of the MEG II liquid-xenon detector, and simulate events for it.

    Example: xec-train simulate -o data/train --events 20000 --files 4
    """


def main() -> NoReturn:
    """Run ``xec-train``."""
    run(cli, "xec-train")


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


@click.command(epilog="Example: xec-train regressor --config compact.yaml --epochs 2")
@click.option("--config", required=True, help="YAML; see xec_train/recipes for ready ones.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a key.")
@click.option("--epochs", type=int, help="Short for --set training.epochs=..")
@click.option("--lr", type=float, help="Short for --set training.lr=..")
@click.option("--batch-size", type=int, help="Short for --set data.batch_size=..")
@click.option("--save-dir", help="Short for --set checkpoint.save_dir=..")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.")
def regressor(
    config: str,
    overrides: tuple[str, ...],
    epochs: int | None,
    lr: float | None,
    batch_size: int | None,
    save_dir: str | None,
    threads: int | None,
) -> None:
    """Train the multi-task regressor on ROOT files with truth."""
    try:
        import torch  # noqa: PLC0415 - the train extra

        from xec_train.config import RegressorConfig, load_config  # noqa: PLC0415
        from xec_train.regressor import train_regressor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train", needed_for="training") from error
    short = {
        "training.epochs": epochs,
        "training.lr": lr,
        "data.batch_size": batch_size,
        "checkpoint.save_dir": save_dir,
    }
    given = [f"{key}={value}" for key, value in short.items() if value is not None]
    loaded = load_config(RegressorConfig, config, [*overrides, *given])
    if threads:
        torch.set_num_threads(threads)
    best = train_regressor(loaded)
    click.echo(f"best checkpoint: {best}")


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
