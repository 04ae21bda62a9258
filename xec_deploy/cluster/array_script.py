"""The text of a Slurm job array that runs inference over a list of files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xec_deploy.cluster.slurm_job import directive_lines, environment_lines, stop_and_requeue
from xec_deploy.errors import UsageError
from xec_deploy.events import InputFile
from xec_deploy.events.failures import is_url

__all__ = ["LARGEST_SCRIPT", "ArrayScript"]

LARGEST_SCRIPT: Final = 4 * 1024**2
"""Bytes that sbatch accepts (``max_script_size`` of Slurm's default configuration)."""

HEAD: Final = """\
#!/bin/bash
# {title}. Submit with: sbatch FILE
# The list of files is in this script, of which sbatch keeps a copy: edits of the run list do not
# move files between tasks that wait. A task that starts again goes on where it stopped; submitted
# again, the array does what is left and keeps what is finished.
{directives}

{environment}
task=${{SLURM_ARRAY_TASK_ID:?this is a job array, submit it with sbatch}}
array=${{SLURM_ARRAY_JOB_ID:-by-hand}}

# Files of this task: those with a run number to a run list beside the log, the others as they are.
mkdir -p {lists}
list={lists}/${{array}}_$task.txt
inputs=()
listed=()
while IFS=$'\\t' read -r of run path; do
    if [[ $of != "$task" ]]; then
        continue
    elif [[ $run == - ]]; then
        inputs+=("$path")
    else
        listed+=("$run $path")
    fi
done <<'FILES'
{files}
FILES
if ((${{#listed[@]}})); then
    printf '%s\\n' "${{listed[@]}}" >"$list"
    inputs+=("@$list")
fi
echo "task $task of array $array on $(hostname), start $((${{SLURM_RESTART_COUNT:-0}} + 1))"

"""

INFER: Final = """\
xec-deploy infer {bundle} "${{inputs[@]}}" {options}"""


@dataclass(frozen=True)
class ArrayScript:
    """What defines a job array.

    Attributes
    ----------
    bundle
        Bundle, as typed.
    tasks
        Files of each task.
    options
        Options of ``xec-deploy infer``, among them the output.
    folder
        Where the tasks run; paths in ``options`` are relative to it.
    environment
        Virtual or conda environment with the package, on the nodes.
    log
        File of a task's output; Slurm's ``%A`` is the array's number, ``%a`` the task's.
    throttle
        How many tasks run at a time; as many as Slurm likes if None.
    gpus, cpus_per_task, memory, time
        What a task gets; memory and time as Slurm writes them.
    grace
        Seconds before the limit at which a task stops.
    restarts
        How many times a task goes back to the queue.
    setup
        Lines of shell that prepare a node.
    """

    name: str
    bundle: str
    tasks: Sequence[Sequence[InputFile]]
    options: Sequence[str]
    folder: str
    environment: str
    partition: str
    log: str
    throttle: int | None = None
    gpus: int = 0
    cpus_per_task: int = 4
    memory: str | None = None
    time: str | None = None
    account: str | None = None
    cluster: str | None = None
    grace: int = 300
    restarts: int = 20
    setup: Sequence[str] = ()

    def text(self) -> str:
        """Return the script.

        Raises
        ------
        UsageError
            If a path cannot stand in the list, or the script is longer than Slurm accepts.
        """
        count = sum(map(len, self.tasks))
        script = HEAD.format(
            title=f"Inference of {_counted(count, 'file')} in {_counted(len(self.tasks), 'task')} "
            f"on {self.partition}",
            directives=directive_lines(self._directives()),
            environment=environment_lines(self.environment, self.partition, self.setup),
            lists=shlex.quote(str(_fixed_folder(self.log))),
            files="\n".join(self._file_lines()),
        ) + stop_and_requeue(
            INFER.format(bundle=shlex.quote(self.bundle), options=shlex.join(self.options)),
            grace=self.grace,
            then="What is computed is written, and the task goes back to the queue.",
            # The number of one task of an array is that of the whole array: SLURM_JOB_ID alone
            # would send all tasks back.
            job="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}",
            restarts=self.restarts,
        )
        if len(script.encode()) > LARGEST_SCRIPT:
            raise UsageError(
                f"the script with its list of {count} files is longer than the "
                f"{LARGEST_SCRIPT // 1024**2} MiB that Slurm accepts",
                fix="Make one script for each part of the run list.",
            )
        return script

    def _directives(self) -> dict[str, object]:
        throttle = f"%{self.throttle}" if self.throttle is not None else ""
        return {
            "job-name": self.name,
            "clusters": self.cluster,
            "account": self.account,
            "partition": self.partition,
            "array": f"0-{len(self.tasks) - 1}{throttle}",
            "nodes": 1,
            "ntasks": 1,
            "gpus-per-node": self.gpus or None,
            "cpus-per-task": self.cpus_per_task,
            "mem": self.memory,
            "time": self.time,
            "chdir": self.folder,
            "output": self.log,
            "open-mode": "append",
            "signal": f"B:TERM@{self.grace}",
            "requeue": True,
        }

    def _file_lines(self) -> Iterator[str]:
        for task, files in enumerate(self.tasks):
            for item in files:
                # Lines of a run list are relative to the list, and that lies beside the logs.
                path = item.path if is_url(item.path) else os.path.abspath(item.path)  # noqa: PTH100 - resolves no links
                text = path if item.tree is None else f"{path}:{item.tree}"
                if any(c in text for c in "\t\n\r"):
                    raise UsageError(
                        "a file name with a tab or a line break cannot stand in a list",
                        where=repr(item.path),
                        fix="Rename the file.",
                    )
                yield f"{task}\t{'-' if item.run is None else item.run}\t{text}"


def _fixed_folder(log: str) -> Path:
    """Return the folder of the log, without what Slurm would put in (``%A``)."""
    return next(folder for folder in Path(log).parents if "%" not in str(folder))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
