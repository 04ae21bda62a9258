"""The light model against exact solid angles, and the arithmetic's precision."""

import math

import numpy as np
import pytest

from xec_deploy.detector import design_geometry, uvw_to_xyz
from xec_deploy.simulation import NumPyArrays, SimulationConfig, TorchArrays
from xec_deploy.simulation.light import NORMAL_REFLECTANCE, Optics, collect
from xec_deploy.simulation.readout import digitise, run_conditions
from xec_deploy.simulation.shower import deposit, emit

CLEAR = SimulationConfig(diffuse_fraction=0, absorption_length=1e9)


def photons_of(points, config=CLEAR):
    """Photons (n, 4760) of 1 MeV at each point, and their arrival times."""
    arrays = NumPyArrays(1)
    optics = Optics.of(design_geometry(), arrays)
    position = arrays.asarray(points)[:, None, :]
    one = np.ones((len(points), 1), np.float32)
    light = collect(arrays, config, optics, position, one, 0 * one)
    return light.photons / (1e6 / 21.6), light.arrival


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(6)
    uvw = rng.uniform([-24, -68, 0.5], [24, 68, 38], (40, 3))
    return uvw_to_xyz(uvw)


@pytest.fixture(scope="module")
def geometry_factors(points):
    """Distance and cosine of incidence (n, 4760) to the sensors' middles."""
    design = design_geometry()
    path = points[:, None] - design.position
    distance = np.linalg.norm(path, axis=-1)
    return distance, (path * design.normal).sum(-1) / distance


def test_solid_angle(points, geometry_factors):
    from xec_deploy import cpp

    distance, cosine = geometry_factors
    exact = cpp.solid_angle(points)
    reflected = NORMAL_REFLECTANCE
    transmission = (1 - reflected) * (1 - (1 - np.clip(cosine, 0, 1)) ** 5)
    seen = (cosine > 0.2) & (exact > 0)
    mppc = design_geometry().is_mppc
    photons, _ = photons_of(points)
    # The model takes a sensor as a point of its area, corrected for its size head-on: close by
    # and aslant it loses some per cent, far away nothing.
    for kind, nearest, worst, mean in (
        (mppc, 3, 0.10, 0.05),
        (mppc, 6, 0.03, 0.003),
        (~mppc, 12, 0.07, 0.005),
        (~mppc, 20, 0.03, 0.003),
    ):
        tested = seen & kind & (distance > nearest)
        assert tested.sum() > 1000
        ratio = photons[tested] / transmission[tested] / exact[tested]
        assert np.abs(ratio - 1).max() < worst
        assert ratio.mean() == pytest.approx(1, abs=mean)


def test_sensors_that_face_away_are_dark(points, geometry_factors):
    _, cosine = geometry_factors
    photons, arrival = photons_of(points)
    away = cosine < -1e-4
    assert away.sum() > 1000
    assert (photons[away] == 0).all()
    assert (photons >= 0).all()
    assert np.isfinite(arrival).all()


def test_absorption(points, geometry_factors):
    distance, _ = geometry_factors
    clear, _ = photons_of(points)
    absorbed, _ = photons_of(points, CLEAR.model_copy(update={"absorption_length": 50.0}))
    far = (distance > 10) & (clear > 0)
    np.testing.assert_allclose(absorbed[far] / clear[far], np.exp(-distance[far] / 50), rtol=0.01)


def test_arrival_time(points, geometry_factors):
    distance, cosine = geometry_factors
    _, arrival = photons_of(points)
    # Lit or not: light from a point comes no earlier than straight at c / n.
    far = distance > 10
    np.testing.assert_allclose(
        arrival[far], distance[far] * 1.61 / 2.99792458e10, rtol=0.015, atol=0
    )
    assert (cosine[far] < 0).any()


def test_light_adds_up(points):
    arrays = NumPyArrays(1)
    optics = Optics.of(design_geometry(), arrays)
    position = arrays.asarray(points[None])
    energy = np.random.default_rng(1).uniform(0, 3, (1, len(points))).astype(np.float32)
    together = collect(arrays, CLEAR, optics, position, energy, 0 * energy).photons[0]
    single, _ = photons_of(points)
    np.testing.assert_allclose(together, energy[0] @ single * (1e6 / 21.6), rtol=1e-4, atol=1e-3)


def test_diffuse_pool(points):
    config = CLEAR.model_copy(update={"diffuse_fraction": 0.2})
    direct, _ = photons_of(points)
    total, _ = photons_of(points, config)
    np.testing.assert_allclose(direct.sum(1) / total.sum(1), 0.8, rtol=1e-4)
    pool = (total - direct)[:, 4092:]
    # Every tube has the same area and so the same share.
    np.testing.assert_allclose(pool, pool.mean(1, keepdims=True).repeat(668, 1), rtol=0.01)


