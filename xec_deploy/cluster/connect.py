"""From ``--dask ADDRESS|local:N|slurm:FILE|htcondor:FILE`` to a client of a Dask cluster."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml
from distributed import Client, LocalCluster

from xec_deploy.backends.cores import granted_cores
from xec_deploy.errors import UsageError, nearest

__all__ = ["connect", "queue_settings"]

QUEUES: Final = ("slurm", "htcondor")
CONNECT_TIMEOUT_S: Final = 20
SCALE_KEYS: Final = ("jobs", "minimum_jobs", "maximum_jobs")
FORMS: Final = "an address such as tcp://host:8786, local:N, slurm:FILE or htcondor:FILE"


@contextmanager
def connect(where: str) -> Iterator[tuple[Client, int | None]]:
    """Yield a client and the cores of a worker; a cluster started for it is closed at the end.

    Workers that are started here have one thread for tasks, and leave the others to the engine.
    For a cluster that runs already the number is None.

    Parameters
    ----------
    where
        ``local:N`` starts N processes on this machine, ``slurm:FILE`` and ``htcondor:FILE`` submit
        jobs with the settings in a YAML file, everything else is the address or the scheduler
        file (JSON) of a cluster that runs.

    Raises
    ------
    UsageError
        If it is none of them, or no scheduler answers.
    """
    # Lines of the scheduler on every connection say nothing to who typed a command.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    kind, _, rest = where.partition(":")
    cluster: Any = where
    cores = None
    with ExitStack() as stack:
        if kind == "local":
            cluster, cores = _local(rest, stack)
        elif kind in QUEUES:
            cluster, cores = _queue(kind, rest, stack)
        yield stack.enter_context(_client(cluster)), cores


def _local(number: str, stack: ExitStack) -> tuple[Any, int]:
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"--dask local:{number}", fix="Give a number of processes, as in local:4.")
    workers = int(number)
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        # Any free port: the usual one may be taken, and nobody looks at a command's dashboard.
        dashboard_address=":0",
        silence_logs=logging.ERROR,
        local_directory=stack.enter_context(TemporaryDirectory(prefix="xec-dask-")),
    )
    return stack.enter_context(cluster), max(1, granted_cores() // workers)


def _queue(kind: str, path: str, stack: ExitStack) -> tuple[Any, int]:
    """Start a cluster whose workers are jobs of a batch system."""
    from dask_jobqueue import HTCondorCluster, SLURMCluster  # noqa: PLC0415 - is slow to import

    cluster_class = {"slurm": SLURMCluster, "htcondor": HTCondorCluster}[kind]
    settings, scale = queue_settings(path, cluster_class)
    # The last one counts: that of dask-jobqueue is the share of a process of the job's cores.
    settings["worker_extra_args"] = [*settings.get("worker_extra_args", ()), "--nthreads", "1"]
    # The usual port of a dashboard may be taken by another user's.
    options = settings.get("scheduler_options") or {}
    settings["scheduler_options"] = {"dashboard_address": ":0", **options}
    try:
        cluster = stack.enter_context(cluster_class(**settings))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"dask-jobqueue refuses the settings ({error})",
            where=path,
            fix="Give at least cores and memory of a job, such as cores: 8 and memory: 32GB.",
        ) from error
    if "jobs" in scale:
        cluster.scale(jobs=scale["jobs"])
    else:
        cluster.adapt(minimum_jobs=scale.get("minimum_jobs", 0), maximum_jobs=scale["maximum_jobs"])
    return cluster, max(1, int(settings["cores"]) // int(settings.get("processes", 1)))


def queue_settings(
    path: str, cluster_class: Callable[..., Any]
) -> tuple[dict[str, Any], dict[str, int]]:
    """Read the settings of a batch system's jobs.

    Parameters
    ----------
    path
        YAML file with keyword arguments of the class in dask-jobqueue, and ``jobs: N`` or
        ``minimum_jobs: N`` and ``maximum_jobs: N``.
    cluster_class
        That class.

    Returns
    -------
    settings, scale
        Arguments, and how many jobs.

    Raises
    ------
    UsageError
        If the file cannot be read, or a key is unknown.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not YAML"
        raise UsageError(
            f"the settings of the cluster cannot be read ({reason})",
            where=path,
            fix="Pass a YAML file with cores, memory and jobs.",
        ) from error
    if not isinstance(content, dict):
        raise UsageError("the settings are no mapping", where=path, fix="Write 'key: value' lines.")
    valid = [*_parameters(cluster_class), *SCALE_KEYS]
    for key in content:
        if key not in valid:
            raise UsageError(f"unknown key {key!r}", where=path, fix=nearest(str(key), valid))
    if "cores" not in content or "memory" not in content:
        raise UsageError(
            "cores and memory of a job are not stated",
            where=path,
            fix="Add for instance cores: 8 and memory: 32GB; processes: 4 shares them out.",
        )
    scale = {key: content.pop(key) for key in SCALE_KEYS if key in content}
    if ("jobs" in scale) == ("maximum_jobs" in scale):
        raise UsageError(
            "the number of jobs is not stated, or twice",
            where=path,
            fix="Give jobs: N, or maximum_jobs: N for as many as there is work for.",
        )
    if any(not isinstance(number, int) or number < 0 for number in scale.values()):
        raise UsageError("a number of jobs is no whole number", where=path, fix="Give jobs: 4.")
    return content, scale


def _parameters(cluster_class: Any) -> list[str]:
    """Return the arguments of a class of dask-jobqueue, which hands most of them on."""
    makers = [*inspect.getmro(cluster_class), *inspect.getmro(cluster_class.job_cls)]
    names = {
        name
        for maker in makers
        if maker.__module__.startswith("dask_jobqueue")
        for name in inspect.signature(maker).parameters
    }
    return sorted(names - {"self", "scheduler", "loop", "asynchronous", "job_cls", "args"})


def _client(cluster: Any) -> Client:
    given: dict[str, Any] = {"address": cluster}
    if isinstance(cluster, str) and Path(cluster).is_file():
        given = {"scheduler_file": cluster}
    try:
        return Client(**given, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(
            "no Dask scheduler answers",
            where=f"--dask {cluster}",
            fix=f"Give {FORMS}.",
        ) from error
