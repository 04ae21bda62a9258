"""Limits of the simulation: estimators that know everything reach them, no other passes."""

import numpy as np
import pytest

from xec_deploy.physics import estimate, resolution
from xec_deploy.simulation import NumPyArrays, SimulationConfig, write_simulation
from xec_deploy.simulation.light import Light
from xec_deploy.simulation.readout import EFFICIENCY, digitise
from xec_train.evaluation.limits import (
    energy_limit,
    mixture_sigma68,
    simulation_of,
    time_limit,
)

N = 500


@pytest.fixture(scope="module", params=[1.0, 0.15], ids=["bright", "dim"])
def digitised(request):
    """The same light read out many times: expected photoelectrons, readout, configuration."""
    config = SimulationConfig(common_spread=0.002, time_sigma_common=10e-12)
    order = np.random.default_rng(2).permutation(4760)
    photons = request.param * 4e4 * np.exp(-np.arange(4760) / 80.0)[order]
    light = Light(
        photons=np.tile(photons, (N, 1)).astype(np.float32),
        arrival=np.zeros((N, 4760), np.float32),
    )
    one = np.ones((N, 4760), np.float32)
    readout = digitise(NumPyArrays().seed(4), config, light, one, 0 * one)
    return photons * EFFICIENCY, readout, config


def test_energy_limit_is_what_the_best_sum_reaches(digitised):
    expected, readout, config = digitised
    weight = expected / (config.excess_noise * expected + config.noise_photoelectrons**2)
    scale = (readout.npho * EFFICIENCY) @ weight / (expected @ weight)
    limit = energy_limit(config, readout.npho, np.zeros((N, 4760), bool))
    assert np.std(scale) * 100 == pytest.approx(limit.mean(), rel=0.1)
    assert limit.std() < 0.05 * limit.mean()


def test_time_limit_is_what_the_best_mean_reaches(digitised):
    _, readout, config = digitised
    timed = readout.time < 1.0
    charge = np.where(timed, readout.npho * EFFICIENCY, 1.0).clip(1.0)
    weight = timed / (config.time_sigma_photoelectron**2 / charge + config.time_sigma_floor**2)
    mean = (weight * np.where(timed, readout.time, 0)).sum(1) / weight.sum(1)
    limit = time_limit(config, readout.npho, readout.time, np.zeros((N, 4760), bool))
    assert np.std(mean - readout.event_time) * 1e12 == pytest.approx(limit.mean(), rel=0.1)


def test_dead_channels_cost_information(digitised):
    _, readout, config = digitised
    dead = np.zeros((N, 4760), bool)
    dead[:, ::3] = True
    assert (energy_limit(config, readout.npho, dead) > 0.2).all()
    less = time_limit(config, readout.npho, readout.time, dead)
    more = time_limit(config, readout.npho, readout.time, ~dead)
    every = time_limit(config, readout.npho, readout.time, np.zeros((N, 4760), bool))
    assert (less > every).all()
    assert (more > every).all()
    # Information adds up.
    common = config.time_sigma_common * 1e12
    parts = [1 / (limit**2 - common**2) for limit in (less, more, every)]
    np.testing.assert_allclose(parts[0] + parts[1], parts[2], rtol=1e-6)


def test_nothing_in_nothing_out():
    config, none = SimulationConfig(), np.zeros((1, 4760))
    dead = np.ones((1, 4760), bool)
    assert np.isnan(energy_limit(config, none + 100, dead)).all()
    assert np.isnan(time_limit(config, none + 100, none, dead)).all()
    assert np.isnan(time_limit(config, none + 100, none + 1e10, ~dead)).all()


def test_no_method_passes_the_limit(simulated):
    config = SimulationConfig(seed=5)
    events = simulated["npho"], simulated["relative_time"], simulated["dead"]
    simple = estimate(*events)
    energy = 100 * (simple.energy / simulated["energyTruth"] - 1)
    found = resolution(energy)
    limit = mixture_sigma68(energy_limit(config, events[0], events[2]))
    assert limit > 100 * config.common_spread
    assert found.sigma68 > limit - 3 * found.sigma68_error
    time = resolution((simple.timing - simulated["timeTruth"]) * 1e3)
    assert time.sigma68 > mixture_sigma68(time_limit(config, *events)) - 3 * time.sigma68_error


def test_mixture_of_gaussians():
    assert mixture_sigma68([2.0, 2.0, np.nan]) == 2.0
    assert np.isnan(mixture_sigma68([np.nan, 0.0]))
    random = np.random.default_rng(1)
    sigma = random.choice([1.0, 4.0], 40_000)
    found = resolution(random.normal(0, sigma))
    assert abs(found.sigma68 - mixture_sigma68(sigma)) < 4 * found.sigma68_error


def test_parameters_from_provenance(tmp_path, write_events):
    def make(name, **change):
        path = tmp_path / name
        write_simulation(path, SimulationConfig(**change), 2, threads=1)
        return str(path)

    one, other = make("one.root", seed=1), make("other.root", seed=2)
    found, _ = simulation_of([one, other])
    assert found is not None
    assert found.common_spread == SimulationConfig().common_spread
    found, note = simulation_of([one, make("wide.root", common_spread=0.1)])
    assert found is None
    assert "common_spread" in note
    assert "pile-up" in simulation_of([make("pile.root", pileup_fraction=0.5)])[1]
    silent = write_events(tmp_path / "silent.root", slice(0, 2))
    found, note = simulation_of([one, silent])
    assert found is None
    assert "silent.root" in note
