"""``xec-train evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xec_deploy.cli.progress import progress_of
from xec_deploy.errors import MissingExtra, UsageError
from xec_train.cli.greedy import GreedyCommand

__all__ = ["evaluate"]


@click.command(
    cls=GreedyCommand,
    greedy=("--data", "--calibration"),
    epilog="Example: xec-train evaluate runs/compact/checkpoint_best.pth --data data/test_*.root "
    "-o evaluation --dead-fractions 0,0.02,0.05,0.1",
)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CKPT..")
@click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="FILE..",
    help="ROOT files with truth, globs or @lists, up to the next option.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option("--config", "path", metavar="FILE", help="YAML with settings of the evaluation.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
@click.option(
    "--dead-fractions",
    metavar="F,F..",
    help="Run the events again with these shares of channels made dead, e.g. 0.02,0.05.",
)
@click.option(
    "--against",
    type=click.Choice(["conventional", "simple", "none"]),
    help="What to compare with: simple estimates and position fit, without the fit, nothing.",
)
@click.option(
    "--calibration",
    multiple=True,
    metavar="FILE..",
    help="Other events to calibrate the conventional methods on first.",
)
@click.option("--max-events", type=click.IntRange(min=1), help="Stop after so many events.")
@click.option("--batch", type=click.IntRange(min=1), help="Events of a forward pass.")
@click.option("--csv", is_flag=True, help="Write the predictions as CSV too.")
@click.option("--device", default="cpu", show_default=True, help="A torch device, such as cuda.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch and the fit.")
def evaluate(
    checkpoints: tuple[str, ...],
    data: tuple[str, ...],
    output: Path,
    path: str | None,
    overrides: tuple[str, ...],
    dead_fractions: str | None,
    against: str | None,
    calibration: tuple[str, ...],
    max_events: int | None,
    batch: int | None,
    csv: bool,
    device: str,
    threads: int | None,
) -> None:
    """Evaluate regressors on events with truth, side by side.

    CKPT is a checkpoint, a bundle NAME.xec or an ONNX file.  Predictions (ROOT), metrics.json,
    plots and one page go to the folder of --output.
    """
    try:
        import torch  # noqa: PLC0415 - the train extra

        from xec_train.config import build_config, load_config  # noqa: PLC0415
        from xec_train.evaluation import EvaluationConfig, evaluate_files  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train", needed_for="evaluation") from error
    given: dict[str, Any] = {
        "dead_fractions": None if dead_fractions is None else f"[{dead_fractions}]",
        "against": against,
        "max_events": max_events,
        "batch_size": batch,
        "csv": True if csv else None,
    }
    changes = [
        *overrides,
        *(f"{key}={value}" for key, value in given.items() if value is not None),
    ]
    if path is None:
        config = build_config(EvaluationConfig, {}, changes, "the command line")
    else:
        config = load_config(EvaluationConfig, path, changes)
    if threads:
        torch.set_num_threads(threads)
    _check_device(device)
    with progress_of("evaluate", config.max_events) as progress:
        done = evaluate_files(
            checkpoints,
            data,
            output,
            config=config,
            calibration_data=calibration,
            device=device,
            progress=progress,
        )
    click.echo(f"page         {done.page}")
    click.echo(f"metrics      {done.metrics_file}")
    for file in done.predictions.values():
        click.echo(f"predictions  {file}")


def _check_device(device: str) -> None:
    import torch  # noqa: PLC0415 - the train extra

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts where CUDA is not compiled in
        reason = next(iter(str(error).splitlines()), "unknown")
        raise UsageError(
            f"the device {device!r} cannot be used ({reason})",
            fix="Leave --device out for the CPU.",
        ) from error
