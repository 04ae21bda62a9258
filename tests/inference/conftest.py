import numpy as np
import pytest
import uproot

from xec_deploy import open_bundle
from xec_deploy.bundle import shipped_bundle
from xec_deploy.simulation import SimulationConfig, write_simulation


@pytest.fixture(scope="session")
def bundle():
    return open_bundle(shipped_bundle())


@pytest.fixture(scope="session")
def events_file(tmp_path_factory):
    """130 simulated events in two runs."""
    path = tmp_path_factory.mktemp("events") / "events.root"
    write_simulation(path, SimulationConfig(seed=5, events_per_run=80), 130)
    return path


@pytest.fixture
def read():
    """Read the branches of a result file as native arrays."""

    def _read(path, tree="xec"):
        with uproot.open(path) as file:
            arrays = file[tree].arrays(library="np")
        return {name: np.asarray(values) for name, values in arrays.items()}

    return _read
