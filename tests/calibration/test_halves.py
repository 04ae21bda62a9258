"""16-bit graphs keep what is sensitive in float32."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from calibration.graph import Graph
from calibration.halves import SENSITIVE, convert, emulate
from calibration.layers import find_layers
from calibration.simplify import prepare

KINDS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


@pytest.fixture
def prepared(network):
    graph = prepare(network)
    return graph, find_layers(graph)


@pytest.mark.parametrize("half", KINDS)
def test_types(prepared, half):
    graph, layers = prepared
    model = onnx.shape_inference.infer_shapes(convert(graph, layers, half), strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    types |= {v.name: v.type.tensor_type.elem_type for v in model.graph.input}
    types |= {t.name: t.data_type for t in model.graph.initializer}
    products = 0
    for node in Graph(model).nodes:
        kinds = {types[name] for name in node.input if name in types}
        if node.op_type in SENSITIVE:
            assert KINDS[half] not in kinds
        products += node.op_type == "MatMul" and kinds == {KINDS[half]}
    assert products == 2
    for value in [*model.graph.input, *model.graph.output]:
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize(("half", "least", "most"), [("fp16", 1e-6, 2e-3), ("bf16", 1e-5, 2e-2)])
def test_the_emulation_rounds(prepared, network, images, run, half, least, most):
    graph, layers = prepared
    expected = run(network, images)
    error = run(emulate(graph, layers, half), images) - expected
    assert least < error.std() / expected.std() < most


def test_the_emulation_is_like_the_graph(prepared, network, images, run):
    graph, layers = prepared
    expected = run(network, images)
    graphs = [make(graph, layers, "fp16") for make in (emulate, convert)]
    errors = [(run(model, images) - expected).std() for model in graphs]
    assert errors[1] == pytest.approx(errors[0], rel=0.7)


def test_without_layers_nothing_changes(prepared, images, run):
    graph, _ = prepared
    model = convert(graph, [], "fp16")
    assert not any(node.op_type == "Cast" for node in model.graph.node)
    np.testing.assert_array_equal(run(model, images), run(graph, images))
