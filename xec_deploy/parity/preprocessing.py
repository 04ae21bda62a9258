"""The C++ preprocessing gives the bits of the Python definition."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from xec_deploy import cpp
from xec_deploy.detector.constants import INVALID_ABOVE, N_SENSORS
from xec_deploy.normalisation import Normalisation
from xec_deploy.parity.events import ParityEvents
from xec_deploy.parity.results import BitComparison

__all__ = ["compare_preprocessing"]

SEED = 1
RANDOM_EVENTS = 64

RawArrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]


def compare_preprocessing(
    normalisation: Normalisation, event_sets: dict[str, ParityEvents], *, allowed: int
) -> tuple[BitComparison, ...]:
    """Compare on random bit patterns, on every special value beside every other, and on events.

    Parameters
    ----------
    normalisation
        Of the bundle.
    event_sets
        Events by the name of their set.
    allowed
        Values that may differ.
    """
    return tuple(
        _compare(normalisation, label, arrays, allowed)
        for label, arrays in _inputs(normalisation, event_sets)
    )


def _inputs(
    normalisation: Normalisation, event_sets: dict[str, ParityEvents]
) -> Iterator[tuple[str, RawArrays]]:
    random = np.random.default_rng(SEED)
    bits = random.integers(0, 2**32, (2, RANDOM_EVENTS, N_SENSORS), dtype=np.uint32)
    flags = random.random((RANDOM_EVENTS, N_SENSORS)) < 0.05
    yield "random bit patterns", (bits[0].view(np.float32), bits[1].view(np.float32), flags)
    npho, time = _special_values(normalisation)
    yield "special values", (npho, time, random.random(npho.shape) < 0.05)
    for name, events in event_sets.items():
        yield f"{name} events", (events.npho, events.time, events.dead)


def _special_values(
    normalisation: Normalisation,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return events in which every special photon count meets every special time."""
    limits = np.finfo(np.float32)
    odd: list[float] = [
        np.nan,
        np.inf,
        -np.inf,
        1e10,
        -1e10,
        0.0,
        -0.0,
        float(limits.max),
        float(limits.min),
    ]
    for least in (float(limits.tiny), float(limits.smallest_subnormal)):
        odd += [least, -least]
    edges = [INVALID_ABOVE, -INVALID_ABOVE, normalisation.npho_threshold]
    edges += [value for value in (normalisation.domain_minimum,) if np.isfinite(value)]
    npho = np.concatenate(
        [
            np.asarray(odd, np.float32),
            _with_neighbours(edges),
            np.asarray([1, 100, 2e5], np.float32),
        ]
    )
    time = np.concatenate(
        [
            np.asarray(odd, np.float32),
            _with_neighbours(edges[:2]),
            np.asarray([1e-8, -3e-7], np.float32),
        ]
    )
    pairs = np.stack(np.meshgrid(npho, time), axis=-1).reshape(-1, 2)
    events = -(-len(pairs) // N_SENSORS)
    filled = np.resize(pairs, (events, N_SENSORS, 2))
    return np.ascontiguousarray(filled[..., 0]), np.ascontiguousarray(filled[..., 1])


def _with_neighbours(values: list[float]) -> NDArray[np.float32]:
    exact = np.asarray(values, np.float32)
    infinity = np.float32(np.inf)
    return np.concatenate([np.nextafter(exact, -infinity), exact, np.nextafter(exact, infinity)])


def _compare(
    normalisation: Normalisation, label: str, arrays: RawArrays, allowed: int
) -> BitComparison:
    # What float32 cannot hold becomes infinite, and a signalling NaN is quietened, in both.
    with np.errstate(over="ignore", invalid="ignore"):
        expected = normalisation.apply(*arrays).astype(np.float32)
    result = cpp.normalise(*arrays, normalisation)
    wrong = np.argwhere(result.view(np.uint32) != expected.view(np.uint32))
    first = (int(wrong[0][0]), int(wrong[0][1]), int(wrong[0][2])) if len(wrong) else None
    return BitComparison(label, result.size, len(wrong), allowed, first)
