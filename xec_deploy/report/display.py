"""Event display: the six faces unrolled, every sensor where it is.

The middle is the inner face in u and v.  The end caps continue it to the left (upstream) and
right, rolled off in phi, the top and bottom faces above and below, the outer face stands beside
in z and arc length.  All lengths are in one scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import Geometry, design_geometry
from xec_deploy.report.comparison import Snapshot
from xec_deploy.report.style import INK, MUTED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_event", "unrolled_positions"]

FloatArray = NDArray[np.float64]

GAP: Final = 7.0
OUTER_OFFSET: Final = 147.0
INNER_HALF: Final = (c.INNER_COLUMNS / 2 * c.MPPC_PITCH_Z, 71.3)
DEAD_COLOUR: Final = "#e4e7eb"
DEAD_EDGE: Final = "#b3261e"
LABELS: Final = (
    ("inner", 0.0, 0.0),
    ("upstream", -64.0, INNER_HALF[1] + 1.5),
    ("downstream", 64.0, INNER_HALF[1] + 1.5),
    ("top", 0.0, 121.5),
    ("bottom", 0.0, -125.0),
    ("outer", OUTER_OFFSET, 121.5),
)


@lru_cache(maxsize=2)
def unrolled_positions(geometry: Geometry) -> FloatArray:
    """Return where each sensor is drawn, (4760, 2) [cm]."""
    x, y, z = geometry.position.T
    radius, phi = np.hypot(x, y), np.arctan2(y, -x)
    face = geometry.face
    plane = np.stack([z, c.R_EFF * phi], axis=1)
    outer = face == 1
    plane[outer] = np.stack([z + OUTER_OFFSET, radius * phi], axis=1)[outer]
    for number, side in ((2, -1), (3, 1)):
        cap = face == number
        # distance along the tilted face from its inner edge
        along = np.hypot(radius - radius[cap].min(), np.abs(z) - np.abs(z[cap]).min())
        plane[cap, 0] = side * (INNER_HALF[0] + GAP + along[cap])
    for number, side in ((4, 1), (5, -1)):
        wall = face == number
        plane[wall, 1] = side * (INNER_HALF[1] + GAP + 4 + radius[wall] - radius[wall].min())
    return plane


def draw_event(
    snapshot: Snapshot,
    *,
    title: str,
    points: Mapping[str, tuple[FloatArray, str, str]],
    notes: str = "",
    geometry: Geometry | None = None,
) -> Figure:
    """Draw one event.

    Parameters
    ----------
    snapshot
        The raw event.
    title, notes
        Headline, and lines of text beside the bottom face.
    points
        Positions to mark on inner and outer face: name -> (uvw (3,) [cm], marker, colour).
    geometry
        Sensor positions, the design by default.
    """
    from matplotlib.collections import EllipseCollection  # noqa: PLC0415 - optional
    from matplotlib.colors import LogNorm  # noqa: PLC0415 - optional

    geometry = geometry or design_geometry()
    live = ~snapshot.dead & (np.abs(snapshot.npho) < c.INVALID_ABOVE)
    photons = np.where(live, snapshot.npho, np.nan)
    brightest = float(np.nanmax(photons)) if live.any() else 1.0
    top = max(brightest, 1e3)
    norm = LogNorm(max(top / 3e4, 10.0), top)
    plane = unrolled_positions(geometry)

    figure = new_figure(10.2, 8.4)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-92, 198)
    axes.set_ylim(-129, 128)
    image = np.ma.masked_invalid(np.clip(photons[: c.N_MPPC], norm.vmin, None))
    rows, columns = c.INNER_ROWS, c.INNER_COLUMNS
    grid = plane[: c.N_MPPC].reshape(rows, columns, 2)
    mesh = axes.pcolormesh(
        _edges(grid[..., 0].mean(axis=0)),
        _edges(grid[..., 1].mean(axis=1)),
        image.reshape(rows, columns),
        norm=norm,
        cmap="viridis",
        rasterized=True,
    )
    axes.plot(
        *plane[: c.N_MPPC][~live[: c.N_MPPC]].T,
        "s",
        markersize=2.5,
        markerfacecolor=DEAD_COLOUR,
        markeredgecolor=DEAD_EDGE,
        markeredgewidth=0.5,
    )
    tubes = np.arange(c.N_MPPC, c.N_SENSORS)
    for chosen, style in (
        (tubes[live[tubes]], {"edgecolors": "#57606a", "linewidths": 0.2}),
        (
            tubes[~live[tubes]],
            {"facecolors": DEAD_COLOUR, "edgecolors": DEAD_EDGE, "linewidths": 0.9},
        ),
    ):
        diameter = np.full(len(chosen), 2 * c.PMT_RADIUS)
        circles = EllipseCollection(
            diameter,
            diameter,
            np.zeros(len(chosen)),
            units="xy",
            offsets=plane[chosen],
            transOffset=axes.transData,
            **style,
        )
        if "facecolors" not in style:
            circles.set(array=np.clip(photons[chosen], norm.vmin, None), norm=norm, cmap="viridis")
        axes.add_collection(circles)
    _annotate(axes, title, notes)
    _mark(axes, points)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.025, pad=0.01, aspect=35)
    bar.set_label("photons per sensor")
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _annotate(axes: object, title: str, notes: str) -> None:
    from matplotlib.axes import Axes  # noqa: PLC0415 - optional

    assert isinstance(axes, Axes)  # noqa: S101 - narrows the type
    axes.set_title(title)
    for name, x, y in LABELS:
        if name == "inner":
            continue
        axes.text(x, y, name, ha="center", va="bottom", color=MUTED, fontsize=8.5)
    axes.text(-91, -84, notes, ha="left", va="top", fontsize=8, linespacing=1.5, family="monospace")


def _mark(axes: object, points: Mapping[str, tuple[FloatArray, str, str]]) -> None:
    from matplotlib import patheffects  # noqa: PLC0415 - optional
    from matplotlib.axes import Axes  # noqa: PLC0415 - optional
    from matplotlib.lines import Line2D  # noqa: PLC0415 - optional

    assert isinstance(axes, Axes)  # noqa: S101 - narrows the type
    halo = [patheffects.withStroke(linewidth=3.2, foreground="white")]
    handles = []
    for name, (uvw, marker, colour) in points.items():
        filled = {"markerfacecolor": "none"} if marker == "o" else {}
        look = {"color": colour, "marker": marker, "markersize": 11, "markeredgewidth": 1.7}
        handles.append(Line2D([], [], linestyle="none", label=name, **look, **filled))
        if np.isfinite(uvw[:2]).all():
            axes.plot(*uvw[:2], linestyle="none", path_effects=halo, **look, **filled)
    handles.append(
        Line2D(
            [],
            [],
            linestyle="none",
            marker="s",
            markersize=6,
            markerfacecolor=DEAD_COLOUR,
            markeredgecolor=DEAD_EDGE,
            label="dead channel",
        )
    )
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, 0.985), labelcolor=INK)


def _edges(centres: FloatArray) -> FloatArray:
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate(
        [[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]]
    )
