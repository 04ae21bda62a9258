"""What every Slurm script of the project has: directives, environment, the way back to the queue.

Scripts are text put together from the functions here; ``xec-deploy slurm`` adds an array of
inference tasks, ``xec-train slurm`` a training on one or several nodes.
"""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from xec_deploy.errors import UsageError

__all__ = [
    "LIMITS",
    "check_directives",
    "check_log",
    "directive_lines",
    "environment_lines",
    "environment_on",
    "machine_of",
    "stop_and_requeue",
    "time_limit",
]

LIMITS: Final = {"hourly": "01:00:00", "daily": "1-00:00:00"}
"""Longest job by the end of a partition's name."""

ENVIRONMENT: Final = """\
set -euo pipefail
environment={environment}
export PATH="$environment/bin:$PATH"
export OMP_NUM_THREADS=1
# Steps of srun have no cores but one without it, since Slurm 22.05.
export SRUN_CPUS_PER_TASK="${{SLURM_CPUS_PER_TASK:-1}}"
"""

MACHINE: Final = """
if [[ $(uname -m) != {machine} ]]; then
    echo "$environment is for {machine}, this node is $(uname -m)" >&2
    exit 2
fi
"""

# Functions such as module use variables that are not set.
SETUP: Final = """
set +u
{lines}
set -u
"""

# A count of signals, because `wait` returns at each of them and its value is the program's only
# if none came meanwhile.
RUN: Final = """\
# Slurm sends TERM to this shell {grace} s before the limit, and the shell passes it on.
# {then}
stopped=0
program=
forward() {{
    stopped=$((stopped + 1))
    if [[ -n $program ]]; then
        kill -TERM "$program" 2>/dev/null || true
    fi
}}
trap forward TERM

{command} &
program=$!
if ((stopped)); then
    forward
fi
seen=-1
while ((seen != stopped)); do
    seen=$stopped
    status=0
    wait "$program" || status=$?
done
if ((stopped && status != 0)); then
"""

LIMIT_OF_RESTARTS: Final = """\
    if ((${{SLURM_RESTART_COUNT:-0}} >= {restarts})); then
        echo "stopped before the time limit after {restarts} restarts; not queued again" >&2
        exit "$status"
    fi
"""

REQUEUE: Final = """\
    echo "stopped before the time limit; back to the queue"
    scontrol requeue "{job}"
    exit 0
fi
exit "$status"
"""


def machine_of(partition: str) -> str | None:
    """Return the processor of a partition by its name, as ``uname -m`` says it; None if unknown.

    Partitions of Grace Hopper nodes are named ``gh-*``, those of A100 nodes ``a100-*``.
    """
    name = partition.split(",", maxsplit=1)[0]
    if name.startswith("gh"):
        return "aarch64"
    return "x86_64" if name.startswith("a100") else None


def time_limit(partition: str) -> str | None:
    """Return the longest job of a partition by its name, as Slurm writes it; None if unknown."""
    return LIMITS.get(partition.split(",", maxsplit=1)[0].rpartition("-")[2])


def environment_on(partition: str, stated: str | None) -> str:
    """Return the virtual environment on the nodes of a partition, which fits their processor.

    Raises
    ------
    UsageError
        If none is stated and the present one is for another processor.
    """
    machine = machine_of(partition)
    if stated is not None:
        return str(Path(stated).absolute())
    if machine is not None and machine != platform.machine():
        raise UsageError(
            f"nodes of {partition} are {machine}, this environment is for {platform.machine()}",
            fix="Name one made on such a node with --environment DIR.",
        )
    return sys.prefix


def check_directives(values: Mapping[str, object], options: Mapping[str, str]) -> None:
    """Refuse values that would end a directive early.

    Parameters
    ----------
    values
        Values of directives by parameter.
    options
        Names of options that are not called like their parameter.

    Raises
    ------
    UsageError
        With the option concerned.
    """
    for key, value in values.items():
        # A directive is a comment to bash: a line break in a value would start a command.
        if isinstance(value, str) and any(c in value for c in '\n\r"'):
            raise UsageError(f"--{options.get(key, key)} holds a line break or a double quote")


def check_log(log: str) -> None:
    """Refuse a log in a folder that is not there, unless Slurm has a say in its name.

    Raises
    ------
    UsageError
        With the option.
    """
    folder = Path(log).parent
    if "%" not in str(folder) and not folder.is_dir():
        raise UsageError(
            "no such folder, and Slurm drops the output of a job it cannot write",
            where=f"--log {log}",
            fix="Make it first.",
        )


def directive_lines(values: Mapping[str, object]) -> str:
    """Return ``#SBATCH`` lines; values that are None are left out, True is a bare option."""
    lines = []
    for name, value in values.items():
        if value is True:
            lines.append(f"#SBATCH --{name}")
        elif value is not None:
            text = str(value)
            lines.append(f"#SBATCH --{name}=" + (f'"{text}"' if " " in text else text))
    return "\n".join(lines)


def environment_lines(environment: str, partition: str, setup: Sequence[str]) -> str:
    """Return the shell lines that prepare a node.

    Parameters
    ----------
    environment
        Virtual or conda environment with the package.
    partition
        The script refuses nodes with another processor than the partition's.
    setup
        Lines of shell of the user, such as ``module load cuda``.
    """
    machine = machine_of(partition)
    return "".join(
        (
            ENVIRONMENT.format(environment=shlex.quote(environment)),
            MACHINE.format(machine=machine) if machine else "",
            SETUP.format(lines="\n".join(setup)) if setup else "",
        )
    )


def stop_and_requeue(
    command: str, *, grace: int, then: str, job: str, restarts: int | None = None
) -> str:
    """Return the shell lines that run a program, stop it in time and queue the job again.

    Parameters
    ----------
    command
        The program with its arguments, shell text.
    grace
        Seconds before the limit at which Slurm sends TERM.
    then
        What the program does when it gets the signal, a sentence for readers of the script.
    job
        The job as ``scontrol requeue`` takes it, shell text.
    restarts
        How many times the job may be started again; any number if None.
    """
    limit = "" if restarts is None else LIMIT_OF_RESTARTS.format(restarts=restarts)
    return RUN.format(grace=grace, then=then, command=command) + limit + REQUEUE.format(job=job)
