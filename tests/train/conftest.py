"""Simulated training files and small models."""

import numpy as np
import pytest
import torch

from xec_deploy.events import EventWriter
from xec_deploy.simulation import SimulationConfig, simulate
from xec_deploy.simulation.write import TRUTH_COLUMNS


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def legacy(reference):
    """Checkpoints of the research code, with inputs and outputs."""
    return reference / "legacy"


@pytest.fixture(scope="session")
def simulated():
    """Four hundred simulated events, as arrays."""
    blocks = list(simulate(SimulationConfig(seed=5), 400, threads=1))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


@pytest.fixture(scope="session")
def write_events(simulated):
    """Write rows of the simulated events; ``change`` maps branches to values, None to omit."""

    def write(path, rows, **change):
        events = {name: values[rows] for name, values in simulated.items()}
        events.update(change)
        columns = {name: c for name, c in TRUTH_COLUMNS.items() if events[name] is not None}
        with EventWriter(path, columns) as writer:
            writer.extend({name: v for name, v in events.items() if v is not None})
            writer.commit()
        return str(path)

    return write


@pytest.fixture(scope="session")
def files(write_events, tmp_path_factory):
    """Three files of 130, 120 and 50 events for training."""
    folder = tmp_path_factory.mktemp("events")
    return [
        write_events(folder / f"train_{index}.root", slice(start, stop))
        for index, (start, stop) in enumerate([(0, 130), (130, 250), (250, 300)])
    ]


@pytest.fixture(scope="session")
def validation_file(write_events, tmp_path_factory):
    return write_events(tmp_path_factory.mktemp("events") / "val.root", slice(300, 400))