def test_no_light_at_all():
    config = SimulationConfig()
    arrays = NumPyArrays(2)
    optics = Optics.of(design_geometry(), arrays)
    nothing = np.zeros((2, 3), np.float32)
    position = arrays.asarray(uvw_to_xyz([[0, 0, 5]] * 6).reshape(2, 3, 3))
    light = collect(arrays, config, optics, position, nothing, nothing)
    assert (light.photons == 0).all()
    readout = digitise(arrays, config, light, np.ones((2, 4760), "f4"), np.zeros((2, 4760), "f4"))
    assert (readout.time == np.float32(1e10)).all()
    assert (readout.event_time == 0).all()
    assert np.isfinite(readout.npho).all()


@pytest.mark.parametrize("arrays", [NumPyArrays(1, 2), TorchArrays("cpu", 1, 2)], ids=type)
def test_single_precision_throughout(arrays):
    def dtypes(*values):
        return {str(value.dtype).removeprefix("torch.") for value in values}

    config = SimulationConfig(vertex_sigma=0.5)
    optics = Optics.of(design_geometry(), arrays)
    photons = emit(arrays, config, 7, 15.0, 60.0)
    spots = deposit(arrays, config, photons)
    light = collect(arrays, config, optics, *spots)
    ones = arrays.asarray(np.ones((7, 4760)))
    readout = digitise(arrays, config, light, ones, 0 * ones)
    values = [*vars(optics).values(), *vars(photons).values(), *spots]
    values += [*vars(light).values(), *vars(readout).values()]
    values += [arrays.uniform(3), arrays.normal(3), arrays.exponential(3), arrays.poisson(ones)]
    assert dtypes(*values) == {"float32"}
    assert [value.shape for value in spots] == [(7, 36, 3), (7, 36), (7, 36)]
    assert light.photons.shape == light.arrival.shape == readout.npho.shape == (7, 4760)


@pytest.mark.parametrize("make", [NumPyArrays, lambda *key: TorchArrays("cpu", *key)])
def test_random_streams(make):
    base = make()

    def draw(arrays):
        return arrays.to_numpy(arrays.uniform(1000))

    draws = np.stack([draw(base.seed(*key)) for key in ((1, 0), (1, 1), (2, 0))])
    assert len(np.unique(draws)) > 2950
    np.testing.assert_array_equal(draws[0], draw(make(1, 0)))
    stream = make(5, 6)
    uniform = stream.to_numpy(stream.uniform(200, 500))
    assert uniform.min() >= 0
    assert uniform.max() < 1
    normal = stream.to_numpy(stream.normal(200, 500))
    exponential = stream.to_numpy(stream.exponential(200, 500))
    mean = stream.asarray(np.full((200, 500), 3.5))
    poisson = stream.to_numpy(stream.poisson(mean))
    for values, expected, variance in (
        (uniform, 0.5, 1 / 12),
        (normal, 0, 1),
        (exponential, 1, 1),
        (poisson, 3.5, 3.5),
    ):
        assert values.mean() == pytest.approx(expected, abs=5 * math.sqrt(variance / 1e5))
        assert values.var() == pytest.approx(variance, rel=0.05)
        assert np.isfinite(values).all()
    assert (exponential >= 0).all()


def test_energy_is_deposited_in_the_xenon():
    arrays = NumPyArrays(3, 4)
    config = SimulationConfig()
    photons = emit(arrays, config, 2000, 52.8, 52.8)
    position, energy, delay = deposit(arrays, config, photons)
    radius = np.hypot(position[..., 0], position[..., 1])
    outside = (radius < 64.97) | (radius > 106.27) | (np.abs(position[..., 2]) > 48)
    assert (energy[outside] == 0).all()
    assert (energy >= 0).all()
    assert (delay >= 0).all()
    deposited = energy.sum(1)
    assert (deposited <= 52.8 * 1.00001).all()
    # Shallow showers leak through the inner face, deep ones hardly.
    depth = np.hypot(photons.conversion[:, 0], photons.conversion[:, 1]) - 64.97
    assert np.median(deposited) > 0.9 * 52.8
    assert deposited[depth < 0.5].mean() < deposited[depth > 4].mean()


def test_run_conditions_do_not_depend_on_the_order():
    config = SimulationConfig()
    first = run_conditions(config, 430007)
    run_conditions(config, 1)
    again = run_conditions(config, 430007)
    np.testing.assert_array_equal(first.calibration, again.calibration)
    np.testing.assert_array_equal(first.dead, again.dead)
    assert first.calibration.dtype == np.float32
    assert first.calibration.std() == pytest.approx(0.02, rel=0.1)
