"""Parameters of the fast simulation."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["SimulationConfig"]

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class SimulationConfig(BaseModel):
    """Everything that defines a simulated sample besides its size.

    Lengths in cm, energies in MeV, times in s, angles in degrees.  The defaults follow the
    published performance of the detector; ``docs/simulation.md`` compares them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Annotated[int, Field(ge=0)] = 1
    """Same seed, same events."""
    first_run: Annotated[int, Field(ge=0)] = 430000
    """Number of the first run."""
    events_per_run: Count = 500
    """Events that share calibration errors and dead channels."""

    energy_min: Positive = 15.0
    """Lowest photon energy."""
    energy_max: Positive = 60.0
    """Photon energies are uniform in between; equal values give a line."""
    entry_u_max: Positive = 24.5
    """Largest |u| of the entry point."""
    entry_v_max: Positive = 69.0
    """Entry points are uniform on the inner face within these bounds."""
    vertex_sigma: NonNegative = 0.0
    """Spread of the emission point on each axis; 0 leaves the detector's own angle resolution."""
    pileup_fraction: Fraction = 0.0
    """Share of events with a second photon."""
    pileup_energy_min: Positive = 2.0
    """Lowest energy of the second photon."""
    pileup_energy_max: Positive = 30.0
    """Highest energy of the second photon."""
    pileup_window: NonNegative = 5e-9
    """Largest time between the two, either way."""

    n_spots: Count = 36
    """Energy deposits an event; each is one point source of light."""
    absorption_length: Positive = 120.0
    """Distance over which direct light falls by e."""
    diffuse_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.12
    """Share of the collected light that arrives scattered, spread by sensor area."""

    common_spread: NonNegative = 0.016
    """Event-to-event relative spread common to all sensors: the constant term in energy."""
    calibration_spread: NonNegative = 0.02
    """Relative error of each channel's photon scale, drawn anew for every run."""
    excess_noise: Annotated[float, Field(ge=1)] = 1.25
    """Variance of the charge over that of its photoelectrons."""
    noise_photoelectrons: NonNegative = 1.0
    """Noise of a channel without light."""
    time_sigma_photoelectron: NonNegative = 10e-9
    """Time resolution of a channel, times the root of its photoelectrons."""
    time_sigma_floor: NonNegative = 0.1e-9
    """Time resolution of a channel with any amount of light, in quadrature."""
    time_sigma_common: NonNegative = 45e-12
    """Jitter common to all channels of an event."""
    time_threshold_photoelectrons: NonNegative = 2.0
    """Channels with less charge have no time."""
    reference_photoelectrons: NonNegative = 50.0
    """Times are relative to the earliest channel with more charge than this."""

    dead_fraction_min: Fraction = 0.01
    """Least share of dead channels in a run."""
    dead_fraction_max: Fraction = 0.03
    """Largest share of single dead channels in a run."""
    dead_board_probability: Fraction = 0.3
    """Probability of a run to have lost one whole board of 16 channels."""

    @model_validator(mode="after")
    def _ordered(self) -> SimulationConfig:
        for low, high in (
            ("energy_min", "energy_max"),
            ("pileup_energy_min", "pileup_energy_max"),
            ("dead_fraction_min", "dead_fraction_max"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is above {high}")
        return self
