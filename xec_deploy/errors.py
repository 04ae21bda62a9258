"""Errors a user can act on: what is wrong, where, and how to fix it.

Every exception the package raises on purpose derives from :class:`XecError`
and carries the exit code of the command line contract, so that the command
line needs a single ``except`` and a library user can catch by meaning.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum
from typing import Any

__all__ = [
    "BundleError",
    "CheckFailed",
    "ExitCode",
    "InferenceError",
    "InputError",
    "Interrupted",
    "MissingExtra",
    "OutputBusy",
    "OutputError",
    "PartialFailure",
    "UsageError",
    "XecError",
    "nearest",
]


class ExitCode(IntEnum):
    """Exit codes of every ``xec-deploy`` and ``xec-train`` command."""

    DONE = 0
    UNUSABLE = 2
    PARTIAL = 3
    CHECK_FAILED = 4


class XecError(Exception):
    """An error with a place and a remedy.

    Parameters
    ----------
    what
        What is wrong, one clause without a full stop.
    where
        The file, tree, branch, node or option concerned.
    fix
        How to fix it, one sentence.
    """

    exit_code: ExitCode = ExitCode.UNUSABLE
    summary: Any = None
    """What was done before, where that is known: an `xec_deploy.inference.InferenceSummary`."""

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (data loaders, Dask) by pickle, which would
        # otherwise call the class with the formatted message alone.
        return _rebuild, (type(self), self.what, self.where, self.fix)


def _rebuild(cls: type[XecError], what: str, where: str | None, fix: str | None) -> XecError:
    return cls(what, where=where, fix=fix)


class UsageError(XecError):
    """The command, its options or a configuration file are wrong."""


class OutputBusy(UsageError):
    """Another job is writing the same results."""


class InputError(XecError):
    """An input file cannot be used."""


class BundleError(XecError):
    """A bundle, ONNX file or checkpoint cannot be used or is not what it says."""


class MissingExtra(XecError):
    """An optional engine or library was asked for and is not installed."""

    def __init__(self, library: str, extra: str, *, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs {library}, which is not installed",
            fix=f"Install it with: pip install 'xec-deploy[{extra}]'.",
        )
        self._arguments = (library, extra, needed_for)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_missing, self._arguments


def _rebuild_missing(library: str, extra: str, needed_for: str) -> MissingExtra:
    return MissingExtra(library, extra, needed_for=needed_for)


class PartialFailure(XecError):
    """Some inputs failed; the results of the others are complete."""

    exit_code = ExitCode.PARTIAL


class OutputError(XecError):
    """Results cannot be written; what is complete is kept, and running again continues."""

    exit_code = ExitCode.PARTIAL


class InferenceError(XecError):
    """An engine failed on events that it should take, for want of memory for instance."""

    exit_code = ExitCode.PARTIAL


class Interrupted(XecError):
    """The work was told to stop; what is complete is kept, and running again continues."""

    exit_code = ExitCode.PARTIAL


class CheckFailed(XecError):
    """A graph check, verification or parity gate failed."""

    exit_code = ExitCode.CHECK_FAILED


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``"Did you mean 'x'? Valid: ..."`` for a name that is not in ``valid``."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Valid: {', '.join(names)}."
