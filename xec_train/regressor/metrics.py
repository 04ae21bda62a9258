"""What a validation says of each quantity, from predictions and truth of all its events."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xec_train.models import TaskName
from xec_train.regressor.targets import CLASSES

__all__ = ["central_half_width", "task_metrics"]


def central_half_width(values: NDArray[np.floating]) -> float:
    """Return half the central interval that holds 68 % of the values."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2


def task_metrics(
    task: TaskName, prediction: NDArray[np.floating], target: NDArray[np.floating]
) -> dict[str, float]:
    """Return the metrics of a task by name.

    Per component ``<task>_<component>_res``, half the central 68 % interval of the residuals, and
    ``_bias``, their mean, in the unit of the quantity; ``angle_opening_68`` [deg] and
    ``uvwFI_distance_68`` [cm], below which 68 % of the opening angles and distances are;
    ``<task>_<component>_pull``, the half width of residuals over predicted sigmas, where the
    prediction (events, 2 components) has log variances; ``n_gamma_accuracy``.
    """
    if task == CLASSES:
        right = prediction.argmax(axis=1) == target[:, 0]
        return {f"{task}_accuracy": float(right.mean())}
    components = target.shape[1]
    residual = prediction[:, :components] - target
    metrics: dict[str, float] = {}
    for component, values in enumerate(residual.T):
        name = f"{task}_{component}"
        metrics[f"{name}_res"] = central_half_width(values)
        metrics[f"{name}_bias"] = float(values.mean())
        if prediction.shape[1] > components:
            sigma = np.exp(0.5 * prediction[:, components + component])
            metrics[f"{name}_pull"] = central_half_width(values / sigma)
    if task == "angle":
        opening = _opening_angle(prediction[:, :2], target)
        metrics["angle_opening_68"] = float(np.quantile(opening, 0.68))
    if task == "uvwFI":
        distance = np.linalg.norm(residual, axis=1)
        metrics["uvwFI_distance_68"] = float(np.quantile(distance, 0.68))
    return metrics


def _opening_angle(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return angles [deg] between directions (n, 2) of theta and phi [deg]."""
    theta, phi = np.deg2rad(first).T
    other_theta, other_phi = np.deg2rad(second).T
    # Haversine: exact for the small angles this is about, unlike the arc cosine.
    square = (
        np.sin((theta - other_theta) / 2) ** 2
        + np.sin(theta) * np.sin(other_theta) * np.sin((phi - other_phi) / 2) ** 2
    )
    angle: NDArray[np.floating] = np.rad2deg(2.0 * np.arcsin(np.sqrt(np.clip(square, 0.0, 1.0))))
    return angle
