"""Fillers do in a graph what they do in NumPy, for every input."""

import numpy as np
import onnxruntime
import pytest

from xec_deploy.cpp import solid_angle
from xec_deploy.detector import constants as c
from xec_deploy.detector import design_geometry
from xec_deploy.detector.coordinates import uvw_to_xyz
from xec_deploy.inpaint import FILLERS, fill_neighbours, fill_solid_angle, filler_graph
from xec_deploy.inpaint.estimate import locate
from xec_deploy.inpaint.neighbourhood import NOBODY, adjacent_sensors
from xec_deploy.inpaint.optics import depth_scale, solid_angles
from xec_deploy.simulation import BLOCK_EVENTS, SimulationConfig, simulate

TWINS = {"solid-angle": fill_solid_angle, "neighbours": fill_neighbours}


@pytest.fixture(scope="module")
def simulated():
    config = SimulationConfig(
        seed=11, dead_fraction_min=0.0, dead_fraction_max=0.0, dead_board_probability=0.0
    )
    events = next(iter(simulate(config, BLOCK_EVENTS, threads=1)))
    return {name: np.array(events[name]) for name in ("npho", "relative_time", "uvwTruth")}


@pytest.fixture(scope="module")
def dead(simulated):
    flags = np.random.default_rng(1).random(simulated["npho"].shape) < 0.05
    flags[0] = False
    flags[1, 1000:1064] = True
    return flags


@pytest.fixture(scope="module", params=sorted(FILLERS))
def filler(request):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        filler_graph(request.param).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def fill(npho, time, dead):
        return session.run(None, {"npho": npho, "time": time, "dead": dead})

    return request.param, fill


def test_neighbours_are_the_sensors_around():
    table = adjacent_sensors()
    inner = 50 * 44 + 20
    around = {inner + 44 * i + j for i in (-1, 0, 1) for j in (-1, 0, 1)} - {inner}
    assert set(table[inner]) == around
    assert set(table[0]) == {1, 44, 45, NOBODY}
    face = np.append(design_geometry().face, -1)
    same = (face[table] == face[:-1, None]) | (table == NOBODY)
    assert same.all()
    assert ((table != NOBODY).sum(axis=1) >= 2).all()


def test_graph_and_numpy_agree(filler, simulated, dead):
    name, fill = filler
    npho, time = simulated["npho"], simulated["relative_time"]
    filled, seconds, left = fill(npho, time, dead)
    expected, expected_left = TWINS[name](npho, dead)
    np.testing.assert_array_equal(left, expected_left)
    replaced = dead & ~left
    np.testing.assert_array_equal(filled[~replaced].view("u4"), npho[~replaced].view("u4"))
    np.testing.assert_array_equal(seconds[~replaced].view("u4"), time[~replaced].view("u4"))
    assert (seconds[replaced] == np.float32(c.INVALID)).all()
    np.testing.assert_allclose(filled[replaced], expected[replaced], rtol=2e-3, atol=1e-2)


def test_whatever_comes_in_no_new_nan_comes_out(filler):
    name, fill = filler
    random = np.random.default_rng(2)
    shape = (40, c.N_SENSORS)
    strange = np.array(
        [np.nan, np.inf, -np.inf, 1e10, 9e9, -9e9, -3.4e38, 1e-40, -0.0, 0.0, -500.0, 1e30],
        dtype=np.float32,
    )
    npho = random.exponential(200, shape).astype(np.float32)
    for row in range(30):
        chosen = random.random(c.N_SENSORS) < random.choice([0.01, 0.5, 1.0])
        npho[row, chosen] = random.choice(strange, chosen.sum())
    npho[30], npho[31], npho[32], npho[33] = 0.0, np.nan, 9e9, -5.0
    dead = random.random(shape) < random.choice([0.0, 0.1, 0.9], (shape[0], 1))
    dead[34] = True
    dead[35] = True
    dead[35, 2000] = False
    time = random.normal(0, 1e-7, shape).astype(np.float32)
    filled, _, left = fill(npho, time, dead)
    expected, expected_left = TWINS[name](npho, dead)
    np.testing.assert_array_equal(left, expected_left)
    unusable = dead | ~np.isfinite(npho) | (npho > 9e9)
    replaced = unusable & ~left
    assert replaced[:30].any()
    assert np.isfinite(filled[replaced]).all()
    assert np.isfinite(expected[replaced]).all()
    np.testing.assert_array_equal(filled[~replaced].view("u4"), npho[~replaced].view("u4"))
    assert left[34].all()
    assert left[35].sum() == c.N_SENSORS - 1 - 8


def test_solid_angles_are_those_of_the_detector():
    points = np.array([[0.0, 0.0, 1.5], [3.3, -20.0, 4.0], [-20.0, 50.0, 15.0], [5.0, 40.0, 30.0]])
    exact = solid_angle(uvw_to_xyz(points))
    found = solid_angles(points)
    seen = exact > 1e-5
    np.testing.assert_allclose(found[seen], exact[seen], rtol=0.02)
    assert (found[exact == 0] == 0).all()


def test_light_of_a_point_is_found_where_it_is():
    moments, depths = depth_scale()
    assert (np.diff(moments) > 0).all()
    points = np.array([[0.0, 0.0, 2.0], [5.3, -20.0, 5.0], [-8.0, 30.0, 12.0]])
    found = locate(1e4 * solid_angles(points))
    np.testing.assert_allclose(found[:, :2], points[:, :2], atol=0.2)
    np.testing.assert_allclose(found[:, 2], points[:, 2], rtol=0.1)
    assert depths[0] <= found[:, 2].min()


def test_solid_angles_improve_on_the_mean_near_the_light(simulated, dead):
    npho = simulated["npho"].astype(np.float64)
    around, _ = fill_neighbours(npho, np.ones_like(dead) & dead)
    bright = dead & (around > 500) & (np.arange(c.N_SENSORS) < c.N_MPPC)
    spread = {
        name: np.abs(twin(npho, dead)[0] - npho)[bright].mean() for name, twin in TWINS.items()
    }
    assert bright.sum() > 30
    assert spread["solid-angle"] < 0.8 * spread["neighbours"]


@pytest.mark.parametrize("name", sorted(FILLERS))
def test_tensorrt_rtx_parses_the_graph(name):
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(filler_graph(name).SerializeToString()), [
        parser.get_error(index).desc() for index in range(parser.num_errors)
    ]
