"""``config.pbtxt``: what the server must know of a model.

Fields are those of ``ModelConfig`` in Triton's ``model_config.proto``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import onnx

from xec_deploy.errors import BundleError, UsageError
from xec_deploy.triton.textformat import Symbol, to_text

__all__ = ["DEFAULTS", "MODEL_FILES", "Device", "Serving", "Tensor", "config_text", "onnx_tensors"]

Device = Literal["cpu", "cuda"]
Engine = Literal["onnxruntime", "tensorrt"]

MODEL_FILES: Final[dict[Engine, str]] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
"""Name of a version's file by the backend of Triton that runs it."""

TYPES: Final = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.BFLOAT16: "TYPE_BF16",
    onnx.TensorProto.DOUBLE: "TYPE_FP64",
    onnx.TensorProto.BOOL: "TYPE_BOOL",
    onnx.TensorProto.INT8: "TYPE_INT8",
    onnx.TensorProto.UINT8: "TYPE_UINT8",
    onnx.TensorProto.INT32: "TYPE_INT32",
    onnx.TensorProto.INT64: "TYPE_INT64",
}


@dataclass(frozen=True)
class Tensor:
    """An input or output: name, Triton's type, and size without the batch axis."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Serving:
    """How a server runs a model.

    Attributes
    ----------
    device
        ``cpu`` or ``cuda``.
    max_batch
        Most events at once; requests and the batches the server makes of them are limited to it.
    preferred_batches
        Sizes at which a batch is not kept waiting for more events.
    queue_delay_us
        Longest time in microseconds that an event waits for others.
    instances
        Copies of the model: on each GPU, or in all on the CPU.
    threads
        Threads of a copy on the CPU.
    versions
        How many of the newest versions are served.
    """

    device: Device = "cpu"
    max_batch: int = 64
    preferred_batches: tuple[int, ...] = (8, 16)
    queue_delay_us: int = 2000
    instances: int = 2
    threads: int = 1
    versions: int = 1

    def __post_init__(self) -> None:
        """Refuse what the server would refuse."""
        for name in ("max_batch", "instances", "threads", "versions"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise UsageError(f"--{option} {getattr(self, name)}", fix="Give one or more.")
        if self.queue_delay_us < 0:
            raise UsageError(f"--queue-delay {self.queue_delay_us}", fix="Give 0 or more.")
        for size in self.preferred_batches:
            if not 1 <= size <= self.max_batch:
                raise UsageError(
                    f"a preferred batch of {size} events, and at most {self.max_batch} at once",
                    fix="Raise --max-batch or leave it out of --preferred-batch.",
                )


DEFAULTS: Final[dict[Device, Serving]] = {
    # Small batches stay in the cache of a CPU; a GPU is filled by some hundred events.
    "cpu": Serving(),
    "cuda": Serving(
        device="cuda", max_batch=1024, preferred_batches=(64, 256), queue_delay_us=1000, threads=1
    ),
}
"""Serving by device where nothing is stated."""


def onnx_tensors(path: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return inputs and outputs of an ONNX file.

    Raises
    ------
    BundleError
        If an axis other than the first is open, the first is not, or Triton lacks the type.
    """
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    return (
        tuple(_tensor(value, path) for value in inputs),
        tuple(_tensor(value, path) for value in graph.output),
    )


def _tensor(value: onnx.ValueInfoProto, path: Path) -> Tensor:
    kind = value.type.tensor_type
    batch, *dims = kind.shape.dim or [None]
    if batch is None or batch.HasField("dim_value"):
        raise BundleError(
            f"{value.name!r} has no batch axis, so the server could not join requests",
            where=str(path),
            fix="Export the model with a batch of any size.",
        )
    if not all(dim.HasField("dim_value") for dim in dims):
        raise BundleError(f"{value.name!r} has a second axis of any size", where=str(path))
    if kind.elem_type not in TYPES:
        raise BundleError(
            f"{value.name!r} has the type {onnx.TensorProto.DataType.Name(kind.elem_type)}, "
            "which Triton does not know",
            where=str(path),
        )
    return Tensor(value.name, TYPES[kind.elem_type], tuple(dim.dim_value for dim in dims))


def config_text(
    name: str,
    engine: Engine,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    serving: Serving,
    *,
    extended_only: bool = False,
    warmup: Sequence[Tensor] = (),
) -> str:
    """Return the text of a ``config.pbtxt``.

    Parameters
    ----------
    name
        Of the model, which is that of its folder.
    engine
        Backend of Triton.
    inputs, outputs
        Tensors without their batch axis.
    serving
        How to run it.
    extended_only
        Leave out the optimisations of ONNX Runtime that depend on the layout of the CPU.
    warmup
        Inputs for which ``warmup/`` has a file of that name with one event.
    """
    on_cpu = serving.device == "cpu"
    config: dict[str, Any] = {
        "name": name,
        "backend": engine,
        "default_model_filename": MODEL_FILES[engine],
        "max_batch_size": serving.max_batch,
        "input": [_described(tensor) for tensor in inputs],
        "output": [_described(tensor) for tensor in outputs],
        "instance_group": [
            {
                "count": serving.instances,
                "kind": Symbol("KIND_CPU" if on_cpu else "KIND_GPU"),
            }
        ],
        "dynamic_batching": {
            "preferred_batch_size": sorted(set(serving.preferred_batches)),
            "max_queue_delay_microseconds": serving.queue_delay_us,
        },
        "version_policy": {"latest": {"num_versions": serving.versions}},
    }
    if engine == "onnxruntime":
        if extended_only:
            config["optimization"] = {"graph": {"level": 1}}
        if on_cpu:
            config["parameters"] = [
                _parameter("intra_op_thread_count", serving.threads),
                _parameter("inter_op_thread_count", 1),
            ]
    if warmup:
        sizes = sorted({1, *serving.preferred_batches, serving.max_batch})
        config["model_warmup"] = [_warmup(size, warmup) for size in sizes]
    return to_text(config)


def _described(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "data_type": Symbol(tensor.data_type),
        "dims": list(tensor.dims),
    }


def _parameter(key: str, value: int) -> dict[str, Any]:
    return {"key": key, "value": {"string_value": str(value)}}


def _warmup(size: int, inputs: Sequence[Tensor]) -> dict[str, Any]:
    """Describe a request of ``size`` times the event in ``warmup/`` before the model is served."""
    return {
        "name": f"a golden event {size} times",
        "batch_size": size,
        "inputs": [
            {
                "key": tensor.name,
                "value": {
                    "data_type": Symbol(tensor.data_type),
                    "dims": list(tensor.dims),
                    "input_data_file": tensor.name,
                },
            }
            for tensor in inputs
        ],
    }
