"""An ONNX graph that can be looked up and edited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from xec_deploy.errors import BundleError

__all__ = ["Graph", "attribute", "fold_constants"]

FOLDED_BYTES: Final = 256 << 20
"""Constants larger than this stay computed: a folded graph must fit in memory twice."""


class Graph:
    """A model's graph with its producers, consumers and constants; edits go to the model.

    Parameters
    ----------
    model
        Changed in place by every method that edits.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.proto = model.graph
        self.refresh()

    def refresh(self) -> None:
        """Look everything up again, after nodes were edited from outside."""
        self.constants: dict[str, onnx.TensorProto] = {t.name: t for t in self.proto.initializer}
        self.producer: dict[str, onnx.NodeProto] = {}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.proto.node:
            for name in node.output:
                self.producer[name] = node
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self.inputs = [value.name for value in self.proto.input]
        self.outputs = [value.name for value in self.proto.output]

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes in order."""
        return list(self.proto.node)

    def array(self, name: str) -> NDArray[Any]:
        """Return the value of a constant."""
        return np.asarray(numpy_helper.to_array(self.constants[name]))

    def fresh(self, name: str) -> str:
        """Return a tensor name that is not taken, like ``name``."""
        taken = self.producer.keys() | self.constants.keys() | set(self.inputs)
        if name not in taken:
            return name
        return next(f"{name}_{i}" for i in range(1, 1 << 20) if f"{name}_{i}" not in taken)

    def add_constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant; return the name it got."""
        return self.add_tensor(numpy_helper.from_array(value, self.fresh(name)))

    def add_tensor(self, tensor: onnx.TensorProto) -> str:
        """Add a constant that carries its own, free name."""
        self.proto.initializer.append(tensor)
        self.constants[tensor.name] = self.proto.initializer[-1]
        return str(tensor.name)

    def add_node(
        self, op: str, inputs: Sequence[str], output: str, **attributes: Any
    ) -> onnx.NodeProto:
        """Append a node with one output; `sort` puts it where it belongs."""
        name = self.fresh(output)
        node = helper.make_node(op, list(inputs), [name], name=f"{name}_{op}", **attributes)
        self.proto.node.append(node)
        added = self.proto.node[-1]
        self.producer[name] = added
        for source in inputs:
            self.consumers.setdefault(source, []).append(added)
        return added

    def replace_input(self, node: onnx.NodeProto, index: int, name: str) -> None:
        """Feed an input of a node from another tensor."""
        self.consumers[node.input[index]].remove(node)
        node.input[index] = name
        self.consumers.setdefault(name, []).append(node)

    def remove(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Remove nodes whose outputs nobody reads any more."""
        gone = {id(node) for node in nodes}
        kept = [node for node in self.proto.node if id(node) not in gone]
        self._set_nodes(kept)

    def prune(self) -> None:
        """Remove nodes and constants that no output needs."""
        needed = set(self.outputs)
        kept = []
        for node in reversed(self.proto.node):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        self._set_nodes(kept[::-1])
        tensors = [t for t in self.proto.initializer if t.name in needed]
        if len(tensors) < len(self.proto.initializer):
            copies = [_copy(tensor) for tensor in tensors]
            del self.proto.initializer[:]
            self.proto.initializer.extend(copies)
            self.refresh()

    def sort(self) -> None:
        """Put nodes behind those they read from, keeping their order otherwise.

        Raises
        ------
        BundleError
            If the graph has a cycle.
        """
        ordered: list[onnx.NodeProto] = []
        begun: set[int] = set()
        done: set[int] = set()
        # Depth first, so that an added node stands right before the node it was made for.
        for first in self.proto.node:
            stack = [first]
            while stack:
                node = stack[-1]
                begun.add(id(node))
                sources = (self.producer[name] for name in node.input if name in self.producer)
                waiting = [source for source in sources if id(source) not in done]
                if any(id(source) in begun for source in waiting):
                    raise BundleError("the graph has a cycle", where=node.name)
                stack.extend(waiting)
                if not waiting:
                    stack.pop()
                    if id(node) not in done:
                        done.add(id(node))
                        ordered.append(node)
        self._set_nodes(ordered)

    def _set_nodes(self, nodes: Sequence[onnx.NodeProto]) -> None:
        copies = [_copy(node) for node in nodes]
        del self.proto.node[:]
        self.proto.node.extend(copies)
        self.refresh()


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Return an attribute's value."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def fold_constants(graph: Graph) -> None:
    """Replace nodes that read nothing but constants by their values."""
    folded = []
    for node in graph.nodes:
        if not node.input or not all(name in graph.constants for name in node.input if name):
            continue
        if sum(len(graph.constants[name].raw_data) for name in node.input if name) > FOLDED_BYTES:
            continue
        given = {name: graph.array(name) for name in node.input if name}
        model = helper.make_model(
            helper.make_graph(
                [node],
                "constant",
                [
                    helper.make_tensor_value_info(n, graph.constants[n].data_type, None)
                    for n in given
                ],
                [helper.make_empty_tensor_value_info(name) for name in node.output],
            ),
            opset_imports=graph.model.opset_import,
            ir_version=graph.model.ir_version,
        )
        values = ReferenceEvaluator(model).run(None, given)
        for name, value in zip(node.output, values, strict=True):
            graph.add_tensor(numpy_helper.from_array(np.ascontiguousarray(value), name))
        folded.append(node)
    graph.remove(folded)
    graph.prune()


def _copy(proto: Any) -> Any:
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy
