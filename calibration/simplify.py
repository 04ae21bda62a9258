"""Forms of a graph that quantise well, equal to the original up to rounding.

Global response normalisation (ConvNeXt V2) multiplies every channel of an event by a number of
its own.  The networks fold it into the following layer's weights, which is cheaper in float but
makes the weights depend on the event: no constant weights, nothing to quantise.  Here the number
goes back to the activations, in front of the quantisation.
"""

from __future__ import annotations

import onnx

from calibration.graph import Graph, attribute, fold_constants

__all__ = ["prepare", "unfold_scaled_weights"]


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

    ``W`` (inputs, outputs) is constant; ``scale`` (batch, inputs, 1) is the transpose of a tensor
    (batch, 1, inputs).
    """
    changed = 0
    for node in graph.nodes:
        found = _scaled_weights(graph, node)
        if found is None:
            continue
        weight, scale = found
        scaled = graph.add_node("Mul", [node.input[0], scale], f"{node.input[0]}_scaled")
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
        transpose = graph.producer.get(factor)
        if weight not in graph.constants or transpose is None:
            continue
        dimensions = list(graph.constants[weight].dims)
        swaps = list(attribute(transpose, "perm", [])) == [0, 2, 1]
        if len(dimensions) == 2 and transpose.op_type == "Transpose" and swaps:
            return weight, transpose.input[0]
    return None
