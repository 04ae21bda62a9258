"""A year of data on N nodes: how long it takes, and what limits it.

A calculation, not a measurement.  Rates of the CPU are those of committed benchmarks
(``export_speed.json`` for the large regressor, ``reading.json`` or ``loader.json`` for reading);
everything else is an argument whose default is stated as an assumption.  Stages of a node overlap,
so its rate is that of the slowest; all nodes share the file system.

    python benchmarks/year_of_data.py [--json OUT.json] [--plot OUT.png]
        [--file-system 10] [--network 3.1] [--cores 64] [--gpu A100=130000]
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from machine import write

RESULTS = Path(__file__).with_name("results")
PAYLOAD = 4760 * 8
"""Bytes of photons and times of an event; the graph gets a flag a channel as well."""
FLOP = 0.84e9
"""Floating-point operations of the large regressor for an event."""
MOST = 1000
TASK_S, LONG_TASK_S, FILES_A_WORKER, TASK_EVENTS = 120.0, 1200.0, 4, (2e3, 2e5)
"""How ``infer --dask`` splits files: see ``xec_deploy/cluster/distribute.py``."""
NODES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
HOUR = 3600.0


@dataclass(frozen=True)
class Data:
    """What there is to do: events, their size on disk and in results [B], entries of a file."""

    events: float
    disk_bytes: float
    result_bytes: float
    file_events: float


@dataclass(frozen=True)
class Site:
    """What all nodes share, and what a node has: rates in B/s, overheads in s."""

    file_system: float
    network: float
    cores: int
    opens_per_s: float
    start_s: float
    task_events: float | None
    tasks_per_s: float


@dataclass(frozen=True)
class Engine:
    """What infers: events/s of one unit (a core or a GPU), units of a node, where that is from."""

    name: str
    rate: float
    on_gpu: bool
    units: int
    source: str


def worker_rate(engine: Engine, site: Site, cpu_s: float) -> float:
    """Return the events/s of a worker, a core or a GPU, with the reading that falls to it."""
    if not engine.on_gpu:
        return 1 / (1 / engine.rate + cpu_s)
    # Reading overlaps, on the share of the node's cores that goes with the GPU.
    return min(engine.rate, site.cores / engine.units / cpu_s)


def task_events(engine: Engine, data: Data, site: Site, nodes: int) -> float:
    """Return the entries of a task: a file, or a part of one where there are not enough files."""
    workers = nodes * (engine.units if engine.on_gpu else site.cores)
    enough = data.events / data.file_events >= FILES_A_WORKER * workers
    part = engine.rate * (LONG_TASK_S if enough else TASK_S)
    largest = site.task_events or min(max(part, TASK_EVENTS[0]), TASK_EVENTS[1])
    return min(largest, data.file_events)


def passes(task: float, data: Data) -> int:
    """Return how often a file is read: once more for its checksum if it was split."""
    return 2 if task < data.file_events else 1


def limits(engine: Engine, data: Data, site: Site, cpu_s: float, nodes: int) -> dict[str, float]:
    """Return the events/s of all nodes that each part would allow, if the others took no time."""
    task = task_events(engine, data, site, nodes)
    event = passes(task, data) * data.disk_bytes + data.result_bytes
    workers = nodes * (engine.units if engine.on_gpu else site.cores)
    tasks = math.ceil(data.events / task)
    rate = worker_rate(engine, site, cpu_s)
    on_gpu = engine.on_gpu and rate < engine.rate
    return {
        "decompression" if on_gpu else "engine": workers * rate,
        "fewer tasks than workers": tasks * rate,
        "network of the nodes": nodes * site.network / event,
        "file system": site.file_system / event,
        # A file is opened, its results are begun, named and synchronised.
        "metadata": site.opens_per_s * data.file_events,
        "scheduler": site.tasks_per_s * task,
    }


def year(engine: Engine, data: Data, site: Site, cpu_s: float, nodes: int) -> dict[str, Any]:
    """Return time, rate and bottleneck of a year on some nodes.

    Beside the steady rate there is the start of the engine on every node, and on average half a
    task at the end, when some workers have nothing left to do.
    """
    name, rate = min(limits(engine, data, site, cpu_s, nodes).items(), key=lambda item: item[1])
    task = task_events(engine, data, site, nodes)
    last = task / worker_rate(engine, site, cpu_s) / 2
    seconds = site.start_s + data.events / rate + last
    return {
        "nodes": nodes,
        "hours": seconds / HOUR,
        "events_per_s": data.events / seconds,
        "steady_events_per_s": rate,
        "start_and_end_share": (site.start_s + last) / seconds,
        "bottleneck": name,
        "task_events": task,
        "read_GB_per_s": rate * data.disk_bytes * passes(task, data) / 1e9,
    }


def crossings(engine: Engine, data: Data, site: Site, cpu_s: float) -> list[tuple[int, str]]:
    """Return the numbers of nodes from which on another part limits."""
    found: list[tuple[int, str]] = []
    for nodes in range(1, MOST + 1):
        parts = limits(engine, data, site, cpu_s, nodes)
        name = min(parts, key=lambda part: parts[part])
        if not found or found[-1][1] != name:
            found.append((nodes, name))
    return found


def cpu_engines(per_core: float | None) -> list[Engine]:
    """Return the large regressor on a core, as measured, or as stated."""
    if per_core is not None:
        return [Engine("CPU", per_core, False, 1, "stated")]
    path = RESULTS / "export_speed.json"
    if not path.is_file():
        # 119 events/s on two cores, the first rewrite in fp32.
        return [Engine("CPU fp32", 119 / 2, False, 1, "deployment notes: 119 events/s, two cores")]
    content = json.loads(path.read_text(encoding="utf-8"))
    best: dict[str, tuple[float, str]] = {}
    for form, engines in content["rates"].items():
        for engine, found in engines.items():
            precision = engine.split()[-1]
            rate = found["events_per_second"] / content["device"]["cores"]
            best[precision] = max(best.get(precision, (0.0, "")), (rate, f"{form}, {engine}"))
    return [
        Engine(f"CPU {precision}", rate, False, 1, f"export_speed.json: {where}")
        for precision, (rate, where) in sorted(best.items())
        if precision in {"fp32", "bf16"}
    ]


def reading_cost(stated: float | None) -> tuple[float, str]:
    """Return the seconds of a core that reading and decompressing an event takes."""
    if stated is not None:
        return stated * 1e-6, "stated"
    reading, loader = RESULTS / "reading.json", RESULTS / "loader.json"
    if reading.is_file():
        rows = json.loads(reading.read_text(encoding="utf-8"))["rows"]
        chosen = [row for row in rows if row["form"].startswith("ZSTD") and "ahead" in row["way"]]
        if chosen:
            cost = min(row["cpu_us_per_event"] for row in chosen)
            return cost * 1e-6, "reading.json: ZSTD"
    rows = json.loads(loader.read_text(encoding="utf-8"))["rows"]
    chosen = [row for row in rows if row["codec"] == "ZSTD" and row["way"] == "stream, in order"]
    return min(row["cpu_us_per_event"] for row in chosen) * 1e-6, "loader.json: ZSTD, in order"


def gpu_engine(text: str, units: int) -> Engine:
    """Read ``NAME=EVENTS_PER_S``."""
    name, _, rate = text.partition("=")
    return Engine(f"{units} x {name}", float(rate), True, units, "assumed")


def plot(path: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Draw hours against nodes."""
    import matplotlib as mpl  # noqa: PLC0415 - only with --plot

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    # Curves that lie on each other stay visible.
    for number, (name, rows) in enumerate(tables.items()):
        nodes, hours = [row["nodes"] for row in rows], [row["hours"] for row in rows]
        axes.plot(nodes, hours, "o-", ms=3 + 3 * number, fillstyle="none", label=name)
    axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel="time for a year of data [h]")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Calculate and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--events", type=float, default=1e8, help="a year is of the order of 1e8")
    add("--disk-bytes", type=float, default=35e3, help="of an event on disk, photons and times")
    add("--result-bytes", type=float, default=100.0, help="of an event in results")
    add("--file-events", type=float, default=50e3, help="entries of a file")
    add("--file-system", type=float, default=10.0, help="GB/s all nodes together (assumed)")
    add("--network", type=float, default=3.1, help="GB/s of a node (assumed: 25 Gbit/s)")
    add("--cores", type=int, default=64, help="of a node (assumed)")
    add("--opens", type=float, default=50.0, help="files begun and named a second (assumed)")
    add("--start", type=float, default=20.0, help="s until the engine of a worker runs (assumed)")
    add("--task-events", type=float, help="entries of a task; as infer --dask splits if absent")
    add("--tasks-per-s", type=float, default=200.0, help="that a scheduler deals out (assumed)")
    add("--per-core", type=float, help="events/s of a core; measured ones if absent")
    add("--reading-us", type=float, help="CPU time to read an event; measured if absent")
    add("--gpus", type=int, default=4, help="GPUs of a node")
    add(
        "--gpu",
        nargs="+",
        # A third of 156 and 495 TFLOP/s of TF32, for 0.84 GFLOP an event.
        default=["A100=62000", "GH200=196000"],
        metavar="NAME=EVENTS/S",
        help="assumed: a third of the peak in TF32, until it is measured",
    )
    add("--json", type=Path)
    add("--plot", type=Path)
    options = parser.parse_args()
    data = Data(options.events, options.disk_bytes, options.result_bytes, options.file_events)
    site = Site(
        options.file_system * 1e9,
        options.network * 1e9,
        options.cores,
        options.opens,
        options.start,
        options.task_events,
        options.tasks_per_s,
    )
    cpu_s, cost_source = reading_cost(options.reading_us)
    engines = cpu_engines(options.per_core)
    engines += [gpu_engine(text, options.gpus) for text in options.gpu]
    total = data.events * data.disk_bytes / 1e12
    print(
        f"{data.events:.0e} events, {total:.1f} TB on disk in {data.events / data.file_events:.0f} "
        f"files; reading takes {cpu_s * 1e6:.0f} us of a core an event ({cost_source})"
    )
    tables: dict[str, list[dict[str, Any]]] = {}
    summary: dict[str, Any] = {}
    for engine in engines:
        changes = crossings(engine, data, site, cpu_s)
        print(f"\n{engine.name}: {engine.rate:,.0f} events/s each ({engine.source})")
        print("  limits: " + ", ".join(f"from {n} nodes on {name}" for n, name in changes))
        rows = [year(engine, data, site, cpu_s, nodes) for nodes in NODES]
        for row in rows:
            print(
                f"  {row['nodes']:4d} nodes  {row['hours']:8.2f} h  {row['events_per_s']:9,.0f} "
                f"events/s  {row['read_GB_per_s']:6.2f} GB/s  start and end "
                f"{100 * row['start_and_end_share']:3.0f} %  {row['bottleneck']}"
            )
        tables[engine.name] = rows
        summary[engine.name] = {**asdict(engine), "limits_from_nodes": changes}
    if options.json:
        record = {
            "data": asdict(data),
            "site": asdict(site),
            "reading": {"seconds_of_a_core": cpu_s, "source": cost_source},
            "engines": summary,
            "tables": tables,
        }
        write(options.json, record)
    if options.plot:
        plot(options.plot, tables)


if __name__ == "__main__":
    main()
