"""Words for the values a key takes, from its type: for error messages and documentation."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from xec_train.config.types import Says

__all__ = ["describe_field", "describe_type", "describe_value"]


def describe_field(field: FieldInfo) -> str:
    """Say which values a key takes, such as ``"a number above 0, or null"``."""
    return _describe(field.annotation, field.metadata)


def describe_type(annotation: Any) -> str:
    """Say which values a type stands for."""
    return _describe(annotation, [])


def describe_value(value: Any) -> str:
    """Say what was given, such as ``"'fast' (text)"``."""
    kinds = {
        bool: "true or false",
        int: "number",
        float: "number",
        str: "text",
        list: "list",
        dict: "mapping",
    }
    if value is None:
        return "empty (null)"
    shown = repr(value)
    if len(shown) > 60:
        shown = f"{shown[:57]}..."
    return f"{shown} ({kinds.get(type(value), 'unknown kind')})"


def _describe(annotation: Any, metadata: list[Any]) -> str:
    stated = [item.text for item in metadata if isinstance(item, Says)]
    if stated:
        return stated[0]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe(arguments[0], list(_flat(arguments[1:])))
    if origin in (Union, UnionType):
        parts = [_describe(part, metadata) for part in arguments if part is not NoneType]
        return " or ".join(parts) + (", or null" if NoneType in arguments else "")
    if origin is Literal:
        words = ", ".join(str(word) for word in arguments)
        return words if len(arguments) == 1 else f"one of {words}"
    if origin is tuple:
        return _describe_tuple(arguments)
    if origin is dict:
        return f"a mapping from {_describe(arguments[0], [])} to {_describe(arguments[1], [])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a section"
    word = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return word.get(annotation, str(annotation)) + _limits(metadata)


def _describe_tuple(arguments: tuple[Any, ...]) -> str:
    element = _describe(arguments[0], [])
    if len(arguments) == 2 and arguments[1] is not Ellipsis:
        return f"two values, each {element}"
    return f"a list, each entry {element}"


def _flat(metadata: tuple[Any, ...]) -> list[Any]:
    """Unpack what ``Field(gt=0)`` holds inside ``Annotated``."""
    flat: list[Any] = []
    for item in metadata:
        flat.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    return flat


def _limits(metadata: list[Any]) -> str:
    limits = []
    for item in metadata:
        match item:
            case Gt():
                limits.append(f"above {item.gt}")
            case Ge():
                limits.append(f"of at least {item.ge}")
            case Lt():
                limits.append(f"below {item.lt}")
            case Le():
                limits.append(f"of at most {item.le}")
            case MultipleOf():
                limits.append(f"divisible by {item.multiple_of}")
    return f" {' and '.join(limits)}" if limits else ""
