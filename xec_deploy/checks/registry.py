"""The list of checks; each is a function registered under its id."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from xec_deploy.checks.subject import Subject

__all__ = ["CHECKS", "Check", "Finding", "NotApplicable", "check", "static_checks"]

Severity = Literal["error", "warning"]
Find = Callable[[Subject], Iterator["Finding"]]


@dataclass(frozen=True)
class Finding:
    """One thing a check found wrong, and at which node or tensor."""

    message: str
    node: str | None = None
    operator: str | None = None
    tensor: str | None = None


class NotApplicable(Exception):
    """Raised by a check that has nothing to say about a graph; the message says why."""


@dataclass(frozen=True)
class Check:
    """A registered check.

    Attributes
    ----------
    id
        Stable for ever: ``E`` for errors, ``W`` for warnings, and a number.
    find
        Yields findings; none means that the graph passes.
    static
        Whether it only reads the graph; the others run it or ask an engine.
    """

    id: str
    find: Find
    static: bool

    @property
    def severity(self) -> Severity:
        """Whether findings are errors."""
        return "error" if self.id.startswith("E") else "warning"

    @property
    def title(self) -> str:
        """What must hold, in one line: the first line of the docstring."""
        return self.description.partition("\n")[0].rstrip(".")

    @property
    def description(self) -> str:
        """The docstring: what must hold, what it protects from and why."""
        return inspect.getdoc(self.find) or ""


CHECKS: Final[dict[str, Check]] = {}
"""All checks by id, in the order of their numbers."""


def check(check_id: str, *, static: bool = True) -> Callable[[Find], Find]:
    """Register a function as the check of this id."""

    def register(find: Find) -> Find:
        CHECKS[check_id] = Check(check_id, find, static)
        # Modules group checks by idea, reports list them by number.
        for name in sorted(CHECKS, key=lambda name: int(name[1:])):
            CHECKS[name] = CHECKS.pop(name)
        return find

    return register


def static_checks() -> tuple[str, ...]:
    """Return the checks that only read the graph: a fraction of a second for any model."""
    return tuple(name for name, entry in CHECKS.items() if entry.static)
