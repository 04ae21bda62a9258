"""``xec-deploy merge``."""

from __future__ import annotations

from pathlib import Path

import click

from xec_deploy.cli.progress import progress_of
from xec_deploy.events import expand_inputs
from xec_deploy.inference.merge import merge as merge_files

__all__ = ["merge"]


@click.command(epilog="Example: xec-deploy merge 'results/run43*_xec.root' -o year.root")
@click.argument("files", nargs=-1, required=True, metavar="RESULT.root..")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="New file.")
@click.option("--mixed", is_flag=True, help="Allow different engines and batches (last digits).")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def merge(files: tuple[str, ...], output: Path, mixed: bool, force: bool) -> None:
    """Join results of infer in one file, in the order given.

    Refused if they were made with different bundles or options, or share an input.
    """
    paths = [item.path for item in expand_inputs(files)]
    with progress_of("merge") as progress:
        done = merge_files(paths, output, mixed=mixed, force=force, progress=progress)
    click.echo(f"{output}: {done.entries} entries of {done.inputs} inputs from {done.files} files")
