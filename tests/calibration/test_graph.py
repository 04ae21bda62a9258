"""Graphs can be edited and keep their meaning."""

import numpy as np
import onnx
import pytest

from calibration.graph import Graph, fold_constants
from calibration.layers import find_layers, group_of
from calibration.simplify import prepare
from calibration.smoothing import smooth
from xec_deploy.bundle import shipped_bundle
from xec_deploy.bundle.onnx_file import load_onnx


def copy_of(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def test_added_nodes_stand_before_what_they_were_made_for(network, images, run):
    graph = Graph(copy_of(network))
    target = graph.producer["hidden"]
    doubled = graph.add_node("Add", ["biased", "biased"], "twice")
    graph.replace_input(target, 0, doubled.output[0])
    graph.sort()
    names = [node.output[0] for node in graph.nodes]
    assert names.index("twice") == names.index("hidden") - 1
    onnx.checker.check_model(graph.model, full_check=True)
    assert not np.allclose(run(graph, images), run(network, images))


def test_what_no_output_needs_is_removed(network):
    graph = Graph(copy_of(network))
    graph.add_constant("unused", np.zeros(4, np.float32))
    graph.add_node("Relu", ["conv"], "idle")
    graph.sort()
    graph.prune()
    assert "unused" not in graph.constants
    assert "idle" not in graph.producer
    assert len(graph.nodes) == len(network.graph.node)


def test_constants_are_folded(network, images, run):
    graph = Graph(copy_of(network))
    transposed = graph.add_node("Transpose", ["pw1"], "pw1_t", perm=[1, 0])
    back = graph.add_node("Transpose", [transposed.output[0]], "pw1_back", perm=[1, 0])
    graph.replace_input(graph.producer["expanded"], 1, back.output[0])
    graph.sort()
    fold_constants(graph)
    fold_constants(graph)
    assert [node.op_type for node in graph.nodes].count("Transpose") == 2
    np.testing.assert_array_equal(run(graph, images), run(network, images))


def test_scaled_weights_become_scaled_activations(network, images, run):
    graph = prepare(network)
    assert "weights" not in graph.producer
    product = graph.producer["branch"]
    assert product.input[1] == "pw2"
    np.testing.assert_allclose(run(graph, images), run(network, images), rtol=1e-5, atol=1e-5)


def test_layers_and_their_groups(network):
    layers = {layer.node: layer for layer in find_layers(prepare(network))}
    assert {name: layer.group for name, layer in layers.items()} == {
        "conv": "stem.0",
        "expanded": "stage1.0",
        "branch": "stage1.0",  # its weights lost their name; it reads from the block's first layer
        "energy": "heads.energy",
    }
    assert [layers[name].part for name in ("expanded", "branch")] == ["stage1.0/1", "stage1.0/2"]
    assert [layers[name].channel_axis for name in ("conv", "expanded", "energy")] == [0, 1, 0]


def test_geometry_is_no_layer():
    layers = find_layers(prepare(load_onnx(shipped_bundle() / "fp32.onnx")))
    assert layers
    assert not any("view" in layer.weight for layer in layers)
    assert {"anchors.energy", "heads.uvwFI", "shared.0"} <= {layer.group for layer in layers}


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("model.backbone.backbone.stage1.0.dwconv.weight", "stage1.0"),
        ("model.backbone.fusion_transformer.layers.1.linear1.bias", "fusion_transformer.layers.1"),
        ("model.heads.uvwFI.4.weight", "heads.uvwFI"),
        ("val_35", None),
    ],
)
def test_groups_by_name(name, group):
    assert group_of(name) == group


def test_smoothing_evens_channels_and_keeps_the_function(network, images, run):
    graph = prepare(network)
    layers = find_layers(graph)
    tensors = {layer.activation for layer in layers if layer.op != "Conv"}
    maxima = {}
    for name in tensors:
        values = np.abs(run(graph, images, name))
        maxima[name] = values.max(axis=tuple(range(values.ndim - 1)))
    smoothed, changed = smooth(graph, layers, maxima)
    np.testing.assert_allclose(run(smoothed, images), run(network, images), rtol=1e-5, atol=1e-5)
    # The normalisation and GRN take the division: no multiplication of a large tensor more.
    products = [node for node in smoothed.nodes if node.op_type == "Mul"]
    assert len(products) == len([node for node in graph.nodes if node.op_type == "Mul"]) + 2

    def unevenness(values):
        reach = np.abs(values).max(axis=(0, 1))
        return reach.max() / reach.min()

    assert {layer.activation for layer in changed} >= {"norm", "hidden_scaled"}
    assert unevenness(run(smoothed, images, "norm")) < unevenness(run(graph, images, "norm")) / 2
