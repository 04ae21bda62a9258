"""Biases that make up for what rounding does on average.

Rounded weights have a mean error, which a layer turns into a shift of its outputs: the same for
every event, as far as its inputs have the same mean, and so it can go into the bias.  As in Nagel
et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), with means
of calibration events in place of assumed ones:

* of every layer in low precision the expected shift ``(W - W_low) E[x]``, with ``E[x]`` of the
  float graph;
* of the last layer of every head what is still missing on average, measured with the graph itself:
  roundings of activations, clipping, and means that went through curved functions.

The spread of the differences changes little, the bias of the result goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from calibration.graph import Graph
from calibration.layers import Layer
from calibration.observe import channel_means, with_outputs
from calibration.opening import Opener
from xec_deploy.parity.events import ParityEvents

__all__ = ["CORRECTION_EVENTS", "Builder", "Lowering", "Means", "with_shifts"]

CORRECTION_EVENTS: Final = 128
"""Calibration events whose means are taken; all graphs of a search are run on them."""
KEPT: Final = 4
"""Corrections that are remembered, for the graph that is written after it was judged."""

Shifts = dict[str, NDArray[np.float64]]
"""Layer (its ``node``) -> (channels,) to add to its outputs."""


class Lowering(Protocol):
    """Makes graphs with some groups of layers in low precision."""

    @property
    def graph(self) -> Graph:
        """The float graph."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its layers."""

    def low(self, groups: frozenset[str]) -> Sequence[Layer]:
        """Return the layers of some groups or parts."""

    def rounded(self, layer: Layer) -> NDArray[np.float32]:
        """Return the weights of a layer as low precision has them."""

    def build(
        self, groups: frozenset[str], graph: Graph | None = None, *, final: bool = False
    ) -> onnx.ModelProto:
        """Return the graph, made from ``graph`` if its biases differ; to be judged or written."""


class Means:
    """Means of calibration events, channel by channel: of a float graph, and of what is made of it.

    Parameters
    ----------
    graph, layers
        Float.
    last
        Layers (their ``node``) that make the results, of `calibration.layers.last_layers`.
    events
        Calibration events; none of them is judged on.
    opener
        Loads the graphs that are made of it.
    threads
        For ONNX Runtime, which runs the float graph.
    """

    def __init__(
        self,
        graph: Graph,
        layers: Sequence[Layer],
        last: Sequence[str],
        events: ParityEvents,
        opener: Opener,
        threads: int = 1,
    ) -> None:
        self._open = opener
        self._last = last
        self._events = events.head(CORRECTION_EVENTS)
        channels_first = {
            name
            for layer in layers
            if layer.op == "Conv"
            for name in (layer.activation, layer.node)
        }
        watched = [*(layer.activation for layer in layers), *last]
        self.of = channel_means(graph.model, watched, self._events, channels_first, threads=threads)
        """Activation of a layer, or result, -> (channels,) mean in the float graph."""

    def missing(self, model: onnx.ModelProto) -> Shifts:
        """Return what the last layers of a graph lack on average."""
        events = self._events
        found = self._open(with_outputs(model, self._last))(events.npho, events.time, events.dead)
        shifts: Shifts = {}
        for node in self._last:
            mean = found[node].reshape(-1, len(self.of[node])).mean(axis=0, dtype=np.float64)
            missing = self.of[node] - mean
            # What is never a number on calibration events cannot be corrected.
            shifts[node] = np.where(np.isfinite(missing), missing, 0.0)
        return shifts


