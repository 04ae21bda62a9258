"""Choosing the engine, batch, sessions and threads by measuring them on this machine.

What was measured is kept in the user's cache, so that a machine is measured once for a graph.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xec_deploy import __version__
from xec_deploy.backends.base import DEFAULT_BATCH, RunOptions
from xec_deploy.backends.candidates import Candidate, find_candidates
from xec_deploy.backends.cores import granted_cores, processor_name
from xec_deploy.backends.devices import parse_device
from xec_deploy.backends.measure import events_per_second, request_size, sample_events
from xec_deploy.backends.registry import AUTO, create_backend, get_engine
from xec_deploy.bundle.compose import cache_folder
from xec_deploy.bundle.engine import find_graph, open_engine
from xec_deploy.bundle.onnx_file import file_hash
from xec_deploy.errors import UsageError, XecError
from xec_deploy.gates import load_gates

if TYPE_CHECKING:
    from xec_deploy.bundle import Bundle

__all__ = ["Tuned", "tune"]

logger = logging.getLogger(__name__)

BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
SECONDS: Final = 0.12
"""Measuring time of one setting, at least two requests."""
IN_FLIGHT: Final = 32
"""Events computed at the same time on few cores: bounds the memory (17 MB an event in the largest
network)."""
IN_FLIGHT_PER_SESSION: Final = 8
BUDGET: Final = 3.0
"""Seconds after which an engine's batches are not searched further."""
GAIN: Final = 1.02
"""A larger or smaller batch must be faster by this to be taken."""


