"""The text of a Slurm script that trains with torchrun on one or several nodes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["JobScript", "machine_of"]

# Directives are comments to bash: a line break in a value would start a command.
HEAD: Final = """\
#!/bin/bash
# {title}. Submit with: sbatch FILE
# It continues from its last checkpoint whenever it starts again, by itself before the time limit.
{directives}

set -euo pipefail
environment={environment}
last={last}
export PATH="$environment/bin:$PATH"
export OMP_NUM_THREADS=1
"""

MACHINE: Final = """
if [[ $(uname -m) != {machine} ]]; then
    echo "$environment is for {machine}, this node is $(uname -m)" >&2
    exit 2
fi
"""

SETUP: Final = """
{lines}
"""

BODY: Final = """
resume=()
if [[ -f $last ]]; then
    echo "continuing from $last"
    resume=(--resume-from "$last" --no-reset-epoch --no-refresh-lr --no-new-mlflow-run)
fi
{rendezvous}
# Slurm sends TERM to this shell {grace} s before the limit. The trainer then writes its last
# checkpoint and stops, and the job goes back to the queue.
stopped=0
trap 'stopped=1; kill -TERM "$training" 2>/dev/null || true' TERM

srun --ntasks-per-node=1 --kill-on-bad-exit=1 \\
    torchrun {torchrun} \\
    -m xec_train {command} ${{resume[@]+"${{resume[@]}}"}} &
training=$!
status=0
wait "$training" || status=$?
while kill -0 "$training" 2>/dev/null; do
    # The signal ended the wait, not the training.
    status=0
    wait "$training" || status=$?
done
if ((stopped && status != 0)); then
    echo "stopped before the time limit; back to the queue"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
"""

SEVERAL_NODES: Final = """
host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))
"""


def machine_of(partition: str) -> str | None:
    """Return the processor of a partition by its name, as ``uname -m`` says it; None if unknown.

    Partitions of Grace Hopper nodes are named ``gh-*``, those of A100 nodes ``a100-*``.
    """
    name = partition.split(",", maxsplit=1)[0]
    if name.startswith("gh"):
        return "aarch64"
    return "x86_64" if name.startswith("a100") else None


@dataclass(frozen=True)
class JobScript:
    """What defines a job.

    Attributes
    ----------
    command
        Arguments of ``xec-train``, without what the script adds.
    last
        Checkpoint to continue from if it exists.
    folder
        Where the job runs; paths of the configuration are relative to it.
    environment
        Virtual or conda environment with the package, on the nodes.
    log
        File of the job's output; Slurm's ``%j`` is the job's number.
    time
        Limit as Slurm writes it, None for the partition's.
    grace
        Seconds before the limit at which the training stops.
    setup
        Lines of shell before the training, such as ``module load cuda``.
    """

    name: str
    command: tuple[str, ...]
    last: str
    folder: str
    environment: str
    partition: str
    log: str
    nodes: int = 1
    gpus_per_node: int = 1
    cpus_per_task: int = 8
    time: str | None = None
    memory: str | None = None
    account: str | None = None
    cluster: str | None = None
    grace: int = 120
    setup: Sequence[str] = ()

    def text(self) -> str:
        """Return the script."""
        machine = machine_of(self.partition)
        parts = [
            HEAD.format(
                title=f"Training {self.name} on {self.partition}",
                directives="\n".join(f"#SBATCH --{line}" for line in self._directives()),
                environment=shlex.quote(self.environment),
                last=shlex.quote(self.last),
            ),
            MACHINE.format(machine=machine) if machine else "",
            SETUP.format(lines="\n".join(self.setup)) if self.setup else "",
            BODY.format(
                rendezvous=SEVERAL_NODES if self.nodes > 1 else "",
                grace=self.grace,
                torchrun=self._torchrun(),
                command=shlex.join(self._arguments()),
            ),
        ]
        return "".join(parts)

    def _directives(self) -> list[str]:
        stated = {
            "job-name": self.name,
            "clusters": self.cluster,
            "account": self.account,
            "partition": self.partition,
            "nodes": self.nodes,
            "ntasks-per-node": 1,
            "gpus-per-node": self.gpus_per_node,
            "cpus-per-task": self.cpus_per_task,
            "mem": self.memory,
            "time": self.time,
            "chdir": self.folder,
            "output": self.log,
            "open-mode": "append",
            "signal": f"B:TERM@{self.grace}",
        }
        lines = [f"{name}={_quoted(str(v))}" for name, v in stated.items() if v is not None]
        return [*lines, "requeue"]

    def _torchrun(self) -> str:
        processes = f"--nproc-per-node={self.gpus_per_node}"
        if self.nodes == 1:
            return f"--standalone {processes}"
        return (
            f"--nnodes={self.nodes} {processes} --rdzv-backend=c10d "
            '--rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$host:$port"'
        )

    def _arguments(self) -> list[str]:
        return [
            *self.command,
            f"--num-gpus={self.gpus_per_node}",
            f"--num-nodes={self.nodes}",
        ]


def _quoted(value: str) -> str:
    """Quote a directive's value as Slurm reads it."""
    return f'"{value}"' if " " in value else value
