import numpy as np
import pytest
from scipy.spatial import cKDTree

from xec_deploy.detector import design_geometry
from xec_deploy.report.comparison import Snapshot
from xec_deploy.report.display import draw_event, unrolled_positions
from xec_deploy.report.style import plot_style


def test_no_two_sensors_are_drawn_on_each_other():
    geometry = design_geometry()
    plane = unrolled_positions(geometry)
    assert np.isfinite(plane).all()
    for face in range(6):
        points = plane[geometry.face == face]
        nearest = cKDTree(points).query(points, k=2)[0][:, 1].min()
        assert nearest > (1.5 if face == 0 else 4.5), face
    low = np.array([plane[geometry.face == face].min(axis=0) for face in range(6)])
    high = np.array([plane[geometry.face == face].max(axis=0) for face in range(6)])
    for one in range(6):
        for other in range(one):
            apart = (low[one] > high[other]) | (low[other] > high[one])
            assert apart.any(), (one, other)


@pytest.mark.parametrize("kind", ["negative", "all dead"])
def test_odd_events_can_be_drawn(kind):
    npho = np.zeros(4760, np.float32)
    dead = np.zeros(4760, bool)
    if kind == "negative":
        npho -= 5
    elif kind == "all dead":
        dead[:] = True
    with plot_style():
        figure = draw_event(
            Snapshot(0, npho, npho, dead),
            title="",
            points={"truth": (np.array([np.nan] * 3), "o", "black")},
        )
        figure.canvas.draw()
