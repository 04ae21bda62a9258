"""Reading alone: this package's reader beside a compiled ROOT loop, on the same files in one run.

The C++ side opens the file, sets branch addresses of the arrays of photons and times, run and
event, calls ``GetEntry`` for each entry and adds up a few values, compiled with full optimisation
by ROOT's own compiler.  The Python side makes what inference gets: batches of native float32
photons and times and flags of dead channels.  Files of each codec are written by this package and,
with ROOT's default baskets (one event each), by ROOT.  All files are in the page cache; the best of
several rounds counts, in which the two take turns.

    python benchmarks/reading.py [--events 4000] [--json OUT.json]
"""

from __future__ import annotations

import _lzma
import argparse
import ctypes
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import write

from xec_deploy.events import EventWriter, SensorArrays, open_events
from xec_deploy.simulation import SimulationConfig, simulate
from xec_deploy.simulation.write import TRUTH_COLUMNS

EVENT_MB = 4760 * 8 / 1e6
BATCH = 32
LOOP = r"""
#include <TFile.h>
#include <TTree.h>
double read_loop(const char* path) {
    static float npho[4760], time[4760];
    int run, event;
    TFile file(path);
    auto* tree = file.Get<TTree>("tree");
    tree->SetBranchStatus("*", false);
    const std::pair<const char*, void*> branches[] = {
        {"npho", npho}, {"relative_time", time}, {"run", &run}, {"event", &event}};
    for (const auto& [name, address] : branches) {
        tree->SetBranchStatus(name, true);
        tree->SetBranchAddress(name, address);
    }
    double sum = 0;
    const auto entries = tree->GetEntries();
    for (long long i = 0; i < entries; ++i) {
        tree->GetEntry(i);
        sum += npho[0] + time[4759];
    }
    return sum;
}
void rewrite(const char* from, const char* to, int compression) {
    TFile input(from);
    auto* tree = input.Get<TTree>("tree");
    TFile output(to, "RECREATE", "", compression);
    static float npho[4760], time[4760];
    int run, event;
    tree->SetBranchAddress("npho", npho);
    tree->SetBranchAddress("relative_time", time);
    tree->SetBranchAddress("run", &run);
    tree->SetBranchAddress("event", &event);
    TTree copy("tree", "events");
    copy.Branch("run", &run, "run/I");
    copy.Branch("event", &event, "event/I");
    copy.Branch("npho", npho, "npho[4760]/F");
    copy.Branch("relative_time", time, "relative_time[4760]/F");
    for (long long i = 0; i < tree->GetEntries(); ++i) {
        tree->GetEntry(i);
        copy.Fill();
    }
    copy.Write();
}
"""


def load_root(folder: Path) -> Any:
    """Compile the loop with ACLiC, at -O3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ROOT  # noqa: PLC0415 - an alpha that warns
    source = folder / "loop.cpp"
    source.write_text(LOOP)
    ROOT.gSystem.SetBuildDir(str(folder))
    if not ROOT.gSystem.CompileMacro(str(source), "kfO"):
        raise SystemExit("the loop does not compile")
    return ROOT


def write_files(root: Any, folder: Path, events: int) -> dict[str, Path]:
    """Write the same events in several forms."""
    blocks = list(simulate(SimulationConfig(seed=1), events, threads=1))
    sample = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    files: dict[str, Path] = {}
    for codec in ("none", "LZ4", "ZSTD", "ZLIB", "LZMA"):
        path = folder / f"{codec}.root"
        with EventWriter(path, TRUTH_COLUMNS, compression=codec) as writer:
            some = slice(0, events // 8 if codec == "LZMA" else events)
            writer.extend({name: values[some] for name, values in sample.items()})
            writer.commit()
        files[codec] = path
    for name, compression in (("LZ4, ROOT's baskets", 404), ("ZSTD, ROOT's baskets", 505)):
        files[name] = folder / f"root{compression}.root"
        root.rewrite(str(files["none"]), str(files[name]), compression)
    return files


def read_all(path: Path, readers: int) -> int:
    """Read as inference does: memory used again, decompressing ahead in threads if there are."""
    memory = SensorArrays.empty(BATCH)
    executor = ThreadPoolExecutor(readers) if readers else None
    try:
        with open_events(path) as events:
            return sum(
                len(b) for b in events.batches(BATCH, memory=lambda: memory, executor=executor)
            )
    finally:
        if executor is not None:
            executor.shutdown()


def liblzma_version() -> str:
    """Return the version of the library behind Python's LZMA: 5.6 made it nearly twice as fast."""
    library = ctypes.CDLL(_lzma.__file__)
    library.lzma_version_string.restype = ctypes.c_char_p
    return str(library.lzma_version_string().decode())


def measure(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the best wall time of each way and the CPU time that went with it."""
    best = dict.fromkeys(ways, (float("inf"), 0.0))
    for _ in range(rounds + 1):
        for name, way in ways.items():
            usage, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            way()
            wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
            cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
            if wall < best[name][0]:
                best[name] = wall, cpu
    return best


def main() -> None:
    """Print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = load_root(folder)
        for form, path in write_files(root, folder, arguments.events).items():
            with open_events(path) as events:
                count, baskets = events.num_entries, events.units
            ways: dict[str, Callable[[], Any]] = {
                "C++ ROOT loop": lambda p=path: root.read_loop(str(p)),
                "one thread": lambda p=path: read_all(p, 0),
                "decompressing ahead, 1 thread": lambda p=path: read_all(p, 1),
                "decompressing ahead, 2 threads": lambda p=path: read_all(p, 2),
            }
            best = measure(ways, 1 if form == "LZMA" else arguments.rounds)
            loop = best["C++ ROOT loop"][0]
            for way, (wall, cpu) in best.items():
                row = {
                    "form": form,
                    "events_per_basket": round(count / baskets, 1),
                    "MB_on_disk_per_1000": round(path.stat().st_size / count / 1e3, 1),
                    "way": way,
                    "events_per_s": round(count / wall),
                    "MB_per_s": round(count * EVENT_MB / wall),
                    "cpu_us_per_event": round(cpu / count * 1e6, 1),
                    "of_the_loop": round(loop / wall, 2),
                }
                rows.append(row)
                print(
                    f"{form:21} {way:31} {row['events_per_s']:7} events/s {row['MB_per_s']:5} MB/s"
                    f" {row['cpu_us_per_event']:7} us CPU  {row['of_the_loop']:5.2f} of the loop",
                    flush=True,
                )
        version = root.gROOT.GetVersion()
    if arguments.json:
        report = {
            "ROOT": str(version),
            "liblzma": liblzma_version(),
            "settings": {"events": arguments.events, "batch": BATCH, "rounds": arguments.rounds},
            "rows": rows,
        }
        write(arguments.json, report, "uproot", "numpy", "cramjam")


if __name__ == "__main__":
    main()
