"""Event display: the six faces unrolled, every sensor where it is.

The middle is the inner face in u and v.  The end caps continue it to the left (upstream) and
right, rolled off in phi, the top and bottom faces above and below, the outer face stands beside
in z and arc length.  All lengths are in one scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import Geometry, design_geometry
from xec_deploy.physics.observables import sensitive_area
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
ZOOM: Final = 6.0
CAPTION: Final[dict[str, Any]] = {"color": MUTED, "fontsize": 8.5}
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
    notes: Sequence[tuple[str, str]] = (),
    geometry: Geometry | None = None,
) -> Figure:
    """Draw one event.

    Parameters
    ----------
    snapshot
        The raw event.
    title, notes
        Headline, and lines (text, colour) below it.
    points
        Positions to mark on inner and outer face: name -> (uvw (3,) [cm], marker, colour).
    geometry
        Sensor positions, the design by default.
    """
    from matplotlib.collections import EllipseCollection  # noqa: PLC0415 - optional
    from matplotlib.colors import LogNorm  # noqa: PLC0415 - optional

    geometry = geometry or design_geometry()
    live = ~snapshot.dead & (np.abs(snapshot.npho) < c.INVALID_ABOVE)
    # Per sensitive area: a PMT has eleven times that of an MPPC and would outshine it.
    photons = np.where(live, snapshot.npho / sensitive_area(geometry), np.nan)
    top = max(float(np.nanmax(photons)), 100.0) if live.any() else 100.0
    norm = LogNorm(max(top / 1e4, 3.0), top)
    plane = unrolled_positions(geometry)

    figure = new_figure(10.2, 9.6)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-92, 198)
    axes.set_ylim(-129, 167)
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
        markersize=2.2,
        markerfacecolor=DEAD_COLOUR,
        markeredgewidth=0,
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
    _zoom(axes, mesh, points)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.025, pad=0.01, aspect=35)
    bar.set_label("photons per cm² of sensitive area")
    bar.outline.set_visible(False)
    return figure


def _zoom(axes: Any, mesh: Any, points: Mapping[str, tuple[FloatArray, str, str]]) -> None:
    """Enlarge the surroundings of the first known point, beside the bottom face."""
    known = [uvw for uvw, _, _ in points.values() if np.isfinite(uvw[:2]).all()]
    if not known:
        return
    u, v = known[0][:2]
    inset = axes.inset_axes((46.0, -127.0, 46.0, 46.0), transform=axes.transData)
    values, grid = mesh.get_array(), mesh.get_coordinates()
    inset.pcolormesh(
        grid[..., 0], grid[..., 1], values, norm=mesh.norm, cmap=mesh.cmap, rasterized=True
    )
    inset.set_facecolor(DEAD_COLOUR)
    inset.set_xlim(u - ZOOM, u + ZOOM)
    inset.set_ylim(v - ZOOM, v + ZOOM)
    inset.set_xticks([])
    inset.set_yticks([])
    inset.grid(visible=False)
    for spine in inset.spines.values():
        spine.set_visible(True)
        spine.set_color(INK)
    axes.plot(  # where it is, without matplotlib's connecting lines across the faces
        u + ZOOM * np.array([-1, 1, 1, -1, -1]),
        v + ZOOM * np.array([-1, -1, 1, 1, -1]),
        color="white",
        linewidth=0.8,
    )
    _plot_points(inset, points)
    axes.text(69, -80, f"inner, {2 * ZOOM:g} cm wide", ha="center", va="bottom", **CAPTION)


def _annotate(axes: Any, title: str, notes: Sequence[tuple[str, str]]) -> None:
    axes.set_title(title)
    for name, x, y in LABELS:
        if name == "inner":
            continue
        axes.text(x, y, name, ha="center", va="bottom", **CAPTION)
    for row, (text, colour) in enumerate(notes):
        axes.text(
            -91, 166 - 7.5 * row, text, va="top", fontsize=9, family="monospace", color=colour
        )


def _mark(axes: Any, points: Mapping[str, tuple[FloatArray, str, str]]) -> None:
    """Mark the points on the inner face, and say what the marks mean."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - optional

    handles = [
        Line2D([], [], linestyle="none", label=name, **_look(marker, colour))
        for name, (_, marker, colour) in points.items()
    ]
    dead: dict[str, Any] = {"markerfacecolor": DEAD_COLOUR, "markeredgecolor": DEAD_EDGE}
    handles.append(
        Line2D([], [], linestyle="none", marker="o", markersize=8, label="dead channel", **dead)
    )
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.56, 1.0), labelcolor=INK)
    _plot_points(axes, points)


def _plot_points(axes: Any, points: Mapping[str, tuple[FloatArray, str, str]]) -> None:
    from matplotlib import patheffects  # noqa: PLC0415 - optional

    halo = [patheffects.withStroke(linewidth=3.2, foreground="white")]
    for uvw, marker, colour in points.values():
        if np.isfinite(uvw[:2]).all():
            axes.plot(*uvw[:2], linestyle="none", path_effects=halo, **_look(marker, colour))


def _look(marker: str, colour: str) -> dict[str, Any]:
    filled = {"markerfacecolor": "none"} if marker == "o" else {}
    return {
        "color": colour,
        "marker": marker,
        "markersize": 11,
        "markeredgewidth": 1.7,
        **filled,
    }


def _edges(centres: FloatArray) -> FloatArray:
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
