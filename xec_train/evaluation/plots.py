"""Which plots an evaluation has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from xec_deploy.report.figures import draw_truth_against_reconstruction
from xec_deploy.report.style import SavedFigure, save
from xec_train.evaluation.figures import (
    draw_dead,
    draw_energy_curve,
    draw_profiles,
    draw_ratios,
    draw_residuals,
)
from xec_train.evaluation.looks import looks_of, words_of
from xec_train.evaluation.network_figures import (
    draw_calibration,
    draw_confusion,
    draw_pulls,
    draw_speed,
)
from xec_train.evaluation.sample import Sample
from xec_train.evaluation.summary import Summary, residual_sigmas, residuals_by_method
from xec_train.evaluation.throughput import Throughput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_plots"]

AXIS_LABELS: Final = {
    "energy": ("true $E$ [MeV]", 1e3, "energy"),
    "u": ("true $u$ [cm]", 1.0, "u"),
    "v": ("true $v$ [cm]", 1.0, "v"),
    "w": ("true depth $w$ [cm]", 1.0, "depth"),
}

BIAS_AXES: Final = ("energy", "w")


def draw_plots(
    sample: Sample,
    summary: Summary,
    networks: Sequence[str],
    conventional: Sequence[str],
    speeds: Mapping[str, Throughput],
    directory: Path,
) -> list[SavedFigure]:
    """Draw what the sample allows, as PNG and PDF in the directory, inside `plot_style`."""
    saved: list[SavedFigure] = []

    def keep(figure: Figure, name: str, title: str, caption: str) -> None:
        saved.append(save(figure, directory, name, title=title, caption=caption))

    inside = sample.fiducial()
    looks = looks_of(networks, conventional)
    residuals = {
        method: {name: np.where(inside, values, np.nan) for name, values in found.items()}
        for method, found in residuals_by_method(sample, sample.base).items()
        if method in looks
    }
    if any(residuals.values()):
        keep(
            draw_residuals(residuals, summary.resolution["fiducial"], looks),
            "residuals",
            "Residuals",
            "Fiducial volume, unit area; sigma 68: half the smallest interval that holds 68.27 %.",
        )
    for other in dict.fromkeys(name for found in summary.ratio.values() for name in found):
        if any(found.get(other) for found in summary.ratio.values()):
            keep(
                draw_ratios(summary.ratio, other, looks),
                f"ratio_{other}",
                f"Ratio to {words_of(other)}",
                "Fiducial volume; errors from replicas that draw both methods' events together.",
            )
    for axis, profiles in summary.profiles.items():
        label, scale, words = AXIS_LABELS[axis]
        if any(profiles.values()):
            keep(
                draw_profiles(profiles, summary.limit_profiles[axis], label, looks, scale=scale),
                f"resolution_{words}",
                f"Resolution against {words}",
                "Fiducial volume; points at the mean of the bin, side by side.",
            )
        if axis in BIAS_AXES and any(profiles.values()):
            keep(
                draw_profiles(profiles, {}, label, looks, scale=scale, value="bias"),
                f"bias_{words}",
                f"Bias against {words}",
                "Fiducial volume; median of the residuals. At the ends of the energies it was "
                "trained on, a network may trade bias for width.",
            )
    curves = {method: curve for method, curve in summary.energy_curve.items() if method in looks}
    if curves:
        keep(
            draw_energy_curve(
                summary.profiles["energy"],
                curves,
                summary.limit_profiles["energy"].get("energy"),
                {method: look for method, look in looks.items() if method in curves},
            ),
            "energy_curve",
            "Energy resolution",
            "Fiducial volume; line: fit of a stochastic, a constant and a noise term.",
        )
    if summary.dead:
        keep(
            draw_dead(summary.dead, looks),
            "dead_channels",
            "Resolution against dead channels",
            "The same fiducial events with more channels dead, beside those that are.",
        )
    if len(speeds) > 1:
        keep(
            draw_speed(summary.resolution["fiducial"], speeds, looks),
            "speed",
            "Resolution against speed",
            "Fiducial volume; events per second of the forward pass, measured in this run.",
        )
    if summary.pulls:
        pulls = {
            network: {
                name: residuals[network][name] / np.where(sigma > 0, sigma, np.nan)
                for name, sigma in residual_sigmas(sample, network).items()
                if name in residuals[network]
            }
            for network in summary.pulls
        }
        keep(
            draw_pulls(pulls, summary.pulls, looks),
            "pulls",
            "Pulls",
            "Fiducial volume; numbers: sigma 68, ideally 1; line: unit Gaussian.",
        )
        keep(
            draw_calibration(summary.pulls, looks),
            "calibration",
            "Calibration of predicted uncertainties",
            "Fiducial volume, bins of equal population in the predicted sigma; line: equality.",
        )
    if summary.n_gamma:
        keep(
            draw_confusion(summary.n_gamma),
            "n_gamma",
            "Number of photons",
            "All events; colour and per cent: share of the true class.",
        )
    for network in networks:
        values = sample.base.estimates[network].values
        shown = {
            name: np.where(inside, truth, np.nan).astype(np.float64)
            for name, truth in sample.truth.items()
            if name in residuals[network]
        }
        if shown:
            keep(
                draw_truth_against_reconstruction(
                    shown, {name: values[name].astype(np.float64) for name in shown}
                ),
                f"truth_{network}" if len(networks) > 1 else "truth",
                f"Reconstructed against true: {network}",
                "Fiducial volume; colour: events per bin, logarithmic; line: equality.",
            )
    return saved
