"""In bfloat16 the last layers stay in float32."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

openvino = pytest.importorskip("openvino")

from xec_deploy.backends.openvino_graph import openvino_core  # noqa: E402
from xec_deploy.backends.openvino_split import split_results  # noqa: E402

WIDTH = 256


def network(tasks, *, tail=True):
    """Two wide layers, and for each task one small layer around 60."""
    random = np.random.default_rng(0)
    weights = {
        name: (random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
        for name, shape in (("w0", (16, WIDTH)), ("w1", (WIDTH, WIDTH)))
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c" if tail else tasks[0]]),
    ]
    if tail:
        nodes.append(helper.make_node("Relu", ["c"], ["features"]))
        for task in tasks:
            weights[f"{task}.w"] = random.normal(size=(WIDTH, 2)).astype(np.float32)
            weights[f"{task}.b"] = np.array([60.0, -60.0], np.float32)
            nodes.append(helper.make_node("MatMul", ["features", f"{task}.w"], [f"{task}.m"]))
            nodes.append(helper.make_node("Add", [f"{task}.m", f"{task}.b"], [f"{task}.s"]))
            nodes.append(helper.make_node("Add", [f"{task}.s", f"{task}.b"], [task]))
    values = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "network",
        [values("x", TensorProto.FLOAT, [4, 16])],
        [values(task, TensorProto.FLOAT, None) for task in tasks],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def read(model, folder):
    path = folder / "network.onnx"
    onnx.save(model, path)
    return openvino_core().read_model(path)


@pytest.mark.parametrize("tasks", [["energy"], ["energy", "angle", "timing"]])
def test_the_two_parts_compute_what_the_whole_does(tasks, tmp_path):
    core, settings = openvino_core(), {"INFERENCE_PRECISION_HINT": "f32"}
    x = np.random.default_rng(1).normal(size=(4, 16)).astype(np.float32)
    whole = core.compile_model(read(network(tasks), tmp_path), "CPU", settings)([x])
    expected = [np.array(whole[index]) for index in range(len(tasks))]
    features, results = split_results(read(network(tasks), tmp_path))
    assert [port.get_any_name() for port in features.inputs] == ["x"]
    assert {port.get_any_name() for port in results.outputs} == set(tasks)
    between = core.compile_model(features, "CPU", settings)([x])[0]
    assert between.shape == (4, WIDTH)
    found = core.compile_model(results, "CPU", settings)([between])
    for index, value in enumerate(expected):
        np.testing.assert_allclose(found[index], value, rtol=1e-5)


def test_the_wide_layers_stay_in_front(tmp_path):
    features, results = split_results(read(network(["energy", "angle"]), tmp_path))
    products = [
        sum(node.get_type_name() == "MatMul" for node in part.get_ops())
        for part in (features, results)
    ]
    assert products == [2, 2]


def test_a_network_without_small_last_layers_stays_whole(tmp_path):
    assert split_results(read(network(["energy"], tail=False), tmp_path)) is None


@pytest.mark.parametrize("place", [0, 1])
def test_an_output_from_within_the_features_keeps_the_network_whole(tmp_path, place):
    model = network(["energy"])
    weight = numpy_helper.from_array(np.ones((WIDTH, 2), np.float32), "early.w")
    model.graph.initializer.append(weight)
    model.graph.node.insert(2, helper.make_node("MatMul", ["b", "early.w"], ["early"]))
    early = helper.make_tensor_value_info("early", TensorProto.FLOAT, [4, 2])
    model.graph.output.insert(place, early)
    whole = read(model, tmp_path)
    assert split_results(whole) is None
    assert len(whole.outputs) == 2
