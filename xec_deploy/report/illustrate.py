"""Which plots a report has, and the residuals they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.physics.conventional import estimate
from xec_deploy.physics.resolution import Profile, Resolution, profile, resolution
from xec_deploy.report.comparison import Comparison, Snapshot, take_snapshots
from xec_deploy.report.display import draw_event
from xec_deploy.report.figures import (
    draw_distributions,
    draw_profiles,
    draw_pulls,
    draw_residuals,
    draw_truth_against_reconstruction,
)
from xec_deploy.report.quantities import QUANTITIES
from xec_deploy.report.results import Results
from xec_deploy.report.style import CONVENTIONAL, INK, MUTED, NETWORK, SavedFigure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Analysis", "analyse", "draw_all"]

FloatArray = NDArray[np.float64]
DEPTH_EDGES: Final = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0, 20.0)
ENERGY_BINS: Final = 9
MIN_PROFILE_EVENTS: Final = 20
PROFILE_REPLICAS: Final = 50
METHODS: Final = ("network", "conventional")


@dataclass(frozen=True, eq=False)
class Analysis:
    """Residuals by method and quantity (n,), NaN outside the fiducial volume, and their figures."""

    residuals: dict[str, dict[str, FloatArray]]
    figures: dict[str, dict[str, Resolution]]
    inside: NDArray[np.bool_]


def analyse(results: Results, comparison: Comparison) -> Analysis:
    """Form the residuals of network and simple estimates, and their figures."""
    inside = comparison.fiducial(results)
    residuals: dict[str, dict[str, FloatArray]] = {}
    figures: dict[str, dict[str, Resolution]] = {}
    for method, values in zip(METHODS, (results.values, comparison.conventional), strict=True):
        for quantity in QUANTITIES:
            if quantity.name not in values or quantity.name not in comparison.truth:
                continue
            known = np.isfinite(comparison.truth[quantity.name]) & inside
            if method == "conventional":
                known[comparison.n_conventional :] = False
            residual = quantity.residual(values[quantity.name], comparison.truth[quantity.name])
            if known.any():
                figures.setdefault(method, {})[quantity.name] = resolution(residual[known])
                residuals.setdefault(method, {})[quantity.name] = np.where(known, residual, np.nan)
    return Analysis(residuals, figures, inside)


def draw_all(
    results: Results, comparison: Comparison, analysis: Analysis, directory: Path
) -> list[SavedFigure]:
    """Draw what the results allow, as PNG and PDF in the directory."""
    saved: list[SavedFigure] = []

    def keep(figure: Figure, name: str, title: str, caption: str) -> None:
        saved.append(save(figure, directory, name, title=title, caption=caption))

    truth, network = comparison.truth, analysis.residuals.get("network", {})
    if analysis.residuals:
        keep(
            draw_residuals(analysis.residuals, analysis.figures),
            "residuals",
            "Residuals",
            "Fiducial volume, unit area; sigma 68: half the smallest interval that holds 68.27 %.",
        )
    for name, label, scale, edges in (
        ("energy", "true $E$ [MeV]", 1e3, _energy_edges(truth.get("energy"))),
        ("w", "true depth $w$ [cm]", 1.0, np.array(DEPTH_EDGES)),
    ):
        if name in truth and analysis.residuals and edges is not None:
            words = {"energy": "energy", "w": "depth"}[name]
            keep(
                draw_profiles(_profiles(analysis, truth[name], edges), label, scale=scale),
                f"resolution_{words}",
                f"Resolution against {words}",
                "Bars: statistical error (bootstrap) and bin width; "
                f"bins with fewer than {MIN_PROFILE_EVENTS} events are left out.",
            )
    if network:
        keep(
            draw_truth_against_reconstruction(
                {name: np.where(analysis.inside, truth[name], np.nan) for name in network},
                results.values,
            ),
            "truth",
            "Reconstructed against true",
            "Network, fiducial volume; colour: events per bin, logarithmic; line: equality.",
        )
    pulls = {
        quantity.name: network[quantity.name]
        / quantity.residual_scale
        / np.where(results.sigmas[quantity.name] > 0, results.sigmas[quantity.name], np.nan)
        * (truth[quantity.name] if quantity.relative else 1.0)
        for quantity in QUANTITIES
        if quantity.name in network and quantity.name in results.sigmas
    }
    if pulls:
        keep(draw_pulls(pulls), "pulls", "Pulls", "Residuals over the predicted uncertainty.")
    shown = {"truth": truth, "network": results.values, "conventional": comparison.conventional}
    keep(
        draw_distributions({method: found for method, found in shown.items() if found}),
        "distributions",
        "Distributions",
        "All events with a value, unit area.",
    )
    for label, snapshot in zip(*_choose_events(results, comparison, analysis), strict=True):
        keep(
            _display(results, comparison, snapshot, label),
            f"event_{label}",
            f"Event display: {label} event",
            "All six faces unrolled to one scale. " + _how_chosen(label, has_truth=bool(network)),
        )
    return saved


def _energy_edges(energy: FloatArray | None) -> FloatArray | None:
    if energy is None or not np.isfinite(energy).any():
        return None
    low, high = np.nanmin(energy), np.nanmax(energy)
    if high - low < 1e-3 * high:  # a line
        return None
    return np.linspace(low, high, ENERGY_BINS + 1)


def _profiles(
    analysis: Analysis, variable: FloatArray, edges: FloatArray
) -> dict[str, dict[str, Profile]]:
    profiles: dict[str, dict[str, Profile]] = {}
    for method, found in analysis.residuals.items():
        for name, residual in found.items():
            binned = profile(residual, variable, edges, replicas=PROFILE_REPLICAS)
            enough = binned.values("n") >= MIN_PROFILE_EVENTS
            points = tuple(
                point if good else resolution([])
                for point, good in zip(binned.points, enough, strict=True)
            )
            profiles.setdefault(method, {})[name] = Profile(
                binned.edges, binned.centre, points, binned.outside
            )
    return profiles


def _choose_events(
    results: Results, comparison: Comparison, analysis: Analysis
) -> tuple[list[str], list[Snapshot]]:
    """Choose the events with median and with largest squared residual, all quantities together."""
    score = np.zeros(len(results))
    terms = 0
    for name, residual in analysis.residuals.get("network", {}).items():
        width = analysis.figures["network"][name].sigma68
        if width > 0:
            score += (residual / width) ** 2
            terms += 1
    if not terms:
        first = next(iter(results.values.values()))
        score = np.where(np.isfinite(first), 0.0, np.nan)
    known = np.flatnonzero(np.isfinite(score))
    if len(known) == 0:
        return [], []
    order = known[np.argsort(score[known], kind="stable")]
    entries = {"typical": int(order[len(order) // 2])}
    if terms and len(order) > 1:
        entries["worst"] = int(order[-1])
    snapshots = take_snapshots(comparison, entries.values())
    return list(entries)[: len(snapshots)], snapshots


def _how_chosen(label: str, *, has_truth: bool) -> str:
    if not has_truth:
        return "An event from the middle of the file."
    which = "median" if label == "typical" else "largest"
    return f"The event with the {which} sum of squared residuals in units of their resolutions."


def _display(results: Results, comparison: Comparison, snapshot: Snapshot, label: str) -> Figure:
    entry = snapshot.entry
    conventional = results.conventional
    if not conventional:
        simple = estimate(snapshot.npho[None], snapshot.time[None], snapshot.dead[None])
        conventional = {
            name: np.broadcast_to(one, len(results)) for name, one in simple.to_dict().items()
        }
    methods = {
        "truth": (comparison.truth, "o", INK),
        "network": (results.values, "+", NETWORK),
        "conventional": (conventional, "x", CONVENTIONAL),
    }
    points = {
        method: (np.array([found[name][entry] for name in "uvw"]), marker, colour)
        for method, (found, marker, colour) in methods.items()
        if all(name in found for name in "uvw")
    }
    heads = ("E [MeV]", "t [ns]", "u [cm]", "v [cm]", "w [cm]")
    lines = [(f"{'':13}" + "".join(f"{head:>9}" for head in heads), MUTED)]
    for method, (found, _, colour) in methods.items():
        if not found:
            continue
        cells = [
            _cell(found, "energy", entry, 1e3, 2),
            _cell(found, "timing", entry, 1.0, 3),
            *(_cell(found, name, entry, 1.0, 2) for name in "uvw"),
        ]
        lines.append((f"{method:13}" + "".join(cells), colour))
    title = f"Run {results.run[entry]}, event {results.event[entry]} ({label})"
    return draw_event(snapshot, title=title, points=points, notes=lines)


def _cell(found: Mapping[str, FloatArray], name: str, entry: int, scale: float, digits: int) -> str:
    if name not in found or not np.isfinite(found[name][entry]):
        return f"{'-':>9}"
    return f"{found[name][entry] * scale:9.{digits}f}"
