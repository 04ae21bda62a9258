"""Reading a graph into OpenVINO so that it computes what the graph says."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import openvino

from xec_deploy.backends.openvino_norms import join_norms
from xec_deploy.bundle.manifest import REST_KEY
from xec_deploy.errors import BundleError

__all__ = ["keep_reductions_apart", "openvino_core", "read_graph", "stated_rest"]


@lru_cache(maxsize=1)
def openvino_core() -> openvino.Core:
    """Return the one core of the process, which lives as long as it.

    The CPU plugin (2026.4) gives the thread that loads it a stack of its own for signals.  If the
    last core goes in another thread the stack is freed and stays in use: the next signal with a
    handler of Python's, SIGTERM before a time limit, would end in a segmentation fault.
    """
    return openvino.Core()


def read_graph(core: openvino.Core, graph: Path, batch: int) -> tuple[Any, list[str]]:
    """Read an ONNX file for batches of one size.

    Returns
    -------
    model
        With the graph's outputs; to be compiled after :func:`keep_reductions_apart`.
    outputs
        Names of the graph's outputs.

    Raises
    ------
    BundleError
        If OpenVINO refuses it.
    """
    try:
        model = core.read_model(graph)
        model.reshape({port.any_name: [batch, *_rest(port)] for port in model.inputs})
        outputs = [port.any_name for port in model.outputs]
        join_norms(model)
    except RuntimeError as error:
        raise BundleError(
            f"openvino cannot read the graph ({' '.join(str(error).split())[:300]})",
            where=str(graph),
        ) from error
    return model, outputs


def stated_rest(model: Any) -> str:
    """Return in what a graph wants computed what it has in float32, by its file's metadata."""
    path = ["framework", REST_KEY]
    return str(model.get_rt_info(path).value) if model.has_rt_info(path) else "fp32"


def keep_reductions_apart(model: Any) -> None:
    """Let reductions over the last of three axes be results too.

    The CPU plugin (2026.4) joins such a reduction with following products and sums, and takes one
    constant an element for one a batch: sum(x, -1) * c is wrong for every batch but 1.  It does
    not join what somebody else needs as it is; the values are not read.
    """
    joined = [
        node.output(0)
        for node in model.get_ordered_ops()
        if node.get_type_name().startswith("Reduce")
        and len(node.get_input_shape(0)) == 3
        and _reduces_last_axis(node)
    ]
    if joined:
        model.add_outputs(joined)


def _reduces_last_axis(node: Any) -> bool:
    axes = node.input_value(1).get_node()
    # Axes that are computed may be any.
    return axes.get_type_name() != "Constant" or bool({2, -1} & set(axes.data.ravel().tolist()))


def _rest(port: Any) -> list[int]:
    return [dimension.get_length() for dimension in list(port.partial_shape)[1:]]
