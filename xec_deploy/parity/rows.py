"""Which rows are compared: engines, devices and precisions, and what cannot run here."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Final

from xec_deploy.backends import BACKENDS
from xec_deploy.backends.cores import arithmetic_of
from xec_deploy.backends.devices import DEVICES, parse_device
from xec_deploy.bundle import Bundle
from xec_deploy.errors import MissingExtra, UsageError, XecError, nearest
from xec_deploy.parity.engines import CPP, ENGINES, TORCH, Wanted
from xec_deploy.parity.results import NotRun

__all__ = ["ALL", "Absent", "plan_rows", "sentence"]

ALL: Final = "all"
"""Every precision there is."""
CPU: Final = "cpu"

Absent = tuple[Wanted | tuple[str, str], XecError]
"""A row, or an engine and a device, that cannot run, and the reason."""


def plan_rows(
    bundle: Bundle,
    engines: Sequence[str] | None,
    precisions: Sequence[str] | None,
    device: str | None,
    checkpoint: str | PathLike[str] | None,
) -> tuple[list[Wanted], list[NotRun]]:
    """Return the rows to try, and those that need not be tried.

    Parameters
    ----------
    bundle
        Has the graphs.
    engines
        Names; None for all, torch only with ``checkpoint``.
    precisions
        Names of graphs, what they begin with (``int8`` for ``int8-cpu``), what an engine computes
        in by itself, or ``all``; None for the bundle's graphs.
    device
        ``cpu``, ``cuda`` or ``cuda:1``; None for all kinds that an engine knows.
    checkpoint
        The file torch runs.

    Raises
    ------
    UsageError
        If there is no such engine, device or precision.
    MissingExtra
        If an engine that is named is not installed.
    """
    names = list(ENGINES) if engines is None else list(dict.fromkeys(engines))
    for name in names:
        if name not in ENGINES:
            raise UsageError(f"no engine {name!r} to compare", fix=nearest(name, ENGINES))
    kind = None if device is None else parse_device(device).kind
    chosen = _precisions(bundle, precisions)
    rows: list[Wanted] = []
    absent: list[NotRun] = []
    for name in names:
        if name == TORCH and engines is None and checkpoint is None:
            absent.append(
                NotRun(TORCH, CPU, None, "slow on graphs: name it with --against, or --checkpoint")
            )
            continue
        devices = (CPU,) if name == CPP else BACKENDS[name].devices
        here = [device or known for known in devices if kind in {None, known}]
        for where in here:
            problem = _missing(name, where)
            if problem is not None and engines is not None and len(here) == 1:
                raise problem
            if problem is not None:
                absent.append(NotRun(name, where, None, sentence(problem)))
                continue
            rows += [Wanted(name, where, one) for one in _of_engine(bundle, name, where, chosen)]
    if not rows and absent:
        raise UsageError(f"nothing can be compared here ({absent[0].reason})")
    return rows, absent


def sentence(error: XecError) -> str:
    """Return an error without its place, which the row says."""
    return f"{error.what}. {error.fix}" if error.fix else error.what


def _missing(name: str, device: str) -> XecError | None:
    if name == CPP:
        return None
    engine = BACKENDS[name]
    if engine.missing is not None:
        return MissingExtra(engine.missing, engine.extra or name, needed_for=f"backend {name}")
    if device != CPU and not arithmetic_of(device):
        return UsageError("there is no NVIDIA GPU here")
    return None


def _precisions(bundle: Bundle, wanted: Sequence[str] | None) -> list[str]:
    """Return what is asked for by its whole name, and ``all`` as it is."""
    graphs = list(bundle.manifest.graphs) or ["fp32"]
    if wanted is None:
        return graphs
    own: set[str] = set()
    for engine in BACKENDS.values():
        own.update(*(engine.computes_in(kind) for kind in DEVICES))
    known = [*graphs, *sorted(own - set(graphs)), ALL]
    found: list[str] = []
    for name in wanted:
        fitting = [one for one in known if name in {one, one.partition("-")[0]}]
        if not fitting:
            raise UsageError(
                f"the bundle has no {name!r} graph, and no engine makes one of fp32",
                where=str(bundle.path),
                fix=nearest(name, known),
            )
        found += fitting
    return list(dict.fromkeys(found))


def _of_engine(bundle: Bundle, name: str, device: str, chosen: Sequence[str]) -> list[str]:
    """Return the precisions of an engine: ``all`` are the graphs and what it makes of them."""
    if ALL not in chosen:
        return list(chosen)
    own = () if name == CPP else BACKENDS[name].computes_in(device)
    return list(dict.fromkeys((*(list(bundle.manifest.graphs) or ["fp32"]), *own)))
