"""Options that both commands which print Slurm scripts have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["job_options"]


def job_options(*, job_name: str, log: str, grace: int) -> Callable[[Any], Any]:
    """Return a decorator that adds the options of a job.

    Parameters
    ----------
    job_name, log
        Help texts, because the defaults differ.
    grace
        Default seconds before the limit at which Slurm sends TERM.
    """
    options = (
        click.option(
            "--partition", required=True, help="gh-* has aarch64 nodes, a100-* x86_64 nodes."
        ),
        click.option("--mem", "memory", help="Memory a node, such as 64G."),
        click.option("--time", help="Limit; 1 hour for *-hourly, a day for *-daily if absent."),
        click.option("--account", help="Account to charge."),
        click.option("--cluster", help="Cluster, where Slurm serves several."),
        click.option("--job-name", help=job_name),
        click.option("--log", help=log),
        click.option(
            "--environment",
            metavar="DIR",
            help="Virtual or conda environment on the nodes; the present one if absent.",
        ),
        click.option(
            "--setup",
            multiple=True,
            metavar="LINE",
            help="Shell line that prepares a node, such as 'module load cuda' (repeatable).",
        ),
        click.option(
            "--grace",
            default=grace,
            show_default=True,
            type=click.IntRange(min=10),
            help="Seconds before the limit at which to stop and go back to the queue.",
        ),
    )

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add
