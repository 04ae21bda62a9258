"""The conventional reconstruction against NumPy and on simulated events."""

import numpy as np
import pytest

from xec_deploy import cpp
from xec_deploy.cpp import FitStatus, predict_dead, reconstruct
from xec_deploy.detector import N_SENSORS, design_geometry, uvw_to_xyz
from xec_deploy.errors import UsageError
from xec_deploy.physics import mean_emission_time, resolution
from xec_deploy.physics.observables import cell_area, sensitive_area
from xec_deploy.reconstruction import FaceCorrection, ReconstructionConstants, default_constants
from xec_deploy.simulation import SimulationConfig, simulate

CORRECTED = ReconstructionConstants(
    sensor_weight=tuple(np.linspace(0.5, 2, N_SENSORS)),
    face_weight=(2e-8, 3e-8, 1e-8, 1.5e-8, 2.5e-8, 4e-8),
    face_correction=(
        FaceCorrection(u=(1, 0.01), v=(1, 0.002, -1e-5), w=(1, 0.02)),
        FaceCorrection(w=(1, -0.01)),
        FaceCorrection(u=(1, 0.02), v=(1, 1e-3)),
        FaceCorrection(u=(1, 1e-3), v=(1, -0.01)),
    ),
    shallow_below=8.0,
    shallow=(1.1, 0.02),
)


@pytest.fixture(scope="module")
def sample():
    """500 simulated events of a seed the constants were not fitted on."""
    blocks = list(simulate(SimulationConfig(seed=77), 500, threads=1))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


@pytest.fixture(scope="module")
def found(sample):
    return reconstruct(sample["npho"], sample["relative_time"], sample["dead"])


def arrays_of(result):
    arrays = {name: value for name, value in vars(result).items() if name != "fit"}
    return arrays | vars(result.fit)


@pytest.mark.parametrize(
    ("name", "truth", "limit"),
    [("energy", "energyTruth", 2.3), ("timing", "timeTruth", 80)]
    + [(axis, ("uvwTruth", axis), limit) for axis, limit in enumerate((3.3, 3.1, 5.4))],
)
def test_resolution_and_bias_on_simulation(sample, found, name, truth, limit):
    true = sample[truth] if isinstance(truth, str) else sample[truth[0]][:, truth[1]]
    value = found.uvw[:, name] if isinstance(name, int) else getattr(found, name)
    residual = {
        "energy": lambda: (value / true - 1) * 100,  # per cent
        "timing": lambda: (value - true) * 1e3,  # ps
    }.get(name, lambda: (value - true) * 10)()  # mm
    inside = (np.abs(sample["uvwTruth"]) < [23.9, 67.9, 42]).all(axis=1)
    figure = resolution(residual[inside])
    assert figure.excluded == 0
    assert figure.sigma68 < limit
    assert abs(figure.bias) < 0.25 * limit


def test_emission_time_is_that_of_numpy(sample, found):
    expected = mean_emission_time(
        sample["npho"], sample["relative_time"], sample["dead"], found.fit.uvw
    )
    np.testing.assert_allclose(found.emission_time, expected, rtol=1e-9)


@pytest.mark.parametrize("recovery", ["solid_angle", "neighbours"])
def test_light_of_the_faces_is_the_weighted_sum(sample, found, recovery):
    npho, dead = sample["npho"][:50], sample["dead"][:50]
    constants = default_constants().model_copy(update={"recovery": recovery})
    light = reconstruct(npho, npho, dead, constants=constants).face_light
    fit = cpp.fit_position(npho, dead)
    np.testing.assert_array_equal(fit.uvw, found.fit.uvw[:50])
    filled = np.where(dead, predict_dead(npho, dead, fit, method=recovery), npho)
    geometry = design_geometry()
    weighted = filled * (cell_area(geometry) / sensitive_area(geometry))
    for face in range(6):
        expected = weighted[:, geometry.face == face].sum(axis=1)
        np.testing.assert_allclose(light[:, face], expected, rtol=1e-12)


