"""``xec-train slurm``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

import click

from xec_deploy.cli.slurm_options import job_options
from xec_deploy.cluster.slurm_job import (
    check_directives,
    check_log,
    environment_on,
    time_limit,
)
from xec_deploy.errors import UsageError, nearest
from xec_train.cli.command import TrainCommand, load
from xec_train.cli.job_script import JobScript
from xec_train.cli.main import COMMANDS

__all__ = ["slurm"]

SET_BY_SCRIPT: Final = ("--num-gpus", "--devices", "--num-nodes", "--accelerator")


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: xec-train slurm regressor --config regressor_1024 --train-path "
    "'data/train_*.root' --val-path data/val.root --partition a100-daily --nodes 2 "
    "--gpus-per-node 4 > job.sh && sbatch job.sh",
)
@click.argument("model")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--gpus-per-node", default=1, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--cpus-per-task",
    type=click.IntRange(min=1),
    help="Cores a node; a core for each loader process and each GPU if absent.",
)
@job_options(
    job_name="mlflow.run_name or the model if absent.",
    log="File of the output; %j is the job's number.",
    grace=120,
)
@click.option("-o", "--output", help="File to write; the script is printed if absent.")
@click.pass_context
def slurm(
    ctx: click.Context,
    /,
    model: str,
    options: tuple[str, ...],
    nodes: int,
    gpus_per_node: int,
    cpus_per_task: int | None,
    time: str | None,
    job_name: str | None,
    environment: str | None,
    output: str | None,
    **job: Any,
) -> None:
    """Print a Slurm script that trains MODEL, on one or several nodes.

    All other OPTIONS are those of xec-train MODEL, and are checked now. The job continues from
    the last checkpoint in its folder; shortly before the time limit it writes one and goes back
    to the queue. Files written with -o are submitted with sbatch.
    """
    command = _train_command(model)
    config = _checked(ctx, command, model, options)
    partition = job["partition"]
    name = job_name or (config.mlflow.run_name or model).replace("/", "-")
    values = {**job, "name": name, "log": job["log"] or f"{name}-%j.log"}
    check_directives(values, {"memory": "mem", "name": "job-name"})
    check_log(values["log"])
    workers = gpus_per_node * (config.data.num_workers + 1)
    script = JobScript(
        command=(model, *options),
        last=str(config.directory / command.last_checkpoint),
        folder=str(Path.cwd()),
        environment=environment_on(partition, environment),
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        cpus_per_task=cpus_per_task or workers,
        time=time or time_limit(partition),
        **values,
    )
    if output is None:
        click.echo(script.text(), nl=False)
    else:
        Path(output).write_text(script.text(), encoding="utf-8")
        click.echo(f"submit with: sbatch {output}")


def _train_command(model: str) -> TrainCommand:
    models = [name for name, (target, _) in COMMANDS.items() if ".cli.train:" in target]
    if model not in models:
        raise UsageError(f"no model {model!r} to train", fix=nearest(model, models))
    module, attribute = COMMANDS[model][0].split(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, TrainCommand)  # noqa: S101 - the table is ours
    return command


def _checked(
    ctx: click.Context, command: TrainCommand, model: str, options: tuple[str, ...]
) -> Any:
    """Return the configuration the job will run with."""
    for option in options:
        name = option.split("=")[0].replace("_", "-")
        if name in SET_BY_SCRIPT:
            raise UsageError(f"{name} follows from --nodes and --gpus-per-node; leave it out")
    with command.make_context(model, list(options), parent=ctx) as training:
        return load(training)
