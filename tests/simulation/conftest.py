"""Samples shared by the tests; a few hundred events take about a second."""

import numpy as np
import pytest

from xec_deploy.simulation import SimulationConfig, simulate


@pytest.fixture(scope="session")
def sample():
    """Simulate and join the blocks: ``sample(100, seed=3)``."""

    def sample(n_events, *, first_event=0, geometry=None, arrays=None, threads=1, **config):
        blocks = simulate(
            SimulationConfig(**config),
            n_events,
            first_event=first_event,
            geometry=geometry,
            arrays=arrays,
            threads=threads,
        )
        blocks = list(blocks)
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    return sample


@pytest.fixture(scope="session")
def events(sample):
    """The default sample, 300 events."""
    return sample(300, events_per_run=100)


@pytest.fixture(scope="session")
def total_photoelectrons():
    """Sum of photoelectrons of each event, without dead channels."""
    efficiency = np.where(np.arange(4760) < 4092, 0.12, 0.16)

    def total(events):
        npho = np.where(events["npho"] < 9e9, events["npho"], 0).astype(np.float64)
        return npho @ efficiency

    return total
