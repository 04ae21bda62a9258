"""``xec-deploy slurm``."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from xec_deploy.bundle import open_bundle
from xec_deploy.cli.infer import infer
from xec_deploy.cli.slurm_options import job_options
from xec_deploy.cluster.array_script import ArrayScript
from xec_deploy.cluster.shards import deal_evenly, file_bytes, in_order
from xec_deploy.cluster.slurm_job import check_directives, check_log, environment_on, time_limit
from xec_deploy.errors import ExitCode, UsageError
from xec_deploy.events import InputFile, expand_inputs
from xec_deploy.events.failures import is_url
from xec_deploy.inference.outputs import make_folder, plan_outputs

__all__ = ["slurm"]

LARGEST_ARRAY: Final = 1000
"""Tasks of an array in Slurm's default configuration (``MaxArraySize`` less one)."""
GPUS_A_USER: Final = 8
"""How many GPUs a user may have at a time on the partitions of the cluster."""
NOT_IN_A_TASK: Final = {
    "single": "the tasks would all write that file; join their results with xec-deploy merge",
    "force": "a task that is started again would throw its own results away; remove the old ones",
    "dask": "a job array and Dask both deal out the files; choose one",
}
"""Options of ``infer`` that do not fit in an array, by parameter, and why."""


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: xec-deploy slurm energy.xec @runs.txt -o results --partition a100-daily "
    "--device cuda --module cuda --script job.sh && sbatch job.sh",
)
@click.argument("bundle")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="INPUT.. [OPTIONS OF INFER]")
@click.option("-o", "--output", required=True, help="Folder of the results.")
@click.option("--files-per-task", type=click.IntRange(min=1), help="Files in a row for each task.")
@click.option("--tasks", type=click.IntRange(min=1), help="Tasks, with about as much to read each.")
@click.option(
    "--throttle",
    type=click.IntRange(min=1),
    help=f"Tasks at a time; {GPUS_A_USER} on GPUs and any number on CPUs if absent.",
)
@click.option("--gpus", type=click.IntRange(0, 1), help="GPUs of a task; follows from --device.")
@click.option("--cpus-per-task", default=4, show_default=True, type=click.IntRange(min=1))
@job_options(
    job_name="The bundle's name if absent.",
    log="File of a task's output; OUT/logs/%A_%a.log if absent (%A array, %a task).",
    grace=300,
)
@click.option("--module", "modules", multiple=True, help="Environment module (repeatable).")
@click.option(
    "--restarts",
    default=20,
    show_default=True,
    type=click.IntRange(min=0),
    help="How many times a task goes back to the queue at the time limit.",
)
@click.option("--script", help="File to write; the script is printed if absent.")
@click.option("--submit", is_flag=True, help="Hand the script to sbatch.")
@click.option("--dry-run", is_flag=True, help="Print plan and script; write and submit nothing.")
@click.pass_context
def slurm(
    ctx: click.Context,
    /,
    bundle: str,
    arguments: tuple[str, ...],
    output: str,
    files_per_task: int | None,
    tasks: int | None,
    script: str | None,
    submit: bool,
    dry_run: bool,
    **job: Any,
) -> int:
    """Print a Slurm job array that runs BUNDLE over a list of files.

    INPUT is what xec-deploy infer takes, most often @runs.txt. All other options are those of
    xec-deploy infer, and are checked now. Before the time limit a task writes what it has and
    goes back to the queue, where it continues; a task with bad files finishes the others and ends
    with exit code 3.
    """
    inputs, options, device = _checked(ctx, bundle, arguments, output)
    files = expand_inputs(inputs)
    planned = plan_outputs(files, output, single=False)
    opened = open_bundle(bundle)
    values = {
        **job,
        "job_name": job["job_name"] or opened.manifest.name,
        "log": job["log"] or str(planned[0].parent / "logs" / "%A_%a.log"),
    }
    check_directives(values, {"memory": "mem", "job_name": "job-name"})
    if job["log"] is None and not dry_run:
        make_folder(Path(values["log"]))
    elif job["log"] is not None:
        check_log(values["log"])
    array = _array(
        values,
        bundle=bundle,
        tasks=_dealt(files, files_per_task, tasks),
        options=[*options, "--output", output, *_cores(options, device, job["cpus_per_task"])],
        device=device,
    )
    text = array.text()
    _warn_of_missing(files)
    if dry_run:
        shebang, rest = text.split("\n", maxsplit=1)
        click.echo("\n".join((shebang, *_plan(array), rest)), nl=False)
    elif submit:
        return _submit(text)
    elif script is not None:
        Path(script).write_text(text, encoding="utf-8")
        click.echo(f"submit with: sbatch {script}")
    else:
        click.echo(text, nl=False)
    return ExitCode.DONE


