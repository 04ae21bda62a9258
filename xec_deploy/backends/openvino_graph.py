"""Reading a graph into OpenVINO so that it computes what the graph says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import openvino
from openvino import opset13

from xec_deploy.errors import BundleError

__all__ = ["read_graph"]

REDUCTIONS: Final = {
    "ReduceL1": opset13.reduce_l1,
    "ReduceL2": opset13.reduce_l2,
    "ReduceMax": opset13.reduce_max,
    "ReduceMean": opset13.reduce_mean,
    "ReduceMin": opset13.reduce_min,
    "ReduceProd": opset13.reduce_prod,
    "ReduceSum": opset13.reduce_sum,
}


def read_graph(core: openvino.Core, graph: Path, batch: int) -> Any:
    """Read an ONNX file for batches of one size.

    Raises
    ------
    BundleError
        If OpenVINO refuses it.
    """
    try:
        model = core.read_model(graph)
        model.reshape({port.any_name: [batch, *_rest(port)] for port in model.inputs})
        _keep_reduced_axes(model)
    except RuntimeError as error:
        raise BundleError(
            f"openvino cannot read the graph ({' '.join(str(error).split())[:300]})",
            where=str(graph),
        ) from error
    return model


def _keep_reduced_axes(model: Any) -> None:
    """Let every reduction keep its axes and drop them in an op of its own.

    The CPU plugin (2026.4) joins a reduction over the last axis of three with a following product
    or sum with one constant an element, and then applies the constants along the wrong axis:
    sum(x, -1) * c is wrong for every batch but 1.  It does not where a Squeeze stands between.
    """
    for node in model.get_ordered_ops():
        reduction = REDUCTIONS.get(node.get_type_name())
        if reduction is None or node.get_attributes()["keep_dims"]:
            continue
        values, axes = node.input_value(0), node.input_value(1)
        kept = reduction(values, axes, keep_dims=True)
        squeezed = opset13.squeeze(kept, axes)
        squeezed.set_friendly_name(node.get_friendly_name())
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(squeezed.output(0))
    model.validate_nodes_and_infer_types()


def _rest(port: Any) -> list[int]:
    return [dimension.get_length() for dimension in list(port.partial_shape)[1:]]