@dataclass(frozen=True)
class Tuned:
    """An engine and how to run it.

    Attributes
    ----------
    backend
        Name of the engine.
    precision
        What it computes in.
    options
        How it runs, with nothing left to choose.
    events_per_s
        As measured; None where nothing was left to choose.
    others
        Rates of the engines that were not chosen.
    considered
        Where the precision was open: what could be chosen and what could not, and why.
    """

    backend: str
    precision: str
    options: RunOptions
    events_per_s: float | None = None
    others: dict[str, float] | None = None
    considered: tuple[Candidate, ...] | None = None

    def describe(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        run = self.options
        text = (
            f"{self.backend} on {run.device} in {self.precision}, batches of {run.batch}, "
            f"{run.sessions} x {run.threads} threads"
        )
        if self.events_per_s is not None:
            text += f", {self.events_per_s:.0f} events/s when measured"
        if self.others:
            text += " (" + ", ".join(f"{name} {rate:.0f}" for name, rate in self.others.items())
            text += ")"
        return text


def tune(
    bundle: Bundle,
    backend: str = AUTO,
    *,
    precision: str = "fp32",
    options: RunOptions | None = None,
    inpaint: str | None = None,
    within: str | None = None,
) -> Tuned:
    """Choose what is left open, so that a bundle runs fastest here.

    Parameters
    ----------
    bundle
        The bundle; its golden events decide which engines are considered.
    backend
        An engine, or ``auto`` for the fastest that is installed and reproduces them.
    precision, inpaint
        As for :meth:`~xec_deploy.bundle.Bundle.backend`; precision ``auto`` for the fastest of
        those that :func:`~xec_deploy.backends.candidates.find_candidates` allows, and of those
        that are as fast the most precise.
    options
        What is given here stays.  Threads alone are all that may run.
    within
        With precision ``auto``: the only one to be chosen.

    Raises
    ------
    UsageError
        If no engine has the device and precision.
    MissingExtra, BundleError, CheckFailed
        If the engine cannot run the graph, or no engine can, or may.
    """
    options = options or RunOptions()
    parse_device(options.device)
    if AUTO not in {backend, precision}:
        found = _settings(bundle, backend, precision, options, inpaint)
        bundle.backend(backend, precision=precision, options=found.options, inpaint=inpaint)
        return found
    considered = find_candidates(bundle, backend, precision, options.device, inpaint, within)
    allowed = [one for one in considered if one.allowed]
    errors: list[XecError] = []
    measured: list[Tuned] = []
    for one in allowed:
        with _passing_over(one, precision, errors):
            measured.append(
                _settings(
                    bundle, one.backend, one.precision, options, inpaint, compare=len(allowed) > 1
                )
            )
    for found in _by_preference(measured):
        # Measured before or just now: it must reproduce the golden events as it will run.
        one = Candidate(found.backend, found.precision, "")
        with _passing_over(one, precision, errors):
            bundle.backend(
                found.backend, precision=found.precision, options=found.options, inpaint=inpaint
            )
            chosen = _with_others(found, measured, considered, precision)
            logger.info("auto: %s", chosen)
            return chosen
    raise errors[0]


@contextmanager
def _passing_over(one: Candidate, precision: str, errors: list[XecError]) -> Iterator[None]:
    """Go on without an engine that cannot be used, and say so."""
    try:
        yield
    except XecError as error:
        errors.append(error)
        what = one if precision == AUTO else one.backend
        logger.warning("auto passes over %s: %s", what, error)


def _by_preference(measured: list[Tuned]) -> list[Tuned]:
    """Return the fastest first, and of those that are as fast the most precise."""
    fastest = max((item.events_per_s or 0 for item in measured), default=0)
    gates = load_gates()

    def rank(item: Tuned) -> tuple[bool, float, float]:
        rate = item.events_per_s or 0
        slower = rate * GAIN < fastest
        return slower, 0.0 if slower else gates.of(item.precision), -rate

    return sorted(measured, key=rank)


def _with_others(
    found: Tuned, measured: list[Tuned], considered: tuple[Candidate, ...], precision: str
) -> Tuned:
    """Say what was not chosen, and where the precision was open, why."""
    rates = {(item.backend, item.precision): item.events_per_s for item in measured}
    others = {
        f"{name} {other}" if precision == AUTO else name: rate
        for (name, other), rate in rates.items()
        if (name, other) != (found.backend, found.precision) and rate is not None
    }
    if precision != AUTO:
        return replace(found, others=others or None)
    told = tuple(
        replace(one, events_per_s=rates.get((one.backend, one.precision))) for one in considered
    )
    return replace(found, others=others or None, considered=told)


def _settings(
    bundle: Bundle,
    name: str,
    precision: str,
    options: RunOptions,
    inpaint: str | None,
    *,
    compare: bool = False,
) -> Tuned:
    """Return the fastest settings of an engine: as given, from the cache, or measured.

    To ``compare`` engines their rates must be known even where all is given.
    """
    run = replace(options, precision=precision)
    given = None not in (options.batch, options.sessions, options.threads)
    if given and not compare:
        return Tuned(name, precision, run)
    if options.device != "cpu":
        # What suits a GPU is known beforehand, an engine's batch when it is built.
        backend = open_engine(bundle, name, precision, run, inpaint)
        speed = events_per_second(backend, sample_events(bundle, request_size(backend)), SECONDS)
        return Tuned(name, precision, backend.options, round(speed, 1))
    graph = find_graph(bundle, name, precision, options.device, inpaint)
    key = {
        "graph": file_hash(graph),
        "engine": name,
        "version": get_engine(name).version,
        "program": __version__,
        "processor": processor_name(),
        "cores": granted_cores(),
        "options": asdict(run),
    }
    record = _cache_file(key)
    known = _read(record, key)
    if known is None:
        logger.info("measuring %s on this machine, once", name)
        # An engine that computes something else is not worth measuring.
        open_engine(bundle, name, precision, run, inpaint)

        def rate(settings: RunOptions) -> float:
            backend = create_backend(name, graph, settings)
            return events_per_second(backend, sample_events(bundle, request_size(backend)), SECONDS)

        best, speed = _search(rate, run)
        known = {"options": asdict(best), "events_per_s": round(speed, 1)}
        _write(record, key, known)
    return Tuned(name, precision, RunOptions(**known["options"]), known["events_per_s"])


def _layouts(options: RunOptions) -> Iterator[tuple[int, int]]:
    """Return (sessions, threads of each) that use the cores, most promising first."""
    cores = granted_cores()
    if options.sessions is not None or options.threads is not None:
        sessions = options.sessions or 1
        yield sessions, options.threads or max(1, cores // sessions)
        return
    yield cores, 1
    for threads in (cores, 2, 4):
        if threads > 1 and cores % threads == 0:
            yield cores // threads, threads


def _search(rate: Callable[[RunOptions], float], options: RunOptions) -> tuple[RunOptions, float]:
    """Find sessions and threads at one batch, then walk to larger and smaller batches."""
    batch = options.batch or DEFAULT_BATCH
    end = time.monotonic() + BUDGET
    tried = {}
    for sessions, threads in dict.fromkeys(_layouts(options)):
        settings = replace(options, batch=batch, sessions=sessions, threads=threads)
        if options.batch is None:
            settings = replace(settings, batch=min(batch, _largest_batch(sessions)))
        tried[settings] = rate(settings)
    best = max(tried, key=lambda settings: tried[settings])
    if options.batch is not None:
        return best, tried[best]
    middle = BATCHES.index(best.batch or DEFAULT_BATCH)
    for batches in (BATCHES[middle + 1 :], reversed(BATCHES[:middle])):
        for size in batches:
            settings = replace(best, batch=size)
            if size > _largest_batch(best.sessions or 1) or time.monotonic() > end:
                break
            tried[settings] = rate(settings)
            if tried[settings] < tried[best] * GAIN:
                break
            best = settings
    return best, tried[best]


def _largest_batch(sessions: int) -> int:
    """Return the largest batch that keeps the events in flight within bounds."""
    bound = max(IN_FLIGHT, IN_FLIGHT_PER_SESSION * sessions) // sessions
    return max(size for size in BATCHES if size <= bound)


def _cache_file(key: dict[str, Any]) -> Path | None:
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    try:
        return cache_folder("tuning") / f"{name}.json"
    except XecError:
        return None


def _read(record: Path | None, key: dict[str, Any]) -> dict[str, Any] | None:
    if record is None:
        return None
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        found: dict[str, Any] = content["found"]
        RunOptions(**found["options"])
        return found if content["key"] == key and found["events_per_s"] > 0 else None
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return None


def _write(record: Path | None, key: dict[str, Any], found: dict[str, Any]) -> None:
    if record is None:
        return
    part = record.with_suffix(f".{os.getpid()}.part")
    with suppress(OSError):
        part.write_text(json.dumps({"key": key, "found": found}, indent=1), encoding="utf-8")
        part.replace(record)
