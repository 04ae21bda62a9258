"""``xec-deploy check``."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xec_deploy.cli.console import output_console
from xec_deploy.errors import ExitCode

__all__ = ["check"]

SHOWN_FINDINGS = 5
STYLES = {"passed": "green", "failed": "bold red", "warned": "yellow", "skipped": "dim"}


@click.command(epilog="Example: xec-deploy check compact.xec")
@click.argument("path", metavar="B.xec|M.onnx")
@click.option("--only", metavar="ID,..", help="Run these checks alone, such as E05,E20.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(path: str, only: str | None, as_json: bool) -> int:
    """Check the graphs of a bundle, or one ONNX file.

    Errors (E..) make a graph unfit for one engine or another, warnings (W..) cost time or space.
    docs/checks.md says what each check protects from. Exit code 4 if there is an error.
    """
    from xec_deploy.checks import run_checks  # noqa: PLC0415 - needs onnx and onnxruntime

    ids = None if only is None else [name.strip() for name in only.split(",") if name.strip()]
    errors = Console(stderr=True)
    with errors.status("checking") as status:
        report = run_checks(path, ids, progress=lambda name: status.update(f"checking {name}"))
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _print(report.to_dict())
    return ExitCode.DONE if report.passed else ExitCode.CHECK_FAILED


def _print(report: dict[str, object]) -> None:
    console = output_console()
    graphs = report["graphs"]
    assert isinstance(graphs, list)  # noqa: S101 - of our own making
    for graph in graphs:
        console.print(Text.assemble((graph["file"], "bold"), f" ({graph['name']})"))
        table = Table("check", "", "what must hold", "found", box=None, pad_edge=False)
        for entry in graph["checks"]:
            table.add_row(
                entry["id"],
                Text(entry["status"], STYLES[entry["status"]]),
                entry["title"],
                Text(_first(entry)),
            )
            for further in _further(entry):
                table.add_row("", "", "", Text(further))
        console.print(table)
        counts = [entry["status"] for entry in graph["checks"]]
        console.print(
            Text.assemble(
                f"{len(counts)} checks: {counts.count('passed')} passed, ",
                (f"{counts.count('failed')} failed", "red" if "failed" in counts else ""),
                f", {counts.count('warned')} warned, {counts.count('skipped')} skipped\n",
            )
        )


def _first(entry: dict[str, object]) -> str:
    lines = _findings(entry)
    return str(entry["skipped"] or (lines[0] if lines else ""))


def _further(entry: dict[str, object]) -> list[str]:
    lines = _findings(entry)
    more = len(lines) - SHOWN_FINDINGS
    return lines[1:SHOWN_FINDINGS] + ([f"and {more} more (--json has all)"] if more > 0 else [])


def _findings(entry: dict[str, object]) -> list[str]:
    findings = entry["findings"]
    assert isinstance(findings, list)  # noqa: S101 - of our own making
    lines = []
    for finding in findings:
        node = finding["node"] or finding["tensor"] or ""
        operator = f"{finding['operator']} " if finding["operator"] else ""
        where = f"{operator}{node!r}: " if node or operator else ""
        lines.append(f"{where}{finding['message']}")
    return lines
