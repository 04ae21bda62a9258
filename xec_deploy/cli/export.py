"""``xec-deploy export``."""

from __future__ import annotations

import click

from xec_deploy.bundle import FP32_GATE, worst_difference
from xec_deploy.cli.console import output_console
from xec_deploy.errors import MissingExtra, UsageError

__all__ = ["export"]


@click.command(epilog="Example: xec-deploy export checkpoint_best.pth -o energy.xec")
@click.argument("checkpoint", metavar="CKPT")
@click.option("-o", "--output", required=True, help="Bundle to write, NAME.xec.")
@click.option(
    "--layout",
    type=click.Choice(["research", "physical"]),
    help="Index maps, for checkpoints that do not state theirs (research code: research).",
)
@click.option(
    "--log-transform",
    multiple=True,
    metavar="TASK",
    help="Task trained on logarithms (repeatable); research checkpoints do not record it.",
)
@click.option(
    "--max-dead",
    type=click.IntRange(min=0),
    help="Events with more dead channels get no numbers.",
)
def export(
    checkpoint: str,
    output: str,
    layout: str | None,
    log_transform: tuple[str, ...],
    max_dead: int | None,
) -> None:
    """Export a regressor checkpoint to a verified bundle.

    The graph takes raw photons, times and dead flags and returns physical units. Averaged (EMA)
    weights are taken where the checkpoint has them. The bundle is compared with torch in float64
    before it is accepted.
    """
    try:
        from xec_deploy.export import export_bundle  # noqa: PLC0415 - needs torch
        from xec_train.models import TASK_DIMENSIONS  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train", needed_for="export") from error
    unknown = [task for task in log_transform if task not in TASK_DIMENSIONS]
    if unknown:
        raise UsageError(
            f"--log-transform: unknown task {unknown[0]!r}",
            fix=f"Valid: {', '.join(TASK_DIMENSIONS)}.",
        )
    options = {} if max_dead is None else {"max_dead": max_dead}
    bundle = export_bundle(
        checkpoint,
        output,
        layout=layout,  # type: ignore[arg-type]
        log_transform=log_transform or None,  # type: ignore[arg-type]
        **options,
    )
    golden = bundle.golden
    assert golden is not None  # noqa: S101 - a bundle folder always has them
    outputs = bundle.run(golden.npho, golden.time, golden.dead)
    console = output_console()
    console.print(f"{output}: {len(golden)} golden events against torch float64,")
    for name, value in worst_difference(bundle.manifest, golden.outputs, outputs).items():
        console.print(f"  {name:12s} {value:.1e} detector sigma (allowed {FP32_GATE:g})")
