"""Matrix products: how many a graph needs, and how fast an engine can do them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from xec_deploy.backends import Backend, RunOptions, create_backend
from xec_deploy.backends.measure import RawEvents, events_per_second
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.detector.constants import N_SENSORS

__all__ = ["matrix_flops", "product_ceiling"]

PRODUCTS: Final = ("MatMul", "Gemm", "Conv", "ConvTranspose")
ROWS: Final = 2048
WIDTH: Final = 1024
LAYERS: Final = 2
"""A tower of products of the size of a transformer's, without anything between them."""


def matrix_flops(graph: Path, events: RawEvents) -> float:
    """Return the floating point operations of the matrix products and convolutions of an event.

    A multiplication and an addition count as two.  The shapes are those of a run, as many of an
    exported graph's are computed.

    Parameters
    ----------
    graph
        The ONNX file.
    events
        Two events at least: what does not depend on their number is counted whole.
    """
    model = load_onnx(graph)
    nodes = [node for node in model.graph.node if node.op_type in PRODUCTS]
    known = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    wanted = {name for node in nodes for name in (*node.input[:2], node.output[0])} - known.keys()
    inputs = {value.name for value in model.graph.input}
    outputs = sorted(wanted - inputs)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Tensors between nodes that are joined could not be had.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = dict(zip(("npho", "time", "dead"), (array[:2] for array in events), strict=True))
    given = {name: given[name] for name in inputs}
    shapes = {name: array.shape for name, array in given.items()} | known
    shapes |= {
        name: array.shape for name, array in zip(outputs, session.run(outputs, given), strict=True)
    }
    return sum(_flops(node, shapes) for node in nodes) / len(events[0][:2])


def _flops(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> float:
    """Return two for each multiplication of a node."""
    left, right, output = (shapes[name] for name in (*node.input[:2], node.output[0]))
    if node.op_type == "MatMul":
        inner = left[-1]
    elif node.op_type == "Gemm":
        transposed = any(item.name == "transA" and item.i for item in node.attribute)
        inner = left[0] if transposed else left[1]
    elif node.op_type == "Conv":
        # The weights are (outputs, inputs of a group, kernel).
        inner = int(np.prod(right[1:]))
    else:
        # Every input element meets the kernels of all outputs of its group.
        return 2.0 * float(np.prod(left)) * float(np.prod(right[1:]))
    return 2.0 * float(np.prod(output)) * inner


def product_ceiling(name: str, options: RunOptions, seconds: float) -> float:
    """Return how fast an engine multiplies large matrices with given settings [GFLOP/s]."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "products.onnx"
        onnx.save(_tower(), path)
        # A batch is many rows already.
        settings = RunOptions(
            options.device, 1, options.sessions, options.threads, options.precision
        )
        backend: Backend = create_backend(name, path, settings)
        sessions = settings.sessions or 1
        nothing = np.zeros((sessions, N_SENSORS), np.float32)
        events = (nothing, nothing, nothing.astype(bool))
        rate = events_per_second(backend, events, seconds)
    return rate * 2.0 * LAYERS * ROWS * WIDTH * WIDTH / 1e9


def _tower() -> onnx.ModelProto:
    """Return a graph of products of constant weights, an event's value repeated as rows."""
    random = np.random.default_rng(0)
    nodes: list[Any] = [
        helper.make_node("Slice", ["npho", "first", "second", "axis"], ["one"]),
        helper.make_node("Unsqueeze", ["one", "axis"], ["row"]),
        helper.make_node("Add", ["row", "offsets"], ["h0"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([0]), "first"),
        numpy_helper.from_array(np.array([1]), "second"),
        numpy_helper.from_array(np.array([1]), "axis"),
        numpy_helper.from_array(random.normal(size=(1, ROWS, WIDTH)).astype(np.float32), "offsets"),
    ]
    for layer in range(LAYERS):
        weight = random.normal(size=(WIDTH, WIDTH)).astype(np.float32) / np.sqrt(WIDTH)
        constants.append(numpy_helper.from_array(weight.astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"h{layer}", f"w{layer}"], [f"h{layer + 1}"]))
    nodes.append(helper.make_node("ReduceMax", [f"h{LAYERS}", "last"], ["energy"], keepdims=0))
    constants.append(numpy_helper.from_array(np.array([1, 2]), "last"))
    inputs = [
        helper.make_tensor_value_info("npho", TensorProto.FLOAT, ["batch", N_SENSORS]),
    ]
    outputs = [helper.make_tensor_value_info("energy", TensorProto.FLOAT, ["batch"])]
    graph = helper.make_graph(nodes, "products", inputs, outputs, constants)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
