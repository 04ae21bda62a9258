"""Running a graph on calibration events and watching its activations."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from calibration.graph import Graph
from calibration.histogram import StreamingHistogram
from calibration.layers import Layer
from xec_deploy.parity.events import ParityEvents

__all__ = [
    "Observation",
    "channel_means",
    "multiply_adds",
    "observe",
    "open_session",
    "run_events",
    "with_outputs",
]

BATCH: Final = 4
"""Events a step: all activations of a step are in memory at once."""

Watch = Callable[[str, NDArray[Any]], None]


def open_session(
    model: onnx.ModelProto, *, threads: int = 1, optimised: bool = True
) -> onnxruntime.InferenceSession:
    """Open a model in memory with ONNX Runtime's CPU provider."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_events(
    session: onnxruntime.InferenceSession,
    names: Sequence[str],
    events: ParityEvents,
    batch: int = BATCH,
) -> Iterator[list[NDArray[Any]]]:
    """Yield the tensors ``names`` of consecutive batches of events."""
    for first in range(0, len(events), batch):
        rows = slice(first, first + batch)
        feed = {"npho": events.npho[rows], "time": events.time[rows], "dead": events.dead[rows]}
        yield session.run(list(names), feed)


@dataclass(frozen=True)
class Observation:
    """What the activations of a graph's layers did on calibration events.

    Attributes
    ----------
    histograms
        Tensor of activations -> its histogram.
    channel_maxima
        Tensor of activations -> (channels,) largest magnitude, channels on the axis the product
        sums over.
    """

    histograms: dict[str, StreamingHistogram]
    channel_maxima: dict[str, NDArray[np.float32]]


def observe(
    graph: Graph,
    layers: Sequence[Layer],
    events: ParityEvents,
    progress: Callable[[int], Any] = lambda _: None,
    threads: int = 1,
) -> Observation:
    """Run events through a graph and watch what its layers read.

    Memory is that of one small batch of activations and one histogram a tensor.

    Parameters
    ----------
    graph
        Not changed.
    layers
        Whose activations are watched.
    events
        Calibration events.
    progress
        Told how many events are done.
    threads
        For ONNX Runtime.
    """
    tensors = list(dict.fromkeys(layer.activation for layer in layers))
    channels_first = {layer.activation for layer in layers if layer.op == "Conv"}
    histograms = {name: StreamingHistogram() for name in tensors}
    maxima: dict[str, NDArray[np.float32]] = {}
    session = open_session(with_outputs(graph.model, tensors), threads=threads, optimised=False)
    for values in run_events(session, tensors, events):
        for name, value in zip(tensors, values, strict=True):
            histograms[name].update(value)
            axis = 1 if name in channels_first else value.ndim - 1
            others = tuple(i for i in range(value.ndim) if i != axis)
            highest = np.abs(value).max(axis=others)
            maxima[name] = np.maximum(maxima.get(name, highest), highest)
        progress(len(values[0]))
    return Observation(histograms, maxima)


def channel_means(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    events: ParityEvents,
    channels_first: Container[str] = (),
    *,
    threads: int = 1,
) -> dict[str, NDArray[np.float64]]:
    """Return tensor -> (channels,) mean over events and places.

    Parameters
    ----------
    model
        Not changed.
    tensors
        Activations or results.
    events
        To run.
    channels_first
        Tensors with channels on axis 1; the others have them last.
    threads
        For ONNX Runtime.
    """
    names = list(dict.fromkeys(tensors))
    session = open_session(with_outputs(model, names), threads=threads, optimised=False)
    sums: dict[str, NDArray[np.float64]] = {}
    for values in run_events(session, names, events):
        for name, value in zip(names, values, strict=True):
            axis = 1 if name in channels_first else value.ndim - 1
            others = tuple(i for i in range(value.ndim) if i != axis)
            mean = value.mean(axis=others, dtype=np.float64) * len(value)
            sums[name] = sums.get(name, 0.0) + mean
    return {name: total / len(events) for name, total in sums.items()}


def multiply_adds(graph: Graph, layers: Sequence[Layer], events: ParityEvents) -> dict[str, int]:
    """Return layer (its ``node``) -> multiply-adds an event, from the shapes of one of them."""
    session = open_session(
        with_outputs(graph.model, [layer.node for layer in layers]), optimised=False
    )
    one = events.head(1)
    (values,) = run_events(session, [layer.node for layer in layers], one)
    return {
        layer.node: value.size
        * (int(np.prod(graph.constants[layer.weight].dims)) // value.shape[_channels_of(layer)])
        for layer, value in zip(layers, values, strict=True)
    }


def _channels_of(layer: Layer) -> int:
    return 1 if layer.op == "Conv" else -1


def with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of a graph that has some of its tensors as outputs too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {value.name for value in [*model.graph.input, *model.graph.output]}
    copy.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in tensors if name not in known
    )
    return copy
