"""What a wrong prediction of a hidden sensor costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from xec_deploy.detector import constants as c
from xec_deploy.normalisation import Normalisation
from xec_train.config.inpainter import InpainterTraining
from xec_train.training.losses import event_loss

__all__ = ["Hidden", "SensorLoss", "expected_error", "photon_statistics"]

UNRESOLVED: Final = 0.1
"""Relative spread of the light of a sensor that its surroundings do not tell, about: steps between
neighbours of a shower's own making."""
NOISE: Final = 10.0
"""Photons without light that make about the electronic noise."""


@dataclass(frozen=True, eq=False)
class Hidden:
    """Hidden sensors of a batch, flat.

    Attributes
    ----------
    sensors
        (m,) ids.
    photons
        (m,) raw truth.
    normalised
        (m, 2) truth as the network would see it; a time that is not valid is the sentinel.
    weight
        (m,) of the events they are in; None for all alike.
    """

    sensors: Tensor
    photons: Tensor
    normalised: Tensor
    weight: Tensor | None


def photon_statistics(photons: Tensor, sensors: Tensor) -> Tensor:
    """Return the statistical error [photons] of sensors that see ``photons``, noise included."""
    pde, qe = (photons.new_tensor(value) for value in (c.MPPC_PDE, c.PMT_QE))
    efficiency = torch.where(sensors < c.N_MPPC, pde, qe)
    return ((photons.clamp_min(0.0) + NOISE) / efficiency).sqrt()


def expected_error(photons: Tensor, sensors: Tensor) -> Tensor:
    """Return the error [photons] to expect of a prediction: statistics, and a tenth of the light.

    With errors in this unit and the unit taken at the prediction, without gradient, the mean
    squared error is a quasi-likelihood: its minimum has no bias, whatever the weights
    (R. W. M. Wedderburn, Biometrika 61 (1974) 439).
    """
    statistics = photon_statistics(photons, sensors)
    return (statistics.square() + (UNRESOLVED * photons).square()).sqrt()


class SensorLoss:
    """Weighted losses of hidden sensors.

    Parameters
    ----------
    options
        Section ``training``.
    normalisation
        Of the input.
    """

    def __init__(self, options: InpainterTraining, normalisation: Normalisation) -> None:
        self.options = options
        self.normalisation = normalisation

    def __call__(self, prediction: Tensor, hidden: Hidden) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the weighted sum of the losses, and the sum of their weights, by channel.

        ``prediction`` is (m, channels) in normalised units, of which the second are times.
        """
        parts = {"npho": self._photons(prediction[:, 0], hidden)}
        if prediction.shape[1] > 1:
            parts["time"] = self._times(prediction[:, 1], hidden)
        return parts

    def total(self, parts: dict[str, tuple[Tensor, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise, and that of each channel."""
        means = {name: loss / weight.clamp_min(1e-12) for name, (loss, weight) in parts.items()}
        weights = {"npho": self.options.npho_weight, "time": self.options.time.weight}
        total = torch.stack([weights[name] * mean for name, mean in means.items()]).sum()
        return total, means

    def _photons(self, prediction: Tensor, hidden: Hidden) -> tuple[Tensor, Tensor]:
        target = hidden.normalised[:, 0]
        if self.options.loss_units == "statistics":
            prediction = self.normalisation.inverse(prediction.float(), torch)
            unit = expected_error(prediction.detach(), hidden.sensors)
            prediction, target = prediction / unit, hidden.photons / unit
        loss = self._loss(prediction, target)
        weight = torch.ones_like(loss)
        bright = self.options.npho_loss_weight
        if bright.enabled:
            weight = (hidden.photons.clamp_min(0.0) + 1.0) ** bright.alpha
        return _weighted(loss, weight, hidden)

    def _times(self, prediction: Tensor, hidden: Hidden) -> tuple[Tensor, Tensor]:
        target = hidden.normalised[:, 1]
        weight = (target != self.normalisation.sentinel_time).float()
        if self.options.time.use_npho_weight:
            weight = weight * hidden.photons.clamp_min(0.0).sqrt()
        return _weighted(self._loss(prediction, target), weight, hidden)

    def _loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        options = self.options
        one = torch.ones(1, device=prediction.device)
        return event_loss(
            options.loss_fn, prediction[:, None], target[:, None], scale=one, beta=options.loss_beta
        )


def _weighted(loss: Tensor, weight: Tensor, hidden: Hidden) -> tuple[Tensor, Tensor]:
    if hidden.weight is not None:
        weight = weight * hidden.weight
    return (loss * weight).sum(), weight.sum()
