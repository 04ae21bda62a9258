"""Error of chosen sets of groups, without a search: bf16 as OpenVINO computes it, int8 beside fp16.

For networks too large to search in the time at hand.  Every graph with biases as they are and
corrected, in detector resolutions.

    python benchmarks/quantize_sets.py -b trained.xec --data data/test.root \
        --float heads hex_encoder.stem convolution --int8 fusion_transformer
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from calibration import Options
from calibration.correction import Builder
from calibration.lowering import Rest
from calibration.task import Task
from xec_deploy import open_bundle
from xec_deploy.gates import load_gates

RESULTS = Path(__file__).parent / "results" / "quantize_sets.json"


def both(task: Task, builder: Builder, low: frozenset[str]) -> dict[str, Any]:
    """Score a set of groups with biases as they are and corrected."""
    plain = task.judge.score(builder.lowering.build(low, final=task.with_bf16))
    corrected = task.judge.score(builder.build(low, final=task.with_bf16))
    print(f"{plain.worst:.4f}, corrected {corrected.worst:.4f}", flush=True)
    return {"as they are": plain.to_dict(), "corrected": corrected.to_dict()}


def main() -> None:
    """Measure and add to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-b", "--bundle", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--float", nargs="*", default=[], help="beginnings of groups not in 16 bits"
    )
    parser.add_argument("--int8", nargs="*", default=[], help="beginnings of groups in int8")
    parser.add_argument("--events", type=int, default=128)
    parser.add_argument("--judged", type=int, default=96)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    bundle, data = open_bundle(options.bundle), [options.data]
    events = {"events": options.events, "judged": options.judged}
    table: dict[str, Any] = dict(events)

    task = Task(bundle, data, "int8", Options(target="cpu", rest="bf16", **events))
    worth = task.worth(task.inner)
    low = frozenset(group for group in worth if not group.startswith(tuple(options.float)))
    halves = task.halves("bf16")
    table["bf16 of OpenVINO"] = both(task, halves, frozenset())
    table["bf16 graph"] = {
        "share": sum(worth[group] for group in low) / sum(worth.values()),
        **both(task, halves, low),
    }

    settings = Options(target="tensorrt", rest="fp16", method="minmax", **events)
    task = Task(bundle, data, "int8", settings)
    rest = Rest("fp16", tuple(layer for layer in task.inner if layer.group in low))
    builder = task.calibrated(load_gates().of("int8"), rest, None).builder
    worth = task.worth(task.layers)
    for label, groups in (
        ("fp16", frozenset[str]()),
        ("int8, rest fp16", frozenset(g for g in worth if g.startswith(tuple(options.int8)))),
    ):
        share = sum(worth[group] for group in groups) / sum(worth.values())
        table[label] = {"share in int8": share, **both(task, builder, groups)}

    results = json.loads(options.output.read_text()) if options.output.is_file() else {}
    results[options.bundle.stem] = table
    options.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
