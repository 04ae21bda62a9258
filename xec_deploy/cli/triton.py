"""``xec-deploy triton``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from xec_deploy.bundle import open_bundle
from xec_deploy.bundle.bundle import Inpaint
from xec_deploy.cli.console import output_console
from xec_deploy.triton import DEFAULTS, write_repository

__all__ = ["triton"]

CPU, CUDA = DEFAULTS["cpu"], DEFAULTS["cuda"]


@click.command(
    epilog="Example: xec-deploy triton energy.xec -o models --device cuda && "
    "tritonserver --model-repository $PWD/models"
)
@click.argument("bundle")
@click.option("-o", "--output", required=True, metavar="REPO", help="Model repository.")
@click.option("--name", help="Name of the model; of the bundle if absent.")
@click.option("--precision", default="fp32", show_default=True, help="Graph of the bundle.")
@click.option(
    "--inpaint",
    type=click.Choice(["model", "solid-angle", "neighbours", "none"]),
    help="What happens to dead channels; what the bundle does if absent.",
)
@click.option(
    "--backend",
    "engine",
    type=click.Choice(["onnxruntime", "tensorrt"]),
    default="onnxruntime",
    show_default=True,
    help="Backend of Triton; tensorrt takes an engine of the bundle, for GPUs.",
)
@click.option("--target", help="GPU of the engine, such as sm80, if the bundle has several.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--max-batch",
    type=click.IntRange(min=1),
    help=f"Most events at once; {CPU.max_batch} on a CPU, {CUDA.max_batch} on a GPU.",
)
@click.option(
    "--preferred-batch",
    "preferred_batches",
    type=click.IntRange(min=1),
    multiple=True,
    help="Size at which a batch waits for no more events (repeatable); "
    f"{', '.join(map(str, CPU.preferred_batches))} on a CPU, "
    f"{', '.join(map(str, CUDA.preferred_batches))} on a GPU.",
)
@click.option(
    "--queue-delay",
    "queue_delay_us",
    type=click.IntRange(min=0),
    help="Longest wait for more events in microseconds; "
    f"{CPU.queue_delay_us} on a CPU, {CUDA.queue_delay_us} on a GPU.",
)
@click.option(
    "--instances",
    type=click.IntRange(min=1),
    help=f"Copies of the model, on each GPU or on the CPU; {CPU.instances}.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help=f"Threads of a copy on the CPU; {CPU.threads}."
)
@click.option(
    "--versions",
    type=click.IntRange(min=1),
    help=f"How many of the newest versions are served; {CPU.versions}.",
)
@click.option(
    "--model-version",
    "version",
    type=click.IntRange(min=1),
    help="Number of this version; the next one if absent.",
)
@click.option("--replace-config", is_flag=True, help="Replace a configuration that is another one.")
def triton(
    bundle: str,
    output: str,
    name: str | None,
    precision: str,
    inpaint: Inpaint | None,
    engine: Any,
    target: str | None,
    device: Any,
    version: int | None,
    replace_config: bool,
    **stated: Any,
) -> None:
    """Write a Triton model repository with the graphs of BUNDLE.

    Each graph becomes a model: raw photons, times and dead flags in, physical units out. A model
    that is there already gets a new version. The manifest lies beside each version's file.
    """
    defaults = DEFAULTS["cuda" if engine == "tensorrt" else device]
    serving = replace(
        defaults, **{key: value for key, value in stated.items() if value not in (None, ())}
    )
    models = write_repository(
        open_bundle(bundle),
        output,
        serving=serving,
        precision=precision,
        name=name,
        inpaint=inpaint,
        engine=engine,
        target=target,
        version=version,
        replace_config=replace_config,
    )
    console = output_console()
    for model in models:
        state = "" if model.is_new else " (kept, it is the same file)"
        console.print(f"{model.folder}: model {model.name}, version {model.version}{state}")
