"""TensorRT and TensorRT for RTX: two libraries with one Python API."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from xec_deploy.errors import MissingExtra, UsageError, nearest

__all__ = ["FLAVOURS", "Flavour", "LogRecord", "installed_flavours", "load_flavour"]


@dataclass(frozen=True)
class _Library:
    module: str
    extra: str
    title: str


FLAVOURS: Final[dict[str, _Library]] = {
    "tensorrt": _Library("tensorrt", "gpu", "TensorRT"),
    "rtx": _Library("tensorrt_rtx", "rtx", "TensorRT for RTX"),
}
"""Flavours by name, the one for data centres first."""

LogRecord = tuple[str, str]
"""Severity (``ERROR``, ``VERBOSE``, ..) and message."""


@dataclass(frozen=True)
class Flavour:
    """A loaded library.

    Attributes
    ----------
    name
        As in :data:`FLAVOURS`.
    module
        The imported ``tensorrt`` or ``tensorrt_rtx``.
    """

    name: str
    module: Any = field(repr=False)

    @property
    def version(self) -> str:
        """Version of the library, to which its engines are tied."""
        return str(self.module.__version__)

    @property
    def title(self) -> str:
        """Name and version for people."""
        return f"{FLAVOURS[self.name].title} {self.version}"

    def logger(self) -> Any:
        """Return a logger whose list ``records`` keeps every message, and which prints none.

        What the parser and the builder log is the only place where some of their reasons stand.
        """
        return _logger_class(self.module)()


@lru_cache(maxsize=2)
def _logger_class(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]  # a class of the loaded library
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.records: list[LogRecord] = []

        def log(self, severity: Any, message: str) -> None:
            self.records.append((severity.name, message))

    return Logger


def load_flavour(name: str | None = None) -> Flavour:
    """Import a flavour; None takes the first one installed.

    Raises
    ------
    UsageError
        If there is no such flavour.
    MissingExtra
        If it is not installed.
    """
    if name is None:
        present = installed_flavours()
        if not present:
            raise MissingExtra("tensorrt-rtx", "rtx", needed_for="TensorRT")
        return present[0]
    if name not in FLAVOURS:
        raise UsageError(f"unknown flavour {name!r}", fix=nearest(name, FLAVOURS))
    library = FLAVOURS[name]
    try:
        module = importlib.import_module(library.module)
    except (ImportError, OSError) as error:
        # A wheel without the CUDA libraries it needs fails with OSError.
        raise MissingExtra(library.module, library.extra, needed_for=library.title) from error
    return Flavour(name, module)


def installed_flavours() -> tuple[Flavour, ...]:
    """Return the flavours that can be imported."""
    found = []
    for name in FLAVOURS:
        try:
            found.append(load_flavour(name))
        except MissingExtra:
            continue
    return tuple(found)
