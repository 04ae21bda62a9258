"""The text of a Slurm script that trains with torchrun on one or several nodes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from xec_deploy.cluster.slurm_job import directive_lines, environment_lines, stop_and_requeue

__all__ = ["JobScript"]

HEAD: Final = """\
#!/bin/bash
# {title}. Submit with: sbatch FILE
# It continues from its last checkpoint whenever it starts again, by itself before the time limit.
{directives}

{environment}
last={last}
resume=()
if [[ -f $last ]]; then
    echo "continuing from $last"
    resume=(--resume-from "$last" --no-reset-epoch --no-refresh-lr --no-new-mlflow-run)
fi
"""

SEVERAL_NODES: Final = """\
host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))
"""

TRAINING: Final = """\
srun --ntasks-per-node=1 --kill-on-bad-exit=1 \\
    torchrun {torchrun} \\
    -m xec_train {command} ${{resume[@]+"${{resume[@]}}"}}"""


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
        parts = [
            HEAD.format(
                title=f"Training {self.name} on {self.partition}",
                directives=directive_lines(self._directives()),
                environment=environment_lines(self.environment, self.partition, self.setup),
                last=shlex.quote(self.last),
            ),
            SEVERAL_NODES if self.nodes > 1 else "",
            "\n",
            stop_and_requeue(
                TRAINING.format(torchrun=self._torchrun(), command=shlex.join(self._arguments())),
                grace=self.grace,
                then="The trainer writes its last checkpoint, and the job goes back to the queue.",
                job="$SLURM_JOB_ID",
            ),
        ]
        return "".join(parts)

    def _directives(self) -> dict[str, object]:
        return {
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
            "requeue": True,
        }

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
