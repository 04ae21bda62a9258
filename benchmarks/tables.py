"""From the stored result of a benchmark to rows of a table.

Each function takes the content of a file in ``benchmarks/results`` and gives a list of rows, of
which the first one is the heading.  A result without a function of its own gets `plain`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["TABLES", "markdown", "plain"]

Rows = list[list[str]]
QUANTITIES = {"energy": "energy [%]", "u": "u [mm]", "v": "v [mm]", "w": "w [mm]"}
QUANTITIES["timing"] = "timing [ps]"


def markdown(rows: Rows) -> str:
    """Return a table of GitHub's Markdown."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: Any) -> str:
    """Write a figure with as many digits as say something."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def of_dicts(items: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> Rows:
    """Lay out records: keys and what stands above them."""
    return [list(columns.values()), *([number(item.get(key)) for key in columns] for item in items)]


def plain(result: Mapping[str, Any]) -> Rows:
    """Lay out single values; what is deeper is in the file alone."""
    skipped = {"program", "command", "date", "machine", "device", "versions", "settings"}
    rows = [["what", "value"]]

    def add(prefix: str, content: Mapping[str, Any], depth: int) -> None:
        for key, value in content.items():
            name = f"{prefix}{str(key).replace('_', ' ')}"
            if isinstance(value, Mapping) and depth:
                add(f"{name}, ", value, depth - 1)
            elif isinstance(value, int | float | str):
                rows.append([name, number(value)])

    add("", {key: value for key, value in result.items() if key not in skipped}, 1)
    return rows


def against_plain(result: Mapping[str, Any]) -> Rows:
    """Rates of the plain path and of ``infer``, from file to file."""
    rows = [["", "engine", "events/s", "times the plain path"]]
    for name, rates in result["events_per_s"].items():
        engine = result["engines"].get(name, {}).get("name", "onnxruntime, plain export")
        times = result["times_plain_path"].get(name)
        rows.append([name, engine, ", ".join(map(number, rates)), number(times)])
    return rows


def architectures(result: Mapping[str, Any]) -> Rows:
    """Resolution of the architectures, statistical errors in brackets."""
    rows = [["", *QUANTITIES.values()]]
    for name, found in result["sigma68"].items():
        rows.append([name.replace("_", " "), *(_with_error(found.get(q)) for q in QUANTITIES)])
    return rows


def batch_identity(result: Mapping[str, Any]) -> Rows:
    """Whether the batch changes results."""
    columns = [
        (f"{bundle}, {engine}", cases)
        for bundle, engines in result["bundles"].items()
        for engine, cases in engines.items()
    ]
    rows = [["compared with batches of 16", *(name for name, _ in columns)]]
    for case in columns[0][1]:
        cells = [
            f"{found['changed_share']:.0%} differ, ≤ {found['largest_sigma']:.0e} of the resolution"
            if found["changed_share"]
            else "same"
            for found in (cases[case] for _, cases in columns)
        ]
        rows.append([case, *cells])
    return rows


def bench(result: Mapping[str, Any]) -> Rows:
    """Return the fastest way of each engine, and its share of the ceiling."""
    rows = [
        ["bundle", "engine", "precision", "events/s", "batch, sessions, threads", "of the ceiling"]
    ]
    for name, bundle in result.items():
        for engine in (
            bundle["engines"] if isinstance(bundle, Mapping) and "engines" in bundle else ()
        ):
            if not engine.get("measurements"):
                continue
            best = max(engine["measurements"], key=lambda found: found["events_per_s"])
            how = ", ".join(str(best[key]) for key in ("batch", "sessions", "threads"))
            rate, share = number(best["events_per_s"]), engine.get("ceiling_share")
            ceiling = "" if share is None else f"{share:.0%}"
            rows.append([name, engine["backend"], engine["precision"], rate, how, ceiling])
    return rows


def distillation(result: Mapping[str, Any]) -> Rows:
    """Resolution of students, by what they learned from."""
    rows = [["learned from", "width", "parameters", *QUANTITIES.values()]]
    for student in result["students"]:
        head = [student["way"], str(student["width"]), number(student["parameters"])]
        rows.append([*head, *(_with_error(student["resolution"].get(q)) for q in QUANTITIES)])
    return rows


def end_to_end(result: Mapping[str, Any]) -> Rows:
    """Rates of the engine alone and from file to file, and what the rest costs."""
    rows = [
        ["file", "engine alone [events/s]", "file to file [events/s]", "without engine [events/s]"]
    ]
    rows[0] += ["CPU time of all but the engine [us/event]", "of the whole"]
    for codec, found in result["files"].items():
        whole, rest = found["end_to_end"], found["without_engine"]
        share = rest["cpu_us_per_event"] / whole["cpu_us_per_event"]
        rates = (found["engine_alone_events_per_s"], whole["events_per_s"], rest["events_per_s"])
        rows.append([codec, *map(number, rates), number(rest["cpu_us_per_event"]), f"{share:.1%}"])
    return rows


def engines(result: Mapping[str, Any]) -> Rows:
    """Return sizes and times of TensorRT engines."""
    columns = ("precision", "target", "graph_mib", "engine_mib", "build_seconds", "layers")
    rows = [
        ["bundle", "precision", "target", "graph [MiB]", "engine [MiB]", "built in [s]", "layers"]
    ]
    for bundle, found in result["bundles"].items():
        rows += [[bundle, *(number(entry.get(key)) for key in columns)] for entry in found.values()]
    return rows


def export_reference(result: Mapping[str, Any]) -> Rows:
    """Return bytes and checks of exports of reference checkpoints."""
    columns = {"kind": "kind", "graph_mib": "graph [MiB]", "export_cpu_seconds": "CPU time [s]"}
    columns |= {"same_bytes": "same bytes again", "failed": "failed checks"}
    items = [
        {"name": name, "failed": len(found["failed_checks"]), **found}
        for name, found in result["checkpoints"].items()
    ]
    return of_dicts(items, {"name": "checkpoint", **columns})


def export_speed(result: Mapping[str, Any]) -> Rows:
    """Rates of exported networks, form by form."""
    names = list(next(iter(result["rates"].values())))
    rows = [["", *names]]
    for form, found in result["rates"].items():
        cells = (found.get(name) for name in names)
        rows.append([form, *("" if cell is None else _rate(cell) for cell in cells)])
    return rows


def inpainting(result: Mapping[str, Any]) -> Rows:
    """Resolution with dead channels, by how they are filled."""
    rows: Rows = []
    for network, quantities in result["recovery"]["reconstructions"].items():
        ways = list(next(iter(quantities.values())))
        if not rows:
            units = result["recovery"]["units"]
            rows = [["network", "filled by", *(f"{q} [{units[q]}]" for q in QUANTITIES)]]
        for way in ways:
            cells = (quantities.get(q, {}).get(way) for q in QUANTITIES)
            pairs = [
                None if cell is None else (cell["sigma68"], cell["sigma68_error"]) for cell in cells
            ]
            rows.append([network, way.replace("_", " "), *map(_with_error, pairs)])
    return rows


def kill_test(result: Mapping[str, Any]) -> Rows:
    """Return what was there when the process was killed."""
    total = [f"**kills, in {result['runs']} runs**", str(result["kills"])]
    equal = [f"**results, of them equal: {result['equal']}**", str(result["results"])]
    states = [[name, str(count)] for name, count in result["states when killed"].items()]
    return [["", "times"], *states, total, equal]


def loader(result: Mapping[str, Any]) -> Rows:
    """Rates of the training's reading."""
    columns = {"codec": "file", "way": "way", "workers": "workers", "events_per_s": "events/s"}
    return of_dicts(result["rows"], {**columns, "cpu_us_per_event": "CPU time [us/event]"})


