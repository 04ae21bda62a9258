"""``xec-deploy inspect``."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import click
import onnx
import uproot

from xec_deploy.bundle import Bundle, Manifest, open_bundle
from xec_deploy.bundle.manifest import FILLED_OUTPUT, LEGACY_OUTPUT
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.errors import InputError
from xec_deploy.events import open_events
from xec_deploy.events.advice import reading_advice
from xec_deploy.events.failures import file_boundary
from xec_deploy.events.inputs import parse_input
from xec_deploy.inference.provenance import read_provenance
from xec_deploy.inference.spool import LEDGER, entries_done, read_header

__all__ = ["inspect"]

Facts = dict[str, Any]

LINE_WIDTH = 80
LONG_ENTRY = 40
ROOT_MAGIC = b"root\0"
NO_BREAK = "\N{NO-BREAK SPACE}"


@click.command(epilog="Example: xec-deploy inspect compact.xec")
@click.argument("path", metavar="B.xec|M.onnx|F.root|E.engine|OUT.part")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(path: str, as_json: bool) -> None:
    """Show what a bundle, an ONNX or ROOT file or an engine is, or how far OUT.part has come."""
    file = Path(parse_input(path).path)
    if not path or not file.exists():
        raise InputError("no such file", where=path or "''", fix="Check the path.")
    if file.suffix == ".engine":
        from xec_deploy.engines import describe_engine  # noqa: PLC0415 - loads what builds engines

        facts = describe_engine(file)
    elif file.is_dir() and any(file.glob("*" + LEDGER)):
        facts = _unfinished_facts(file)
    else:
        facts = _root_facts(path, file) if _is_root(file) else _model_facts(open_bundle(file))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _print(facts)


def _is_root(file: Path) -> bool:
    """Go by the name, and by the first bytes of a file that is named otherwise (``.part``)."""
    if file.suffix == ".root" or file.is_dir():
        return file.suffix == ".root"
    with file.open("rb") as stream:
        return stream.read(len(ROOT_MAGIC)) == ROOT_MAGIC


def _model_facts(bundle: Bundle) -> Facts:
    manifest = bundle.manifest
    model = load_onnx(bundle.file())
    operators = Counter(node.op_type for node in model.graph.node)
    size = sum(f.stat().st_size for f in bundle.path.rglob("*")) if bundle.path.is_dir() else None
    return {
        "bundle": str(bundle.path),
        "kind": manifest.kind if manifest.io == "raw" else f"{manifest.kind}, io {manifest.io}",
        "name": manifest.name,
        "producer": manifest.producer,
        "layout": manifest.layout,
        "bytes": size,
        "inputs": {
            i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]
            for i in model.graph.input
        },
        "outputs": _outputs(model, manifest),
        "normalisation": manifest.normalisation.model_dump(),
        "dead channels": manifest.dead_channels.model_dump(),
        "graphs": {
            name: f"{record.file}, opset {record.opset}, {record.canonical_sha256[:16]}"
            for name, record in manifest.graphs.items()
        },
        "parts": {name: record.file for name, record in manifest.parts.items()},
        "inpainter": _inpainter(manifest),
        "engines": {
            name: f"{entry['precision']} for {entry['target']}, "
            f"{entry['flavour']} {entry['version']}"
            for name, entry in manifest.engines.items()
        },
        "operators": dict(operators.most_common()),
        "checkpoint": {k: v for k, v in manifest.checkpoint.items() if k != "model"},
        "model": manifest.checkpoint.get("model", {}),
        "training": {k: v for k, v in manifest.training.items() if k != "recipe"},
    }


def _outputs(model: onnx.ModelProto, manifest: Manifest) -> dict[str, str]:
    """Return what the outputs of a graph are: quantities with units, or shapes."""
    described = {}
    for port in model.graph.output:
        task = manifest.tasks.get(port.name.removeprefix(LEGACY_OUTPUT).removesuffix("_sigma"))
        shape = [d.dim_param or str(d.dim_value) for d in port.type.tensor_type.shape.dim]
        text = f"({', '.join(shape)})"
        if port.name == FILLED_OUTPUT:
            text += " photons"
        if task is not None and manifest.io == "raw":
            text = ", ".join(f"{o.name} [{o.unit or '1'}]" for o in task.outputs)
        elif task is not None:
            text += (
                " as the head emits"
                + (": means, log variances" if task.has_sigma else "")
                + (", of the logarithm" if task.log_transform else "")
            )
        described[port.name] = text
    return described


def _inpainter(manifest: Manifest) -> Facts:
    record = manifest.inpainter
    if record is None:
        return {}
    return {
        "layout": record.layout,
        "fills time": record.fills_time,
        "checkpoint": record.checkpoint.get("sha256"),
        **record.normalisation.model_dump(),
    }


def _root_facts(argument: str, file: Path) -> Facts:
    provenance = read_provenance(file)
    if provenance is not None and ("input" in provenance or "inputs" in provenance):
        with file_boundary(str(file), "reading the results"), uproot.open({file: None}) as opened:
            tree = opened["xec"]
            branches = {branch.name: branch.title for branch in tree.branches}
            return {
                "results": str(file),
                "entries": tree.num_entries,
                "branches": branches,
                "provenance": provenance,
            }
    with open_events(argument) as events:
        facts: Facts = {
            "events": events.path,
            "tree": events.tree,
            "entries": events.num_entries,
            "form": events.form,
            "codec": events.codec,
            "baskets" if events.form.startswith("TTree") else "pages": events.units,
            "advice": reading_advice(events) or "none, the file is fast to read",
            "used branches": {
                "npho": events.branches.npho,
                "time": events.branches.time,
                "run": events.branches.run or "(none)",
                "event": events.branches.event or "(none)",
                "dead": events.branches.dead or "(none)",
            },
            "all branches": ", ".join(sorted(events.names)),
        }
        first = next(events.batches(1), None)
        if first is not None:
            facts["first event"] = {
                "run": int(first.run[0]),
                "event": int(first.event[0]),
                "dead or invalid channels": int(first.dead[0].sum()),
            }
    if provenance is not None:
        facts["provenance"] = provenance
    return facts


def _unfinished_facts(folder: Path) -> Facts:
    """Say how far unfinished results are."""
    facts: Facts = {"unfinished": str(folder)}
    for ledger in sorted(folder.glob("*" + LEDGER)):
        header = read_header(ledger)
        if header is not None:
            first, last = header["entries"]
            done = f"{entries_done(ledger)} of entries {first} to {last - 1}"
            facts[ledger.stem] = {
                "input": header["input"]["path"],
                "done": done,
                "since": header["started"],
                **header["choice"],
            }
    facts["advice"] = "run the same command again to continue, or with --force to start anew"
    return facts


def _print(facts: Facts) -> None:
    """Print facts as aligned lines; groups of short values share a line."""
    width = max(len(name) for name in facts) + 2
    for name, value in facts.items():
        lines = _lines(value) if isinstance(value, dict) else [str(value)]
        for index, line in enumerate(lines or ["(none)"]):
            click.echo(f"{name if index == 0 else '':{width}s}{line}")


def _lines(values: Facts) -> list[str]:
    entries = [
        f"{key} {json.dumps(value) if isinstance(value, dict | list) else value}"
        for key, value in values.items()
    ]
    if any(len(entry) > LONG_ENTRY for entry in entries):
        return entries
    joined = ", ".join(entry.replace(" ", NO_BREAK) for entry in entries)
    return [line.replace(NO_BREAK, " ") for line in textwrap.wrap(joined, LINE_WIDTH)]
