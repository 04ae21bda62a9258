"""Every operator of the torch backend against ONNX Runtime, one node at a time."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from xec_deploy.errors import BundleError

torch = pytest.importorskip("torch")

from xec_deploy.backends.torch_graph import TorchGraph  # noqa: E402
from xec_deploy.backends.torch_ops import OPERATORS  # noqa: E402

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=(2, 3, 4, 5)).astype(np.float32)
Y = RANDOM.normal(size=(2, 3, 4, 5)).astype(np.float32)
SMALL = RANDOM.normal(size=(5,)).astype(np.float32)
POSITIVE = np.abs(X) + 0.1
ODD = np.array([-np.inf, -1.5, -0.5, 0.0, 0.5, 2.5, np.inf, np.nan], np.float32)
FLAGS, OTHER = X > 0, Y > 0
STEPS = np.arange(12, dtype=np.int8).reshape(3, 4)
WHOLE = np.array([[-7, 7, 5], [-3, 2, 9]], np.int64)


def ints(*values):
    return np.array(values, np.int64)


def floats(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


CASES = [
    *[(name, (X,), {}) for name in (
        "Abs", "Atan", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
        "Identity", "LeakyRelu", "LogSoftmax", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid",
        "Sign", "Sin", "Softmax", "Softplus", "Tan", "Tanh", "Shape", "Size", "Flatten",
        "Transpose", "GlobalAveragePool", "GlobalMaxPool",
    )],
    *[(name, (POSITIVE,), {}) for name in ("Log", "Sqrt")],
    *[(name, (X, Y), {}) for name in (
        "Add", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean",
        "Min", "Mul", "Sub", "Sum",
    )],
    *[(name, (FLAGS, OTHER), {}) for name in ("And", "Or", "Xor")],
    ("Not", (FLAGS,), {}),
    *[(name, (ODD,), {}) for name in ("IsNaN", "IsInf", "Round", "Sign")],
    ("IsInf", (ODD,), {"detect_negative": 0}),
    ("IsInf", (ODD,), {"detect_positive": 0}),
    ("Where", (FLAGS, X, SMALL), {}),
    ("Add", (X, SMALL), {}),
    ("Div", (WHOLE, ints(2)), {}),
    ("Mod", (WHOLE, ints(4)), {}),
    ("Mod", (X, Y), {"fmod": 1}),
    ("Pow", (POSITIVE, Y), {}),
    ("Clip", (X, np.float32(-0.5), np.float32(0.5)), {}),
    ("Clip", (X, None, np.float32(0.5)), {}),
    ("Cast", (X,), {"to": TensorProto.BOOL}),
    ("Cast", (WHOLE,), {"to": TensorProto.FLOAT}),
    ("CastLike", (WHOLE, X), {}),
    ("Gelu", (X,), {"approximate": "tanh"}),
    ("Softmax", (X,), {"axis": 1}),
    *[(name, (X, axes), {"keepdims": keep}) for name in (
        "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceProd", "ReduceSum", "ReduceSumSquare",
    ) for axes, keep in ((ints(1, -1), 1), (ints(2), 0))],
    ("ReduceSum", (X,), {}),
    ("ReduceSum", (X,), {"noop_with_empty_axes": 1}),
    ("ArgMax", (X,), {"axis": 2}),
    ("ArgMin", (X,), {"axis": 1, "keepdims": 0}),
    ("CumSum", (X, ints(1)[0]), {}),
    ("MatMul", (X, floats(5, 2)), {}),
    ("Gemm", (floats(3, 4), floats(5, 4), floats(5)), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Einsum", (floats(3, 4), floats(4, 2)), {"equation": "ij,jk->ik"}),
    ("Conv", (X, floats(6, 3, 3, 3), floats(6)), {"pads": [1, 1, 1, 1]}),
    ("Conv", (X, floats(3, 1, 2, 2)), {"group": 3, "pads": [0, 0, 1, 1], "strides": [2, 1]}),
    ("Conv", (floats(2, 3, 7), floats(4, 3, 3)), {"dilations": [2]}),
    ("ConvTranspose", (X, floats(3, 2, 3, 3), floats(2)), {"strides": [2, 2], "pads": [1] * 4}),
    ("AveragePool", (X,), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("AveragePool", (X,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", (X,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("MaxPool", (X,), {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}),
    ("LayerNormalization", (X, floats(5), floats(5)), {"epsilon": 1e-6}),
    ("LayerNormalization", (X, floats(4, 5)), {"axis": 2}),
    ("BatchNormalization", (X, floats(3), floats(3), floats(3), POSITIVE[0, :, 0, 0]), {}),
    ("InstanceNormalization", (X, floats(3), floats(3)), {}),
    ("Resize", (X, None, None, ints(2, 3, 9, 7)), {"mode": "linear"}),
    ("Resize", (X, None, np.array([1, 1, 2, 3], np.float32)),
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("Resize", (X, None, np.array([1, 1, 2, 2], np.float32)), {"mode": "linear"}),
    ("Resize", (X, None, None, ints(2, 3, 9, 7)),
     {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ("QuantizeLinear", (X, np.float32(0.02), np.uint8(100)), {}),
    ("QuantizeLinear", (X, POSITIVE[0, :, 0, 0] / 50, np.zeros(3, np.int8)), {"axis": 1}),
    ("DequantizeLinear", (STEPS.astype(np.uint8), np.float32(0.1), np.uint8(7)), {}),
    ("DequantizeLinear", (STEPS, POSITIVE[0, 0, :, 0]),
     {"axis": 1}),
    ("Concat", (X, Y), {"axis": -2}),
    ("ConstantOfShape", (ints(2, 3),), {}),
    ("ConstantOfShape", (ints(2, 3),),
     {"value": helper.make_tensor("value", TensorProto.INT64, [1], [7])}),
    ("Expand", (SMALL, ints(3, 1)), {}),
    ("Flatten", (X,), {"axis": -1}),
    ("Gather", (X, ints(0, -1)), {"axis": 2}),
    ("Gather", (X, WHOLE[:, :2] * 0 + 1), {"axis": -1}),
    ("GatherElements", (X, np.zeros((2, 3, 2, 5), np.int64) - 1), {"axis": 2}),
    ("GatherND", (X, np.array([[0, 1], [1, -1]], np.int64)), {}),
    ("ScatterElements", (floats(3, 4), ints(1, 0, -1)[None], floats(1, 3)), {"axis": 1}),
    ("ScatterND", (floats(3, 4), ints(2, 0)[:, None], floats(2, 4)), {}),
    *[("Pad", (X, ints(1, 0, 2, 1), None, ints(3, 2)), {"mode": mode})
      for mode in ("constant", "edge", "reflect", "wrap")],
    ("Pad", (X, ints(0, 0, 1, 0, 0, 0, 0, 2), np.float32(3)), {}),
    ("Pad", (X, ints(0, -1, 0, 0), None, ints(2, 3)), {}),
    ("Range", (ints(1)[0], ints(9)[0], ints(3)[0]), {}),
    ("Reshape", (X, ints(0, -1, 5)), {}),
    ("Shape", (X,), {"start": 1, "end": -1}),
    ("Slice", (X, ints(1), ints(2**62), ints(-1)), {}),
    ("Slice", (X, ints(3, -1), ints(0, -(2**62)), ints(2, 3), ints(-1, -2)), {}),
    ("Split", (X, ints(1, 3)), {"axis": 2}),
    ("Split", (X,), {"axis": 3, "num_outputs": 3}),
    ("Squeeze", (X[:1, :, :1], ints(0, 2)), {}),
    ("Squeeze", (X[:1, :, :1],), {}),
    ("Tile", (X, ints(1, 2, 1, 3)), {}),
    ("Transpose", (X,), {"perm": [0, 2, 3, 1]}),
    ("Trilu", (X,), {}),
    ("Trilu", (X, ints(1)[0]), {"upper": 0}),
    ("Unsqueeze", (X, ints(0, -1)), {}),
]  # fmt: skip


def one_node(name, inputs, attributes):
    """Return a model of one node, and its inputs by name."""
    names = ["" if value is None else f"i{index}" for index, value in enumerate(inputs)]
    given = {n: np.asarray(v) for n, v in zip(names, inputs, strict=True) if v is not None}
    outputs = ["o"]
    if name == "Split":
        outputs = [f"o{i}" for i in range(attributes.get("num_outputs", 2))]
    graph = helper.make_graph(
        [helper.make_node(name, names, outputs, name="the node", **attributes)],
        "one",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in given.items()
        ],
        [onnx.ValueInfoProto(name=output) for output in outputs],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, ir_version=10, opset_imports=opset)
    typed = onnx.shape_inference.infer_shapes(model)
    return typed, given


@pytest.mark.parametrize(
    ("name", "inputs", "attributes"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)]
)
def test_operator_gives_what_onnxruntime_gives(tmp_path, name, inputs, attributes):
    model, given = one_node(name, inputs, attributes)
    path = tmp_path / "one.onnx"
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = session.run(None, given)
    found = TorchGraph(path).run(given)
    for value, reference in zip(found.values(), expected, strict=True):
        assert value.shape == reference.shape
        assert value.dtype == reference.dtype
        np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-5)


def test_every_operator_has_a_case():
    assert {case[0] for case in CASES} == set(OPERATORS)


@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "message"),
    [
        ("Resize", (X, None, None, ints(2, 3, 9, 7)), {"mode": "cubic"}, "'cubic' of resizing"),
        ("CumSum", (X, ints(1)[0]), {"reverse": 1}, "reverse"),
        ("Det", (floats(3, 3),), {}, "no operator Det"),
    ],
)
def test_what_is_not_known_names_the_node(tmp_path, name, inputs, attributes, message):
    model, given = one_node(name, inputs, attributes)
    path = tmp_path / "one.onnx"
    onnx.save(model, path)
    with pytest.raises(BundleError, match=message) as error:
        TorchGraph(path).run(given)
    assert "the node" in str(error.value)


def test_float64_is_the_reference_of_the_golden_events(bundle):
    golden = bundle.golden.head(4)
    inputs = {"npho": golden.npho, "time": golden.time, "dead": golden.dead}
    outputs = TorchGraph(bundle.graph(), double=True).run(inputs)
    for task, expected in golden.outputs.items():
        assert outputs[task].dtype == np.float64
        np.testing.assert_allclose(outputs[task], expected, rtol=1e-6, atol=1e-6)
