import json

import numpy as np
import pytest

from xec_deploy.cpp import reconstruct
from xec_deploy.errors import InputError
from xec_deploy.physics.calibration import LabelledEvents
from xec_deploy.reconstruction import ReconstructionConstants, default_constants
from xec_deploy.reconstruction.calibration import calibrate
from xec_deploy.simulation import SimulationConfig, simulate


@pytest.fixture(scope="module")
def sample():
    """1500 simulated events in batches."""
    return list(simulate(SimulationConfig(seed=78), 1500, threads=1))


def test_constants_survive_json(tmp_path):
    path = tmp_path / "constants.json"
    path.write_text(default_constants().model_dump_json())
    assert ReconstructionConstants.read(path) == default_constants()


def test_own_constants_take_effect(tmp_path, sample):
    values = json.loads(default_constants().model_dump_json())
    values["face_weight"] = [2 * weight for weight in values["face_weight"]]
    path = tmp_path / "constants.json"
    path.write_text(json.dumps(values))
    arguments = [sample[0][name][:10] for name in ("npho", "relative_time", "dead")]
    doubled = reconstruct(*arguments, constants=ReconstructionConstants.read(path))
    np.testing.assert_allclose(doubled.energy, 2 * reconstruct(*arguments).energy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "the file: Invalid JSON"),
        ('{"face_wieght": [1]}', "face_weight: Field required"),
        ('{"face_weight": [1, 2], "face_correction": []}', "face_weight: Tuple should have at le"),
        (
            '{"face_weight": [1, 2, 3, 4, 5, NaN], "face_correction": [{}, {}, {}, {}]}',
            "face_weight.5: Input should be a finite number",
        ),
    ],
)
def test_bad_constants_are_named(tmp_path, content, message):
    path = tmp_path / "constants.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        ReconstructionConstants.read(path)
    with pytest.raises(InputError, match="cannot read the constants"):
        ReconstructionConstants.read(tmp_path / "absent.json")


def test_calibration_on_a_sample_is_close_to_the_shipped_one(sample):
    constants = calibrate(map(LabelledEvents.from_simulation, sample), origin={"sample": "test"})
    assert constants.origin["sample"] == "test"
    events = [sample[0][name] for name in ("npho", "relative_time", "dead")]
    own, shipped = reconstruct(*events, constants=constants), reconstruct(*events)
    inside = (np.abs(sample[0]["uvwTruth"]) < [23.9, 67.9, 10]).all(axis=1)
    assert np.median(own.energy[inside] / shipped.energy[inside]) == pytest.approx(1, abs=0.003)
    assert np.median(np.abs(own.uvw - shipped.uvw)[inside]) < 0.06
    assert np.median(np.abs(own.timing - shipped.timing)[inside]) < 0.01


def test_calibration_needs_events(sample):
    with pytest.raises(InputError, match="At least 1000 are needed"):
        calibrate(map(LabelledEvents.from_simulation, sample[:1]))
