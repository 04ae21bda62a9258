"""Values that override a configuration file: ``--set a.b=c`` and the options of the commands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from xec_deploy.errors import UsageError
from xec_train.config.describe import describe_value
from xec_train.config.yaml_text import parse_value

__all__ = ["Override", "apply_overrides", "parse_override"]


@dataclass(frozen=True)
class Override:
    """A value for a key, and the option that gave it."""

    key: str
    value: Any
    source: str


def parse_override(text: str) -> Override:
    """Read ``section.key=value``, the value as YAML.

    Raises
    ------
    UsageError
        If there is no ``=``, no key, or the value is not YAML.
    """
    key, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--set {text!r} has no '='", fix="Write --set section.key=value.")
    names = [name.strip() for name in key.split(".")]
    if not all(names):
        raise UsageError(f"--set {text!r} names no key", fix="Write --set section.key=value.")
    try:
        return Override(".".join(names), parse_value(value), f"--set {text.strip()}")
    except yaml.YAMLError as error:
        raise UsageError(
            f"--set {text!r}: the value is not valid YAML", fix="Put the value in quotes."
        ) from error


def apply_overrides(content: dict[str, Any], overrides: Iterable[Override], where: str) -> None:
    """Put values into a mapping of sections; a later one replaces an earlier one.

    Raises
    ------
    UsageError
        If what should be a section is a value; ``where`` names the mapping.
    """
    for override in overrides:
        *parents, last = override.key.split(".")
        section = content
        for parent in parents:
            if section.get(parent) is None:
                section[parent] = {}
            section = section[parent]
            if not isinstance(section, dict):
                raise UsageError(
                    f"key {parent!r} is {describe_value(section)}, not a section in which "
                    f"{override.source} can set {last!r}",
                    where=where,
                )
        section[last] = override.value
