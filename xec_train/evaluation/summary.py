"""The figures of an evaluation, from what was kept of its events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xec_deploy.physics.resolution import Profile, Resolution
from xec_train.evaluation.binned import axis_edges, binned_limit, binned_width, energy_curve_of
from xec_train.evaluation.config import EvaluationConfig
from xec_train.evaluation.confusion import Confusion, confusion
from xec_train.evaluation.energy_curve import EnergyCurve
from xec_train.evaluation.limits import mixture_sigma68
from xec_train.evaluation.methods import Estimates
from xec_train.evaluation.pulls import PullSummary, summarise_pulls
from xec_train.evaluation.quantities import (
    CLASS_TRUTH,
    EVALUATED,
    OPENING,
    residuals_of,
    width_of,
)
from xec_train.evaluation.ratio import Ratio, paired_ratio
from xec_train.evaluation.sample import Condition, Sample
from xec_train.evaluation.worst import WorstEvent, worst_events

__all__ = ["DeadPoint", "Residuals", "Summary", "plain", "summarise"]

FloatArray = NDArray[np.float64]
Region = Literal["fiducial", "all"]
Residuals = Mapping[str, Mapping[str, FloatArray]]
"""Method -> quantity -> (n,) residuals."""


@dataclass(frozen=True)
class DeadPoint:
    """A resolution with more dead channels.

    Attributes
    ----------
    fraction
        Share of channels made dead beside those that are.
    mean_dead
        Dead channels an event, all together.
    resolution
        In the fiducial volume.
    loss
        Ratio of the width to that without, on the same events.
    limit
        sigma68 at the simulation's limit, NaN if unknown.
    """

    fraction: float
    mean_dead: float
    resolution: Resolution
    loss: Ratio
    limit: float


@dataclass(frozen=True)
class Summary:
    """All figures; mappings go from method to quantity unless stated.

    Attributes
    ----------
    events, fiducial_events, runs
        How many.
    resolution
        Region (``fiducial``, ``all``) -> method -> quantity.
    ratio
        Network -> conventional method, or the first of several networks -> quantity: ratio of
        widths on the same fiducial events.
    limit
        Region -> quantity -> sigma68 at the simulation's limit.
    profiles
        Axis (``energy`` [GeV], ``u``, ``v``, ``w`` [cm], true) -> method -> quantity; fiducial.
    limit_profiles
        Axis -> quantity -> (bins,) widths at the limit.
    dead
        Method -> quantity -> points, ascending in the fraction.
    energy_curve
        Method -> fit of its energy resolution.
    pulls
        Network -> quantity, where sigmas are predicted; fiducial.
    n_gamma
        Network -> confusion matrix, all events.
    worst
        Network -> ``all`` or a quantity -> events, fiducial.
    """

    events: int
    fiducial_events: int
    runs: int
    resolution: Mapping[Region, Mapping[str, Mapping[str, Resolution]]]
    ratio: Mapping[str, Mapping[str, Mapping[str, Ratio]]]
    limit: Mapping[Region, Mapping[str, float]]
    profiles: Mapping[str, Mapping[str, Mapping[str, Profile]]]
    limit_profiles: Mapping[str, Mapping[str, FloatArray]]
    dead: Mapping[str, Mapping[str, tuple[DeadPoint, ...]]]
    energy_curve: Mapping[str, EnergyCurve]
    pulls: Mapping[str, Mapping[str, PullSummary]]
    n_gamma: Mapping[str, Confusion]
    worst: Mapping[str, Mapping[str, tuple[WorstEvent, ...]]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers for JSON, None for NaN."""
        found = plain(self)
        assert isinstance(found, dict)  # noqa: S101 - a dataclass
        return found


def summarise(
    sample: Sample,
    networks: Sequence[str],
    conventional: Sequence[str],
    config: EvaluationConfig,
) -> Summary:
    """Compute all figures of a sample; networks and conventional methods by name."""
    inside = sample.fiducial()
    residuals = residuals_by_method(sample, sample.base)
    at = {"fiducial": inside, "all": np.ones_like(inside)}
    edges = axis_edges(sample)
    # The speed of a profile is that of its bootstrap; its bins have larger errors anyway.
    replicas = config.replicas // 2
    references = [*conventional, *(networks[:1] if len(networks) > 1 else ())]
    resolutions: dict[Region, dict[str, dict[str, Resolution]]] = {
        region: {
            method: {
                name: width_of(name, values[at[region]], replicas=config.replicas)
                for name, values in found.items()
            }
            for method, found in residuals.items()
        }
        for region in ("fiducial", "all")
    }
    profiles = {
        axis: {
            method: {
                name: binned_width(name, values, sample.truth[axis], inside, bins, replicas, config)
                for name, values in found.items()
            }
            for method, found in residuals.items()
        }
        for axis, bins in edges.items()
    }
    return Summary(
        events=len(sample),
        fiducial_events=int(inside.sum()),
        runs=len(np.unique(sample.run)),
        resolution=resolutions,
        ratio={
            network: {
                other: {
                    name: _ratio(name, residuals[network][name], values, inside, config.replicas)
                    for name, values in residuals[other].items()
                    if name in residuals[network]
                }
                for other in references
                if other != network
            }
            for network in networks
        },
        limit={
            region: {
                name: mixture_sigma68(limit[at[region]])
                for name, limit in sample.base.limits.items()
            }
            for region in ("fiducial", "all")
        },
        profiles=profiles,
        limit_profiles={
            axis: {
                name: binned_limit(limit, sample.truth[axis], inside, bins)
                for name, limit in sample.base.limits.items()
            }
            for axis, bins in edges.items()
        },
        dead=_dead(sample, residuals, resolutions["fiducial"], inside, config),
        energy_curve={
            method: curve
            for method, found in profiles.get("energy", {}).items()
            if "energy" in found
            for curve in [energy_curve_of(found["energy"])]
            if curve is not None
        },
        pulls={
            network: found
            for network in networks
            for found in [_pulls(sample, network, residuals[network], inside, replicas)]
            if found
        },
        n_gamma={
            network: confusion(scores, sample.truth[CLASS_TRUTH])
            for network in networks
            for scores in [_class_scores(sample.base.estimates[network])]
            if scores is not None and CLASS_TRUTH in sample.truth
        },
        worst={
            network: _worst(
                sample, residuals[network], resolutions["fiducial"][network], inside, config
            )
            for network in networks
        },
    )


