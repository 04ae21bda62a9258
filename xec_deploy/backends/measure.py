"""How fast a backend is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.backends.base import DEFAULT_BATCH, Backend
from xec_deploy.detector.constants import N_SENSORS

if TYPE_CHECKING:
    from xec_deploy.bundle import Bundle

__all__ = ["RawEvents", "events_per_second", "request_size", "sample_events"]

RawEvents = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
SEED: Final = 1


def sample_events(bundle: Bundle, count: int) -> RawEvents:
    """Return raw events to measure with: golden ones over and over, else random ones.

    Returns
    -------
    npho, time, dead
        (count, 4760) photons, seconds, flags.
    """
    if bundle.golden is not None:
        rows = np.arange(count) % len(bundle.golden)
        chosen = bundle.golden.select(rows)
        return chosen.npho, chosen.time, chosen.dead
    random = np.random.default_rng(SEED)
    npho = random.exponential(100.0, (count, N_SENSORS)).astype(np.float32)
    moments = random.normal(0.0, 1e-9, (count, N_SENSORS)).astype(np.float32)
    return npho, moments, np.zeros((count, N_SENSORS), bool)


def request_size(backend: Backend) -> int:
    """Return how many events keep all sessions of a backend busy once."""
    return (backend.options.batch or DEFAULT_BATCH) * (backend.options.sessions or 1)


def events_per_second(backend: Backend, events: RawEvents, seconds: float) -> float:
    """Return the rate of the fastest request of some ``seconds``, after one that is not timed.

    Other users of the machine slow some requests; the fastest says what the backend can do.

    Parameters
    ----------
    backend
        What to measure.
    events
        Of one request.
    seconds
        How long to measure; at least two requests are made.
    """
    backend.run(*events)
    end = time.perf_counter() + seconds
    best, requests = float("inf"), 0
    while requests < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        backend.run(*events)
        best, requests = min(best, time.perf_counter() - start), requests + 1
    return len(events[0]) / best
