"""More than one machine: job arrays of Slurm, and Dask."""

from __future__ import annotations

from typing import Any

from xec_deploy.errors import MissingExtra

__all__ = ["infer_on_cluster"]


def infer_on_cluster(*arguments: Any, **options: Any) -> Any:
    """Run inference on a Dask cluster, see :func:`xec_deploy.cluster.distribute.infer_on_cluster`.

    Raises
    ------
    MissingExtra
        If Dask is not installed.
    """
    try:
        # Late: an extra, and slow to import.
        from xec_deploy.cluster import distribute  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in {"dask", "distributed"}:
            raise
        raise MissingExtra("dask", "dask", needed_for="a cluster") from error
    return distribute.infer_on_cluster(*arguments, **options)
