"""An ONNX graph run by torch, in the precision it was written in or in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from xec_deploy.backends.torch_ops import OPERATORS, Operator, OpError
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.errors import BundleError

__all__ = ["TorchGraph"]


@dataclass(frozen=True)
class _Step:
    """One node: its function, attributes, names, and what nobody needs after it."""

    operator: str
    name: str
    function: Operator
    attributes: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    done: tuple[str, ...]


class TorchGraph:
    """Runs the nodes of a graph one after the other.

    Parameters
    ----------
    path
        The ONNX file.
    device
        Torch's name of the device.
    double
        Compute in float64 whatever the graph says: a reference for its arithmetic.

    Raises
    ------
    BundleError
        If the file is no graph, or has an operator or type without counterpart here.
    """

    def __init__(self, path: Path, *, device: str = "cpu", double: bool = False) -> None:
        model = load_onnx(path)
        self._where, self._device, self._double = str(path), torch.device(device), double
        graph = model.graph
        self.outputs = [value.name for value in graph.output]
        self._constants = {item.name: self._tensor(item) for item in graph.initializer}
        self.inputs = [item.name for item in graph.input if item.name not in self._constants]
        self._steps = self._plan(graph)

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs for named inputs.

        Raises
        ------
        BundleError
            If an operator is used in a form that is not known here.
        """
        values = dict(self._constants)
        for name in self.inputs:
            values[name] = self._moved(torch.from_numpy(np.ascontiguousarray(inputs[name])))
        for step in self._steps:
            given = [values[name] if name else None for name in step.inputs]
            try:
                found = step.function(step.attributes, *given)
            except (OpError, RuntimeError, TypeError, KeyError) as error:
                raise BundleError(
                    f"torch cannot run the node {step.name!r} ({step.operator}: {error})",
                    where=self._where,
                    fix="Use another backend for this graph.",
                ) from error
            results = found if isinstance(found, tuple) else (found,)
            values.update(zip(step.outputs, results, strict=False))
            for name in step.done:
                del values[name]
        return {name: values[name].cpu().numpy() for name in self.outputs}

    def _plan(self, graph: onnx.GraphProto) -> list[_Step]:
        last = {name: index for index, node in enumerate(graph.node) for name in node.input}
        made = {name for node in graph.node for name in node.output}
        steps = []
        for index, node in enumerate(graph.node):
            if node.op_type == "Constant":
                self._constants[node.output[0]] = self._constant(node)
                continue
            if node.op_type not in OPERATORS or node.domain not in {"", "ai.onnx"}:
                raise BundleError(
                    f"torch has no operator {node.op_type} of this package (node {node.name!r})",
                    where=self._where,
                    fix="Use another backend for this graph.",
                )
            gone = {name for name in (*node.input, *node.output) if name in made}
            done = {n for n in gone if last.get(n, index) == index} - set(self.outputs)
            steps.append(
                _Step(
                    node.op_type,
                    node.name,
                    OPERATORS[node.op_type],
                    self._attributes(node),
                    tuple(node.input),
                    tuple(node.output),
                    tuple(done - set(self._constants)),
                )
            )
        return steps

    def _attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        found = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        for name, value in found.items():
            if isinstance(value, onnx.TensorProto):
                found[name] = self._tensor(value)
        # Casts to any float are to the one that is computed in.
        if self._double and node.op_type == "Cast" and found["to"] in {1, 10, 16}:
            found["to"] = onnx.TensorProto.DOUBLE
        return found

    def _constant(self, node: onnx.NodeProto) -> Tensor:
        [(name, value)] = self._attributes(node).items()
        if isinstance(value, Tensor):
            return value
        kind = torch.int64 if name in {"value_int", "value_ints"} else torch.float32
        return self._moved(torch.tensor(value, dtype=kind))

    def _tensor(self, item: onnx.TensorProto) -> Tensor:
        if item.data_type == onnx.TensorProto.BFLOAT16:
            values = torch.from_numpy(numpy_helper.to_array(item).astype(np.float32).copy())
            return self._moved(values if self._double else values.to(torch.bfloat16))
        try:
            values = torch.from_numpy(numpy_helper.to_array(item).copy())
        except TypeError as error:
            raise BundleError(
                f"torch has no type for the tensor {item.name!r} ({error})", where=self._where
            ) from error
        return self._moved(values)

    def _moved(self, values: Tensor) -> Tensor:
        """Move a tensor to the device; one of integers is read on the host more often than not."""
        if self._double and values.dtype.is_floating_point:
            values = values.double()
        small = values.dtype == torch.int64 and values.ndim < 2 and values.numel() < 16
        return values if small else values.to(self._device)
