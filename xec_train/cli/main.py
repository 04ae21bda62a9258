"""The group of commands."""

from __future__ import annotations

from typing import NoReturn

import click

from xec_deploy import __version__
from xec_deploy.cli.app import LazyGroup, run

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "regressor": ("xec_train.cli.train:regressor", "Train the multi-task regressor."),
    "distill": ("xec_train.cli.train:distill", "Train a compact regressor from larger ones."),
    "mae": ("xec_train.cli.train:mae", "Pretrain an encoder on events without truth."),
    "inpainter": ("xec_train.cli.train:inpainter", "Train what fills in dead channels."),
    "evaluate": ("xec_train.cli.evaluate:evaluate", "Evaluate regressors on events with truth."),
    "slurm": ("xec_train.cli.slurm:slurm", "Print a job script that trains on a cluster."),
    "simulate": ("xec_train.cli.simulate:simulate", "Simulate events and write them as ROOT."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        # The research code spells options with underscores.
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)
@click.version_option(__version__)
def cli() -> None:
    """Train networks of the MEG II liquid-xenon detector, and simulate events for it.

    Example: xec-train regressor --config regressor_512 --train-path 'data/train_*.root'
    --val-path data/val.root

    Every command has --help; --debug shows the traceback of an error.
    """


def main() -> NoReturn:
    """Run ``xec-train``."""
    run(cli, "xec-train")
