"""Hiding sensors from a network that shall predict them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.normalisation import Normalisation

__all__ = ["SensorAssembly", "hide", "padded_sensors"]


def hide(x: Tensor, mask: Tensor, normalisation: Normalisation) -> Tensor:
    """Give masked sensors of normalised events (batch, 4760, 2) the values of dead ones.

    ``mask`` is (batch, 4760), True or 1 where a sensor is to be hidden.
    """
    sentinels = x.new_tensor([normalisation.sentinel_npho, normalisation.sentinel_time])
    return torch.where(mask.bool().unsqueeze(-1), sentinels, x)


def padded_sensors(mask: Tensor, width: int | None = None) -> tuple[Tensor, Tensor]:
    """List the masked sensors of each event.

    Parameters
    ----------
    mask
        (batch, 4760) bool.
    width
        Sensors to list per event; None for as many as the fullest event has.  With a number the
        shape of the result is known beforehand, and no accelerator has to be waited for; sensors
        beyond it are left out.

    Returns
    -------
    sensors
        (batch, width) ids, ascending among the masked ones, padded with others.
    present
        (batch, width) bool, False where an entry is padding.
    """
    count = mask.sum(dim=1)
    if width is None:
        width = max(int(count.max()), 1) if len(mask) else 1
    order = torch.sort(mask.to(torch.uint8), dim=1, descending=True, stable=True).indices
    present = torch.arange(width, device=mask.device) < count.unsqueeze(1)
    return order[:, :width], present


class SensorAssembly(nn.Module):
    """Predictions by face to predictions by sensor.

    A gather over the concatenated faces: the scatter it replaces has no TensorRT counterpart.
    """

    order: Tensor
    predicted: Tensor

    def __init__(self, ids: Mapping[str, Tensor]) -> None:
        """Expect predictions in the order of ``ids``, sensor ids by face."""
        super().__init__()
        self.faces: Final = tuple(ids)
        listed = torch.cat(list(ids.values()))
        # The place behind the last prediction holds the zero of sensors that have none.
        order = torch.full((N_SENSORS,), len(listed))
        order[listed] = torch.arange(len(listed))
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("predicted", order < len(listed), persistent=False)
        self.complete = bool(self.predicted.all())

    def forward(self, faces: Mapping[str, Tensor]) -> Tensor:
        """Turn {face: (batch, sensors of the face, channels)} into (batch, 4760, channels)."""
        parts = [faces[name] for name in self.faces]
        if not self.complete:
            parts.append(torch.zeros_like(parts[0][:, :1]))
        return torch.cat(parts, dim=1).index_select(1, self.order)
