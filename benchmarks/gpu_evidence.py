"""What a GPU does with a network: engines, precisions, files, ceilings and parity, in one run.

    python benchmarks/gpu_evidence.py                       a network of 35.6 M parameters, on a GPU
    python benchmarks/gpu_evidence.py --bundle B.xec --checkpoint C.pth
    python benchmarks/gpu_evidence.py --device cpu --network small --json OUT.json

Without a bundle a large network is made first, its heads trained on simulated events.  Measured are
the torch module of the checkpoint (eager in float32 and TF32, compiled in bfloat16), this package's
backends on its bundle, TensorRT engines of every flavour that is installed, each with its rate on
the device alone, in requests and from ROOT file to ROOT file, its difference from float64 in
detector resolutions, and its share of what matrix products of that precision reach on the same
device.  Every stage is a process with a time limit (``gpu_running.py``): what crashes, is refused
or is not installed is a result, and the rest goes on.  The same command continues a run that was
cut off; see ``docs/gpu.md``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_plan import Request, Sizes, stages
from gpu_running import Findings, run_stages
from machine import write

RESULTS = Path(__file__).parent / "results" / "gpu_evidence.json"
DEFAULT_SIZES = {"cuda": Sizes(2048, 512, 8192, 80), "cpu": Sizes(32, 16, 64, 1)}
DEFAULT_BATCHES = {"cuda": (64, 256, 512), "cpu": (8, 16)}


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--network", choices=["large", "small", "shipped"], default="large")
    parser.add_argument("--bundle", type=Path, help="in place of a network made for this")
    parser.add_argument("--checkpoint", type=Path, help="of the bundle's network")
    parser.add_argument("--events", type=int, help="of the ROOT file that is inferred")
    parser.add_argument("--batches", type=int, nargs="+", metavar="N", help="in rising order")
    parser.add_argument("--budget", type=float, default=480.0, metavar="S", help="for all stages")
    parser.add_argument("--stages", help="only these, separated by commas")
    parser.add_argument("--folder", type=Path, help="for intermediate files; temporary if absent")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--findings", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def request_of(options: argparse.Namespace) -> Request:
    """Return what the stages need to know."""
    sizes = DEFAULT_SIZES[options.device]
    if options.events:
        sizes = Sizes(sizes.simulated, sizes.compared, options.events, sizes.epochs)
    on_gpu = options.device == "cuda"
    return Request(
        device=options.device,
        network=options.network,
        bundle=options.bundle,
        checkpoint=options.checkpoint,
        sizes=sizes,
        batches=tuple(options.batches or DEFAULT_BATCHES[options.device]),
        seconds=0.6 if on_gpu else 0.02,
        product_size=8192 if on_gpu else 256,
        copy_mib=1024 if on_gpu else 8,
    )


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the stages; return the report."""
    folder.mkdir(parents=True, exist_ok=True)
    every = stages(request_of(options))
    if options.stages:
        wanted = set(options.stages.split(","))
        unknown = wanted - {stage.name for stage in every}
        if unknown:
            sys.exit(f"no stage {min(unknown)}; there are {', '.join(s.name for s in every)}")
        every = [stage for stage in every if stage.name in wanted]
    given = [word for word in sys.argv[1:] if word]

    def command(stage: str, findings: Path) -> list[str]:
        own = ["--folder", str(folder), "--stage", stage, "--findings", str(findings)]
        return [sys.executable, str(Path(__file__).resolve()), *given, *own]

    start = time.monotonic()
    outcomes = run_stages(every, folder, command, budget=options.budget, say=_say)
    return {
        "device": {k: v for k, v in outcomes.get("versions", {}).items() if k != "versions"},
        "installed": outcomes.get("versions", {}).get("versions", {}),
        "seconds": round(time.monotonic() - start, 1),
        "table": list(table(outcomes)),
        "stages": outcomes,
    }


def table(outcomes: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return one row a measured engine: rates, times eager float32, share of its ceiling, parity.

    The ceiling is that of matrix products in the precision; bfloat16 networks have float32 parts,
    whose time counts in full.
    """
    mflop = outcomes.get("prepare", {}).get("mflop")
    products = outcomes.get("ceilings", {}).get("products", {})
    base = outcomes.get("eager-fp32", {})
    for name, outcome in outcomes.items():
        engine, _, precision = name.partition("-")
        device = max(_device_rates(outcome), default=None)
        if device is None:
            continue
        files = outcome.get("end_to_end_events_per_s")
        row: dict[str, Any] = {
            "engine": engine,
            "precision": precision,
            "device_events_per_s": device,
            "end_to_end_events_per_s": files,
            "sigma": outcome.get("parity", {}).get("sigma"),
            "passes": outcome.get("parity", {}).get("passes"),
        }
        ceiling = products.get(precision)
        if mflop and isinstance(ceiling, float) and ceiling:
            row["share_of_ceiling"] = round(device * mflop * 1e6 / (ceiling * 1e12), 3)
        if _device_rates(base):
            row["times_eager_fp32_on_device"] = round(device / max(_device_rates(base)), 2)
        if files and base.get("end_to_end_events_per_s"):
            row["times_eager_fp32_end_to_end"] = round(files / base["end_to_end_events_per_s"], 2)
        yield row


def _device_rates(outcome: dict[str, Any]) -> list[float]:
    # A processor has no copies to leave out.
    settings = (
        setting["device_events_per_s"] or setting["requests_events_per_s"]
        for setting in outcome.get("settings", {}).values()
    )
    return [*outcome.get("device_events_per_s", {}).values(), *settings]


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Measure and write, or run one stage."""
    options = arguments()
    if options.stage:
        # Late: the engines, of which the process that runs the stages knows nothing.
        from gpu_stages import run_stage  # noqa: PLC0415

        findings = Findings(options.findings)
        run_stage(options.stage, options.folder, request_of(options), findings)
        return
    with tempfile.TemporaryDirectory() as name:
        report = measure(options, options.folder or Path(name))
    write(options.json, report)
    for row in report["table"]:
        print(", ".join(f"{key} {value}" for key, value in row.items() if value is not None))
    if report["stages"].get("versions", {}).get("state", "done") != "done":
        sys.exit(2)


if __name__ == "__main__":
    main()
