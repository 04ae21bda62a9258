"""Plots of what only networks have: predicted sigmas, photon numbers, speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xec_deploy.physics.resolution import Resolution
from xec_deploy.report.panels import density, panel_grid
from xec_deploy.report.style import INK, MUTED, hide, new_figure
from xec_train.evaluation.confusion import Confusion
from xec_train.evaluation.looks import Look, legend
from xec_train.evaluation.pulls import PullSummary
from xec_train.evaluation.quantities import EVALUATED, OPENING
from xec_train.evaluation.throughput import Throughput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_calibration", "draw_confusion", "draw_pulls", "draw_speed"]

FloatArray = NDArray[np.float64]
Looks = Mapping[str, Look]


def draw_pulls(
    pulls: Mapping[str, Mapping[str, FloatArray]],
    summaries: Mapping[str, Mapping[str, PullSummary]],
    looks: Looks,
) -> Figure:
    """Draw residuals over predicted sigma beside the unit Gaussian they should follow."""
    quantities = [q for q in EVALUATED if any(q.name in found for found in summaries.values())]
    figure, panels = panel_grid(len(quantities) + 1)
    bins, curve = np.linspace(-5, 5, 61), np.linspace(-5, 5, 201)
    for axes, quantity in zip(panels, quantities, strict=False):
        shown = [network for network in summaries if quantity.name in summaries[network]]
        for row, network in enumerate(shown):
            colour = looks[network].colour
            axes.stairs(density(pulls[network][quantity.name], bins), bins, color=colour)
            width = summaries[network][quantity.name].pull
            axes.text(
                0.99,
                0.99 - 0.09 * row,
                f"{width.sigma68:.2f} ± {width.sigma68_error:.2f}",
                transform=axes.transAxes,
                ha="right",
                va="top",
                fontsize=8,
                color=colour,
            )
        axes.plot(curve, np.exp(-(curve**2) / 2) / np.sqrt(2 * np.pi), color=INK, linewidth=0.9)
        axes.set_ylim(bottom=0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        axes.set_title(quantity.words)
        axes.set_xlabel("residual / predicted $\\sigma$")
    legend(panels[len(quantities) :], [looks[network] for network in summaries], lines=True)
    return figure


def draw_calibration(summaries: Mapping[str, Mapping[str, PullSummary]], looks: Looks) -> Figure:
    """Draw observed against predicted widths in bins of the predicted sigma."""
    quantities = [q for q in EVALUATED if any(q.name in found for found in summaries.values())]
    figure, panels = panel_grid(len(quantities) + 1, height=2.5)
    for axes, quantity in zip(panels, quantities, strict=False):
        ends: list[float] = []
        for network, found in summaries.items():
            if quantity.name not in found:
                continue
            points = found[quantity.name].calibration
            predicted = [point.predicted for point in points]
            observed = [point.observed for point in points]
            ends += predicted + observed
            axes.errorbar(
                predicted,
                observed,
                yerr=[point.observed_error for point in points],
                fmt=looks[network].mark,
                color=looks[network].colour,
                markersize=4.5,
                elinewidth=1,
                markeredgecolor="white",
                markeredgewidth=0.5,
            )
        low, high = min(ends), max(ends)
        margin = 0.08 * (high - low) or 0.1 * high
        line = (max(low - margin, 0.0), high + margin)
        axes.plot(line, line, color=MUTED, linewidth=0.9, zorder=0)
        axes.set_xlim(line)
        axes.set_ylim(line)
        axes.set_title(quantity.words)
        axes.set_xlabel(f"predicted [{quantity.residual_unit}]")
        axes.set_ylabel(f"observed $\\sigma_{{68}}$ [{quantity.residual_unit}]")
    legend(panels[len(quantities) :], [looks[network] for network in summaries])
    return figure


def draw_confusion(found: Mapping[str, Confusion]) -> Figure:
    """Draw confusion matrices: colour is the share of the true class, text the events."""
    figure = new_figure(0.6 + 3.7 * len(found), 3.6)
    panels = figure.subplots(1, len(found), squeeze=False).ravel()
    for axes, (network, matrix) in zip(panels, found.items(), strict=True):
        counts = np.array(matrix.matrix)
        total = counts.sum(axis=1, keepdims=True)
        share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
        axes.imshow(np.where(total > 0, share, np.nan), cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            if total[row, 0]:
                axes.text(
                    column,
                    row,
                    f"{count:,}\n{100 * share[row, column]:.1f} %",
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white" if share[row, column] > 0.55 else INK,
                )
        axes.grid(visible=False)
        axes.set_xticks(range(len(counts)))
        axes.set_yticks(range(len(counts)))
        axes.set_xlabel("predicted number of photons")
        axes.set_ylabel("true number of photons")
        axes.set_title(network)
    return figure


def draw_speed(
    widths: Mapping[str, Mapping[str, Resolution]],
    speeds: Mapping[str, Throughput],
    looks: Looks,
) -> Figure:
    """Draw the resolution of each quantity against events per second, a point a network."""
    from matplotlib.ticker import (  # noqa: PLC0415 - optional
        FuncFormatter,
        LogLocator,
        NullFormatter,
    )

    quantities = [q for q in EVALUATED if any(q.name in widths[network] for network in speeds)]
    figure, panels = panel_grid(len(quantities) + 1)
    for axes, quantity in zip(panels, quantities, strict=False):
        for network, speed in speeds.items():
            if quantity.name not in widths[network]:
                continue
            width = widths[network][quantity.name]
            axes.errorbar(
                speed.events_per_second,
                width.sigma68,
                xerr=speed.spread,
                yerr=width.sigma68_error,
                fmt=looks[network].mark,
                color=looks[network].colour,
                markersize=6,
                elinewidth=1,
                markeredgecolor="white",
                markeredgewidth=0.5,
            )
        axes.set_xscale("log")
        axes.margins(x=0.25, y=0.25)
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(quantity.words)
        symbol = "68 % within" if quantity is OPENING else r"$\sigma_{68}$"
        axes.set_ylabel(f"{symbol} [{quantity.residual_unit}]")
        axes.set_xlabel("events / s")
    legend(panels[len(quantities) :], [looks[network] for network in speeds])
    for axes in panels[len(quantities) + 1 :]:
        hide(axes)
    return figure
