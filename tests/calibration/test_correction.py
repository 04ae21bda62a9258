"""Biases that make up for rounding, and what surrounds layers in int8."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from calibration.correction import with_shifts
from calibration.graph import Graph
from calibration.halves import convert, emulate
from calibration.layers import find_layers, last_layers
from calibration.qdq import quantise_layers, quantise_weights
from calibration.simplify import prepare
from calibration.worthwhile import pays


@pytest.fixture
def prepared(network):
    graph = prepare(network)
    return graph, find_layers(graph)


def test_the_last_layers_make_the_results(prepared):
    graph, layers = prepared
    assert [layer.node for layer in last_layers(graph, layers)] == ["energy"]


def test_a_shift_goes_into_the_bias(prepared, images, run):
    """Of a Gemm, of a Conv and of the sum behind a MatMul, and one is added where there is none."""
    graph, layers = prepared
    for layer in layers:
        channels = run(graph, images[:1], layer.node).shape[1 if layer.op == "Conv" else -1]
        shift = np.arange(1.0, channels + 1)
        shifted = with_shifts(graph, {layer.node: shift})
        onnx.checker.check_model(shifted.model, full_check=True)
        after = {"expanded": "biased", "branch": "branch_corrected"}.get(layer.node, layer.node)
        before = after if after in graph.producer else layer.node
        difference = run(shifted, images, after) - run(graph, images, before)
        if layer.op == "Conv":
            difference = np.moveaxis(difference, 1, -1)
        np.testing.assert_allclose(difference, np.broadcast_to(shift, difference.shape), rtol=1e-4)


@pytest.mark.parametrize("half", ["fp16", "bf16"])
def test_int8_layers_between_16_bit_ones(prepared, network, images, run, half):
    graph, layers = prepared
    ranges = {}
    for layer in layers:
        values = images if layer.activation == "x" else run(graph, images, layer.activation)
        ranges[layer.activation] = float(values.min()), float(values.max())
    low = [layer for layer in layers if layer.op == "MatMul"]
    model = quantise_layers(graph, low, ranges, "tensorrt", half)
    inner = [layer for layer in layers if layer.node != "energy"]
    mixed = convert(Graph(model), inner, half)
    onnx.checker.check_model(mixed, full_check=True)
    kind = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[half]
    made = Graph(mixed)
    for layer in low:
        # A product reads nothing but dequantised numbers, which are 16-bit ones.
        sources = [made.producer[name] for name in made.producer[layer.node].input]
        assert [source.op_type for source in sources] == ["DequantizeLinear"] * 2
        assert {made.constants[source.input[1]].data_type for source in sources} == {kind}
    expected = run(network, images)
    alone = (run(model, images) - expected).std()
    both = (run(emulate(Graph(model), inner, half), images) - expected).std()
    assert 0 < both < 1.5 * alone + 0.02 * expected.std()


def test_scales_are_exact_in_16_bits_and_cover_the_weights():
    weights = np.random.default_rng(2).normal(0, 1e-3, (64, 48)).astype(np.float32)
    values, scales = quantise_weights(weights, 1, "fp16")
    np.testing.assert_array_equal(scales, scales.astype(np.float16).astype(np.float32))
    assert (np.abs(values.astype(int)).max(axis=0) <= 127).all()
    assert (np.abs(values * scales - weights) <= scales * 0.5001).all()


def test_int8_pays_where_weights_outnumber_activations(prepared):
    graph, layers = prepared
    expand = next(layer for layer in layers if layer.node == "expanded")
    inputs, outputs = graph.constants[expand.weight].dims
    assert not pays(expand, {expand.node: 25 * inputs * outputs}, graph)
    conv = next(layer for layer in layers if layer.op == "Conv")
    assert not pays(conv, {conv.node: 1}, graph)
