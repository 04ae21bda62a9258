"""The layers of a network that can be made cheaper: products of activations with trained weights.

A layer is a MatMul, Gemm or Conv whose second input is a constant.  Layers belong to groups (a
block, a face's stem, a transformer layer, a head), which the search for sensitive parts takes as
one at first: the names of weights and biases tell which, and a layer whose weights lost their name
when the graph was folded belongs to the group of the layer it reads from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import onnx

from calibration.graph import Graph, attribute

__all__ = ["Layer", "find_layers", "group_of", "last_layers"]

LAYER_OPS: Final = ("MatMul", "Gemm", "Conv")
CONTAINERS: Final = frozenset({"model", "backbone", "encoder", "module"})
"""Parts of a weight's name that only say that it is part of a model."""
LEAVES: Final = frozenset({"weight", "bias"})
PREPARATION: Final = frozenset({"view", "outer_fine"})
"""Parts of the names of constants that are geometry: what networks compute of the raw light."""
UNNAMED: Final = "unnamed"


@dataclass(frozen=True)
class Layer:
    """One product with trained weights.

    Attributes
    ----------
    node
        Output tensor of the node, by which it is found again in a copy of the graph.
    op
        MatMul, Gemm or Conv.
    activation, weight
        Names of its inputs.
    channel_axis
        Axis of the weights along which the output channels lie.
    depthwise
        Whether it is a convolution with one input channel a group.
    group
        The group it belongs to.
    part
        Its weights within the group: ``GROUP/NUMBER`` in the order of use.
    """

    node: str
    op: str
    activation: str
    weight: str
    channel_axis: int
    depthwise: bool
    group: str
    part: str


def find_layers(graph: Graph) -> tuple[Layer, ...]:
    """Return the layers in order.

    Products with geometry are left out: they prepare the input, which stays exact.
    """
    layers: dict[str, Layer] = {}
    weights: dict[str, list[str]] = {}
    for node in graph.nodes:
        axis = _channel_axis(graph, node)
        if axis is None or not _is_trained(node.input[1]):
            continue
        group = _named_group(graph, node) or _group_before(graph, node, layers) or UNNAMED
        members = weights.setdefault(group, [])
        if node.input[1] not in members:
            members.append(node.input[1])
        layers[node.output[0]] = Layer(
            node=node.output[0],
            op=node.op_type,
            activation=node.input[0],
            weight=node.input[1],
            channel_axis=axis,
            depthwise=node.op_type == "Conv" and attribute(node, "group", 1) > 1,
            group=group,
            part=f"{group}/{members.index(node.input[1]) + 1}",
        )
    return tuple(layers.values())


def last_layers(graph: Graph, layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers with no other layer behind them: they make the results."""
    nodes = {layer.node for layer in layers}
    before: set[str] = set()
    """Tensors that a layer further on depends on."""
    last = set()
    for node in reversed(graph.nodes):
        leads = before.intersection(node.output)
        if node.output[0] in nodes and not leads:
            last.add(node.output[0])
        if leads or node.output[0] in nodes:
            before.update(node.input)
    return tuple(layer for layer in layers if layer.node in last)


def _channel_axis(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Return where the output channels of a layer's weights are; None for another node."""
    if node.op_type not in LAYER_OPS or node.input[1] not in graph.constants:
        return None
    if node.input[0] in graph.constants or attribute(node, "transA", 0):
        return None
    dimensions = len(graph.constants[node.input[1]].dims)
    if node.op_type == "Conv":
        return 0
    if dimensions != 2:
        return None
    return 0 if attribute(node, "transB", 0) else 1


def _is_trained(weight: str) -> bool:
    return not PREPARATION.intersection(weight.split("."))


def group_of(name: str) -> str | None:
    """Return the group of a parameter, e.g. ``stage1.0`` of ``backbone.stage1.0.norm.weight``.

    None for a name that is not a parameter's path.
    """
    parts = name.split(".")
    if len(parts) < 2:
        return None
    while len(parts) > 1 and parts[0] in CONTAINERS:
        parts = parts[1:]
    parts = [part for part in parts if part not in LEAVES]
    if not parts:
        return None
    if parts[0] == "heads":
        return ".".join(parts[:2])
    for index, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: index + 1])
    return ".".join(parts[:2])


def _named_group(graph: Graph, node: onnx.NodeProto) -> str | None:
    """Return the group by the name of the weights, the bias, or that of a following Add."""
    names = list(node.input[1:])
    for follower in graph.consumers.get(node.output[0], []):
        if follower.op_type == "Add":
            names += list(follower.input)
    for name in names:
        if name in graph.constants:
            group = group_of(name)
            if group is not None:
                return group
    return None


def _group_before(graph: Graph, node: onnx.NodeProto, layers: dict[str, Layer]) -> str | None:
    """Return the group of the nearest layer the node reads from."""
    for tensor in _ancestors(graph, node):
        if tensor in layers:
            return layers[tensor].group
    return None


def _ancestors(graph: Graph, node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors a node depends on, nearest first."""
    seen: set[str] = set()
    level = [node]
    while level:
        tensors = [name for one in level for name in one.input if name not in seen]
        seen.update(tensors)
        yield from tensors
        level = [graph.producer[name] for name in tensors if name in graph.producer]
