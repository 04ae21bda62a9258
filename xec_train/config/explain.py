"""Validation errors as sentences: the file or option, the key, what is wrong, what is right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from xec_deploy.errors import UsageError, nearest
from xec_train.config.describe import describe_value
from xec_train.config.places import Place, key_paths, locate
from xec_train.config.yaml_text import FLOAT

__all__ = ["explain"]

FOLLOWS_FROM_TASKS: Final = {f"model.{name}" for name in ("active_tasks", "nll_tasks", "heads")}


def explain(
    kind: type[BaseModel],
    content: Mapping[str, Any],
    error: ValidationError,
    where: str,
    sources: Mapping[str, str],
) -> UsageError:
    """Turn the most telling of the errors into a sentence.

    ``sources`` maps keys to the options that gave them; all other keys come from ``where``.
    """
    found = [(locate(kind, details["loc"]), details) for details in error.errors(include_url=False)]
    # A misspelt key is often the cause of a missing one.
    place, details = min(found, key=lambda item: item[0].known)
    what, fix = _sentence(kind, content, place, details)
    others = {other.key for other, _ in found} - {place.key}
    if others:
        more = f"Also missing or wrong: {', '.join(sorted(others))}."
        fix = f"{fix} {more}" if fix else more
    return UsageError(what, where=_source(place.key, sources) or where, fix=fix)


def _sentence(
    kind: type[BaseModel], content: Mapping[str, Any], place: Place, details: ErrorDetails
) -> tuple[str, str | None]:
    if not place.known:
        return f"unknown key {place.key!r}", _right_key(kind, place)
    reason = details["msg"].removeprefix("Value error, ")
    if not place.path:
        return reason, None
    value: Any = content
    for part in place.path:
        if not isinstance(value, Mapping) or part not in value:
            return f"key {place.key!r} is missing", f"Add it: {place.valid}."
        value = value[part]
    given = f"key {place.key!r} is {describe_value(value)}"
    if details["type"] == "value_error":
        return f"{given}: {reason}", None
    return given, f"Valid: {place.valid}{_hint(value, place.valid)}."


def _hint(value: Any, valid: str) -> str:
    if "a text" in valid and isinstance(value, bool | int | float):
        return ", in quotes if it looks like a number"
    if isinstance(value, str) and "number" in valid and FLOAT.match(value):
        return ", without quotes"
    return ", finite" if isinstance(value, float) and not math.isfinite(value) else ""


def _right_key(kind: type[BaseModel], place: Place) -> str:
    if place.key in FOLLOWS_FROM_TASKS:
        return "It follows from the section tasks; leave it out."
    leaf = place.path[-1]
    for path in key_paths(kind):
        if path.split(".")[-1] == leaf:
            return f"Did you mean {path!r}? Valid here: {', '.join(sorted(place.siblings))}."
    return nearest(leaf, place.siblings)


def _source(key: str, sources: Mapping[str, str]) -> str | None:
    """Return the option that gave a key, something in it, or the section it is in."""
    for given, source in sources.items():
        if f"{given}.".startswith(f"{key}.") or f"{key}.".startswith(f"{given}."):
            return source
    return None
