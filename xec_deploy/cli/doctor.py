"""``xec-deploy doctor``."""

from __future__ import annotations

import importlib
import platform
from importlib import metadata

import click
from rich.markup import escape
from rich.table import Table

from xec_deploy import __version__
from xec_deploy.backends import BACKENDS, RunOptions
from xec_deploy.backends.cores import granted_cores, processor_name
from xec_deploy.bundle import Bundle, open_bundle, shipped_bundle
from xec_deploy.cli.console import output_console
from xec_deploy.errors import MissingExtra, XecError

__all__ = ["doctor"]

COMPONENTS = (
    ("uproot", "uproot", "ROOT files", None),
    ("xec_deploy._cpp", None, "C++ module", None),
    ("matplotlib", "matplotlib", "report, demo", "plot"),
    ("jinja2", "jinja2", "report, demo", "plot"),
    ("lightning", "lightning", "training", "train"),
    ("onnxscript", "onnxscript", "export", "train"),
    ("tensorrt_rtx", "tensorrt-rtx", "check, build-engine", "rtx"),
    ("dask", "dask", "infer --dask", "dask"),
    ("fsspec_xrootd", "fsspec-xrootd", "root:// URLs", "remote"),
)


@click.command(epilog="Example: xec-deploy doctor")
def doctor() -> None:
    """Show what is here, what works, and what each missing component needs."""
    console = output_console()
    processor = processor_name() or platform.machine()
    console.print(
        f"xec-deploy {__version__}, Python {platform.python_version()}, "
        f"{processor}, {granted_cores()} cores granted"
    )
    table = Table("component", "version", "for", "state", box=None, pad_edge=False)
    for module, distribution, purpose, extra in COMPONENTS:
        name = distribution or module
        try:
            importlib.import_module(module)
        except ImportError:
            table.add_row(name, "", purpose, _absent(extra))
            continue
        version = metadata.version(distribution) if distribution else __version__
        table.add_row(name, version, purpose, "[green]ok[/]")
    try:
        bundle = open_bundle(shipped_bundle())
    except XecError as error:
        table.add_row("shipped bundle", "", "demo", f"[red]{escape(str(error))}[/]")
        console.print(table)
        return
    table.add_row("shipped bundle", "", "demo", "[green]ok: hashes verified[/]")
    console.print(table)
    console.print(_engines(bundle))


def _engines(bundle: Bundle) -> Table:
    """Return one row an engine and device, with whether it reproduces the golden events."""
    table = Table("engine", "version", "device", "state", box=None, pad_edge=False)
    for name, engine in BACKENDS.items():
        for device in engine.devices:
            table.add_row(name, engine.version or "", device, _state(bundle, name, device))
    return table


def _state(bundle: Bundle, name: str, device: str) -> str:
    if not BACKENDS[name].present:
        return _absent(BACKENDS[name].extra)
    try:
        bundle.backend(name, options=RunOptions(device=device))
    except MissingExtra as error:
        return f"[yellow]absent: {escape(error.fix or str(error))}[/]"
    except XecError as error:
        # A device that is not there is no defect.
        colour = "red" if device == "cpu" else "yellow"
        return f"[{colour}]{escape(str(error))}[/]"
    return "[green]ok: golden events verified[/]"


def _absent(extra: str | None) -> str:
    remedy = f"pip install 'xec-deploy\\[{extra}]'" if extra else "reinstall xec-deploy"
    return f"[yellow]absent: {remedy}[/]"
