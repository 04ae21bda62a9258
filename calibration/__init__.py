"""Lower precision, chosen by physics: ranges, Q/DQ, 16-bit graphs, and which parts stay exact."""

from calibration.options import AUTO, PRECISIONS, Options, Precision
from calibration.qdq import TARGETS
from calibration.quantize import Quantised, quantize_bundle
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