class Builder:
    """Makes graphs like a lowering, with corrected biases.

    Parameters
    ----------
    lowering
        What makes graphs.
    means
        Of its float graph; None to leave biases as they are.
    emulated
        Whether graphs that are judged emulate 16-bit tensors; else they are those to write.
    """

    def __init__(self, lowering: Lowering, means: Means | None, *, emulated: bool = True) -> None:
        self.lowering = lowering
        self._emulated = emulated
        self._means = means
        self._known: dict[frozenset[str], Shifts] = {}

    def __call__(self, groups: frozenset[str]) -> onnx.ModelProto:
        """Return the graph with some groups or parts in low precision, to be judged."""
        return self.build(groups)

    def build(self, groups: frozenset[str], *, final: bool = False) -> onnx.ModelProto:
        """Return the graph with some groups or parts in low precision, to be judged or written."""
        final = final or not self._emulated
        if self._means is None:
            return self.lowering.build(groups, final=final)
        if groups not in self._known:
            if len(self._known) >= KEPT:
                del self._known[next(iter(self._known))]
            self._known[groups] = self._shifts(groups, self._means)
        graph = with_shifts(self.lowering.graph, self._known[groups])
        return self.lowering.build(groups, graph, final=final)

    def _shifts(self, groups: frozenset[str], means: Means) -> Shifts:
        shifts = self._expected(groups, means)
        graph = with_shifts(self.lowering.graph, shifts)
        model = self.lowering.build(groups, graph, final=not self._emulated)
        for node, missing in means.missing(model).items():
            shifts[node] = shifts.get(node, 0.0) + missing
        return shifts

    def _expected(self, groups: frozenset[str], means: Means) -> Shifts:
        """Return the mean shift by rounded weights, taken back."""
        shifts: Shifts = {}
        for layer in self.lowering.low(groups):
            weights = self.lowering.graph.array(layer.weight).astype(np.float64)
            error = weights - self.lowering.rounded(layer)
            mean = means.of[layer.activation]
            if layer.op == "Conv":
                # (outputs, inputs of a group, ...): every output reads its share of the channels.
                error = error.reshape(*error.shape[:2], -1).sum(axis=2)
                share = mean.reshape(-1, error.shape[1])
                which = np.arange(len(error)) * len(share) // len(error)
                shifts[layer.node] = (error * share[which]).sum(axis=1)
            else:
                shifts[layer.node] = mean @ error if layer.channel_axis == 1 else error @ mean
        return shifts


def with_shifts(graph: Graph, shifts: Mapping[str, NDArray[np.float64]]) -> Graph:
    """Return a copy of a graph with something added to the outputs of some layers.

    It goes into the bias: of the layer itself, or into the constant that is added to a MatMul;
    where there is none it becomes one, except behind a MatMul that is an output of the graph.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    copy = Graph(model)
    for node, shift in shifts.items():
        _shift(copy, copy.producer[node], shift.astype(np.float32))
    copy.sort()
    copy.prune()
    return copy


def _shift(graph: Graph, node: onnx.NodeProto, shift: NDArray[np.float32]) -> None:
    output = node.output[0]
    if node.op_type != "MatMul":
        _shift_bias(graph, node, shift)
        return
    readers = list(graph.consumers.get(output, []))
    if len(readers) == 1 and readers[0].op_type == "Add" and output not in graph.outputs:
        for index, name in enumerate(readers[0].input):
            if name in graph.constants and graph.array(name).size == shift.size:
                bias = graph.array(name)
                new = graph.add_constant(f"{name}_corrected", bias + shift.reshape(bias.shape))
                graph.replace_input(readers[0], index, new)
                return
    if output in graph.outputs:
        return
    added = graph.add_constant(f"{output}_correction", shift)
    corrected = graph.add_node("Add", [output, added], f"{output}_corrected")
    for reader in readers:
        for index, name in enumerate(reader.input):
            if name == output:
                graph.replace_input(reader, index, corrected.output[0])


def _shift_bias(graph: Graph, node: onnx.NodeProto, shift: NDArray[np.float32]) -> None:
    if len(node.input) > 2 and node.input[2]:
        bias = graph.array(node.input[2])
        new = graph.add_constant(f"{node.input[2]}_corrected", bias.reshape(-1) + shift)
        graph.replace_input(node, 2, new)
        return
    new = graph.add_constant(f"{node.output[0]}_correction", shift)
    node.input.append(new)
    graph.consumers.setdefault(new, []).append(node)
