"""YAML to typed configuration, with errors that name the file, the key and the valid keys."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from xec_deploy.errors import UsageError, nearest

__all__ = ["build_config", "load_config"]

AnyConfig = TypeVar("AnyConfig", bound=BaseModel)


def load_config(
    kind: type[AnyConfig], path: str | PathLike[str], overrides: Sequence[str] = ()
) -> AnyConfig:
    """Read a YAML file, apply ``a.b=value`` overrides, validate.

    The file is never modified.

    Raises
    ------
    UsageError
        Naming the file, the key, what is wrong with it and, for an unknown key, the nearest.
    """
    where = str(path)
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration ({error.strerror})", where=where
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError("the configuration is not a text file", where=where) from error
    except yaml.YAMLError as error:
        raise UsageError(f"not valid YAML ({' '.join(str(error).split())})", where=where) from error
    if not isinstance(content, dict):
        raise UsageError("the configuration is not a mapping of sections", where=where)
    return build_config(kind, content, overrides, where)


def build_config(
    kind: type[AnyConfig], content: dict[str, Any], overrides: Sequence[str], where: str
) -> AnyConfig:
    """Apply overrides to a mapping and validate it; ``where`` names it in errors."""
    for override in overrides:
        _apply(content, override)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise _explain(kind, error, where) from error


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise UsageError(f"--set {override!r} has no '='", fix="Write --set section.key=value.")
    *parents, last = key.strip().split(".")
    section = content
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise UsageError(f"--set {override!r}: {parent!r} is a value, not a section")
    try:
        section[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {override!r}: the value is not valid YAML") from error


def _explain(kind: type[BaseModel], error: ValidationError, where: str) -> UsageError:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return UsageError(
            f"unknown key {key!r}", where=where, fix=nearest(path[-1], _fields(kind, path[:-1]))
        )
    if first["type"] == "missing":
        return UsageError(f"key {key!r} is missing", where=where, fix="Add it; it has no default.")
    reason = first["msg"].removeprefix("Value error, ")
    if not path:
        return UsageError(reason, where=where)
    return UsageError(f"key {key!r}: {reason} (it is {first['input']!r})", where=where)


def _fields(kind: type[BaseModel], path: list[str]) -> list[str]:
    """Return the valid keys of the section at ``path``."""
    section: Any = kind
    for part in path:
        fields = getattr(section, "model_fields", {})
        # A name that is no field is the key of a dictionary of sections (tasks.energy), whose
        # values' type was found one step before.
        section = fields[part].annotation if part in fields else section
        arguments = get_args(section)
        section = arguments[-1] if arguments else section
    return list(getattr(section, "model_fields", {}))
