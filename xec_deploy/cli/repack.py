"""``xec-deploy repack``."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from xec_deploy.cli.progress import progress_of
from xec_deploy.events.repack import repack as repack_file
from xec_deploy.events.treewriter import Codec

__all__ = ["repack"]


@click.command(epilog="Example: xec-deploy repack run430000.root -o fast/run430000.root")
@click.argument("path", metavar="F.root")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="New file.")
@click.option(
    "--codec",
    type=click.Choice(get_args(Codec), case_sensitive=False),
    default="LZ4",
    show_default=True,
    help="LZ4 reads fastest, ZSTD is smaller.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def repack(path: str, output: Path, codec: Codec, force: bool) -> None:
    """Write a file anew so that it is fast to read.

    All trees with all branches, and all other objects, in baskets of some 200 events and with
    another codec. The new file is read back and compared before it gets its name.
    """
    with progress_of("repack") as progress:
        done = repack_file(path, output, codec=codec, force=force, progress=progress)
    for name, entries in done.entries.items():
        click.echo(f"tree {name}: {entries} entries")
    before = "" if done.bytes_before is None else f"{done.bytes_before / 1e6:.1f} MB -> "
    click.echo(f"{output}: {before}{done.bytes_after / 1e6:.1f} MB ({codec})")
