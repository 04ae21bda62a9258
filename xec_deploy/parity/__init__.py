"""Parity: how far every engine is from float64, in resolutions of the detector."""

from xec_deploy.gates import Gates, load_gates
from xec_deploy.parity.engines import ENGINES
from xec_deploy.parity.results import (
    BitComparison,
    Comparison,
    EventSet,
    MacroComparison,
    ParityReport,
    WorstEvent,
)
from xec_deploy.parity.run import DEFAULT_EVENTS, check_parity

__all__ = [
    "DEFAULT_EVENTS",
    "ENGINES",
    "BitComparison",
    "Comparison",
    "EventSet",
    "Gates",
    "MacroComparison",
    "ParityReport",
    "WorstEvent",
    "check_parity",
    "load_gates",
]
