"""A small bundle with a graph of each precision, and surroundings for its engines."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from xec_deploy.bundle import GoldenEvents, open_bundle, shipped_bundle, write_bundle
from xec_deploy.bundle.manifest import METADATA_KEY

SENSORS, HIDDEN = 4760, 32
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def node(operator, given, results, name, **attributes):
    return helper.make_node(operator, given, results, name, **attributes)


FIRST = np.random.default_rng(3).normal(size=(SENSORS, HIDDEN)).astype(np.float32) / SENSORS
SECOND = np.full((HIDDEN, 1), 1e-3, np.float32)


def graph_of(precision, manifest):
    """Two matrix products from live photons to an energy."""
    first, second = FIRST, SECOND
    constants = {"zero": np.float32(0), "second": second}
    nodes = [node("Where", ["dead", "zero", "npho"], ["live"], "mask")]
    match precision:
        case "fp32":
            constants["first"] = first
            nodes.append(node("MatMul", ["live", "first"], ["hidden"], "product"))
        case "fp16" | "bf16":
            kind = HALF if precision == "fp16" else TensorProto.BFLOAT16
            dtype = np.float16 if precision == "fp16" else helper.tensor_dtype_to_np_dtype(kind)
            constants["first"] = first.astype(dtype)
            nodes += [
                node("Cast", ["live"], ["half"], "down", to=kind),
                node("MatMul", ["half", "first"], ["half_hidden"], "product"),
                node("Cast", ["half_hidden"], ["hidden"], "up", to=FLOAT),
            ]
        case "int8-trt":
            steps = np.abs(first).max(axis=0) / 127
            constants |= {
                "first": np.round(first / steps).astype(np.int8),
                "steps": steps,
                "points": np.zeros(HIDDEN, np.int8),
                "step": np.float32(1000 / 127),
                "point": np.int8(0),
            }
            nodes += [
                node("QuantizeLinear", ["live", "step", "point"], ["q"], "q"),
                node("DequantizeLinear", ["q", "step", "point"], ["x"], "dq"),
                node("DequantizeLinear", ["first", "steps", "points"], ["w"], "dq_w", axis=1),
                node("MatMul", ["x", "w"], ["hidden"], "product"),
            ]
    nodes += [
        node("Relu", ["hidden"], ["positive"], "relu"),
        node("MatMul", ["positive", "second"], ["energy"], "head"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [
            value("npho", FLOAT, ("batch", SENSORS)),
            value("time", FLOAT, ("batch", SENSORS)),
            value("dead", TensorProto.BOOL, ("batch", SENSORS)),
        ],
        [value("energy", FLOAT, ("batch", 1))],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, manifest.model_dump_json()
    return model


@pytest.fixture(scope="session")
def small_manifest():
    whole = open_bundle(shipped_bundle()).manifest.without_hashes()
    return whole.model_copy(update={"name": "small", "tasks": {"energy": whole.tasks["energy"]}})


@pytest.fixture(scope="session")
def make_bundle(small_manifest, tmp_path_factory):
    """Write a bundle of some graphs; ``change`` edits them by name before."""

    def make(folder, precisions=("fp32",), change=None):
        source = tmp_path_factory.mktemp("graphs")
        files = {}
        for precision in precisions:
            model = graph_of(precision, small_manifest)
            if change and precision in change:
                change[precision](model)
            files[precision] = source / f"{precision}.onnx"
            onnx.save_model(model, str(files[precision]))
        npho = np.random.default_rng(5).uniform(0, 1000, (8, SENSORS)).astype(np.float32)
        energy = np.maximum(npho.astype(np.float64) @ FIRST, 0) @ SECOND.astype(np.float64)
        events = GoldenEvents(
            npho,
            np.zeros((8, SENSORS), np.float32),
            np.zeros((8, SENSORS), bool),
            {"energy": energy},
        )
        return write_bundle(folder / "small.xec", small_manifest, files, events)

    return make
