"""``xec-deploy doctor``."""

from __future__ import annotations

import importlib
import os
import platform
from importlib import metadata

import click
from rich.markup import escape
from rich.table import Table

from xec_deploy import __version__
from xec_deploy.bundle import open_bundle, shipped_bundle
from xec_deploy.cli.console import output_console
from xec_deploy.errors import XecError

__all__ = ["doctor"]

COMPONENTS = (
    ("onnxruntime", "onnxruntime", "inference", None),
    ("uproot", "uproot", "ROOT files", None),
    ("xec_deploy._cpp", None, "C++ module", None),
    ("matplotlib", "matplotlib", "report, demo", "plot"),
    ("jinja2", "jinja2", "report, demo", "plot"),
    ("torch", "torch", "export, training", "train"),
    ("lightning", "lightning", "training", "train"),
    ("fsspec_xrootd", "fsspec-xrootd", "root:// URLs", "remote"),
)


@click.command(epilog="Example: xec-deploy doctor")
def doctor() -> None:
    """Show what is here, what works, and what each missing component needs."""
    table = Table("component", "version", "for", "state", box=None, pad_edge=False)
    for module, distribution, purpose, extra in COMPONENTS:
        name = distribution or module
        try:
            importlib.import_module(module)
        except ImportError:
            remedy = f"pip install 'xec-deploy\\[{extra}]'" if extra else "reinstall xec-deploy"
            table.add_row(name, "", purpose, f"[yellow]absent: {remedy}[/]")
            continue
        version = metadata.version(distribution) if distribution else __version__
        table.add_row(name, version, purpose, "[green]ok[/]")
    try:
        bundle = open_bundle(shipped_bundle())
        bundle.backend()
        state = "[green]ok: hashes and golden events verified[/]"
    except XecError as error:
        state = f"[red]{escape(str(error))}[/]"
    table.add_row("shipped bundle", "", "demo", state)
    console = output_console()
    cores = len(os.sched_getaffinity(0))
    console.print(
        f"xec-deploy {__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {cores} cores granted"
    )
    console.print(table)
