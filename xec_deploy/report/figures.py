"""The plots of a report, from arrays to figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.physics.resolution import Profile, Resolution
from xec_deploy.report.panels import density, panel_grid, value_range, width_with_error
from xec_deploy.report.quantities import QUANTITIES, Quantity
from xec_deploy.report.style import CONVENTIONAL, INK, MUTED, NETWORK, hide

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "draw_distributions",
    "draw_profiles",
    "draw_pulls",
    "draw_residuals",
    "draw_truth_against_reconstruction",
]

FloatArray = NDArray[np.float64]
Estimates = Mapping[str, Mapping[str, FloatArray]]
"""Method -> quantity -> (n,) array."""

COLOURS: Final = {"network": NETWORK, "conventional": CONVENTIONAL}
MARKERS: Final = {"network": "o", "conventional": "s"}
NAMES: Final = {"network": "network", "conventional": "conventional"}


def draw_residuals(residuals: Estimates, figures: Mapping[str, Mapping[str, Resolution]]) -> Figure:
    """Draw the residuals of each quantity, normalised to unit area, all methods in one panel."""
    quantities = _present(residuals)
    figure, panels = panel_grid(len(quantities) + 1)
    for axes, quantity in zip(panels, quantities, strict=False):
        shown = {m: r[quantity.name] for m, r in residuals.items() if quantity.name in r}
        reach = max(
            (5 * figures[method][quantity.name].sigma68 for method in shown), default=np.nan
        )
        reach = reach if np.isfinite(reach) and reach > 0 else 1.0
        bins = np.linspace(-reach, reach, 81)
        for method, values in shown.items():
            outline = density(values, bins)
            axes.stairs(outline, bins, color=COLOURS[method], linewidth=1.5)
            if method == "network":
                axes.stairs(outline, bins, color=COLOURS[method], fill=True, alpha=0.12)
        axes.set_xlim(-reach, reach)
        tallest = max((density(values, bins).max() for values in shown.values()), default=1.0)
        # Head-room for the figures, which must not cover the peak.
        axes.set_ylim(0, 1.38 * tallest if tallest > 0 else 1.0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        axes.axvline(0, ymax=0.74, color=MUTED, linewidth=0.7, zorder=0)
        axes.set_title(quantity.words)
        axes.set_xlabel(quantity.residual_label)
        for row, method in enumerate(shown):
            width = figures[method][quantity.name]
            axes.text(
                0.985,
                0.97 - 0.1 * row,
                width_with_error(width.sigma68, width.sigma68_error, quantity.residual_unit),
                transform=axes.transAxes,
                ha="right",
                va="top",
                fontsize=8,
                color=COLOURS[method],
            )
    _legend(panels[len(quantities) :], list(residuals), lines=True)
    return figure


def draw_profiles(
    profiles: Mapping[str, Mapping[str, Profile]], label: str, *, scale: float = 1.0
) -> Figure:
    """Draw the resolution of each quantity against a variable.

    Parameters
    ----------
    profiles
        Method -> quantity -> profile.
    label, scale
        Axis label of the variable, and its factor to the label's unit.
    """
    quantities = [q for q in QUANTITIES if any(q.name in found for found in profiles.values())]
    figure, panels = panel_grid(len(quantities) + 1)
    for axes, quantity in zip(panels, quantities, strict=False):
        for method, found in profiles.items():
            if quantity.name not in found:
                continue
            binned = found[quantity.name]
            axes.errorbar(
                binned.centre * scale,
                binned.values("sigma68"),
                yerr=binned.values("sigma68_error"),
                xerr=[
                    (binned.centre - binned.edges[:-1]) * scale,
                    (binned.edges[1:] - binned.centre) * scale,
                ],
                fmt=MARKERS[method],
                color=COLOURS[method],
                markersize=4,
                elinewidth=1,
                markeredgecolor="white",
                markeredgewidth=0.6,
            )
        if quantity.published is not None:
            axes.axhline(quantity.published, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_ylim(bottom=0)
        axes.margins(y=0.15)
        axes.set_title(quantity.words)
        axes.set_ylabel(f"$\\sigma_{{68}}$ [{quantity.residual_unit}]")
        axes.set_xlabel(label)
    _legend(panels[len(quantities) :], list(profiles), published=True)
    return figure


def draw_truth_against_reconstruction(
    truth: Mapping[str, FloatArray], values: Mapping[str, FloatArray]
) -> Figure:
    """Draw reconstructed against true values as two-dimensional histograms, colour logarithmic."""
    from matplotlib.colors import LogNorm  # noqa: PLC0415 - optional

    quantities = [q for q in QUANTITIES if q.name in truth and q.name in values]
    figure, panels = panel_grid(len(quantities), height=2.75)
    for axes, quantity in zip(panels, quantities, strict=False):
        x, y = truth[quantity.name] * quantity.scale, values[quantity.name] * quantity.scale
        both = np.isfinite(x) & np.isfinite(y)
        low, high = value_range(np.concatenate([x[both], y[both]]))
        edges = np.linspace(low, high, 101)
        count, _, _ = np.histogram2d(x[both], y[both], bins=(edges, edges))
        filled = np.ma.masked_less(count.T, 1)
        axes.plot([low, high], [low, high], color=CONVENTIONAL, linewidth=0.8, zorder=3, alpha=0.8)
        axes.pcolormesh(
            edges,
            edges,
            filled,
            norm=LogNorm(1, max(float(count.max()), 2.0)),
            cmap="viridis",
            rasterized=True,
            zorder=2,
        )
        axes.set_aspect("equal")
        axes.set_title(quantity.words)
        axes.set_xlabel(f"true {quantity.label}")
        axes.set_ylabel(f"reconstructed {quantity.label}")
        ticks = axes.get_xticks()
        axes.set_yticks(ticks)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
    for axes in panels[len(quantities) :]:
        hide(axes)
    return figure


def draw_distributions(values: Estimates) -> Figure:
    """Draw the distribution of each quantity, truth (where known) and all methods overlaid."""
    quantities = _present(values)
    figure, panels = panel_grid(len(quantities) + 1)
    for axes, quantity in zip(panels, quantities, strict=False):
        shown = {
            method: found[quantity.name] * quantity.scale
            for method, found in values.items()
            if quantity.name in found
        }
        bins = np.linspace(*value_range(np.concatenate(list(shown.values()))), 61)
        for method, array in shown.items():
            if method == "truth":
                axes.stairs(density(array, bins), bins, color=MUTED, fill=True, alpha=0.35)
            else:
                axes.stairs(density(array, bins), bins, color=COLOURS[method], linewidth=1.4)
        axes.set_ylim(bottom=0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        axes.set_title(quantity.words)
        axes.set_xlabel(quantity.label)
    _legend(panels[len(quantities) :], list(values), lines=True)
    return figure


def draw_pulls(pulls: Mapping[str, FloatArray]) -> Figure:
    """Draw residuals over predicted sigma beside the unit Gaussian they should follow."""
    quantities = [quantity for quantity in QUANTITIES if quantity.name in pulls]
    figure, panels = panel_grid(len(quantities))
    bins = np.linspace(-5, 5, 61)
    curve = np.linspace(-5, 5, 201)
    for axes, quantity in zip(panels, quantities, strict=False):
        pull = pulls[quantity.name]
        axes.stairs(density(pull, bins), bins, color=NETWORK, linewidth=1.5)
        axes.plot(curve, np.exp(-(curve**2) / 2) / np.sqrt(2 * np.pi), color=INK, linewidth=0.9)
        axes.set_ylim(bottom=0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        axes.set_title(quantity.words)
        axes.set_xlabel("residual / predicted $\\sigma$ (line: unit Gaussian)")
    for axes in panels[len(quantities) :]:
        hide(axes)
    return figure


def _present(values: Estimates) -> list[Quantity]:
    return [
        quantity
        for quantity in QUANTITIES
        if any(np.isfinite(found.get(quantity.name, np.nan)).any() for found in values.values())
    ]


def _legend(
    panels: Sequence[Axes], methods: Sequence[str], *, lines: bool = False, published: bool = False
) -> None:
    """Use the first empty panel for the legend: it never covers data."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - optional
    from matplotlib.patches import Patch  # noqa: PLC0415 - optional

    for axes in panels:
        hide(axes)
    handles: list[Line2D | Patch] = []
    for method in methods:
        if method == "truth":
            handles.append(Patch(color=MUTED, alpha=0.35, label="truth", linewidth=0))
            continue
        style: dict[str, Any] = (
            {"linewidth": 2.0} if lines else {"linestyle": "none", "marker": MARKERS[method]}
        )
        handles.append(Line2D([], [], color=COLOURS[method], label=NAMES[method], **style))
    if published:
        handles.append(
            Line2D([], [], color=MUTED, linestyle=(0, (4, 3)), label="published, 52.8 MeV")
        )
    panels[0].legend(handles=handles, loc="center left", fontsize=9.5, labelspacing=1.0)
