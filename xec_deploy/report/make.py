"""From a file of results to plots, figures and one page."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.errors import UsageError
from xec_deploy.physics.resolution import Profile, Resolution, profile, resolution
from xec_deploy.report.comparison import Comparison, compare, take_snapshots
from xec_deploy.report.display import draw_event
from xec_deploy.report.figures import (
    draw_distributions,
    draw_profiles,
    draw_pulls,
    draw_residuals,
    draw_truth_against_reconstruction,
)
from xec_deploy.report.page import render_page
from xec_deploy.report.quantities import QUANTITIES
from xec_deploy.report.results import Results, read_results
from xec_deploy.report.style import CONVENTIONAL, INK, NETWORK, SavedFigure, plot_style, save

__all__ = ["Report", "make_report"]

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
DEPTH_EDGES: Final = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0, 20.0)
ENERGY_BINS: Final = 9
MIN_PROFILE_EVENTS: Final = 20
METHODS: Final = ("network", "conventional")


@dataclass(frozen=True)
class Report:
    """A finished report.

    Attributes
    ----------
    directory
        Where everything is.
    page
        The self-contained ``index.html``.
    figures
        The plots, as PNG and PDF.
    summary_file, summary
        ``summary.json`` and what it holds.
    """

    directory: Path
    page: Path
    figures: tuple[SavedFigure, ...]
    summary_file: Path
    summary: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Analysis:
    """Residuals by method and quantity (n,), NaN outside the fiducial volume, and their figures."""

    residuals: dict[str, dict[str, FloatArray]]
    figures: dict[str, dict[str, Resolution]]
    inside: NDArray[np.bool_]


def make_report(
    results: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    events: str | os.PathLike[str] | None = None,
    conventional_events: int = 20_000,
) -> Report:
    """Make plots, ``index.html`` and ``summary.json`` from a file ``infer`` has written.

    Parameters
    ----------
    results
        The file, with the tree ``xec``.
    directory
        Where to write; made if absent, files of the same name are replaced.
    events
        The input the results were made of; None for the one the provenance names.
    conventional_events
        At most this many events, from the start, also get the simple conventional estimates
        (some 500 a second).

    Raises
    ------
    InputError
        If the results, or the given ``events``, cannot be used.
    MissingExtra
        If matplotlib or jinja2 is not installed.
    UsageError
        If the directory cannot be written.
    """
    target = Path(directory)
    with plot_style():
        content = read_results(results)
        comparison = compare(
            content,
            events=Path(events) if events is not None else None,
            conventional_events=conventional_events,
        )
        analysis = _analyse(content, comparison)
        summary = _summary(content, comparison, analysis)
        try:
            target.mkdir(parents=True, exist_ok=True)
            figures = _draw(content, comparison, analysis, target)
            page = target / "index.html"
            page.write_text(render_page(summary, figures), encoding="utf-8")
            summary_file = target / "summary.json"
            text = json.dumps(summary, indent=1, allow_nan=False)
            summary_file.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"the report cannot be written ({error.strerror})",
                where=str(error.filename or target),
                fix="Choose a directory you may write to, with room for some MB.",
            ) from error
    logger.info("report in %s", page)
    return Report(target, page, tuple(figures), summary_file, summary)


def _analyse(results: Results, comparison: Comparison) -> _Analysis:
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
    return _Analysis(residuals, figures, inside)


def _summary(results: Results, comparison: Comparison, analysis: _Analysis) -> dict[str, Any]:
    counts = {name: float(values.mean()) for name, values in results.counts.items() if len(values)}
    return {
        "results": results.path,
        "events": len(results),
        "runs": len(np.unique(results.run)),
        "fiducial_events": int(analysis.inside.sum()),
        "conventional_events": comparison.n_conventional,
        "truth": comparison.note,
        "status": results.status_counts(),
        "mean_per_event": counts,
        "events_per_second": _throughput(results),
        "not_computed": {
            name: int(np.count_nonzero(~np.isfinite(values)))
            for name, values in results.values.items()
        },
        "resolution": {
            quantity.name: {
                "unit": quantity.residual_unit,
                "published": quantity.published,
                **{
                    method: found[quantity.name].to_dict()
                    for method, found in analysis.figures.items()
                    if quantity.name in found
                },
            }
            for quantity in QUANTITIES
            if any(quantity.name in found for found in analysis.figures.values())
        },
        "provenance": dict(results.provenance),
    }


def _throughput(results: Results) -> float | None:
    """Events per second of the inference, from the times in the provenance."""
    try:
        begin, end = (
            datetime.fromisoformat(str(results.provenance[key])) for key in ("started", "finished")
        )
        seconds = (end - begin).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None
    return len(results) / seconds if seconds > 0 else None


def _draw(
    results: Results, comparison: Comparison, analysis: _Analysis, directory: Path
) -> list[SavedFigure]:
    saved: list[SavedFigure] = []

    def keep(figure: Any, name: str, title: str, caption: str) -> None:
        saved.append(save(figure, directory, name, title=title, caption=caption))

    truth, network = comparison.truth, analysis.residuals.get("network", {})
    if analysis.residuals:
        keep(
            draw_residuals(analysis.residuals, analysis.figures),
            "residuals",
            "Residuals",
            "Fiducial volume, unit area; σ68 is half the smallest interval that holds 68.27 %.",
        )
    for name, label, scale, edges in (
        ("energy", "true $E_\\gamma$ [MeV]", 1e3, _energy_edges(truth.get("energy"))),
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
    for label, snapshot in zip(
        *_choose_events(results, comparison, analysis), strict=True
    ):
        keep(
            _display(results, comparison, snapshot, label),
            f"event_{label}",
            f"Event display: {label} event",
            "All six faces unrolled to one scale. "
            + _how_chosen(label, has_truth=bool(network)),
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
    analysis: _Analysis, variable: FloatArray, edges: FloatArray
) -> dict[str, dict[str, Profile]]:
    profiles: dict[str, dict[str, Profile]] = {}
    for method, found in analysis.residuals.items():
        for name, residual in found.items():
            binned = profile(residual, variable, edges)
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
    results: Results, comparison: Comparison, analysis: _Analysis
) -> tuple[list[str], list[Any]]:
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
    return f"The event with the {which} sum of squared residuals in units of σ68."


def _display(results: Results, comparison: Comparison, snapshot: Any, label: str) -> Any:
    entry = snapshot.entry
    methods = {
        "truth": (comparison.truth, "o", INK),
        "network": (results.values, "+", NETWORK),
        "conventional": (comparison.conventional, "x", CONVENTIONAL),
    }
    points = {
        method: (np.array([found[name][entry] for name in "uvw"]), marker, colour)
        for method, (found, marker, colour) in methods.items()
        if all(name in found for name in "uvw")
    }
    lines = [f"{'':13}{'E':>7}{'t':>8}{'u':>7}{'v':>7}{'w':>7}"]
    lines.append(f"{'':13}{'MeV':>7}{'ns':>8}{'cm':>7}{'cm':>7}{'cm':>7}")
    for method, (found, _, _) in methods.items():
        if not found:
            continue
        cells = [
            _cell(found, "energy", entry, 1e3, 7, 2),
            _cell(found, "timing", entry, 1.0, 8, 3),
            *(_cell(found, name, entry, 1.0, 7, 2) for name in "uvw"),
        ]
        lines.append(f"{method:13}" + "".join(cells))
    title = f"Run {results.run[entry]}, event {results.event[entry]} ({label})"
    return draw_event(snapshot, title=title, points=points, notes="\n".join(lines))


def _cell(
    found: Mapping[str, FloatArray], name: str, entry: int, scale: float, width: int, digits: int
) -> str:
    if name not in found or not np.isfinite(found[name][entry]):
        return f"{'-':>{width}}"
    return f"{found[name][entry] * scale:{width}.{digits}f}"
