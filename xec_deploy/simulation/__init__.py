"""Fast simulation of the detector's response, on NumPy alone or on a GPU through torch."""

from xec_deploy.simulation.arrays import Arrays, NumPyArrays, TorchArrays, choose_arrays
from xec_deploy.simulation.config import SimulationConfig
from xec_deploy.simulation.generate import BLOCK_EVENTS, SimulatedEvents, simulate
from xec_deploy.simulation.write import write_simulation

__all__ = [
    "BLOCK_EVENTS",
    "Arrays",
    "NumPyArrays",
    "SimulatedEvents",
    "SimulationConfig",
    "TorchArrays",
    "choose_arrays",
    "simulate",
    "write_simulation",
]
