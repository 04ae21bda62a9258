"""NVIDIA's Model Optimizer on the same events and gates as our graphs.

Not a dependency: it wants a Python environment of its own, with this package beside it.

    pip install nvidia-modelopt==0.47 onnx-graphsurgeon onnxconverter-common lief cppimport
    python benchmarks/modelopt_compare.py -b compact.xec --data data/test.root

Its int8 quantiser (entropy, max) with what it leaves in fp16 or fp32, everything and without the
layers that ours keeps in float; and AutoCast to fp16.  Error in detector resolutions (ONNX Runtime
runs the graphs as they are), share of the multiply-adds in int8, and whether TensorRT for RTX
parses the graph.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import modelopt.onnx.autocast
import modelopt.onnx.quantization
import onnx
import tensorrt_rtx
from onnxruntime.quantization import CalibrationDataReader

from calibration import Options
from calibration.graph import Graph
from calibration.lowering import members
from calibration.task import Task
from xec_deploy import open_bundle
from xec_deploy.parity.events import ParityEvents

BATCH = 16
SHAPES = ",".join(f"{name}:{BATCH}x4760" for name in ("npho", "time", "dead"))
RESULTS = Path(__file__).parent / "results" / "quantize.json"


def parses(model: Path) -> bool:
    """Return whether TensorRT for RTX's parser takes a graph."""
    logger = tensorrt_rtx.Logger(tensorrt_rtx.Logger.ERROR)
    network = tensorrt_rtx.Builder(logger).create_network(0)
    return bool(tensorrt_rtx.OnnxParser(network, logger).parse_from_file(str(model)))


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Calibration events in batches: with single ones every Gemm is a GEMV, left in float."""

    def __init__(self, events: ParityEvents, count: int) -> None:
        self._arrays = {"npho": events.npho, "time": events.time, "dead": events.dead}
        self._count = count
        self.rewind()

    def rewind(self) -> None:
        """Begin again."""
        self._feeds = iter(
            [
                {name: array[row : row + BATCH] for name, array in self._arrays.items()}
                for row in range(0, self._count, BATCH)
            ]
        )

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch."""
        return next(self._feeds, None)

    def get_first(self) -> dict[str, Any]:
        """Return the first batch."""
        return {name: array[:BATCH] for name, array in self._arrays.items()}


def share_in_int8(model: onnx.ModelProto, task: Task) -> float:
    """Return the share of the layers' multiply-adds that read dequantised activations."""
    graph = Graph(model)
    low = 0
    names = {f"node_{layer.node}": layer.node for layer in task.layers}
    for node in graph.nodes:
        if node.name not in names:
            continue
        source = graph.producer.get(node.input[0])
        while source is not None and source.op_type in {"Cast", "Reshape", "Transpose"}:
            source = graph.producer.get(source.input[0])
        if source is not None and source.op_type == "DequantizeLinear":
            low += task.costs[names[node.name]]
    return low / sum(task.costs.values())


def main() -> None:
    """Measure and add to the results of the bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-b", "--bundle", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--events", type=int, default=512)
    parser.add_argument("--judged", type=int, default=512)
    parser.add_argument("--feeds", type=int, default=128, help="calibration events ModelOpt gets")
    parser.add_argument("--keep", nargs="*", default=[], help="groups or parts ours has in float")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    settings = Options(target="tensorrt", events=options.events, judged=options.judged)
    task = Task(open_bundle(options.bundle), [options.data], "int8", settings)
    named = onnx.ModelProto()
    named.CopyFrom(task.graph.model)
    for node in named.graph.node:
        node.name = f"node_{node.output[0]}"
    kept = {f"node_{layer.node}" for layer in members(task.layers, frozenset(options.keep))}
    ours = {f"node_{layer.node}" for layer in task.layers} - kept
    others = [
        node.name
        for node in named.graph.node
        if node.op_type in {"Conv", "MatMul", "Gemm"} and node.name not in ours
    ]
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "made.onnx"
        onnx.save(named, prepared)

        def judge(label: str) -> None:
            model = onnx.load(made)
            try:
                found = task.judge.score(model).to_dict()
            except Exception as error:  # noqa: BLE001 - a graph of another tool may not run
                found = {"failed": str(error).splitlines()[0][:200]}
            found |= {"share": share_in_int8(model, task), "tensorrt_rtx_parses": parses(made)}
            table[label] = found
            print(label, found.get("worst", found), found["share"], flush=True)

        for method in ("entropy", "max"):
            for rest in ("fp32", "fp16"):
                for where, without in (("its choice", []), ("our layers", others)):
                    label = f"int8 {method}, rest {rest}, {where}"
                    try:
                        modelopt.onnx.quantization.quantize(
                            str(prepared),
                            quantize_mode="int8",
                            calibration_data_reader=Reader(task.calibration, options.feeds),
                            calibration_method=method,
                            calibration_eps=["cpu"],
                            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
                            nodes_to_exclude=list(without),
                            calibration_shapes=SHAPES,
                            output_path=str(made),
                            high_precision_dtype=rest,
                            log_level="ERROR",
                        )
                    except Exception as error:  # noqa: BLE001 - what it cannot do is a result
                        table[label] = {"failed": str(error).splitlines()[0][:200]}
                        print(label, table[label], flush=True)
                        continue
                    judge(label)
        for where, without in (("its choice", []), ("our layers", others)):
            converted = modelopt.onnx.autocast.convert_to_mixed_precision(
                str(prepared),
                "fp16",
                nodes_to_exclude=[f"^{name}$" for name in without],
                keep_io_types=True,
            )
            onnx.save(converted, made)
            judge(f"AutoCast fp16, {where}")
    results = json.loads(options.output.read_text(encoding="utf-8"))
    results.setdefault(options.bundle.stem, {})["modelopt"] = {
        "version": metadata.version("nvidia-modelopt"),
        "calibration_events": options.feeds,
        **table,
    }
    options.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
