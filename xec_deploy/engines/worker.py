"""One build in a process of its own: ``python -m xec_deploy.engines.worker``.

A builder cannot be interrupted while it compiles, may take down its process, and keeps its memory;
in a process of its own it is ended by a signal, and a crash is one more reason to fall back.  The
request is a line of JSON on the standard input; events are lines of JSON on the standard output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xec_deploy.engines.layers import LOGGED_LAYERS
from xec_deploy.tensorrt import Flavour, load_flavour, parse_onnx
from xec_deploy.tensorrt.parse import create_network
from xec_deploy.whole_file import write_whole

__all__ = ["build", "main"]

Emit = Callable[[dict[str, Any]], None]


def build(request: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Build one engine and write its bytes.

    Parameters
    ----------
    request
        ``onnx`` and ``plan`` (files), ``flavour``, ``target`` (``sm80``, or None for the GPU
        here), ``profiles`` (smallest, usual, largest batch of each), ``workspace_mib`` and
        ``optimisation_level`` (or None), ``timing_cache`` (file).
    emit
        Called with progress: ``phase``, ``done``, ``steps``.

    Returns
    -------
    result
        ``failed`` (the reason), or ``layers`` (text), ``source``, ``device_memory_bytes``,
        ``warnings`` and ``seconds``.
    """
    start = time.monotonic()
    flavour = load_flavour(request["flavour"])
    trt = flavour.module
    logger = flavour.logger()
    builder = trt.Builder(logger)
    network = create_network(flavour, builder)
    emit({"phase": "Parsing", "done": 0, "steps": 1})
    parser, refused = parse_onnx(flavour, network, logger, Path(request["onnx"]))
    if refused:
        first = refused[0]
        return {"failed": f"refuses {first.operator} {first.node!r}: {first.reason}"}
    config = builder.create_builder_config()
    _configure(flavour, config, request)
    cache = _timing_cache(flavour, config, request)
    for batches in request["profiles"]:
        config.add_optimization_profile(_profile(builder, network, batches))
    config.progress_monitor = _monitor(trt, emit)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return {"failed": _reason(logger.records)}
    content = memoryview(plan)
    Path(request["plan"]).write_bytes(content)
    if cache is not None:
        write_whole(cache, bytes(memoryview(config.get_timing_cache().serialize())))
    result = {
        **_describe(flavour, logger, content),
        "warnings": sorted({text for level, text in logger.records if level == "WARNING"}),
        "seconds": time.monotonic() - start,
    }
    del parser
    return result


def _configure(flavour: Flavour, config: Any, request: dict[str, Any]) -> None:
    trt = flavour.module
    # The builder then states every layer's types, in its log and to the inspector.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # On by default; float32 would multiply with 10 bits of mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    if request["workspace_mib"] is not None:
        limit = request["workspace_mib"] * 2**20
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limit)
    if request["optimisation_level"] is not None:
        config.builder_optimization_level = request["optimisation_level"]
    if request["target"] is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, request["target"].upper()), 0)


def _timing_cache(flavour: Flavour, config: Any, request: dict[str, Any]) -> Path | None:
    """Load measured times of kernels; TensorRT for RTX measures none."""
    if flavour.name == "rtx" or request["timing_cache"] is None:
        return None
    path = Path(request["timing_cache"])
    content = path.read_bytes() if path.is_file() else b""
    # Times of another GPU or version are refused here, and a new cache begun.
    if not config.set_timing_cache(config.create_timing_cache(content), ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return path


def _profile(builder: Any, network: Any, batch: list[int]) -> Any:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        given = network.get_input(index)
        tail = tuple(given.shape)[1:]
        profile.set_shape(given.name, *((size, *tail) for size in batch))
    return profile


def _monitor(trt: Any, emit: Emit) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # a class of the loaded library
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            self.steps[phase_name] = num_steps
            emit({"phase": phase_name, "done": 0, "steps": num_steps})

        def step_complete(self, phase_name: str, step: int) -> bool:
            emit({"phase": phase_name, "done": step + 1, "steps": self.steps.get(phase_name, 0)})
            return True

        def phase_finish(self, phase_name: str) -> None:
            steps = self.steps.pop(phase_name, 0)
            emit({"phase": phase_name, "done": steps, "steps": steps})

    return Monitor()


def _describe(flavour: Flavour, logger: Any, plan: memoryview) -> dict[str, Any]:
    """Ask the inspector for the layers, or the builder's log where no GPU loads the engine."""
    trt = flavour.module
    logged = [text for _, text in logger.records if text.startswith(LOGGED_LAYERS)]
    # An engine for another GPU is refused, as is every engine where there is none.
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return {"layers": "".join(logged), "source": "builder", "device_memory_bytes": None}
    inspector = engine.create_engine_inspector()
    return {
        "layers": inspector.get_engine_information(trt.LayerInformationFormat.ONELINE),
        "source": "inspector",
        "device_memory_bytes": int(engine.device_memory_size_v2),
    }


def _reason(records: list[tuple[str, str]]) -> str:
    errors = [text for level, text in records if level in {"ERROR", "INTERNAL_ERROR"}]
    return " ".join(errors[0].split())[:500] if errors else "the builder gives no reason"


def main() -> None:
    """Serve one request."""
    # The terminal sends its interrupt to this process too; the parent ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = json.loads(sys.stdin.readline())
    # What libraries print must not come between the events.
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    emit({"result": build(request, emit)})


if __name__ == "__main__":
    main()
