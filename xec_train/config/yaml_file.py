"""From a YAML file and the command line to a validated configuration."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from xec_deploy.errors import UsageError
from xec_train.config.explain import explain
from xec_train.config.overrides import Override, apply_overrides, parse_override
from xec_train.config.places import section_of
from xec_train.config.research import present_key, translate
from xec_train.config.sensors import SensorConfig
from xec_train.config.yaml_text import read_mapping

__all__ = ["build_config", "find_config", "load_config", "recipes"]

AnyConfig = TypeVar("AnyConfig", bound=BaseModel)
SUFFIX: Final = ".yaml"

_log = logging.getLogger(__name__)


def load_config(
    kind: type[AnyConfig], path: str | PathLike[str], overrides: Sequence[str | Override] = ()
) -> AnyConfig:
    """Read a YAML file, or a recipe by its name, apply overrides, validate.

    The file is never modified.  Keys without effect are named in one warning; how many keys take
    their defaults is logged.

    Parameters
    ----------
    kind
        Class of the configuration.
    path
        A file, or the name of one of :func:`recipes`.
    overrides
        ``section.key=value`` with the value as YAML, or :class:`Override`; the last one counts.

    Raises
    ------
    UsageError
        Naming the file or option, the key, what is wrong with it and what is valid.
    """
    found = find_config(path)
    return build_config(kind, read_mapping(found), overrides, str(path))


def build_config(
    kind: type[AnyConfig],
    content: dict[str, Any],
    overrides: Sequence[str | Override],
    where: str,
) -> AnyConfig:
    """Apply overrides to a mapping and validate it; ``where`` names it in errors."""
    content = copy.deepcopy(content)
    given = [parse_override(item) if isinstance(item, str) else item for item in overrides]
    sensors = issubclass(kind, SensorConfig)
    # The file first: an override in one spelling of a key replaces a value in the other.
    unused = translate(content, predicts_sensors=sensors)
    given = [replace(item, key=present_key(item.key, predicts_sensors=sensors)) for item in given]
    apply_overrides(content, given, where)
    unused += translate(content, predicts_sensors=sensors)
    if unused:
        _log.warning("%s: without effect here: %s", where, ", ".join(dict.fromkeys(unused)))
    for name, field in kind.model_fields.items():
        if field.is_required() and section_of(field.annotation):
            # So that what is missing is the key, not the section.
            content.setdefault(name, {})
    try:
        # As JSON: lists become tuples, but neither text nor true and false become numbers.
        config = kind.model_validate_json(_json(content, where), strict=True)
    except ValidationError as error:
        sources = {item.key: item.source for item in given}
        raise explain(kind, content, error, where, sources) from error
    missing = _count_defaults(config)
    if missing:
        _log.info("%s: %d keys take their defaults; --print-config shows all", where, missing)
    return config


def find_config(path: str | PathLike[str]) -> Path:
    """Return the file of a path, or of a recipe's name where there is no such file.

    Raises
    ------
    UsageError
        If a name is neither, listing the recipes.
    """
    file = Path(path)
    if file.is_file() or len(file.parts) > 1:
        return file
    known = recipes()
    name = file.name.removesuffix(SUFFIX)
    if name in known:
        return known[name]
    raise UsageError(
        f"cannot read the configuration ({'a folder' if file.is_dir() else 'no such file'})",
        where=str(path),
        fix=f"Name a file or one of the recipes: {', '.join(known)}.",
    )


def recipes() -> dict[str, Path]:
    """Return the ready configurations that come with the package, by name."""
    folder = Path(str(resources.files("xec_train").joinpath("recipes")))
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _json(content: dict[str, Any], where: str) -> str:
    try:
        return json.dumps(content)
    except (TypeError, ValueError) as error:
        raise UsageError(
            "holds a value that no key takes (a set, binary data, or a reference to itself)",
            where=where,
            fix="Write numbers, texts, lists and mappings.",
        ) from error


def _count_defaults(section: BaseModel) -> int:
    """Count the keys that were not stated."""
    count = 0
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            count += _count_defaults(value)
        elif isinstance(value, dict) and all(isinstance(v, BaseModel) for v in value.values()):
            count += sum(_count_defaults(inner) for inner in value.values())
        else:
            count += name not in section.model_fields_set
    return count