def _checked(
    ctx: click.Context, bundle: str, arguments: tuple[str, ...], output: str
) -> tuple[tuple[str, ...], list[str], str]:
    """Return inputs, stated options and device of the ``infer`` the tasks will run."""
    with infer.make_context(
        "infer", [bundle, *arguments, "--output", output], parent=ctx
    ) as parsed:
        options: list[str] = []
        for parameter in infer.params:
            key = parameter.name or ""
            stated = parsed.get_parameter_source(key) is ParameterSource.COMMANDLINE
            if not stated or key == "output" or not isinstance(parameter, click.Option):
                continue
            long = max(parameter.opts, key=len)
            if key in NOT_IN_A_TASK:
                raise UsageError(f"{long} is not for a job array", fix=f"{NOT_IN_A_TASK[key]}.")
            options += _as_typed(long, parameter, parsed.params[key])
        inputs: tuple[str, ...] = parsed.params["inputs"]
        return inputs, options, str(parsed.params["device"])


def _cores(options: list[str], device: str, cores: int) -> list[str]:
    """Return the options that give an engine on the CPU its cores, where none are stated.

    The cores of the node are more where Slurm does not bind tasks to theirs.
    """
    if device != "cpu" or "--sessions" in options or "--threads" in options:
        return []
    return ["--sessions", str(cores), "--threads", "1"]


def _as_typed(long: str, option: click.Option, value: Any) -> list[str]:
    if option.is_flag:
        return [long]
    values = value if option.multiple else [value]
    return [text for one in values for text in (long, *map(str, _components(option, one)))]


def _components(option: click.Option, value: Any) -> Sequence[Any]:
    return value if option.nargs > 1 else (value,)


def _dealt(
    files: list[InputFile], files_per_task: int | None, tasks: int | None
) -> list[list[InputFile]]:
    if files_per_task is not None and tasks is not None:
        raise UsageError(
            "--files-per-task and --tasks contradict each other", fix="Give one of them."
        )
    if tasks is not None:
        dealt = deal_evenly(files, tasks)
    else:
        dealt = in_order(files, files_per_task or math.ceil(len(files) / LARGEST_ARRAY))
    if len(dealt) > LARGEST_ARRAY:
        raise UsageError(
            f"{len(dealt)} tasks, and an array of Slurm has at most {LARGEST_ARRAY}",
            fix=f"Pass --files-per-task {math.ceil(len(files) / LARGEST_ARRAY)} or more.",
        )
    return dealt


def _array(
    job: dict[str, Any],
    *,
    bundle: str,
    tasks: list[list[InputFile]],
    options: list[str],
    device: str,
) -> ArrayScript:
    gpus = job["gpus"] if job["gpus"] is not None else int(device != "cpu")
    partition = job["partition"]
    modules = [f"module load {' '.join(job['modules'])}"] if job["modules"] else []
    return ArrayScript(
        name=job["job_name"],
        bundle=bundle,
        tasks=tasks,
        options=options,
        folder=str(Path.cwd()),
        environment=environment_on(partition, job["environment"]),
        partition=partition,
        log=job["log"],
        throttle=job["throttle"] or (GPUS_A_USER if gpus else None),
        gpus=gpus,
        cpus_per_task=job["cpus_per_task"],
        memory=job["memory"],
        time=job["time"] or time_limit(partition),
        account=job["account"],
        cluster=job["cluster"],
        grace=job["grace"],
        restarts=job["restarts"],
        setup=[*modules, *job["setup"]],
    )


def _warn_of_missing(files: list[InputFile]) -> None:
    missing = [item.path for item in files if not is_url(item.path) and file_bytes(item) is None]
    if missing:
        click.echo(
            f"warning: {len(missing)} of {len(files)} files are not there now; the first is "
            f"{missing[0]}",
            err=True,
        )


def _plan(array: ArrayScript) -> list[str]:
    """Describe the array in comments, so that the whole output stays a script."""
    sizes = [[file_bytes(item) or 0 for item in task] for task in array.tasks]
    totals = [sum(task) for task in sizes]
    at_once = min(array.throttle or len(totals), len(totals))
    files = f"{min(map(len, sizes))} to {max(map(len, sizes))} files"
    volume = f"{min(totals) / 1e9:.2f} to {max(totals) / 1e9:.2f} GB"
    return [
        "# Dry run: nothing is written or submitted.",
        f"# {len(totals)} tasks of {files} and {volume}, {at_once} at a time:",
        *(
            f"# task {number}: {len(task)} files, {totals[number] / 1e9:.2f} GB, "
            f"from {Path(task[0].path).name} to {Path(task[-1].path).name}"
            for number, task in enumerate(array.tasks)
        ),
        "#",
    ]


def _submit(text: str) -> int:
    program = shutil.which("sbatch")
    if program is None:
        raise UsageError(
            "there is no sbatch on this machine",
            fix="Write the script with --script FILE and submit it on a login node.",
        )
    result = subprocess.run([program], input=text, text=True, check=False)  # noqa: S603 - sbatch
    return ExitCode.DONE if result.returncode == 0 else ExitCode.UNUSABLE
