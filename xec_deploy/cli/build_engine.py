"""``xec-deploy build-engine``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError
from rich.console import Console

from xec_deploy.bundle import Bundle, open_bundle
from xec_deploy.cli.console import output_console
from xec_deploy.cli.progress import LINE_INTERVAL_S, progress_of
from xec_deploy.errors import UsageError

if TYPE_CHECKING:
    from xec_deploy.engines import Built, EngineOptions

__all__ = ["build_engine"]


@click.command(
    name="build-engine",
    epilog="Example: xec-deploy build-engine compact.xec --precision fp32 --target sm80",
)
@click.argument("bundle", metavar="B.xec")
@click.option(
    "--precision",
    required=True,
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    help="Of the engine; one that does not build gives way (int8, fp16, fp32), and is named.",
)
@click.option(
    "--flavour",
    type=click.Choice(["tensorrt", "rtx"]),
    help="Library; what is installed and can build here if absent.",
)
@click.option("--target", metavar="SM", help="Compute capability, as sm80; this GPU's if absent.")
@click.option(
    "--batch",
    "profiles",
    nargs=3,
    multiple=True,
    type=click.IntRange(min=1),
    default=((1, 64, 256),),
    show_default="1 64 256",
    metavar="MIN OPT MAX",
    help="Batches the engine is ready for, fastest at OPT; repeat it for several such ranges.",
)
@click.option(
    "--workspace",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Memory for intermediate results.",
)
@click.option(
    "--level",
    type=click.IntRange(0, 5),
    help="How long the builder searches, the library's if absent.",
)
@click.option(
    "--data",
    multiple=True,
    metavar="F.root",
    help="Events to make the graph of this precision with, if the bundle has none (repeatable).",
)
@click.option("--no-fallback", is_flag=True, help="Fail if the precision does not build.")
@click.option("--force", is_flag=True, help="Build even if a fitting engine is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the engine's manifest as JSON.")
def build_engine(
    bundle: str,
    precision: str,
    flavour: str | None,
    target: str | None,
    profiles: tuple[tuple[int, int, int], ...],
    workspace: int | None,
    level: int | None,
    data: tuple[str, ...],
    no_fallback: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Build a TensorRT engine into the bundle.

    The graph is checked first. The precision of the result is proven from the types of its layers.
    TensorRT for RTX builds without a GPU; TensorRT builds for the GPU it runs on. An engine that
    was built before is used again only if graph, library, GPU, host and options are the same.
    """
    from xec_deploy import engines  # noqa: PLC0415 - needs onnx and onnxruntime

    opened = open_bundle(bundle)
    if data:
        opened = _with_graph(opened, precision, data)
    options = _options(profiles, workspace, level)
    with _phases(f"build {precision}") as progress:
        built = engines.build_engine(
            opened,
            precision,
            flavour=flavour,
            target=target,
            options=options,
            fallback=not no_fallback,
            force=force,
            progress=progress,
        )
    if as_json:
        found = {"path": str(built.path), "reused": built.reused}
        click.echo(json.dumps({**found, **built.manifest.model_dump(mode="json")}, indent=2))
    else:
        _print(built)


def _with_graph(bundle: Bundle, precision: str, data: tuple[str, ...]) -> Bundle:
    """Add the graph of a precision to a bundle without it."""
    from xec_deploy.engines.build import GRAPHS  # noqa: PLC0415

    if GRAPHS[precision] in bundle.manifest.graphs:
        return bundle
    from calibration import Options, quantize_bundle  # noqa: PLC0415 - heavy
    from xec_deploy.backends.cores import granted_cores  # noqa: PLC0415

    with progress_of(f"quantize {precision}") as advance:
        quantize_bundle(
            bundle,
            precision,  # type: ignore[arg-type]  # click.Choice has checked it
            data,
            Options(target="tensorrt", threads=granted_cores()),
            lambda _text, count: advance(count),
        )
    return open_bundle(bundle.path)


def _options(
    profiles: tuple[tuple[int, int, int], ...], workspace: int | None, level: int | None
) -> EngineOptions:
    from xec_deploy.engines import EngineOptions  # noqa: PLC0415

    try:
        return EngineOptions(profiles=profiles, workspace_mib=workspace, optimisation_level=level)
    except ValidationError as error:
        problem = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise UsageError(f"--batch: {problem}") from error


@contextmanager
def _phases(task: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show what the builder is doing: a changing line on a terminal, else one every 30 s."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with console.status(task) as status:
            yield lambda phase, done, steps: status.update(f"{task}: {phase} {done}/{steps}")
        return
    start = last = time.monotonic()

    def log(phase: str, done: int, steps: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_INTERVAL_S:
            last = now
            console.print(f"{task}: {phase} {done}/{steps}, {now - start:.0f} s")

    yield log


def _print(built: Built) -> None:
    from xec_deploy.engines.profiles import describe_profiles  # noqa: PLC0415

    console = output_console()
    manifest = built.manifest
    for step in built.fallbacks:
        console.print(
            f"[yellow]{step.precision} was not built:[/] {step.reason}", markup=True, emoji=False
        )
    state = "is there already" if built.reused else f"built in {manifest.build_seconds:.1f} s"
    console.print(f"{built.path}: {manifest.bytes / 2**20:.1f} MiB, {state}")
    batches = describe_profiles(manifest.options.profiles)
    console.print(
        f"  {manifest.precision} for {manifest.target}, {manifest.flavour} {manifest.version}, "
        f"batches {batches}"
    )
    console.print(f"  {_proof(manifest.layers)}")


def _proof(layers: Any) -> str:
    shares = ", ".join(
        f"{count} in {name} ({layers.share(name):.0%} of the weights)"
        for name, count in layers.matrix.items()
    )
    return f"matrix layers: {shares}; of {layers.layers} layers, by the {layers.source}"
