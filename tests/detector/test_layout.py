"""Index maps and graphs: physical is right, research repeats the known defects exactly."""

from collections import Counter

import numpy as np
import pytest

from xec_deploy.detector import design_geometry, get_layout
from xec_deploy.detector.layout import CENTRE_TABLE, HEX_ROWS
from xec_deploy.errors import UsageError

OUTER = set(range(4092, 4308)) | set(range(4742, 4760))
REPLACED = {4185, 4186, 4187, 4194, 4195, 4196, 4203, 4204, 4205, 4212, 4213, 4214}
LOST = {*range(4174, 4178), *range(4198, 4202), *range(4222, 4226)}
LAYOUTS = ("research", "physical")


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return get_layout(request.param)


@pytest.fixture(scope="module")
def physical():
    return get_layout("physical")


@pytest.fixture(scope="module")
def research():
    return get_layout("research")


def undirected(edges):
    source, destination, kind = edges
    return {frozenset(pair) for pair in zip(source[kind > 0], destination[kind > 0], strict=True)}


def edge_lengths(edges, face="top"):
    design = design_geometry()
    position = design.position[design.sensors_of(face)]
    pairs = np.array([sorted(pair) for pair in undirected(edges)])
    return np.linalg.norm(position[pairs[:, 0]] - position[pairs[:, 1]], axis=1)


def test_faces_hold_every_sensor_once(layout):
    design = design_geometry()
    for name in ("inner", "upstream", "downstream", "top", "bottom"):
        ids = np.sort(getattr(layout, name).ravel())
        np.testing.assert_array_equal(ids, design.sensors_of(name))
    coarse = np.sort(layout.outer_coarse.ravel())
    np.testing.assert_array_equal(coarse, np.arange(4092, 4308))
    assert layout.outer_centre.shape == (5, 6)
    assert set(layout.outer_centre.ravel()) & set(range(4308)) == REPLACED
    assert set(coarse) | set(layout.outer_centre.ravel()) == OUTER


def test_shapes(layout):
    shapes = {
        "inner": (93, 44),
        "upstream": (24, 6),
        "downstream": (24, 6),
        "outer_coarse": (9, 24),
        "outer_centre": (5, 6),
        "outer_fine": (45, 72),
        "outer_fine_area": (45, 72),
        "top": (73,),
        "bottom": (73,),
    }
    for name, shape in shapes.items():
        assert getattr(layout, name).shape == shape


def test_images_are_grids_in_space():
    design = design_geometry()
    layout = get_layout("physical")
    phi = np.arctan2(design.position[:, 1], -design.position[:, 0])
    z = design.position[:, 2]
    radius = np.hypot(design.position[:, 0], design.position[:, 1])
    for name in ("inner", "upstream", "downstream"):
        image = getattr(layout, name)
        assert (np.diff(phi[image], axis=0) < 0).all()
        np.testing.assert_allclose(np.diff(phi[image], axis=1), 0, atol=1e-12)
    assert (np.diff(z[layout.inner], axis=1) > 0).all()
    assert (np.diff(radius[layout.upstream], axis=1) > 0).all()
    for image in (layout.outer_coarse, layout.outer_centre):  # z down, phi across
        assert (np.diff(z[image], axis=0) > 0).all()
        assert (np.diff(phi[image], axis=1) < 0).all()
    for values, axis in ((z, 1), (phi, 0)):
        image = layout.outer_centre
        np.testing.assert_allclose(np.diff(values[image], axis=axis), 0, atol=1e-12)
        # Coarse tubes inside the dense patch are drawn together; the others are a grid.
        image = np.where(np.isin(layout.outer_coarse, list(REPLACED)), -1, layout.outer_coarse)
        on_grid = np.where(image < 0, np.nan, values[image])
        assert (np.nanmax(on_grid, axis) - np.nanmin(on_grid, axis)).max() < 1e-12


def test_physical_fine_grid_covers_every_tube(physical):
    assert set(physical.outer_fine.ravel()) == OUTER
    cells = Counter(physical.outer_fine.ravel().tolist())
    dense = set(CENTRE_TABLE.ravel())
    assert all(count == (6 if tube in dense else 15) for tube, count in cells.items())


def test_photons_are_conserved_on_the_physical_fine_grid(physical):
    # A tube's photons are divided over its cells: the cells' shares add up to one per tube.
    share = np.bincount(physical.outer_fine.ravel(), 1 / physical.outer_fine_area.ravel(), 4760)
    np.testing.assert_allclose(share[sorted(OUTER)], 1, rtol=1e-12)
    assert share.sum() == pytest.approx(234)


