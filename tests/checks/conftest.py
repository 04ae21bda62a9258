"""Small graphs with the contract's interface, to be made better and worse."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from xec_deploy.bundle import open_bundle, shipped_bundle
from xec_deploy.bundle.manifest import METADATA_KEY

SENSORS = 4760
FLOAT, BOOL = TensorProto.FLOAT, TensorProto.BOOL


def value(name, element=FLOAT, shape=("batch", SENSORS)):
    return helper.make_tensor_value_info(name, element, shape)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def inputs():
    return [value("npho"), value("time"), value("dead", BOOL)]


def manifest(**changes):
    whole = open_bundle(shipped_bundle()).manifest.without_hashes()
    tasks = {"energy": whole.tasks["energy"]}
    return whole.model_copy(update={"tasks": tasks, **changes})


# Dead channels out, the rest summed: an energy estimate.
HEAD = [
    helper.make_node("Where", ["dead", "zero", "npho"], ["live"], "mask"),
    helper.make_node("ReduceSum", ["live", "one"], ["sum"], "sum", keepdims=1),
]
TAIL = [helper.make_node("Mul", ["sum", "scale"], ["energy"], "calibrate")]


def model(
    nodes=None,
    constants=(),
    *,
    given=None,
    results=None,
    described=True,
    opset=20,
    ir=10,
    domains=(),
):
    """A graph from raw events to an energy; ``nodes`` come between the sum and the energy."""
    between = [*HEAD, *(nodes or []), *TAIL] if nodes is None or given is None else nodes
    graph = helper.make_graph(
        between,
        "small",
        given or inputs(),
        results or [value("energy", shape=("batch", 1))],
        [
            constant("zero", np.float32(0)),
            constant("one", np.int64([1])),
            constant("scale", np.float32(1e-6)),
            *constants,
        ],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=ir, producer_name="test")
    if described:
        entry = made.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, manifest().model_dump_json()
    return made


def node(operator, given, results, name="guilty", **attributes):
    return helper.make_node(operator, given, results, name, **attributes)


def save(made, folder, name="small"):
    path = folder / f"{name}.onnx"
    onnx.save_model(made, str(path))
    return path


def through(*nodes):
    """A graph in which ``sum`` reaches the energy through nodes from ``sum`` to ``changed``."""
    made = model()
    *head, tail = made.graph.node
    tail.input[0] = "changed"
    del made.graph.node[:]
    made.graph.node.extend([*head, *nodes, tail])
    return made


def with_constants(made, **constants):
    made.graph.initializer.extend(constant(name, array) for name, array in constants.items())
    return made


@pytest.fixture(scope="session")
def graphs():
    """The functions above."""
    parts = (model, through, with_constants, node, value, constant, inputs, manifest, save)
    return SimpleNamespace(**{part.__name__: part for part in parts})
