"""``xec-deploy quantize``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from xec_deploy.bundle import open_bundle
from xec_deploy.cli.console import output_console
from xec_deploy.cli.progress import progress_of

if TYPE_CHECKING:
    from calibration import Quantised

__all__ = ["quantize"]

METHODS = ("auto", "minmax", "percentile", "mse", "entropy")


@click.command(
    epilog="Example: xec-deploy quantize compact.xec --precision int8 --data run430000.root"
)
@click.argument("bundle", metavar="B.xec")
@click.option(
    "--precision",
    required=True,
    type=click.Choice(["fp16", "bf16", "int8"]),
    help="Of the graph to make.",
)
@click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="F.root",
    help="Events to calibrate and judge with (repeatable; globs and run lists as for infer).",
)
@click.option(
    "--target",
    type=click.Choice(["cpu", "tensorrt"]),
    default="cpu",
    show_default=True,
    help="int8 for x86 processors (uint8 activations) or for TensorRT (symmetric).",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="auto",
    show_default=True,
    help="How ranges of int8 are found; auto takes the one that scores best.",
)
@click.option(
    "--smooth/--no-smooth",
    default=True,
    show_default=True,
    help="For int8: move outliers of channels from activations into weights.",
)
@click.option(
    "--correct/--no-correct",
    default=True,
    show_default=True,
    help="Correct biases for what rounding does on average.",
)
@click.option(
    "--rest",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    help="For int8: what layers are in that are not in int8.  "
    "[default: fp16 for tensorrt, fp32 for cpu]",
)
@click.option(
    "--events", type=click.IntRange(min=1), default=512, show_default=True, help="To calibrate."
)
@click.option(
    "--judged",
    type=click.IntRange(min=8),
    default=256,
    show_default=True,
    help="Other events, to judge the result on.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the choice of events.")
@click.option(
    "--keep",
    multiple=True,
    metavar="GROUP",
    help="Group of layers that stays in float (repeatable).",
)
@click.option(
    "--sensitivity", is_flag=True, help="Measure every group alone, even if all of them pass."
)
@click.option("--threads", type=click.IntRange(min=1), help="For ONNX Runtime.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def quantize(
    bundle: str,
    precision: str,
    data: tuple[str, ...],
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a graph of lower precision that passes its gate, and add it to the bundle.

    Differences from fp32 are measured in resolutions of the detector, on events that calibration
    has not seen. Groups of layers that cost too much accuracy stay in float. Exit code 4 if
    nothing can be in this precision.
    """
    # Late: ONNX Runtime is heavy, and --help does not need it.
    from calibration import Options, quantize_bundle  # noqa: PLC0415
    from xec_deploy.backends.cores import granted_cores  # noqa: PLC0415

    chosen = Options(threads=threads or granted_cores(), **options)
    with progress_of(f"quantize {precision}") as advance:
        result = quantize_bundle(
            open_bundle(bundle),
            precision,  # type: ignore[arg-type]  # click.Choice has checked it
            data,
            chosen,
            lambda _text, count: advance(count),
        )
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        _print(bundle, result)


def _print(bundle: str, result: Quantised) -> None:
    console = output_console()
    choice = result.choice
    console.print(
        f"{bundle}/{result.file}: {choice.score.worst:.3f} detector sigma (gate {result.gate:g}), "
        f"{choice.share:.0%} of {result.multiply_adds / 1e6:.3g} M multiply-adds an event"
    )
    if result.record is not None:
        found = "reused from the bundle" if result.reused else f"{result.record.events} events"
        console.print(f"  ranges by {result.record.method} ({found}), the rest in {result.rest}")
    for method, score in result.methods.items():
        console.print(f"  by {method}: {score.worst:.3f}")
    if choice.high:
        console.print(f"  in float: {', '.join(choice.high)}")
    if choice.sensitivity:
        table = Table("group alone", "sigma", "multiply-adds [M]", box=None)
        for group in choice.sensitivity:
            row = (f"{group.score.worst:.4f}", f"{group.multiply_adds / 1e6:.3g}")
            table.add_row(group.group, *row)
        console.print(table)
