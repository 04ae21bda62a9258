"""Configuration as YAML text: numbers as written anywhere else, no key twice.

YAML 1.1, which PyYAML reads, takes ``1e-4`` for text and ``2026-11-24`` for a date, and lets the
last of two equal keys win.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from xec_deploy.errors import UsageError

__all__ = ["FLOAT", "dump_config", "parse_value", "read_mapping"]

FLOAT: Final = re.compile(
    r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$"
    r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)
"""Plain text that is a number."""
FLOAT_TAG: Final = "tag:yaml.org,2002:float"
CHANGED: Final = frozenset({FLOAT_TAG, "tag:yaml.org,2002:timestamp"})


class _Resolver(yaml.resolver.Resolver):
    """What plain text stands for."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way to state them
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in CHANGED]
        for first, resolvers in yaml.resolver.Resolver.yaml_implicit_resolvers.items()
    }


_Resolver.add_implicit_resolver(FLOAT_TAG, FLOAT, list("-+0123456789."))


class _Loader(yaml.SafeLoader, _Resolver):
    yaml_implicit_resolvers = _Resolver.yaml_implicit_resolvers

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper, _Resolver):
    yaml_implicit_resolvers = _Resolver.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _short_list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=True)


_Dumper.add_representer(list, _short_list)


def read_mapping(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a YAML file whose top is a mapping.

    Raises
    ------
    UsageError
        If it cannot be read, is not text, not YAML, or not a mapping.
    """
    where = str(path)
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8-sig"), _Loader)  # noqa: S506
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration ({error.strerror})", where=where
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError("the configuration is not a text file", where=where) from error
    except yaml.YAMLError as error:
        raise UsageError(f"not valid YAML ({_one_line(error)})", where=where) from error
    except RecursionError as error:
        raise UsageError("not valid YAML (nested too deeply)", where=where) from error
    if not isinstance(content, dict):
        raise UsageError("the configuration is not a mapping of sections", where=where)
    return content


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).replace(' in "<unicode string>",', " at").split())


def parse_value(text: str) -> Any:
    """Read the value of an override; raise ``yaml.YAMLError`` for text that is no YAML."""
    return yaml.load(text, _Loader)  # noqa: S506 - derived from SafeLoader


def dump_config(config: BaseModel) -> str:
    """Return a configuration as YAML that loads to an equal one."""
    content = config.model_dump(mode="json")
    return yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True, indent=2
    )
