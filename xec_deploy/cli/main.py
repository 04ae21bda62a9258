"""The ``xec-deploy`` command line."""

from __future__ import annotations

from typing import NoReturn

import click

from xec_deploy import __version__
from xec_deploy.cli.app import LazyGroup, run

__all__ = ["main"]

COMMANDS = {
    "doctor": ("xec_deploy.cli.doctor:doctor", "What is here, what works, what is missing."),
    "demo": ("xec_deploy.cli.demo:demo", "Simulated events to results, plots and a page."),
    "export": ("xec_deploy.cli.export:export", "Checkpoint to verified bundle."),
    "check": ("xec_deploy.cli.check:check", "Is a graph fit for every engine."),
    "build-engine": ("xec_deploy.cli.build_engine:build_engine", "Graph to TensorRT engine."),
    "inspect": (
        "xec_deploy.cli.inspect:inspect",
        "Show a bundle, an engine, an ONNX or ROOT file.",
    ),
    "infer": ("xec_deploy.cli.infer:infer", "Files of raw events to physics numbers."),
    "quantize": ("xec_deploy.cli.quantize:quantize", "Lower precision that passes its gate."),
    "parity": ("xec_deploy.cli.parity:parity", "How far every engine is from float64."),
    "bench": ("xec_deploy.cli.bench:bench", "Events a second, and where the time goes."),
    "slurm": ("xec_deploy.cli.slurm:slurm", "Print a job array that infers a run list."),
    "triton": ("xec_deploy.cli.triton:triton", "Write a model repository for Triton."),
    "merge": ("xec_deploy.cli.merge:merge", "Join results in one file."),
    "repack": ("xec_deploy.cli.repack:repack", "Write a ROOT file anew, fast to read."),
    "report": ("xec_deploy.cli.report:report", "Plots and a page from results."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__)
def cli() -> None:
    """Deploy networks of the MEG II liquid-xenon detector.

    Example: xec-deploy infer compact.xec run430000.root -o results.root

    Every command has --help; --debug shows the traceback of an error.
    """


def main() -> NoReturn:
    """Run ``xec-deploy``."""
    run(cli, "xec-deploy")
