"""Where keys stand in a configuration: sections, their keys, and mappings such as ``tasks``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel

from xec_train.config.describe import describe_field, describe_type

__all__ = [
    "NOT_A_KEY",
    "Place",
    "describe_key",
    "key_paths",
    "locate",
    "mapping_types",
    "section_of",
]

NOT_A_KEY: Final = "[key]"
"""How pydantic marks an error in the key of a mapping."""


@dataclass(frozen=True)
class Place:
    """A key: its path, the values it takes, the keys valid beside it."""

    path: tuple[str, ...]
    valid: str
    siblings: tuple[str, ...]
    known: bool

    @property
    def key(self) -> str:
        """The path as it is written in ``--set``."""
        return ".".join(self.path)


def locate(kind: type[BaseModel], location: Sequence[int | str]) -> Place:
    """Find the key that pydantic's location of an error stands for.

    The location goes on inside the value, with indices and the names of union members.
    """
    annotation: Any = kind
    path: list[str] = []
    valid, siblings = "a section", list[str]()
    for part in location:
        if part == NOT_A_KEY:
            return Place(tuple(path), valid, tuple(siblings), known=False)
        section, keys = section_of(annotation), mapping_types(annotation)
        if section is not None:
            path.append(str(part))
            siblings = list(section.model_fields)
            field = section.model_fields.get(str(part))
            if field is None:
                return Place(tuple(path), valid, tuple(siblings), known=False)
            annotation, valid = field.annotation, describe_field(field)
        elif keys is not None:
            path.append(str(part))
            siblings = [str(name) for name in get_args(keys[0])]
            annotation, valid = keys[1], describe_type(keys[1])
        else:
            break
    return Place(tuple(path), valid, tuple(siblings), known=True)


def key_paths(kind: type[BaseModel], start: str = "") -> Iterator[str]:
    """Yield every section and key as it is written in ``--set``, for the first of each mapping."""
    for name, field in kind.model_fields.items():
        yield start + name
        section, inner = section_of(field.annotation), f"{start}{name}."
        mapping = mapping_types(field.annotation)
        if mapping is not None:
            inner += f"{get_args(mapping[0])[0]}."
            section = section_of(mapping[1])
        if section is not None:
            yield from key_paths(section, inner)


def describe_key(kind: type[BaseModel], key: str) -> str:
    """Return the description of a key, one line, with the words it takes if it is one of some.

    Raises
    ------
    KeyError
        If there is no such key.
    """
    *parents, last = key.split(".")
    section: type[BaseModel] | None = kind
    for part in parents:
        section = section_of(section.model_fields[part].annotation) if section else None
    if section is None:
        raise KeyError(key)
    field = section.model_fields[last]
    text = " ".join((field.description or "").split())
    valid = describe_field(field)
    return f"{text} {valid.capitalize()}." if valid.startswith("one of") else text


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section an annotation stands for."""
    if get_origin(annotation) is Annotated:
        return section_of(get_args(annotation)[0])
    is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_section else None


def mapping_types(annotation: Any) -> tuple[Any, Any] | None:
    """Return key and value types of a mapping."""
    if get_origin(annotation) is not dict:
        return None
    key, value = get_args(annotation)
    return key, value
