"""Which models a bundle becomes: its graph, and the parts that are kept beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from xec_deploy.bundle import Bundle
from xec_deploy.bundle.bundle import Inpaint
from xec_deploy.engines.manifest import read_engine_manifest
from xec_deploy.errors import UsageError
from xec_deploy.triton.config import Engine, Serving, Tensor, onnx_tensors

__all__ = ["ServedModel", "models_of"]

PARTS: Final = ("inpainter", "regressor")
"""Parts of a graph that callers have a use for."""
ENGINE_FOLDER: Final = "engines"
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class ServedModel:
    """A file and what the server must know of it.

    Attributes
    ----------
    name
        Of the model.
    file
        ONNX file or TensorRT engine.
    engine
        Backend of Triton.
    graph
        Precision or part.
    inpaint
        What happens to dead channels, None for what the bundle does.
    inputs, outputs
        Tensors without the batch axis.
    extended_only
        Whether optimisations must stop short of the layout of the CPU.
    max_batch
        Most events the file takes at once, None for any number.
    """

    name: str
    file: Path
    engine: Engine
    graph: str
    inpaint: str | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    extended_only: bool = False
    max_batch: int | None = None

    def limited(self, serving: Serving) -> Serving:
        """Return the serving with batches the file takes."""
        if self.max_batch is None or serving.max_batch <= self.max_batch:
            return serving
        sizes = tuple(size for size in serving.preferred_batches if size <= self.max_batch)
        return replace(serving, max_batch=self.max_batch, preferred_batches=sizes)


def models_of(
    bundle: Bundle,
    precision: str,
    name: str | None,
    inpaint: Inpaint | None,
    *,
    engine: Engine = "onnxruntime",
    target: str | None = None,
) -> Iterator[ServedModel]:
    """Yield the models of a bundle; see :func:`~xec_deploy.triton.write_repository`.

    Raises
    ------
    UsageError
        If there is no such graph or engine, or the name is not one of a folder.
    """
    base = name or _default_name(bundle, precision)
    if NAME.fullmatch(base) is None:
        raise UsageError(
            f"{base!r} cannot be the name of a model",
            fix="Pass --name with letters, digits, '_', '-' and '.'.",
        )
    if engine == "tensorrt":
        yield _engine_model(base, bundle, precision, inpaint, target)
        return
    file = bundle.file(precision) if inpaint is None else bundle.graph(precision, inpaint)
    yield _onnx_model(base, file, precision, inpaint)
    if precision != "fp32" or inpaint is not None:
        # The parts are in fp32, and of the graph as it lies in the bundle.
        return
    for part in PARTS:
        if part in bundle.manifest.parts:
            yield _onnx_model(f"{base}_{part}", bundle.part(part), part, None)


def _default_name(bundle: Bundle, precision: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", bundle.manifest.name)
    return stem if precision == "fp32" else f"{stem}_{precision}"


def _onnx_model(name: str, file: Path, graph: str, inpaint: str | None) -> ServedModel:
    inputs, outputs = onnx_tensors(file)
    # ONNX Runtime may crash on the CPU where it rewrites half precision for its layouts.
    return ServedModel(
        name,
        file,
        "onnxruntime",
        graph,
        inpaint,
        inputs,
        outputs,
        extended_only=graph in {"fp16", "bf16"},
    )


def _engine_model(
    name: str, bundle: Bundle, precision: str, inpaint: Inpaint | None, target: str | None
) -> ServedModel:
    """Return the TensorRT engine of a bundle as a model.

    Raises
    ------
    UsageError
        If there is none for the precision and GPU, or several.
    BundleError
        If it is not the file its manifest describes.
    """
    build = (
        f"Build it with xec-deploy build-engine --flavour tensorrt --precision {precision}, with "
        "the TensorRT version of the server."
    )
    if inpaint is not None:
        raise UsageError(
            "an engine has its treatment of dead channels built in",
            where=f"--inpaint {inpaint}",
            fix="Leave it out.",
        )
    found = {
        file: record
        for file, record in bundle.manifest.engines.items()
        if record["flavour"] == "tensorrt"
        and record["precision"] == precision
        and target in {None, record["target"]}
    }
    if not found:
        wanted = f"{precision} engine of TensorRT" + (f" for {target}" if target else "")
        raise UsageError(f"the bundle has no {wanted}", where=str(bundle.path), fix=build)
    if len(found) > 1:
        raise UsageError(
            f"the bundle has {len(found)} {precision} engines of TensorRT ({', '.join(found)})",
            where=str(bundle.path),
            fix="Choose one with --target, such as --target sm80.",
        )
    ((file, _),) = found.items()
    path = bundle.path / ENGINE_FOLDER / file
    manifest = read_engine_manifest(path)
    if len(manifest.options.profiles) > 1:
        raise UsageError(
            "the engine has several ranges of batches, and a server asks for one",
            where=str(path),
            fix=f"{build} Give it --batch once.",
        )
    ((smallest, _, largest),) = manifest.options.profiles
    if smallest > 1:
        raise UsageError(
            f"the engine takes {smallest} events or more, and a server runs single ones as well",
            where=str(path),
            fix=f"{build} Give it --batch 1 and two larger sizes.",
        )
    inputs, outputs = onnx_tensors(bundle.file(manifest.graph))
    return ServedModel(
        name, path, "tensorrt", manifest.graph, None, inputs, outputs, max_batch=largest
    )
