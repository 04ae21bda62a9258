"""Kinds of values in a configuration, and the base of its sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "Channel",
    "Compile",
    "Count",
    "FaceName",
    "Finite",
    "LayoutChoice",
    "LossName",
    "NonNegative",
    "Paths",
    "Positive",
    "Rate",
    "Says",
    "Schedule",
    "Section",
    "Share",
    "Width",
]


class Section(BaseModel):
    """A group of keys that refuses unknown ones.

    The docstring of a key is its description in ``docs/configuration.md``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True)
class Says:
    """What a type is called, where its annotation would not say it well."""

    text: str


def _one_or_more(value: Any) -> Any:
    return (
        (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    )


def _none_is_a_word(value: Any) -> Any:
    # The research code takes null and 'none' alike.
    return NONE if value is None or value is False else value


NONE: Final = "none"

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=8)]
Paths = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Says("a text or a list of texts")]
"""Files, globs, URLs or ``@lists``: one text or a list of them."""
Schedule = Annotated[
    Literal["none", "cosine", "onecycle", "cosine_restarts", "plateau"],
    BeforeValidator(_none_is_a_word),
]
Compile = Annotated[
    Literal["none", "default", "reduce-overhead", "max-autotune"],
    BeforeValidator(_none_is_a_word),
]
LayoutChoice = Literal["research", "physical"]
LossName = Literal[
    "smooth_l1",
    "huber",
    "l1",
    "mse",
    "l2",
    "relative_l1",
    "relative_smooth_l1",
    "relative_mse",
    "cosine",
    "gaussian_nll",
]
Channel = Literal["npho", "time"]
FaceName = Literal["inner", "us", "ds", "outer", "top", "bot"]
