"""A graph for one batch size, without anything that depends on shapes alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xec_deploy.backends.torch_graph import Step, TorchGraph
from xec_deploy.backends.torch_ops import placed

__all__ = ["FixedBatch"]

_OF_SHAPES = frozenset({"Shape", "Size"})


class FixedBatch(torch.nn.Module):
    """The nodes of a graph that depend on the events, everything else computed beforehand.

    With the batch all shapes are known.  What remains neither waits for the device nor copies to
    it, which is what a CUDA graph may consist of.

    Parameters
    ----------
    graph
        The graph, on its device.
    examples
        Inputs of the batch size, in the graph's order, on the device.

    Raises
    ------
    BundleError
        If torch cannot run a node.
    """

    def __init__(self, graph: TorchGraph, examples: Sequence[Tensor]) -> None:
        super().__init__()
        self._graph = graph
        fixed = dict(graph.constants)
        self.steps: list[Step] = []
        values = {**fixed, **dict(zip(graph.inputs, examples, strict=True))}
        for step in graph.steps:
            given = [values[name] if name else None for name in step.inputs]
            results = dict(zip(step.outputs, graph.results(step, given), strict=False))
            values.update(results)
            if step.operator in _OF_SHAPES or all(name in fixed for name in step.inputs if name):
                fixed.update(results)
            else:
                self.steps.append(step)
        needed = {name for step in self.steps for name in step.inputs} | set(graph.outputs)
        self._fixed = {name: value for name, value in fixed.items() if name in needed}
        self._arguments = [self._constants_of(step) for step in self.steps]

    def _constants_of(self, step: Step) -> list[Tensor | None]:
        """Return the fixed inputs of a node where it needs them; None for the others."""
        given = [self._fixed.get(name) for name in step.inputs]
        if self._graph.device.type == "cpu":
            return given
        # An input that depends on the events is on the device.
        token = torch.empty(0, device=self._graph.device)
        with_events = [
            token if name and name not in self._fixed else value
            for name, value in zip(step.inputs, given, strict=True)
        ]
        found = placed(step.operator, with_events, self._graph.device)
        return [None if value is token else value for value in found]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for inputs of the batch size, in the graph's orders."""
        values = dict(zip(self._graph.inputs, inputs, strict=True))
        for step, constants in zip(self.steps, self._arguments, strict=True):
            given = [
                values.get(name, constant) if name else None
                for name, constant in zip(step.inputs, constants, strict=True)
            ]
            results = self._graph.apply(step, given)
            values.update(zip(step.outputs, results, strict=False))
            for name in step.done:
                values.pop(name, None)
        return tuple(
            values[name] if name in values else self._fixed[name] for name in self._graph.outputs
        )
