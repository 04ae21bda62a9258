"""Small ONNX graphs written by hand, one call an operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from xec_deploy.bundle.manifest import INPUTS
from xec_deploy.bundle.onnx_file import IR_VERSION, OPSET
from xec_deploy.detector.constants import N_SENSORS

__all__ = ["BATCH_AXIS", "GraphBuilder"]

BATCH_AXIS: Final = "batch"
ELEMENTS: Final = {"float32": TensorProto.FLOAT, "bool": TensorProto.BOOL}


class GraphBuilder:
    """Nodes and constants of a graph that takes raw events.

    Parameters
    ----------
    prefix
        Precedes every name but those of the inputs, so that graphs can be joined.

    Examples
    --------
    >>> b = GraphBuilder("twice/")
    >>> twice = b.add("Mul", "npho", b.constant(2.0))
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        name = f"{self.prefix}{operator}_{len(self._nodes)}"
        node = helper.make_node(operator, list(inputs), [name], name=name, **attributes)
        self._nodes.append(node)
        return name

    def constant(self, values: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """Return the name of a constant; equal ones are stored once."""
        array = np.asarray(values, dtype=dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._names:
            name = f"{self.prefix}constant_{len(self._names)}"
            self._names[key] = name
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return self._names[key]

    def indices(self, values: ArrayLike) -> str:
        """Return the name of constant int64 axes, shapes or bounds."""
        return self.constant(np.atleast_1d(values), np.int64)

    def gather(self, data: str, indices: NDArray[Any], axis: int) -> str:
        """Gather along an axis, with int32 indices."""
        return self.add("Gather", data, self.constant(indices, np.int32), axis=axis)

    def slice(self, data: str, axis: int, first: int, last: int) -> str:
        """Take ``first`` to ``last`` (exclusive) along an axis."""
        bounds = [self.indices(value) for value in (first, last, axis)]
        return self.add("Slice", data, *bounds)

    def sum(self, data: str, *axes: int, keep: bool = False) -> str:
        """Sum over axes."""
        return self.add("ReduceSum", data, self.indices(axes), keepdims=int(keep))

    def reshape(self, data: str, *shape: int) -> str:
        """Reshape; 0 keeps an axis, -1 is what is left."""
        return self.add("Reshape", data, self.indices(shape))

    def model(
        self, outputs: Sequence[tuple[str, str, str, Sequence[int]]], name: str
    ) -> onnx.ModelProto:
        """Return the graph.

        Parameters
        ----------
        outputs
            (name to give, name of the value, ``float32`` or ``bool``, shape without the batch).
        name
            Of the graph.
        """
        nodes = [
            *self._nodes,
            *(helper.make_node("Identity", [value], [output]) for output, value, _, _ in outputs),
        ]
        inputs = [
            helper.make_tensor_value_info(name, ELEMENTS[kind], [BATCH_AXIS, N_SENSORS])
            for name, kind in INPUTS.items()
        ]
        ports = [
            helper.make_tensor_value_info(output, ELEMENTS[kind], [BATCH_AXIS, *shape])
            for output, _, kind, shape in outputs
        ]
        return helper.make_model(
            helper.make_graph(nodes, name, inputs, ports, list(self._constants.values())),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="xec-deploy",
        )
