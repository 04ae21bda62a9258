"""The gates, as ``gates.yaml`` has them."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, ValidationError

from xec_deploy.errors import UsageError, nearest

__all__ = ["Gates", "MacroGates", "load_gates", "read_gates"]


class MacroGates(BaseModel):
    """How far the C++ fit may be from the experiment's macro."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage1_cm: PositiveFloat
    """Largest difference of a component of the first stage."""
    fit_cm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    """Largest differences of u, v, w."""
    chi2_relative: PositiveFloat
    """How much above the macro's a chi-square may be where the points differ more."""
    dead_relative: PositiveFloat
    dead_photons: PositiveFloat
    """Of a dead channel's prediction: relative, and photons beside."""


class Gates(BaseModel):
    """Largest differences from float64 [detector resolutions], by precision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    source: str = "xec-deploy"
    """Where the numbers are from: the package, or a file."""
    precision: dict[str, PositiveFloat]
    single_event: PositiveFloat
    """Gates that a single golden event may be off, in less than fp32."""
    repeats: PositiveFloat
    """Gates that an event may differ from itself in another batch or engine of the same kind."""
    auto_events: NonNegativeInt
    """Measured events below which a precision is not taken unasked."""
    preprocessing: NonNegativeInt
    """Values of the C++ preprocessing that may differ from Python's."""
    macro: MacroGates

    def of(self, precision: str) -> float:
        """Return the gate of a precision.

        Raises
        ------
        UsageError
            If there is none.
        """
        # A factor in TF32 has as many bits as one in fp16.
        known = "fp16" if precision == "tf32" else precision
        fitting = [name for name in self.precision if known.startswith(name)]
        if not fitting:
            raise UsageError(
                f"there is no gate for precision {precision!r}",
                fix=nearest(precision, self.precision),
            )
        return self.precision[max(fitting, key=len)]

    def of_event(self, precision: str) -> float:
        """Return how far a single golden event may be off; errors as of `of`."""
        return self.of(precision) * (1.0 if precision == "fp32" else self.single_event)

    def of_repeats(self, precision: str) -> float:
        """Return how far an event may differ from itself; errors as of `of`."""
        return self.of(precision) * self.repeats


@lru_cache(maxsize=1)
def load_gates() -> Gates:
    """Return the gates of this version of the package."""
    return Gates.model_validate(_shipped())


def read_gates(path: str | PathLike[str]) -> Gates:
    """Return the package's gates with those that a file states in their place.

    Parameters
    ----------
    path
        YAML with any of the keys of ``xec_deploy/gates.yaml``, ``version`` among them if the file
        is to have its own.

    Raises
    ------
    UsageError
        If it cannot be read, has an unknown key or a value that is no gate.
    """
    try:
        stated = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UsageError(f"the gates cannot be read ({reason})", where=str(path)) from error
    if not isinstance(stated, dict):
        raise UsageError(
            "no gates in it",
            where=str(path),
            fix="State some as in xec_deploy/gates.yaml, for instance 'precision: {int8: 0.1}'.",
        )
    _refuse_unknown(stated, path)
    try:
        return Gates.model_validate({**_merged(_shipped(), stated), "source": str(path)})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"key {key!r}: {first['msg']}", where=str(path)) from error


def _shipped() -> dict[str, Any]:
    text = (resources.files("xec_deploy") / "gates.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def _refuse_unknown(stated: dict[str, Any], path: str | PathLike[str]) -> None:
    valid = [name for name in Gates.model_fields if name != "source"]
    for key in stated:
        if key not in valid:
            raise UsageError(f"unknown key {key!r}", where=str(path), fix=nearest(str(key), valid))
    precisions = stated.get("precision")
    families = list(load_gates().precision)
    for name in precisions if isinstance(precisions, dict) else ():
        # A name may be longer: 'int8-cpu' is a gate of its own beside 'int8'.
        if not str(name).startswith(tuple(families)):
            raise UsageError(
                f"unknown precision {str(name)!r}",
                where=str(path),
                fix=nearest(str(name), families),
            )


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Replace what is stated, within tables one by one."""
    found = dict(base)
    for key, value in over.items():
        inner = base.get(key)
        if isinstance(value, dict) and isinstance(inner, dict):
            found[key] = _merged(inner, value)
        else:
            found[key] = value
    return found