def residuals_by_method(sample: Sample, condition: Condition) -> dict[str, dict[str, FloatArray]]:
    """Return the residuals of all methods under a condition; methods without any are empty."""
    return {
        method: residuals_of(estimates.values, sample.truth)
        for method, estimates in condition.estimates.items()
    }


def plain(value: Any) -> Any:
    """Return JSON values: dataclasses as objects, arrays as lists, NaN and infinity as None."""
    if isinstance(value, Profile | Resolution):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in (f.name for f in fields(value))}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _ratio(
    name: str,
    first: FloatArray,
    second: FloatArray,
    inside: NDArray[np.bool_],
    replicas: int,
) -> Ratio:
    one_sided = name == OPENING.name
    return paired_ratio(first[inside], second[inside], one_sided=one_sided, replicas=replicas)


def _dead(
    sample: Sample,
    base: Residuals,
    widths: Mapping[str, Mapping[str, Resolution]],
    inside: NDArray[np.bool_],
    config: EvaluationConfig,
) -> dict[str, dict[str, tuple[DeadPoint, ...]]]:
    if len(sample.conditions) == 1:
        return {}
    points: dict[str, dict[str, list[DeadPoint]]] = {}
    for condition in sample.conditions:
        first = condition is sample.base
        residuals = base if first else residuals_by_method(sample, condition)
        for method, found in residuals.items():
            for name, values in found.items():
                limit = condition.limits.get(name)
                point = DeadPoint(
                    fraction=condition.fraction,
                    mean_dead=float(condition.n_dead[inside].mean()) if inside.any() else math.nan,
                    resolution=widths[method][name]
                    if first
                    else width_of(name, values[inside], replicas=config.replicas),
                    loss=_ratio(name, values, base[method][name], inside, config.replicas),
                    limit=math.nan if limit is None else mixture_sigma68(limit[inside]),
                )
                points.setdefault(method, {}).setdefault(name, []).append(point)
    return {
        method: {name: tuple(series) for name, series in found.items()}
        for method, found in points.items()
    }


def _pulls(
    sample: Sample,
    network: str,
    residuals: Mapping[str, FloatArray],
    inside: NDArray[np.bool_],
    replicas: int,
) -> dict[str, PullSummary]:
    found: dict[str, PullSummary] = {}
    for name, sigma in residual_sigmas(sample, network).items():
        if name in residuals:
            summary = summarise_pulls(residuals[name][inside], sigma[inside], replicas=replicas)
            if summary is not None:
                found[name] = summary
    return found


def residual_sigmas(sample: Sample, network: str) -> dict[str, FloatArray]:
    """Return a network's predicted sigmas (n,) by quantity, in the residual's unit."""
    sigmas = sample.base.estimates[network].sigmas
    found: dict[str, FloatArray] = {}
    for quantity in EVALUATED:
        if quantity.name in sigmas and quantity.name in sample.truth:
            sigma = np.asarray(sigmas[quantity.name], dtype=np.float64) * quantity.residual_scale
            if quantity.relative:
                truth = np.asarray(sample.truth[quantity.name], dtype=np.float64)
                sigma = sigma / np.where(truth > 0, truth, np.nan)
            found[quantity.name] = sigma
    return found


def _class_scores(estimates: Estimates) -> NDArray[np.float32] | None:
    scores = [values for name, values in estimates.values.items() if name.startswith("n_gamma_")]
    return np.stack(scores, axis=1) if scores else None


def _worst(
    sample: Sample,
    residuals: Mapping[str, FloatArray],
    widths: Mapping[str, Resolution],
    inside: NDArray[np.bool_],
    config: EvaluationConfig,
) -> dict[str, tuple[WorstEvent, ...]]:
    scale = {name: width.sigma68 for name, width in widths.items()}
    truth = {name: sample.truth[name] for name in ("energy", "u", "v", "w") if name in sample.truth}
    rankings = {"all": dict(residuals), **{name: {name: r} for name, r in residuals.items()}}
    return {
        label: worst_events(
            ranked,
            scale,
            sample.run,
            sample.event,
            truth,
            count=config.worst,
            inside=inside,
        )
        for label, ranked in rankings.items()
    }
