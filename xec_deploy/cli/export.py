"""``xec-deploy export``."""

from __future__ import annotations

from typing import Any

import click

from xec_deploy.bundle import FP32_GATE, Bundle, worst_difference
from xec_deploy.cli.console import output_console
from xec_deploy.errors import MissingExtra, UsageError, nearest

__all__ = ["export"]

LAYOUTS = click.Choice(["research", "physical"])


@click.command(
    epilog="Example: xec-deploy export checkpoint_best.pth -o energy.xec --inpainter inpainter.pth"
)
@click.argument("checkpoint", metavar="CKPT")
@click.option("-o", "--output", required=True, help="Bundle to write, NAME.xec.")
@click.option(
    "--layout",
    type=LAYOUTS,
    help="Index maps, for checkpoints that do not state theirs (research code: research).",
)
@click.option(
    "--log-transform",
    multiple=True,
    metavar="TASK",
    help="Task trained on logarithms (repeatable); research checkpoints do not record it.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Config key that the checkpoint does not state, such as npho_scheme=sqrt (repeatable).",
)
@click.option(
    "--inpainter", metavar="CKPT", help="Inpainter that fills dead channels ahead of a regressor."
)
@click.option("--inpainter-layout", type=LAYOUTS, help="As --layout, of the inpainter.")
@click.option(
    "--inpainter-set",
    "inpainter_settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="As --set, of the inpainter.",
)
@click.option(
    "--io",
    type=click.Choice(["raw", "legacy"]),
    default="raw",
    show_default=True,
    help="legacy: one input of normalised events and the heads' raw outputs, for existing callers.",
)
@click.option(
    "--parts", is_flag=True, help="Also write a regressor's normalisation and network on their own."
)
@click.option(
    "--max-dead",
    type=click.IntRange(min=0),
    help="Events with more dead channels get no numbers.",
)
def export(
    checkpoint: str,
    output: str,
    log_transform: tuple[str, ...],
    settings: tuple[str, ...],
    inpainter_settings: tuple[str, ...],
    max_dead: int | None,
    **options: Any,
) -> None:
    """Export a checkpoint to a verified bundle.

    The checkpoint is a regressor, an inpainter, a masked autoencoder or an encoder, of this
    project or of the research code; averaged (EMA) weights are taken where it has them.  The
    graph takes raw photons, times and dead flags and returns physical units.  The bundle is
    compared with torch in float64 before it is accepted.
    """
    try:
        from xec_deploy.export import export_bundle  # noqa: PLC0415 - needs torch
        from xec_train.config.overrides import parse_override  # noqa: PLC0415
        from xec_train.models import TASK_DIMENSIONS  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train", needed_for="export") from error
    for task in log_transform:
        if task not in TASK_DIMENSIONS:
            raise UsageError(
                f"--log-transform: unknown task {task!r}", fix=nearest(task, TASK_DIMENSIONS)
            )
    if inpainter_settings and options["inpainter"] is None:
        raise UsageError("--inpainter-set without --inpainter", fix="Name the inpainter.")
    if max_dead is not None:
        options["max_dead"] = max_dead
    given, given_of_inpainter = (
        {override.key: override.value for override in map(parse_override, texts)}
        for texts in (settings, inpainter_settings)
    )
    bundle = export_bundle(
        checkpoint,
        output,
        log_transform=log_transform or None,  # type: ignore[arg-type]
        config=given,
        inpainter_config=given_of_inpainter,
        **options,
    )
    _report(bundle, output)


def _report(bundle: Bundle, output: str) -> None:
    golden = bundle.golden
    assert golden is not None  # noqa: S101 - a bundle folder always has them
    outputs = bundle.run(golden.npho, golden.time, golden.dead, backend="onnxruntime")
    console = output_console()
    kind = bundle.manifest.kind
    console.print(f"{output}: {kind}, {len(golden)} golden events against torch float64,")
    for name, value in worst_difference(bundle.manifest, golden.outputs, outputs).items():
        console.print(f"  {name:12s} {value:.1e} detector sigma (allowed {FP32_GATE:g})")
    if bundle.manifest.parts:
        files = ", ".join(record.file for record in bundle.manifest.parts.values())
        console.print(f"  parts: {files}")
