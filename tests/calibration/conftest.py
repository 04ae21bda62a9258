import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.graph import Graph
from calibration.observe import open_session
from xec_deploy.simulation import SimulationConfig, write_simulation

CHANNELS, HIDDEN, PLACES = 8, 32, 25


@pytest.fixture(scope="session")
def network():
    """A ConvNeXt V2 block in small, as the exporter writes it, and a head; (batch, 2, 5, 5) in."""
    random = np.random.default_rng(3)
    constants = {
        "model.stem.0.weight": random.normal(0, 0.5, (CHANNELS, 2, 3, 3)),
        "model.stem.0.bias": random.normal(0, 0.1, CHANNELS),
        "model.stage1.0.norm.weight": random.uniform(0.2, 3, CHANNELS),
        "model.stage1.0.norm.bias": random.normal(0, 0.3, CHANNELS),
        "pw1": random.normal(0, 0.4, (CHANNELS, HIDDEN)),
        "model.stage1.0.pwconv1.bias": random.normal(0, 0.1, HIDDEN),
        "pw2": random.normal(0, 0.2, (HIDDEN, CHANNELS)),
        "model.stage1.0.grn.gamma": random.normal(0, 0.5, HIDDEN),
        "model.heads.energy.0.weight": random.normal(0, 0.3, (1, CHANNELS)),
        "model.heads.energy.0.bias": np.array([1.0]),
        "one": np.array(1.0),
    }
    shapes = {"flat": [0, CHANNELS, PLACES], "axis": [1]}
    nodes = [
        ("Conv", ["x", "model.stem.0.weight", "model.stem.0.bias"], "conv", {"pads": [1] * 4}),
        ("Reshape", ["conv", "flat"], "maps", {}),
        ("Transpose", ["maps"], "last", {"perm": [0, 2, 1]}),
        (
            "LayerNormalization",
            ["last", "model.stage1.0.norm.weight", "model.stage1.0.norm.bias"],
            "norm",
            {"epsilon": 1e-6},
        ),
        ("MatMul", ["norm", "pw1"], "expanded", {}),
        ("Add", ["expanded", "model.stage1.0.pwconv1.bias"], "biased", {}),
        ("Gelu", ["biased"], "hidden", {}),
        ("ReduceL2", ["hidden", "axis"], "response", {}),
        ("Mul", ["model.stage1.0.grn.gamma", "response"], "gained", {}),
        ("Add", ["gained", "one"], "scale", {}),
        ("Transpose", ["scale"], "column", {"perm": [0, 2, 1]}),
        ("Mul", ["pw2", "column"], "weights", {}),
        ("MatMul", ["hidden", "weights"], "branch", {}),
        ("Add", ["last", "branch"], "sum", {}),
        ("ReduceMean", ["sum", "axis"], "mean", {"keepdims": 0}),
        (
            "Gemm",
            ["mean", "model.heads.energy.0.weight", "model.heads.energy.0.bias"],
            "energy",
            {"transB": 1},
        ),
    ]
    graph = helper.make_graph(
        [helper.make_node(op, given, [made], name=made, **more) for op, given, made, more in nodes],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 5, 5])],
        [helper.make_tensor_value_info("energy", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()]
        + [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in shapes.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture
def images():
    return np.random.default_rng(4).normal(0, 1, (64, 2, 5, 5)).astype(np.float32)


@pytest.fixture
def run():
    """Run a graph or model on images; return one tensor."""

    def run(graph, images, tensor="energy"):
        model = onnx.ModelProto()
        model.CopyFrom(graph.model if isinstance(graph, Graph) else graph)
        if tensor != "energy":
            model.graph.output.append(helper.make_empty_tensor_value_info(tensor))
        return open_session(model, optimised=False).run([tensor], {"x": images})[0]

    return run


@pytest.fixture(scope="session")
def events_file(tmp_path_factory):
    """Simulated events of several runs."""
    path = tmp_path_factory.mktemp("calibration") / "events.root"
    write_simulation(path, SimulationConfig(seed=8, events_per_run=50), 200)
    return path
