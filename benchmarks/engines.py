"""TensorRT engines of a bundle for GPUs that are not here: sizes, build times, types of layers.

Builds every precision a bundle has a graph of for every target, in a copy of the bundle, and adds
the figures to a JSON file.  Needs TensorRT for RTX, no GPU.  A large network is made by
``benchmarks/large_model.py`` and ``xec-deploy export``, graphs of lower precision by ``xec-deploy
quantize``.

    python benchmarks/engines.py [large.xec ..] --json benchmarks/results/engines.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

from xec_deploy.bundle import Bundle, open_bundle, shipped_bundle
from xec_deploy.engines import EngineOptions, build_engine
from xec_deploy.engines.build import GRAPHS
from xec_deploy.errors import CheckFailed
from xec_deploy.tensorrt import load_flavour

TARGETS = ("sm80", "sm86", "sm89", "sm120")


def measure(bundle: Bundle, precision: str, target: str, options: EngineOptions) -> dict[str, Any]:
    """Build one engine and describe it."""
    graph = bundle.file(GRAPHS[precision])
    try:
        built = build_engine(
            bundle,
            precision,
            flavour="rtx",
            target=target,
            options=options,
            fallback=False,
            force=True,
        )
    except CheckFailed as error:
        return {"precision": precision, "target": target, "failed": error.what}
    layers = built.manifest.layers
    return {
        "precision": precision,
        "target": target,
        "graph_mib": round(graph.stat().st_size / 2**20, 2),
        "engine_mib": round(built.manifest.bytes / 2**20, 2),
        "build_seconds": round(built.manifest.build_seconds, 2),
        "layers": layers.layers,
        "matrix_layers": layers.matrix,
        "share_of_weights": {name: round(layers.share(name), 3) for name in layers.weights},
    }


def measure_bundle(path: Path, targets: list[str], options: EngineOptions) -> dict[str, Any]:
    """Build all engines of a bundle in a copy of it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = open_bundle(shutil.copytree(path, Path(folder) / path.name))
        rows = [
            measure(copy, precision, target, options)
            for precision, graph in GRAPHS.items()
            if graph in copy.manifest.graphs
            for target in targets
        ]
    return {f"{row['precision']} {row['target']}": row for row in rows}


def main() -> None:
    """Measure, print, and add to the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="*", type=Path, help="the shipped one if absent")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS))
    parser.add_argument("--batch", nargs=3, type=int, default=(1, 64, 256))
    parser.add_argument("--json", type=Path, help="file to add to")
    options = parser.parse_args()
    chosen = EngineOptions(profiles=(tuple(options.batch),))
    known = options.json is not None and options.json.is_file()
    result = json.loads(options.json.read_text()) if known else {"bundles": {}}
    result["batch"] = list(options.batch)
    result["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpu": None,
        "library": load_flavour("rtx").title,
    }
    for path in options.bundles or [shipped_bundle()]:
        name = open_bundle(path).manifest.name
        known_engines = result["bundles"].setdefault(name, {})
        known_engines.update(measure_bundle(path, options.targets, chosen))
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
