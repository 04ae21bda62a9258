"""An ONNX graph run by torch, in the precision it was written in or in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from xec_deploy.backends.torch_ops import OPERATORS, Operator, OpError, placed
from xec_deploy.backends.torch_ops.kinds import torch_type
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.errors import BundleError

__all__ = ["Step", "TorchGraph"]


@dataclass(frozen=True)
class Step:
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
        The ONNX file, and what messages name.
    model
        Its content, where that was changed; None to read it.
    device
        Torch's name of the device.
    double
        Compute in float64 whatever the graph says: a reference for its arithmetic.

    Raises
    ------
    BundleError
        If the file is no graph, or has an operator or type without counterpart here.
    """

    def __init__(
        self,
        path: Path,
        *,
        model: onnx.ModelProto | None = None,
        device: str = "cpu",
        double: bool = False,
    ) -> None:
        model = model or load_onnx(path)
        self._where, self.device, self._double = str(path), torch.device(device), double
        graph = model.graph
        self.outputs = [value.name for value in graph.output]
        self.constants = {item.name: self._moved(self._tensor(item)) for item in graph.initializer}
        self.inputs = [item.name for item in graph.input if item.name not in self.constants]
        self._ports = {item.name: item.type.tensor_type for item in graph.input}
        self.steps = self._plan(graph)

    def zeros(self, batch: int) -> list[Tensor]:
        """Return inputs for a batch, in the graph's order, on the device."""
        found = []
        for name in self.inputs:
            sizes = [size.dim_value for size in self._ports[name].shape.dim[1:]]
            kind = torch_type(self._ports[name].elem_type)
            found.append(torch.zeros((batch, *sizes), dtype=kind, device=self.device))
        return found

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs for named inputs.

        Raises
        ------
        BundleError
            If an operator is used in a form that is not known here.
        """
        given = {
            name: self._moved(torch.from_numpy(np.ascontiguousarray(inputs[name])))
            for name in self.inputs
        }
        found = self.forward(given)
        return {name: found[name].cpu().numpy() for name in self.outputs}

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs for inputs that are on the device; errors as of `run`."""
        values = {**self.constants, **inputs}
        for step in self.steps:
            results = self.results(step, [values[n] if n else None for n in step.inputs])
            values.update(zip(step.outputs, results, strict=False))
            for name in step.done:
                del values[name]
        return {name: values[name] for name in self.outputs}

    def results(self, step: Step, given: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """Return the outputs of a node, whose inputs may be anywhere; errors as of `run`."""
        if self.device.type != "cpu":
            given = placed(step.operator, given, self.device)
        return self.apply(step, given)

    def apply(self, step: Step, given: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """Return the outputs of a node whose inputs are in place; errors as of `run`."""
        try:
            found = step.function(step.attributes, *given)
        except (OpError, RuntimeError, TypeError, KeyError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise BundleError(
                f"torch cannot run the node {step.name!r} ({step.operator}: {error})",
                where=self._where,
                fix="Use another backend for this graph.",
            ) from error
        return found if isinstance(found, tuple) else (found,)

    def _plan(self, graph: onnx.GraphProto) -> list[Step]:
        last = {name: index for index, node in enumerate(graph.node) for name in node.input}
        made = {name for node in graph.node for name in node.output}
        steps = []
        for index, node in enumerate(graph.node):
            if node.op_type == "Constant":
                self.constants[node.output[0]] = self._constant(node)
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
                Step(
                    node.op_type,
                    node.name,
                    OPERATORS[node.op_type],
                    self._attributes(node),
                    tuple(node.input),
                    tuple(node.output),
                    tuple(done - set(self.constants)),
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
            return self._moved(value)
        kind = torch.int64 if name in {"value_int", "value_ints"} else torch.float32
        return self._moved(torch.tensor(value, dtype=kind))

    def _tensor(self, item: onnx.TensorProto) -> Tensor:
        if item.data_type == onnx.TensorProto.BFLOAT16:
            values = torch.from_numpy(numpy_helper.to_array(item).astype(np.float32).copy())
            return values if self._double else values.to(torch.bfloat16)
        try:
            values = torch.from_numpy(numpy_helper.to_array(item).copy())
        except TypeError as error:
            raise BundleError(
                f"torch has no type for the tensor {item.name!r} ({error})", where=self._where
            ) from error
        return values.double() if self._double and values.dtype.is_floating_point else values

    def _moved(self, values: Tensor) -> Tensor:
        """Move a tensor to the device; a few integers are a shape, which is read on the host."""
        if self._double and values.dtype.is_floating_point:
            values = values.double()
        small = values.dtype == torch.int64 and values.ndim < 2 and values.numel() < 16
        return values if small else values.to(self.device)
