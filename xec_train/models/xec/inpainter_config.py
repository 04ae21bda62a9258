"""What defines an inpainter of the project's own architecture besides its weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["XecInpainterModelConfig", "XecInpainterNetworkConfig"]

Width = Annotated[int, Field(ge=8, le=512)]


class XecInpainterNetworkConfig(BaseModel):
    """Architecture of an inpainter of arch xec."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    width: Width = 32
    """Width of the layers on the surroundings of a sensor."""
    context_width: Width = 48
    """Width of what is passed on of the whole event."""
    reach: Annotated[int, Field(ge=1, le=6)] = 3
    """Sensors of the inner face that are seen on each side."""
    tube_neighbours: Annotated[int, Field(ge=3, le=32)] = 12
    """Nearest tubes of the same face that are seen of a PMT."""


class XecInpainterModelConfig(XecInpainterNetworkConfig):
    """Architecture of an inpainter; it predicts photons only."""

    arch: Literal["xec"] = "xec"
    """Architecture."""
    predict_channels: tuple[Literal["npho"]] = ("npho",)
    """What is predicted for a hidden sensor, in normalised units."""
