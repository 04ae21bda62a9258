"""Protocol buffers in their text form, written without their library.

Only what a ``config.pbtxt`` needs of the text format
(https://protobuf.dev/reference/protobuf/textformat-spec/): nested messages, repeated fields,
numbers, flags, enumeration values and strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["Symbol", "to_text"]

INDENT: Final = "  "
ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


class Symbol(str):
    """A value of an enumeration, which is written without quotes."""

    __slots__ = ()


def to_text(message: Mapping[str, Any]) -> str:
    """Return a message as text, a field a line.

    Parameters
    ----------
    message
        Field name -> value in the order of the text.  A mapping is a message, a list a repeated
        field; None and an empty list are left out.
    """
    return "".join(f"{line}\n" for line in _fields(message, ""))


def _fields(message: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, list) and value and not isinstance(value[0], Mapping):
            yield f"{indent}{name}: [{', '.join(map(_scalar, value))}]"
        elif isinstance(value, list):
            for one in value:
                yield from _message(name, one, indent)
        elif isinstance(value, Mapping):
            yield from _message(name, value, indent)
        elif value is not None:
            yield f"{indent}{name}: {_scalar(value)}"


def _message(name: str, message: Mapping[str, Any], indent: str) -> Iterator[str]:
    yield f"{indent}{name} {{"
    yield from _fields(message, indent + INDENT)
    yield f"{indent}}}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Symbol) or not isinstance(value, str):
        return str(value)
    return f'"{value.translate(ESCAPES)}"'
