"""Quantised graphs: what the two dialects promise, and how close they are."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from calibration.graph import Graph
from calibration.layers import find_layers
from calibration.qdq import quantise_layers, quantise_weights
from calibration.simplify import prepare


@pytest.fixture
def quantised(network, images, run):
    graph = prepare(network)
    layers = find_layers(graph)
    ranges = {}
    for name in {layer.activation for layer in layers}:
        values = images if name == "x" else run(graph, images, name)
        ranges[name] = float(values.min()), float(values.max())
    return lambda target: quantise_layers(graph, layers, ranges, target)


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_have_a_scale_for_each_output_channel(axis):
    weights = np.random.default_rng(1).normal(0, 1, (6, 9)).astype(np.float32)
    weights[2] *= 100
    weights[:, 4] = 0
    values, scales = quantise_weights(weights, axis)
    assert values.dtype == np.int8
    assert scales.shape == (weights.shape[axis],)
    assert (scales > 0).all()
    assert np.abs(values.astype(int)).max() == 127
    back = values * np.expand_dims(scales, 1 - axis)
    assert (np.abs(back - weights) <= np.expand_dims(scales, 1 - axis) * 0.5001).all()


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_quantised_graphs_are_valid_and_close(quantised, network, images, run, target):
    model = quantised(target)
    onnx.checker.check_model(model, full_check=True)
    expected = run(network, images)
    error = run(model, images) - expected
    assert 0 < error.std() < 0.05 * expected.std()


def test_the_network_is_not_changed(quantised, network):
    before = network.SerializeToString()
    quantised("cpu")
    assert network.SerializeToString() == before


def test_tensorrt_gets_zero_points_of_zero_and_float_biases(quantised):
    model = quantised("tensorrt")
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = graph.constants[node.input[2]]
            assert zero.data_type == TensorProto.INT8
            assert not numpy_helper.to_array(zero).any()
        if node.op_type == "Conv":
            assert graph.constants[node.input[2]].data_type == TensorProto.FLOAT
    assert all(t.data_type != TensorProto.INT32 for t in model.graph.initializer)


def test_cpu_gets_unsigned_activations_and_signed_weights(quantised):
    graph = Graph(quantised("cpu"))
    for node in graph.nodes:
        if node.op_type == "QuantizeLinear":
            assert graph.constants[node.input[2]].data_type == TensorProto.UINT8
        if node.op_type == "DequantizeLinear" and node.input[0] in graph.constants:
            assert graph.constants[node.input[0]].data_type == TensorProto.INT8
