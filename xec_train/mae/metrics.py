"""What a validation says of predicted sensors, from sums over all masked ones."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xec_deploy.detector import constants as c
from xec_train.mae.losses import SUMS

__all__ = ["sensor_metrics"]


def sensor_metrics(
    sums: Tensor, channels: Sequence[str], *, errors: bool, faces: bool
) -> dict[str, float]:
    """Return metrics by name, from sums (faces, channels, SUMS).

    Parameters
    ----------
    channels
        Their names.
    errors
        ``<channel>_mae`` and ``<channel>_rmse`` of all masked sensors, in normalised units.
    faces
        The same of each face, ``<channel>_mae_<face>``; and the loss, ``<channel>_<face>``.
    """
    index = {name: place for place, name in enumerate(SUMS)}
    metrics: dict[str, float] = {}
    for place, channel in enumerate(channels):
        parts = {"": sums[:, place].sum(dim=0)}
        if faces:
            parts |= {f"_{face}": sums[number, place] for number, face in enumerate(c.FACES)}
        for suffix, values in parts.items():
            count = float(values[index["count"]])
            if count == 0:
                continue
            if errors:
                metrics[f"{channel}_mae{suffix}"] = float(values[index["absolute"]]) / count
                metrics[f"{channel}_rmse{suffix}"] = (float(values[index["square"]]) / count) ** 0.5
            if suffix:
                weight = float(values[index["weight"]])
                metrics[f"{channel}{suffix}"] = float(values[index["loss"]]) / max(weight, 1e-12)
    return metrics
