"""One page of all stored results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.catalogue import CATALOGUE, Benchmark
from benchmarks.tables import TABLES, markdown, plain

__all__ = ["page"]

HEAD = """\
# Benchmarks

Made by `python -m benchmarks --page` from the files in `benchmarks/results`: do not edit.
`make benchmarks` runs those that need nothing but this repository (hours), `make benchmarks
QUICK=1` runs them in small sizes and into `build/benchmarks` (some ten minutes on two cores);
`python -m benchmarks --list` names them. Figures are of the machine under each table, and ratios
of one run.
"""
PLACES = {
    "bundle": "large.xec",
    "checkpoint": "large.pth",
    "data": "events.root",
    "scratch": "scratch",
    "json": "OUT.json",
}
"""Stand for files in commands."""
DESCRIBED_BY_NAME = Benchmark("", "", "", ())


def page(results: Path) -> str:
    """Return the page of the results in a folder, in the order of the catalogue."""
    stored = {path.stem: path for path in sorted(results.glob("*.json"))}
    order = [name for name in CATALOGUE if name in stored]
    order += [name for name in stored if name not in CATALOGUE]
    sections = [_section(name, json.loads(stored[name].read_text("utf-8"))) for name in order]
    return "\n".join([HEAD, *sections])


def _section(name: str, result: Mapping[str, Any]) -> str:
    known = CATALOGUE.get(name, DESCRIBED_BY_NAME)
    title = known.title or name.replace("_", " ").capitalize()
    about = known.about + (f" More in [{known.page}]({known.page})." if known.page else "")
    table = TABLES.get(name, plain)(result)
    parts = [f"## {title}"]
    parts += [about.strip()] if about.strip() else []
    parts += [markdown(table).rstrip()] if len(table) > 1 else []
    return "\n\n".join([*parts, _signature(name, known, result)]) + "\n"


def _signature(name: str, known: Benchmark, result: Mapping[str, Any]) -> str:
    """Say where, when, with what and how it was measured, as far as the file does."""
    machine = result.get("machine") or result.get("device") or {}
    words = []
    if isinstance(machine, str):
        words.append(machine)
    elif machine:
        processor = next((machine[key] for key in ("processor", "cpu") if machine.get(key)), "")
        cores = f"{machine['cores']} cores" if "cores" in machine else ""
        words += [word for word in (processor, cores) if word]
    words += [f"{package} {found}" for package, found in result.get("versions", {}).items()]
    words += [result["date"]] if "date" in result else []
    program = next(reversed(known.program), "").format(**PLACES)
    stated = result.get("command") or (f"python {program}" if program else "")
    command = f"`{stated}`"
    lines = [f"<sub>[{name}.json](../benchmarks/results/{name}.json)"]
    lines += [", ".join(words)] if words else []
    lines += [known.needs] if known.needs else [command] if stated else []
    return "; ".join(lines) + "</sub>"
