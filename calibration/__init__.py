"""Lower precision, chosen by physics: ranges, Q/DQ, 16-bit graphs, and which parts stay exact."""

from calibration.qdq import TARGETS
from calibration.quantize import (
    AUTO,
    PRECISIONS,
    Options,
    Precision,
    Quantised,
    quantize_bundle,
)
from calibration.ranges import METHODS

__all__ = [
    "AUTO",
    "METHODS",
    "PRECISIONS",
    "TARGETS",
    "Options",
    "Precision",
    "Quantised",
    "quantize_bundle",
]
