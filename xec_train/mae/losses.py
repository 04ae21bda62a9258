"""Loss of masked sensors: by face and channel, as sums that batches and processes can add."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import design_geometry
from xec_deploy.normalisation import Normalisation
from xec_train.config.mae import MaeTraining
from xec_train.data import RawBatch
from xec_train.training.losses import event_loss

__all__ = ["SUMS", "SensorLoss"]

SUMS: Final = ("weight", "loss", "count", "absolute", "square")
"""What is summed over the masked sensors of a face, in a channel: the weights, the weighted losses,
the sensors, their absolute and their squared errors in normalised units."""


class SensorLoss(nn.Module):
    """Compares predictions of masked sensors with what they held.

    The loss of a channel is the mean over the faces of the mean over their masked sensors, so that
    the 4092 sensors of the inner face do not drown the 668 of the others.  Times count where there
    is one.
    """

    face: Tensor

    def __init__(self, options: MaeTraining, normalisation: Normalisation) -> None:
        super().__init__()
        self.options = options
        self.normalisation = normalisation
        face = torch.from_numpy(design_geometry().face.astype("int64"))
        self.register_buffer("face", face, persistent=False)

    def forward(
        self,
        prediction: Tensor,
        x: Tensor,
        mask: Tensor,
        batch: RawBatch,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return sums (faces, channels, SUMS) over masked sensors.

        Parameters
        ----------
        prediction, x
            (batch, 4760, channels) and (batch, 4760, 2), normalised.
        mask
            (batch, 4760) bool: sensors that were valid, hidden and predicted.
        batch
            The raw events, for weights by their photons.
        weight
            (batch,) of the events, or None.
        """
        photons = batch.npho.clamp(0.0, c.INVALID_ABOVE)
        channels = []
        for channel in range(prediction.shape[-1]):
            among, weights = mask, torch.ones_like(photons)
            if channel == 1:
                among = mask & (x[..., 1] != self.normalisation.sentinel_time)
                if self.options.time.use_npho_weight:
                    weights = photons.clamp_min(1.0).sqrt()
            elif self.options.npho_loss_weight.enabled:
                weights = (photons + 1.0) ** self.options.npho_loss_weight.alpha
            if weight is not None:
                weights = weights * weight[:, None]
            channels.append(self._sums(prediction[..., channel], x[..., channel], among, weights))
        return torch.stack(channels, dim=1)

    def totals(self, sums: Tensor) -> Tensor:
        """Return the loss of each channel (channels,) from sums (faces, channels, SUMS)."""
        weight, loss = sums[..., 0], sums[..., 1]
        present = (weight > 0).to(sums.dtype)
        mean = loss / weight.clamp_min(1e-12)
        return (mean * present).sum(dim=0) / present.sum(dim=0).clamp_min(1.0)

    def combine(self, losses: Tensor, log_variances: Tensor | None = None) -> Tensor:
        """Return the total of the channels' losses, with stated or learned weights."""
        if log_variances is not None:
            return (0.5 * (torch.exp(-log_variances) * losses + log_variances)).sum()
        stated = losses.new_tensor([self.options.npho_weight, self.options.time.weight])
        return (losses * stated[: len(losses)]).sum()

    def _sums(self, prediction: Tensor, target: Tensor, among: Tensor, weights: Tensor) -> Tensor:
        # Sentinels are far from any prediction; replaced, their error is zero and so its gradient.
        prediction = prediction.float()
        error = torch.where(among, prediction - target, 0.0)
        loss = event_loss(
            self.options.loss_fn,
            error.reshape(-1, 1),
            torch.zeros_like(error).reshape(-1, 1),
            scale=error.new_ones(1),
            beta=self.options.loss_beta,
        ).view_as(error)
        weights = torch.where(among, weights, 0.0)
        values = torch.stack(
            [weights, weights * loss, among.to(error.dtype), error.abs(), error.square()]
        ).sum(dim=1)
        sums = values.new_zeros(len(SUMS), len(c.FACES))
        return sums.index_add(1, self.face, values).T
