"""Forms of a graph that quantise well, equal to the original up to rounding.

Global response normalisation (ConvNeXt V2) multiplies every channel of an event by a number of
its own.  The networks fold it into the following layer's weights, which is cheaper in float but
makes the weights depend on the event: no constant weights, nothing to quantise.  Here the number
goes back to the activations, in front of the quantisation.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx

from calibration.graph import Graph, attribute, fold_constants

__all__ = ["SCALED", "prepare", "unfold_scaled_weights"]

SCALED: Final = "_scaled"
"""Ending of the names of activations that were multiplied by the scale of GRN."""


def prepare(model: onnx.ModelProto) -> Graph:
    """Return a copy of a model in the form that is calibrated and quantised."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # Stale shapes would disagree with what is edited; engines infer their own.
    del copy.graph.value_info[:]
    graph = Graph(copy)
    fold_constants(graph)
    unfold_scaled_weights(graph)
    return graph


def unfold_scaled_weights(graph: Graph) -> int:
    """Turn ``x @ (scale * W)`` into ``(x * scale) @ W``; return how many products changed.

    ``W`` (inputs, outputs) is constant; ``scale`` (batch, inputs, 1) is computed for each event.
    """
    changed = 0
    for node in graph.nodes:
        found = _scaled_weights(graph, node)
        if found is None:
            continue
        weight, scale = found
        row = _row(graph, scale)
        scaled = graph.add_node("Mul", [node.input[0], row], f"{node.input[0]}{SCALED}")
        graph.replace_input(node, 0, scaled.output[0])
        graph.replace_input(node, 1, weight)
        changed += 1
    if changed:
        graph.sort()
        graph.prune()
    return changed


def _scaled_weights(graph: Graph, node: onnx.NodeProto) -> tuple[str, str] | None:
    """Return the constant weights of a product and the scale of its activations."""
    product = graph.producer.get(node.input[1]) if node.op_type == "MatMul" else None
    if product is None or product.op_type != "Mul":
        return None
    for weight, factor in (product.input, reversed(product.input)):
        if weight in graph.constants and factor in graph.producer:
            dimensions = len(graph.constants[weight].dims)
            if dimensions == 2 and _is_column(graph, graph.producer[factor]):
                return weight, factor
    return None


def _is_column(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a node makes a (batch, inputs, 1) of one row or vector an event."""
    if node.op_type == "Transpose":
        return list(attribute(node, "perm", [])) == [0, 2, 1]
    if node.op_type == "Unsqueeze" and node.input[1] in graph.constants:
        return graph.array(node.input[1]).tolist() in ([-1], [2])
    return False


def _row(graph: Graph, column: str) -> str:
    """Return the (batch, 1, inputs) of a (batch, inputs, 1)."""
    node = graph.producer[column]
    if node.op_type == "Transpose":
        return str(node.input[0])
    axis = graph.add_constant(f"{column}_axis", np.array([1], np.int64))
    return str(graph.add_node("Unsqueeze", [node.input[0], axis], f"{column}_row").output[0])
