"""Normalisation of raw events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy import _cpp
from xec_deploy.cpp.arguments import flags, raw_events, thread_count
from xec_deploy.errors import UsageError
from xec_deploy.normalisation import Normalisation

__all__ = ["HasNormalisation", "normalise"]


class HasNormalisation(Protocol):
    """A manifest: whatever carries a :class:`~xec_deploy.normalisation.Normalisation`."""

    @property
    def normalisation(self) -> Normalisation:
        """The normalisation of the bundle."""


def normalise(
    npho: ArrayLike,
    time: ArrayLike,
    dead: ArrayLike | None,
    manifest: Normalisation | HasNormalisation | Mapping[str, Any],
    *,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Normalise raw events, bit for bit as :meth:`Normalisation.apply`.

    Parameters
    ----------
    npho, time
        (n, 4760) photons and seconds, float32 or float64; (4760,) for one event.
    dead
        (n, 4760) bool, (4760,) for all events alike, or None for no dead channels.
    manifest
        A normalisation, or a manifest that has one as ``normalisation``.
    threads
        Number of threads.

    Returns
    -------
    x
        (n, 4760, 2) float32, npho first; n is 1 for one event.  Computed in float64 and rounded
        once, also for float64 input.

    Raises
    ------
    UsageError
        If a shape, a type, the manifest or the number of threads is wrong.
    """
    raw_npho, raw_time = raw_events(npho, "npho"), raw_events(time, "time")
    if raw_npho.shape != raw_time.shape:
        raise UsageError(f"npho has shape {raw_npho.shape} but time has {raw_time.shape}")
    dtype = np.result_type(raw_npho, raw_time)
    return _cpp.normalise(
        _parameters(manifest),
        np.ascontiguousarray(raw_npho, dtype=dtype),
        np.ascontiguousarray(raw_time, dtype=dtype),
        None if dead is None else flags(dead, len(raw_npho)),
        thread_count(threads),
    )


def _parameters(
    manifest: Normalisation | HasNormalisation | Mapping[str, Any],
) -> _cpp.Normalisation:
    found: object = manifest
    if isinstance(manifest, Mapping):
        found = manifest.get("normalisation")
    elif not isinstance(manifest, Normalisation):
        found = getattr(manifest, "normalisation", None)
    if not isinstance(found, Normalisation):
        raise UsageError(
            f"the manifest ({type(manifest).__name__}) has no normalisation",
            fix="Pass a Normalisation, or a manifest with one as 'normalisation'.",
        )
    return _cpp.Normalisation(**found.model_dump())
