"""All benchmarks, and the page of their results, from one command.

    python -m benchmarks                  run them (hours), store the results, write the page
    python -m benchmarks --quick          in small sizes, into build/benchmarks
    python -m benchmarks --only reading   one of them
    python -m benchmarks --page           only write docs/benchmarks.md from stored results

Exit code 1 if one fails, or if ``--check`` finds the page to be out of date.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.catalogue import CATALOGUE
from benchmarks.page import page
from xec_deploy.bundle import shipped_bundle

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results", ROOT / "docs/benchmarks.md"
QUICK = ROOT / "build/benchmarks"
SIMULATED = 20_000
"""Events the large network is trained on, and its benchmarks read."""


def run(words: list[str]) -> bool:
    """Run a program and say how long it took."""
    print(f"$ {shlex.join(words)}", flush=True)
    start = time.monotonic()
    done = subprocess.run(words, cwd=ROOT, check=False)  # noqa: S603 - ours
    result = "" if done.returncode == 0 else f", exit code {done.returncode}"
    print(f"  {time.monotonic() - start:.0f} s{result}", flush=True)
    return done.returncode == 0


def prepare(scratch: Path) -> dict[str, str]:
    """Make what full runs need and is not there: events, the large network, its bundle."""
    scratch.mkdir(parents=True, exist_ok=True)
    data, checkpoint, bundle = (
        scratch / name for name in ("events.root", "large.pth", "large.xec")
    )
    commands = Path(sys.executable).parent
    large = [sys.executable, "benchmarks/large_model.py", "--data", str(data)]
    steps = {
        data: [str(commands / "xec-train"), "simulate", "-o", str(data), f"--events={SIMULATED}"],
        checkpoint: [*large, "-o", str(checkpoint)],
        bundle: [str(commands / "xec-deploy"), "export", str(checkpoint), "-o", str(bundle)],
    }
    for made, words in steps.items():
        if not made.exists() and not run(words):
            raise SystemExit(1)
    return {"data": str(data), "checkpoint": str(checkpoint), "bundle": str(bundle)}


def run_all(names: list[str], results: Path, scratch: Path, *, quick: bool) -> list[str]:
    """Run benchmarks one after the other; return the names of those that failed."""
    places: Mapping[str, str] = {"bundle": str(shipped_bundle())}
    chosen = {name: CATALOGUE[name] for name in names}
    asked = " ".join(word for known in chosen.values() for word in known.program)
    if not quick and any(word in asked for word in ("{bundle}", "{data}", "{checkpoint}")):
        places = prepare(scratch)
    failed = []
    for name, known in chosen.items():
        if known.needs:
            print(f"{name}: needs {known.needs}")
            continue
        if quick and known.quick is None:
            print(f"{name}: has no quick run")
            continue
        more = known.quick if quick else known.full
        *before, last = known.program
        for program in [*before, f"{last} {more}"]:
            target = os.path.relpath(results / f"{name}.json", ROOT)
            text = program.format(**places, json=target, scratch=os.path.relpath(scratch, ROOT))
            if not run([sys.executable, *shlex.split(text)]):
                failed.append(name)
                break
    return failed


def main() -> int:
    """Run, store and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", nargs="+", choices=CATALOGUE, default=list(CATALOGUE))
    parser.add_argument("--results", type=Path, help="folder of the JSON files")
    parser.add_argument("--scratch", type=Path, default=ROOT / "build/benchmarks/scratch")
    parser.add_argument("--list", action="store_true", help="name them")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--check", action="store_true", help="only see whether it is up to date")
    options = parser.parse_args()
    if options.list:
        for name, known in CATALOGUE.items():
            print(f"{name:18} {known.title}" + (f" (needs {known.needs})" if known.needs else ""))
        return 0
    results = (options.results or (QUICK if options.quick else RESULTS)).absolute()
    target = PAGE if results == RESULTS else results / "benchmarks.md"
    if options.check:
        return int(not target.is_file() or target.read_text("utf-8") != page(results))
    failed = []
    if not options.page:
        results.mkdir(parents=True, exist_ok=True)
        failed = run_all(options.only, results, options.scratch.absolute(), quick=options.quick)
    target.write_text(page(results), encoding="utf-8")
    print(f"page: {os.path.relpath(target)}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
