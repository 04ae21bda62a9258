"""The 20 cm neighbourhood of dead-channel estimates."""

import numpy as np
import pytest

from xec_deploy.detector import FACES, N_SENSORS, same_face_neighbours


@pytest.fixture(scope="module")
def graph(surveyed):
    return same_face_neighbours(surveyed)


def test_published_statistics(graph, surveyed):
    count = np.diff(graph.offset)
    mean = {face: count[surveyed.sensors_of(face)].mean() for face in FACES}
    inner = count[:4092]
    assert 145 <= inner.min() <= 160
    assert 540 <= inner.max() <= 560
    assert mean["inner"] == pytest.approx(449, abs=1)
    # The figure quoted for the outer face, 10.1, is that of its 216 coarse tubes.
    assert count[4092:4308].mean() == pytest.approx(10.1, abs=0.1)
    assert mean["outer"] == pytest.approx(11.09, abs=0.01)
    assert mean["upstream"] == pytest.approx(16.5, abs=0.1)
    assert mean["downstream"] == pytest.approx(16.5, abs=0.1)
    assert mean["top"] == pytest.approx(19.6, abs=0.1)
    assert mean["bottom"] == pytest.approx(19.6, abs=0.1)


def test_brute_force(graph, surveyed):
    for sensor in np.random.default_rng(1).choice(N_SENSORS, 60, replace=False):
        distance = np.linalg.norm(surveyed.position - surveyed.position[sensor], axis=1)
        expected = np.flatnonzero((distance <= 20) & (surveyed.face == surveyed.face[sensor]))
        np.testing.assert_array_equal(graph.of(sensor), expected[expected != sensor])


def test_symmetric_and_never_oneself(graph):
    source = np.repeat(np.arange(N_SENSORS), np.diff(graph.offset))
    pairs = source * N_SENSORS + graph.index
    np.testing.assert_array_equal(np.sort(graph.index * N_SENSORS + source), pairs)
    assert (source != graph.index).all()


def test_distance_and_default_geometry():
    near = same_face_neighbours(distance=1.6)
    assert len(near.of(44 * 40 + 20)) == 4  # the four next MPPCs of the design
    assert len(near.of(0)) == 2
    assert len(near.of(4092)) == 0
    assert same_face_neighbours(distance=0.1).index.size == 0


def test_table_path(table_path, graph):
    again = same_face_neighbours(table_path)
    np.testing.assert_array_equal(again.index, graph.index)