def test_physical_fine_grid_neighbours_are_neighbours(physical):
    position = design_geometry().position
    grid = physical.outer_fine
    for left, right in ((grid[:, :-1], grid[:, 1:]), (grid[:-1], grid[1:])):
        distance = np.linalg.norm(position[left] - position[right], axis=-1)
        assert distance.max() < 12  # the pitch is 9.7 cm in phi, 10.4 cm in z


def test_research_fine_grid_defects(research):
    fine = research.outer_fine
    assert OUTER - set(fine.ravel()) == LOST
    rows, columns = slice(15, 30), slice(30, 42)
    outside = np.ones(fine.shape, bool)
    outside[rows, columns] = False
    # The twelve central tubes are in the patch and once more where the reading puts them.
    twice = set(fine[outside]) & set(fine[rows, columns].ravel())
    assert twice == REPLACED
    assert (research.outer_fine_area[rows, columns] == 6).all()
    assert (research.outer_fine_area[outside] == 15).all()
    np.testing.assert_array_equal(research.outer_coarse.ravel(), np.arange(4092, 4308))
    position = design_geometry().position
    distance = np.linalg.norm(position[fine[:, :-1]] - position[fine[:, 1:]], axis=-1)
    assert distance.max() > 30


def test_research_hex_edges(research):
    lengths = edge_lengths(research.hex_edges)
    assert len(lengths) == 179
    long = lengths > 10
    assert long.sum() == 42
    np.testing.assert_allclose(lengths[long], 11.5, atol=0.1)
    missing = undirected(get_layout("physical").hex_edges) - undirected(research.hex_edges)
    assert len(missing) == 46


@pytest.mark.parametrize("face", ["top", "bottom"])
def test_physical_hex_edges(physical, face):
    lengths = edge_lengths(physical.hex_edges, face)
    assert len(lengths) == 183
    assert lengths.min() > 6.1
    assert lengths.max() < 7.6
    # And nothing that close is missing.
    design = design_geometry()
    position = design.position[design.sensors_of(face)]
    distance = np.linalg.norm(position[:, None] - position[None], axis=-1)
    assert ((distance > 0) & (distance < 7.6)).sum() == 2 * 183


def test_hex_edges_are_consistent(layout):
    source, destination, kind = layout.hex_edges
    nodes = np.arange(73)
    np.testing.assert_array_equal(source[kind == 0], nodes)
    np.testing.assert_array_equal(destination[kind == 0], nodes)
    assert set(kind) == set(range(7))
    assert (source[kind > 0] != destination[kind > 0]).all()
    count = len(kind)
    assert len(set(zip(source, kind, strict=True))) == count
    assert len(set(zip(destination, kind, strict=True))) == count
    assert len(set(zip(source, destination, strict=True))) == count
    directed = {(s, d) for s, d, k in layout.hex_edges.T if k}
    assert directed == {(d, s) for s, d in directed}
    assert count == 73 + 2 * len(undirected(layout.hex_edges))


def test_physical_edge_types_are_directions(physical):
    source, destination, kind = physical.hex_edges
    row = np.repeat(np.arange(6), HEX_ROWS)
    z = design_geometry().position[physical.top, 2]
    d_row, d_z = row[destination] - row[source], z[destination] - z[source]
    expected = {1: (0, -6.12), 2: (0, 6.12), 3: (-1, -3.06), 4: (-1, 3.06), 5: (1, -3.06)}
    expected[6] = (1, 3.06)
    for number, (step, length) in expected.items():
        assert (d_row[kind == number] == step).all()
        np.testing.assert_allclose(d_z[kind == number], length, atol=1e-9)


def test_hex_adjacency_is_the_edges(layout):
    adjacency = layout.hex_adjacency()
    assert adjacency.shape == (7, 73, 73)
    rebuilt = np.stack(np.nonzero(adjacency.transpose(2, 1, 0)))
    expected = layout.hex_edges[:, np.lexsort(layout.hex_edges[::-1])]
    np.testing.assert_array_equal(rebuilt, expected)
    assert set(np.unique(adjacency)) == {0.0, 1.0}


def test_layouts_share_what_they_can(research, physical):
    for name in ("inner", "upstream", "downstream", "outer_centre", "top", "bottom"):
        np.testing.assert_array_equal(getattr(research, name), getattr(physical, name))
    assert get_layout("physical") is physical
    with pytest.raises(ValueError, match="read-only"):
        physical.inner[0, 0] = 1


def test_unknown_layout():
    with pytest.raises(UsageError, match=r"unknown layout 'physcal'.*Did you mean 'physical'"):
        get_layout("physcal")
