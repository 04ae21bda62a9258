"""Plots of resolutions: residuals, profiles, dead channels, energy curve, ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from xec_deploy.physics.resolution import Profile, Resolution
from xec_deploy.report.panels import density, panel_grid, width_with_error
from xec_deploy.report.quantities import Quantity
from xec_deploy.report.style import MUTED, new_figure
from xec_train.evaluation.energy_curve import EnergyCurve
from xec_train.evaluation.looks import LIMIT_STYLE, PUBLISHED_STYLE, Look, legend
from xec_train.evaluation.quantities import EVALUATED, OPENING, residual_label
from xec_train.evaluation.ratio import Ratio
from xec_train.evaluation.summary import DeadPoint, Residuals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "draw_dead",
    "draw_energy_curve",
    "draw_profiles",
    "draw_ratios",
    "draw_residuals",
]

FloatArray = NDArray[np.float64]
Looks = Mapping[str, Look]


def draw_residuals(
    residuals: Residuals, widths: Mapping[str, Mapping[str, Resolution]], looks: Looks
) -> Figure:
    """Draw the residuals of each quantity, unit area, all methods in one panel."""
    quantities = _present(residuals)
    figure, panels = panel_grid(len(quantities) + 1, height=2.15 + 0.2 * len(looks))
    for axes, quantity in zip(panels, quantities, strict=False):
        shown = {m: residuals[m][quantity.name] for m in looks if quantity.name in residuals[m]}
        reach = max((5 * widths[method][quantity.name].sigma68 for method in shown), default=1.0)
        reach = reach if np.isfinite(reach) and reach > 0 else 1.0
        low = 0.0 if quantity is OPENING else -reach
        events = max(np.count_nonzero(np.isfinite(values)) for values in shown.values())
        bins = np.linspace(low, reach, int(np.clip(events**0.5, 25, 80)) + 1)
        tallest = 0.0
        for method, values in shown.items():
            outline = density(values, bins)
            tallest = max(tallest, float(outline.max()))
            axes.stairs(outline, bins, color=looks[method].colour, linewidth=1.3)
        room = 0.09 * (len(shown) + 0.5)
        axes.set_xlim(low, reach)
        axes.set_ylim(0, tallest / (1 - room) if tallest > 0 else 1.0)
        _bare(axes)
        axes.axvline(0, ymax=1 - room, color=MUTED, linewidth=0.7, zorder=0)
        axes.set_title(quantity.words)
        axes.set_xlabel(residual_label(quantity))
        for row, method in enumerate(shown):
            width = widths[method][quantity.name]
            axes.text(
                0.99,
                0.99 - 0.09 * row,
                width_with_error(width.sigma68, width.sigma68_error, quantity.residual_unit),
                transform=axes.transAxes,
                ha="right",
                va="top",
                fontsize=8,
                color=looks[method].colour,
            )
    legend(panels[len(quantities) :], _used(looks, residuals), lines=True)
    return figure


def draw_profiles(
    profiles: Mapping[str, Mapping[str, Profile]],
    limits: Mapping[str, FloatArray],
    label: str,
    looks: Looks,
    *,
    scale: float = 1.0,
    value: Literal["sigma68", "bias"] = "sigma68",
) -> Figure:
    """Draw the resolution or bias of each quantity against a variable.

    Parameters
    ----------
    profiles
        Method -> quantity.
    limits
        Quantity -> (bins,) least possible width.
    label, scale
        Axis label of the variable, and its factor to the label's unit.
    looks
        The methods to show.
    value
        What of the profiles.
    """
    width = value == "sigma68"
    quantities = [q for q in _present(profiles) if width or q is not OPENING]
    figure, panels = panel_grid(len(quantities) + 1)
    for axes, quantity in zip(panels, quantities, strict=False):
        for step, (method, look) in enumerate(looks.items()):
            binned = profiles[method].get(quantity.name)
            if binned is None:
                continue
            # Side by side within the bin, or the marks of similar methods hide each other.
            shift = (step - (len(looks) - 1) / 2) * 0.12 * np.diff(binned.edges)
            axes.errorbar(
                (binned.centre + shift) * scale,
                binned.values(value),
                yerr=binned.values(f"{value}_error"),
                **_marks(look),
            )
        _finish(axes, quantity, label, from_zero=width)
        if not width:
            axes.axhline(0, color=MUTED, linewidth=0.7, zorder=0)
            axes.set_ylabel(f"median [{quantity.residual_unit}]")
            continue
        if quantity.name in limits:
            edges = next(p[quantity.name].edges for p in profiles.values() if quantity.name in p)
            axes.stairs(limits[quantity.name], edges * scale, baseline=None, **LIMIT_STYLE)
        if quantity.published is not None:
            axes.axhline(quantity.published, **PUBLISHED_STYLE)
    legend(
        panels[len(quantities) :],
        _used(looks, profiles),
        limit=width and bool(limits),
        published=width and any(quantity.published is not None for quantity in quantities),
    )
    return figure


def draw_dead(points: Mapping[str, Mapping[str, Sequence[DeadPoint]]], looks: Looks) -> Figure:
    """Draw the resolution of each quantity against the share of channels added to the dead."""
    quantities = _present(points)
    figure, panels = panel_grid(len(quantities) + 1)
    for axes, quantity in zip(panels, quantities, strict=False):
        shown = {m: points[m][quantity.name] for m in looks if quantity.name in points[m]}
        for method, series in shown.items():
            axes.errorbar(
                _shares(series),
                [point.resolution.sigma68 for point in series],
                yerr=[point.resolution.sigma68_error for point in series],
                **{**_marks(looks[method]), "linestyle": "-", "linewidth": 0.8},
            )
        series = next(iter(shown.values()))  # the limit is the same for all methods
        axes.plot(_shares(series), [point.limit for point in series], **LIMIT_STYLE)
        _finish(axes, quantity, "channels made dead [%]")
    limited = any(
        np.isfinite(point.limit)
        for found in points.values()
        for series in found.values()
        for point in series
    )
    legend(panels[len(quantities) :], _used(looks, points), limit=limited)
    return figure


def draw_energy_curve(
    profiles: Mapping[str, Mapping[str, Profile]],
    curves: Mapping[str, EnergyCurve],
    limit: FloatArray | None,
    looks: Looks,
) -> Figure:
    """Draw the energy resolution against energy with the fitted curves and their terms."""
    figure = new_figure(8.2, 3.9)
    axes = figure.subplots()
    for method, look in looks.items():
        if "energy" not in profiles[method]:
            continue
        points = profiles[method]["energy"]
        axes.errorbar(
            points.centre * 1e3,
            points.values("sigma68"),
            yerr=points.values("sigma68_error"),
            **_marks(look),
        )
        label = look.words
        if method in curves:
            curve = curves[method]
            energy = np.linspace(points.edges[0], points.edges[-1], 200)
            axes.plot(energy * 1e3, curve(energy), color=look.colour, linewidth=1.0)
            label = (
                f"{look.words}\n"
                f"$a$ = {curve.a:.2f} ± {curve.a_error:.2f} % $\\sqrt{{\\mathrm{{GeV}}}}$\n"
                f"$b$ = {curve.b:.2f} ± {curve.b_error:.2f} %\n"
                f"$c$ = {curve.c:.3f} ± {curve.c_error:.3f} % GeV\n"
                f"$\\chi^2$ = {curve.chi2:.1f} / {curve.ndf}"
            )
        axes.plot([], [], color=look.colour, marker=look.mark, linestyle="-", label=label)
    if limit is not None:
        edges = next(p["energy"].edges for p in profiles.values() if "energy" in p)
        axes.stairs(
            limit, edges * 1e3, baseline=None, label="limit of the simulation", **LIMIT_STYLE
        )
    axes.set_ylim(bottom=0)
    axes.margins(y=0.15)
    axes.set_xlabel("true $E$ [MeV]")
    axes.set_ylabel(r"$\sigma_{68} / E$ [%]")
    axes.set_title(r"$\sigma / E = \sqrt{a^2 / E + b^2 + c^2 / E^2}$")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=1.2, fontsize=8)
    return figure


def draw_ratios(
    ratios: Mapping[str, Mapping[str, Mapping[str, Ratio]]], against: str, looks: Looks
) -> Figure:
    """Draw each network's ratio of widths to another method, by quantity."""
    networks = [name for name in ratios if against in ratios[name]]
    quantities = [q for q in EVALUATED if any(q.name in ratios[n][against] for n in networks)]
    figure = new_figure(8.2, 1.1 + 0.42 * len(quantities) + 0.1 * len(networks))
    axes = figure.subplots()
    rows = np.arange(len(quantities))[::-1]
    axes.axvline(1, color=MUTED, linewidth=1.0)
    for step, network in enumerate(networks):
        found = [ratios[network][against].get(quantity.name) for quantity in quantities]
        shift = ((len(networks) - 1) / 2 - step) * min(0.16, 0.7 / len(networks))
        axes.errorbar(
            [np.nan if ratio is None else ratio.value for ratio in found],
            rows + shift,
            xerr=[np.nan if ratio is None else ratio.error for ratio in found],
            **_marks(looks[network]),
            label=looks[network].words,
        )
    axes.set_yticks(rows, [quantity.words for quantity in quantities])
    axes.set_ylim(-0.6, len(quantities) - 0.4)
    axes.margins(x=0.1)
    axes.set_xlabel(f"$\\sigma_{{68}}$ / $\\sigma_{{68}}$ of {looks[against].words}, same events")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _shares(series: Sequence[DeadPoint]) -> list[float]:
    return [100 * point.fraction for point in series]


def _present(found: Mapping[str, Mapping[str, Any]]) -> list[Quantity]:
    return [q for q in EVALUATED if any(q.name in of_method for of_method in found.values())]


def _used(looks: Looks, found: Mapping[str, Mapping[str, Any]]) -> list[Look]:
    return [look for method, look in looks.items() if found.get(method)]


def _marks(look: Look) -> dict[str, Any]:
    return {
        "fmt": look.mark,
        "color": look.colour,
        "markersize": 4.5,
        "elinewidth": 1,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def _bare(axes: Axes) -> None:
    """Heights of histograms of unit area mean nothing."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)


def _finish(axes: Axes, quantity: Quantity, label: str, *, from_zero: bool = True) -> None:
    if from_zero:
        axes.set_ylim(bottom=0)
    axes.margins(y=0.15)
    axes.set_title(quantity.words)
    symbol = "68 % within" if quantity is OPENING else r"$\sigma_{68}$"
    axes.set_ylabel(f"{symbol} [{quantity.residual_unit}]")
    axes.set_xlabel(label)
