"""Parity: how far every engine is from float64, in resolutions of the detector."""

from xec_deploy.gates import Gates, load_gates, read_gates
from xec_deploy.parity.engines import ENGINES
from xec_deploy.parity.measurement import Measurement
from xec_deploy.parity.report import ParityReport, judge
from xec_deploy.parity.results import (
    BitComparison,
    Comparison,
    EventSet,
    MacroComparison,
    NotRun,
    Repeat,
    WorstEvent,
)
from xec_deploy.parity.run import DEFAULT_EVENTS, check_parity, measure_parity

__all__ = [
    "DEFAULT_EVENTS",
    "ENGINES",
    "BitComparison",
    "Comparison",
    "EventSet",
    "Gates",
    "MacroComparison",
    "Measurement",
    "NotRun",
    "ParityReport",
    "Repeat",
    "WorstEvent",
    "check_parity",
    "judge",
    "load_gates",
    "measure_parity",
    "read_gates",
]
