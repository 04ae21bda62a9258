"""The configuration's checks, and samples as ROOT files."""

import json

import numpy as np
import pytest
import uproot
from pydantic import ValidationError

from xec_deploy.errors import UsageError
from xec_deploy.events import find_truth, open_events
from xec_deploy.simulation import (
    NumPyArrays,
    SimulationConfig,
    choose_arrays,
    write_simulation,
)
from xec_deploy.simulation.generate import BRANCHES


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"energy_min": 70.0}, "energy_min is above energy_max"),
        ({"pileup_energy_min": 31.0}, "pileup_energy_min is above pileup_energy_max"),
        ({"dead_fraction_min": 0.5}, "dead_fraction_min is above dead_fraction_max"),
        ({"energy_min": -1.0}, "greater than 0"),
        ({"energy_max": float("nan")}, "energy_max"),
        ({"absorption_length": 0.0}, "greater than 0"),
        ({"diffuse_fraction": 1.0}, "less than 1"),
        ({"dead_fraction_max": 1.2}, "less than or equal to 1"),
        ({"excess_noise": 0.5}, "greater than or equal to 1"),
        ({"n_spots": 0}, "greater than or equal to 1"),
        ({"events_per_run": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"time_sigma_common": float("inf")}, "finite number"),
        ({"enrgy_min": 10.0}, "Extra inputs are not permitted"),
    ],
)
def test_bad_configuration(wrong, message):
    with pytest.raises(ValidationError, match=message) as caught:
        SimulationConfig(**wrong)
    assert next(iter(wrong)) in str(caught.value)


def test_equal_bounds_are_a_line(sample):
    energy = sample(50, energy_min=54.9, energy_max=54.9, n_spots=1)["energyTruth"]
    np.testing.assert_allclose(energy, 0.0549, rtol=1e-6)


def test_device_that_torch_cannot_use():
    assert isinstance(choose_arrays("cpu"), NumPyArrays)
    with pytest.raises(UsageError, match=r"cannot use the device 'nonsense'.*Use 'cpu'"):
        choose_arrays("nonsense")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files of one sample of 130 events, and the progress that was reported."""
    folder = tmp_path_factory.mktemp("simulation")
    paths, progress = [folder / "a.root", folder / "b.root"], []
    config = SimulationConfig(seed=3, events_per_run=60)
    write_simulation(paths[0], config, 100, progress=progress.append)
    write_simulation(paths[1], config, 30, first_event=100, threads=1, progress=progress.append)
    return paths, progress


def test_files_read_back(files, sample):
    paths, progress = files
    expected = sample(130, seed=3, events_per_run=60)
    assert progress == [50, 50, 30]
    truth = [name for name in BRANCHES if name not in ("run", "event", "npho", "relative_time")]
    batches = []
    for path in paths:
        with open_events(path, keep=truth) as file:
            assert find_truth(file.names) == {
                "energy": "energyTruth",
                "angle": "emiAng",
                "timing": "timeTruth",
                "uvwFI": "uvwTruth",
                "angleVec": "emiVec",
                "n_gamma": "nGamma",
            }
            batches += list(file.batches(64))
    for name in ("run", "event", "npho"):
        joined = np.concatenate([getattr(batch, name) for batch in batches])
        np.testing.assert_array_equal(joined, expected[name], err_msg=name)
    time = np.concatenate([batch.time for batch in batches])
    np.testing.assert_array_equal(time, expected["relative_time"])
    dead = np.concatenate([batch.dead for batch in batches])
    np.testing.assert_array_equal(dead, expected["dead"])
    assert all(batch.readable.all() for batch in batches)
    for name in truth:
        joined = np.concatenate([batch.extra[name] for batch in batches])
        np.testing.assert_array_equal(joined, expected[name], err_msg=name)


def test_files_say_how_they_were_made(files):
    paths, _ = files
    with uproot.open(paths[1]) as file:
        record = json.loads(str(file["provenance"]))
        titles = {branch.name: branch.title for branch in file["tree"].branches}
    assert record["first_event"] == 100
    assert record["n_events"] == 30
    assert record["geometry"] == "design"
    assert SimulationConfig(**record["config"]) == SimulationConfig(seed=3, events_per_run=60)
    assert "GeV" in titles["energyTruth"]
    assert "ns" in titles["timeTruth"]
    assert "cm" in titles["uvwTruth"]


def test_no_file_after_an_error(tmp_path):
    with pytest.raises(UsageError):
        write_simulation(tmp_path / "a.root", SimulationConfig(), 10, first_event=3)
    assert not (tmp_path / "a.root").exists()