def test_energy_is_the_corrected_sum(sample):
    npho, time, dead = (sample[name][:60] for name in ("npho", "relative_time", "dead"))
    found = reconstruct(npho, time, dead, constants=CORRECTED)
    u, v, w = np.clip(found.fit.uvw, [-24, -68, 0], [24, 68, 30]).T
    horner = np.polynomial.polynomial.polyval
    expected = np.zeros(len(npho))
    mirrors = [(0, 1, 1), (1, 1, 1), (2, 1, 1), (2, -1, 1), (3, 1, 1), (3, 1, -1)]
    for face, (group, sign_u, sign_v) in enumerate(mirrors):
        part = CORRECTED.face_correction[group]
        factor = horner(sign_u * u, part.u) * horner(sign_v * v, part.v) * horner(w, part.w)
        term = CORRECTED.face_weight[face] * found.face_light[:, face] * np.maximum(factor, 0)
        if face == 0:
            near = horner(np.log(found.largest_solid_angle), CORRECTED.shallow)
            term = np.where(found.fit.uvw[:, 2] < 8, term * near, term)
        expected += term
    np.testing.assert_allclose(found.energy, expected, rtol=1e-12)
    assert (found.fit.uvw[:, 2] < 8).any()
    assert (found.fit.uvw[:, 2] > 8).any()


def test_largest_solid_angle(found):
    expected = cpp.solid_angle(uvw_to_xyz(found.fit.uvw))[:, :4092].max(axis=1)
    np.testing.assert_array_equal(found.largest_solid_angle, expected)


def test_what_a_dead_channel_holds_does_not_matter(sample):
    npho, time, dead = (sample[k][:30].copy() for k in ("npho", "relative_time", "dead"))
    plain = arrays_of(reconstruct(npho, time, dead))
    for value in (np.nan, np.inf, 0.0, 12345.0):
        npho[dead], time[dead] = value, value
        for name, values in arrays_of(reconstruct(npho, time, dead)).items():
            np.testing.assert_array_equal(values, plain[name], err_msg=f"{name}, {value}")


def test_threads_change_nothing(sample):
    arguments = sample["npho"][:25], sample["relative_time"][:25], sample["dead"][:25]
    one = arrays_of(reconstruct(*arguments))
    for threads in (2, 7):
        for name, values in arrays_of(reconstruct(*arguments, threads=threads)).items():
            np.testing.assert_array_equal(values, one[name], err_msg=name)


def test_a_given_start_is_used(sample, found):
    arguments = sample["npho"][:20], sample["relative_time"][:20], sample["dead"][:20]
    again = reconstruct(*arguments, start=found.fit.uvw[:20])
    near = np.abs(again.fit.uvw - found.fit.uvw[:20]).max(axis=1) < 0.05
    assert near.mean() > 0.8


def test_an_event_without_light_has_no_values():
    for fill in (np.nan, 1e10, 0.0, -3.0):
        npho = np.full((1, N_SENSORS), fill, np.float32)
        found = reconstruct(npho, npho)
        assert found.fit.status[0] == FitStatus.NO_LIGHT
        assert np.isnan([found.energy[0], found.timing[0], *found.uvw[0]]).all()


def test_an_event_without_times_has_a_position_but_no_time(sample):
    npho = sample["npho"][:3]
    found = reconstruct(npho, np.full_like(npho, 1e10), sample["dead"][:3])
    assert np.isfinite(found.energy).all()
    assert np.isnan(found.timing).all()


def test_no_events():
    nothing = np.empty((0, N_SENSORS), np.float32)
    assert len(reconstruct(nothing, nothing, threads=3)) == 0


def test_wrong_arguments(sample):
    npho = sample["npho"][:2]
    with pytest.raises(UsageError, match="but time has"):
        reconstruct(npho, npho[:1])
    with pytest.raises(UsageError, match="start has shape"):
        reconstruct(npho, npho, start=np.zeros((3, 3)))
    crossed = default_constants().model_copy(update={"w_range": (3.0, 1.0)})
    with pytest.raises(UsageError, match="constants of the reconstruction: w_range does not"):
        reconstruct(npho, npho, constants=crossed)
