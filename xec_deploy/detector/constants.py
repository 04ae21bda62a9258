"""Constants of the MEG II liquid-xenon detector [cm, degrees, seconds].

The photoelectric surface of the inner face lies one MPPC height above the
spacer, ``R_EFF = R_INNER + MPPC_HEIGHT``.  Optical and shower constants are the
published values used for simulation and the conventional estimates.
"""

from __future__ import annotations

from typing import Final

N_SENSORS: Final = 4760
N_MPPC: Final = 4092
N_PMT: Final = N_SENSORS - N_MPPC

FACES: Final = ("inner", "outer", "upstream", "downstream", "top", "bottom")
"""Face names in the order of the face numbers 0-5 of sensor tables."""

R_INNER: Final = 64.84
MPPC_HEIGHT: Final = 0.13
R_EFF: Final = R_INNER + MPPC_HEIGHT
R_OUTER: Final = 106.27
PHI_OPENING_DEG: Final = 125.52
INNER_HALF_LENGTH: Final = 67.03 / 2
OUTER_HALF_LENGTH: Final = 96.0 / 2

INNER_ROWS: Final = 93
INNER_COLUMNS: Final = 44
MPPC_PITCH_Z: Final = 1.50977
MPPC_PITCH_PHI_DEG: Final = 1.349677
MPPC_CHIP_INNER_EDGE: Final = 0.025
MPPC_CHIP_OUTER_EDGE: Final = 0.615
MPPC_ACTIVE_SIDE: Final = 1.2
MPPC_PDE: Final = 0.12
PMT_RADIUS: Final = 2.25
PMT_QE: Final = 0.16

FIDUCIAL_U: Final = 23.9
FIDUCIAL_V: Final = 67.9
FIDUCIAL_W: Final = 42.0

SPEED_OF_LIGHT: Final = 2.99792458e10
"""Speed of light [cm/s]."""
REFRACTIVE_INDEX: Final = 1.61
EV_PER_PHOTON: Final = 21.6
RADIATION_LENGTH: Final = 2.77
MOLIERE_RADIUS: Final = 4.1

INVALID: Final = 1e10
"""Value stored in ROOT files for a channel without a measurement."""
INVALID_ABOVE: Final = 9e9
"""Values above this mean "no measurement"."""
