"""The gates, as ``gates.yaml`` has them."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat

from xec_deploy.errors import UsageError, nearest

__all__ = ["Gates", "MacroGates", "load_gates"]


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
    precision: dict[str, PositiveFloat]
    single_event: PositiveFloat
    """Gates that a single golden event may be off, in less than fp32."""
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
        fitting = [name for name in self.precision if precision.startswith(name)]
        if not fitting:
            raise UsageError(
                f"there is no gate for precision {precision!r}",
                fix=nearest(precision, self.precision),
            )
        return self.precision[max(fitting, key=len)]

    def of_event(self, precision: str) -> float:
        """Return how far a single golden event may be off; errors as of `of`."""
        return self.of(precision) * (1.0 if precision == "fp32" else self.single_event)


@lru_cache(maxsize=1)
def load_gates() -> Gates:
    """Return the gates of this version of the package."""
    text = (resources.files("xec_deploy") / "gates.yaml").read_text(encoding="utf-8")
    return Gates.model_validate(yaml.safe_load(text))
