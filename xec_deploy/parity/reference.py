"""Float64 results of a model on events that are not golden."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from scipy.special import erf

from xec_deploy.bundle import Bundle, worst_difference
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.errors import BundleError, CheckFailed, MissingExtra
from xec_deploy.parity.events import ParityEvents
from xec_deploy.parity.metrics import Outputs

__all__ = ["Reference", "graph_reference", "torch_reference"]

BATCH: Final = 8
LARGEST_ERROR: Final = 1e-4
"""A reference must reproduce the golden events ten times better than the fp32 gate."""
CHECKED_EVENTS: Final = 4

Run = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]], Outputs]


class Reference:
    """A model in float64, verified on golden events.

    Attributes
    ----------
    description
        What it is.
    error
        Largest difference from the golden events [detector resolutions]; None without any.
    """

    def __init__(self, bundle: Bundle, description: str, run: Run) -> None:
        self.description = description
        self.error: float | None = None
        self._run = run
        if bundle.golden is None:
            return
        golden = bundle.golden.head(CHECKED_EVENTS)
        outputs = run(golden.npho, golden.time, golden.dead)
        worst = worst_difference(bundle.manifest, golden.outputs, dict(outputs))
        self.error = max(worst.values())
        if not self.error <= LARGEST_ERROR:
            raise CheckFailed(
                f"{description} is no reference: it differs from the golden events by "
                f"{self.error:.3g} detector sigma",
                where=str(bundle.path),
                fix="The checkpoint or graph and the golden events do not belong together.",
            )

    def run(
        self, events: ParityEvents, progress: Callable[[int], Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the outputs of all events; ``progress`` is told how many are done."""
        parts: list[Outputs] = []
        for first in range(0, len(events), BATCH):
            rows = slice(first, first + BATCH)
            parts.append(self._run(events.npho[rows], events.time[rows], events.dead[rows]))
            progress(len(events.npho[rows]))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def graph_reference(bundle: Bundle) -> Reference:
    """Return the bundle's fp32 graph, evaluated in float64 by ONNX's reference implementation.

    Weights are the graph's own, so that what is left is the arithmetic of the engine.  About a
    hundred events a second for the compact model, and not one for the largest.
    """
    evaluator = ReferenceEvaluator(
        _double(load_onnx(bundle.graph()), bundle.graph()), new_ops=[_Gelu]
    )
    outputs = list(bundle.manifest.output_names)

    def run(
        npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
    ) -> Outputs:
        given = {"npho": npho.astype(np.float64), "time": time.astype(np.float64), "dead": dead}
        # Channels with infinite values are selected away, after they went through arithmetic.
        with np.errstate(all="ignore"):
            values = evaluator.run(outputs, given)
        return dict(zip(outputs, values, strict=True))

    return Reference(bundle, "the fp32 graph in float64 (onnx.reference)", run)


def torch_reference(bundle: Bundle, checkpoint: str | PathLike[str]) -> Reference:
    """Return the checkpoint a bundle was exported from, evaluated in float64 by torch.

    Raises
    ------
    MissingExtra
        If torch is not installed.
    BundleError
        If the checkpoint cannot be used.
    """
    try:
        from xec_deploy.parity.checkpoint import checkpoint_run  # noqa: PLC0415 - torch is heavy
    except ImportError as error:
        raise MissingExtra("torch", "train", needed_for="--checkpoint") from error
    run = checkpoint_run(bundle, checkpoint, double=True)
    return Reference(bundle, f"torch in float64 ({Path(checkpoint).name})", run)


def _double(model: onnx.ModelProto, where: Path) -> onnx.ModelProto:
    """Return a graph with every float32 made float64."""
    for tensor in model.graph.initializer:
        _double_tensor(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}:
                raise BundleError(
                    f"the graph has a subgraph (node {node.name!r})",
                    where=str(where),
                    fix="Pass --checkpoint for a reference.",
                )
            if attribute.type == onnx.AttributeProto.TENSOR:
                _double_tensor(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to":
                attribute.i = (
                    TensorProto.DOUBLE if attribute.i == TensorProto.FLOAT else attribute.i
                )
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del model.graph.value_info[:]
    return model


def _double_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        values = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


class _Gelu(OpRun):  # type: ignore[misc]  # onnx has no types here
    """Gelu with SciPy's error function; that of onnx calls Python for every element."""

    op_domain = ""

    def _run(self, x: NDArray[Any], approximate: str = "none") -> tuple[NDArray[Any]]:
        if approximate == "tanh":
            cubic = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
            return (0.5 * x * (1 + np.tanh(cubic)),)
        return (0.5 * x * (1 + erf(x / np.sqrt(2))),)
