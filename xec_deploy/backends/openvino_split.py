"""A graph in two: what makes the features of an event, and what makes results of them.

OpenVINO takes one precision for a whole graph.  In bfloat16 a number has eight bits: a position of
60 cm is written to a quarter of a centimetre, and the logarithm of an energy to half a percent.
The last layers, where an event has become one vector, work on numbers of that kind, cost next to
nothing, and are compiled apart, in float32.
"""

from __future__ import annotations

import math
from typing import Any, Final

import openvino
from openvino import opset13

__all__ = ["split_results"]

WORK_BEHIND: Final = 1 / 20
"""Largest share of the multiply-adds that goes with the results."""
PRODUCTS: Final = frozenset({"MatMul", "Convolution", "GroupConvolution"})


def split_results(model: Any) -> tuple[Any, Any] | None:
    """Divide a model at the first tensor behind which there is hardly any work.

    Parameters
    ----------
    model
        Of fixed shapes.  It is taken apart and must not be used any more.

    Returns
    -------
    features, results
        Models: the first has the inputs and one output, the tensor that everything behind it needs
        and nothing else; the second has this tensor as its only input, and the outputs.  None,
        and the model as it was, where no such tensor has a product behind it.
    """
    nodes = model.get_ordered_ops()
    data = _depends_on_input(nodes)
    work = {node.get_name(): _multiply_adds(node) for node in nodes}
    allowed = WORK_BEHIND * sum(work.values())
    needed: dict[tuple[str, int], Any] = {}
    behind, cut = 0, None
    outputs = len(model.get_results())
    for node in reversed(nodes):
        name = node.get_name()
        outputs -= node.get_type_name() == "Result"
        if name not in data:
            continue
        if node.get_type_name() == "Parameter":
            break
        behind += work[name]
        if behind > allowed:
            break
        for index in range(node.get_output_size()):
            needed.pop((name, index), None)
        for source in node.input_values():
            producer = source.get_node().get_name()
            if producer in data:
                needed[producer, source.get_index()] = source
        # An output may stand among the features, behind a tensor of its own.
        if len(needed) == 1 and behind and not outputs:
            (cut,) = needed.values()
    return None if cut is None else _divide(model, cut)


def _divide(model: Any, cut: Any) -> tuple[Any, Any]:
    # Consumers are asked for before there is one more.
    targets = list(cut.get_target_inputs())
    features = openvino.Model([opset13.result(cut)], model.get_parameters(), "features")
    given = opset13.parameter(list(cut.get_shape()), cut.get_element_type(), "features")
    for target in targets:
        target.replace_source_output(given.output(0))
    return features, openvino.Model(model.get_results(), [given], "results")


def _depends_on_input(nodes: list[Any]) -> frozenset[str]:
    """Return the names of the nodes that are not constant."""
    found: set[str] = set()
    for node in nodes:
        sources = (source.get_node().get_name() for source in node.input_values())
        # Only the values count: shapes are fixed.
        if node.get_type_name() == "Parameter" or (
            node.get_type_name() != "ShapeOf" and any(name in found for name in sources)
        ):
            found.add(node.get_name())
    return frozenset(found)


def _multiply_adds(node: Any) -> int:
    """Return the multiply-adds of a product; 0 for other nodes."""
    if node.get_type_name() not in PRODUCTS:
        return 0
    outputs = math.prod(node.get_output_shape(0))
    if node.get_type_name() == "MatMul":
        first = list(node.get_input_shape(0))
        return int(outputs * first[-2 if node.get_attributes()["transpose_a"] else -1])
    weights = list(node.get_input_shape(1))
    # (groups,) outputs, inputs, height, width
    skipped = 2 if node.get_type_name() == "GroupConvolution" else 1
    return int(outputs * math.prod(weights[skipped:]))