def memory(result: Mapping[str, Any]) -> Rows:
    """Memory by quarters of the time, and its slope."""
    rows = [["[MB]", "1st quarter", "2nd", "3rd", "4th", "slope [MB/hour]"]]
    for part, medians in result["median_MB_of_each_quarter"].items():
        fit = result["slope"][part]
        slope = f"{fit['MB_an_hour']:+.2f} ± {fit['error']:.2f}"
        rows.append([part, *(f"{value:.1f}" for value in medians), slope])
    return rows


def position_fit(result: Mapping[str, Any]) -> Rows:
    """Rates of the C++ library."""
    rates = result["events_per_second"]
    rows = [["function", "events/s"], *([name, number(rate)] for name, rate in rates.items())]
    return [*rows, ["fit, times the compiled macro", number(result["times_the_macro"])]]


def pretraining(result: Mapping[str, Any]) -> Rows:
    """Resolution by labelled events, with and without pretraining; mean over samples."""
    rows = [["labelled events", "", *QUANTITIES.values()]]
    for size in result["sizes"]:
        for way in ("scratch", "pretrained"):
            samples = size[way]["samples"]
            means = (sum(sample[q] for sample in samples) / len(samples) for q in QUANTITIES)
            rows.append([number(size["events"]), way, *map(number, means)])
    return rows


def reading(result: Mapping[str, Any]) -> Rows:
    """Rates of reading beside a compiled ROOT loop."""
    columns = {"form": "file", "way": "way", "events_per_s": "events/s", "MB_per_s": "MB/s"}
    columns["cpu_us_per_event"] = "CPU time [us/event]"
    return of_dicts(result["rows"], {**columns, "of_the_loop": "times the loop"})


def scaling(result: Mapping[str, Any]) -> Rows:
    """Rates of threads and processes."""
    columns = {"way": "", "events_per_s": "events/s", "of_one_thread": "times one thread"}
    return of_dicts(result["rows"], {**columns, "efficiency": "efficiency"})


def year_of_data(result: Mapping[str, Any]) -> Rows:
    """Hours of a year of data on N nodes."""
    nodes = [row["nodes"] for row in next(iter(result["tables"].values()))]
    rows = [["[h]", *(f"{count} nodes" if count > 1 else "1 node" for count in nodes), "limits"]]
    for name, table in result["tables"].items():
        limits = (f"from {n} on {what}" for n, what in result["engines"][name]["limits_from_nodes"])
        rows.append([name, *(number(row["hours"]) for row in table), ", ".join(limits)])
    return rows


def _rate(cell: Mapping[str, Any]) -> str:
    share, times = cell["share_of_ceiling"], cell["times_plain_path"]
    return f"{cell['events_per_second']:.0f} ({share:.0%}, {times:.2f} x)"


def _with_error(pair: Any) -> str:
    return "" if pair is None else f"{pair[0]:.2f} ± {pair[1]:.2f}"


TABLES: dict[str, Callable[[Mapping[str, Any]], Rows]] = {
    function.__name__: function
    for function in (
        against_plain,
        architectures,
        batch_identity,
        bench,
        distillation,
        end_to_end,
        engines,
        export_reference,
        export_speed,
        inpainting,
        kill_test,
        loader,
        memory,
        position_fit,
        pretraining,
        reading,
        scaling,
        year_of_data,
    )
} | {"scaling_large": scaling}
