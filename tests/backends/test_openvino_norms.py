"""Norms spelled out in a graph become one op, with the same values."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

openvino = pytest.importorskip("openvino")

from xec_deploy.backends.openvino_graph import openvino_core  # noqa: E402
from xec_deploy.backends.openvino_norms import join_norms  # noqa: E402


def graph(first, second, axes, keep):
    """sqrt(sum(first * second)) over the axes, of inputs x and y (batch, 5, 3)."""
    shape = ["batch", 5, 3]
    nodes = [
        helper.make_node("Mul", [first, second], ["square"]),
        helper.make_node("ReduceSum", ["square", "axes"], ["total"], keepdims=keep),
        helper.make_node("Sqrt", ["total"], ["norm"]),
    ]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "norm",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"],
            [helper.make_tensor_value_info("norm", TensorProto.FLOAT, None)],
            [helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


@pytest.mark.parametrize("axes", [[1], [2], [1, 2]])
@pytest.mark.parametrize("keep", [0, 1])
def test_the_norm_is_one_op_of_the_same_value(axes, keep, tmp_path):
    path = tmp_path / "norm.onnx"
    onnx.save(graph("x", "x", axes, keep), path)
    core = openvino_core()
    model = core.read_model(path)
    assert join_norms(model) == 1
    kinds = {node.get_type_name() for node in model.get_ordered_ops()}
    assert "ReduceL2" in kinds
    assert not kinds & {"Sqrt", "ReduceSum", "Multiply"}
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    found = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"x": x, "y": x})
    expected = np.sqrt((x.astype(np.float64) ** 2).sum(tuple(axes), keepdims=bool(keep)))
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


def test_a_product_of_two_values_is_no_square(tmp_path):
    path = tmp_path / "product.onnx"
    onnx.save(graph("x", "y", [1], 0), path)
    model = openvino_core().read_model(path)
    assert join_norms(model) == 0
    assert "Sqrt" in {node.get_type_name() for node in model.get_ordered_ops()}
