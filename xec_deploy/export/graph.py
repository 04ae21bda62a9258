"""Deployed networks: raw events in, physical quantities out."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from xec_deploy.detector.constants import INVALID
from xec_deploy.normalisation import Normalisation, channel_validity, normalise_arrays
from xec_train.models import (
    TASK_DIMENSIONS,
    Inpainter,
    Regressor,
    TaskName,
    XECEncoder,
    XecEncoder,
)

__all__ = ["DeployedEncoder", "DeployedInpainter", "DeployedRegressor", "Network"]


class DeployedRegressor(nn.Module):
    """Normalisation, network and the way back to physical units as one module.

    Parameters
    ----------
    model
        The regressor.
    normalisation
        As it was trained.
    log_transform
        Tasks whose head emits logarithms, undone here.
    """

    def __init__(
        self,
        model: Regressor,
        normalisation: Normalisation,
        log_transform: tuple[TaskName, ...] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.normalisation = normalisation
        self.log_transform = log_transform

    def forward(self, npho: Tensor, time: Tensor, dead: Tensor) -> tuple[Tensor, ...]:
        """Turn (batch, 4760) raw npho [photons], time [s] and flags into the outputs in order."""
        channels = normalise_arrays(npho, time, dead, self.normalisation, torch)
        outputs: list[Tensor] = []
        for task, raw in self.model(torch.stack(channels, dim=-1)).items():
            outputs.extend(self._physical(cast("TaskName", task), raw))
        return tuple(outputs)

    def _physical(self, task: TaskName, raw: Tensor) -> list[Tensor]:
        width = TASK_DIMENSIONS[task]
        value, log_variance = raw[:, :width], raw[:, width:]
        value = torch.exp(value) if task in self.log_transform else value
        if task not in self.model.config.nll_tasks:
            return [value]
        sigma = torch.exp(0.5 * log_variance)
        # The head gives the spread of the logarithm; to first order that of the value is value
        # times it.
        return [value, value * sigma if task in self.log_transform else sigma]


class Network(nn.Module):
    """A regressor as existing callers use it: normalised events in, what the heads emit out."""

    def __init__(self, deployed: DeployedRegressor) -> None:
        super().__init__()
        self.model = deployed.model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Turn (batch, 4760, 2) into the outputs of the tasks, means before log variances."""
        return tuple(self.model(x).values())


class DeployedInpainter(nn.Module):
    """Raw events with dead channels to raw events in which they are filled.

    Parameters
    ----------
    model
        The inpainter.
    normalisation
        As it was trained.
    """

    def __init__(self, model: Inpainter, normalisation: Normalisation) -> None:
        super().__init__()
        self.model = model
        self.normalisation = normalisation
        self.fills_time = "time" in model.config.predict_channels

    def forward(self, npho: Tensor, time: Tensor, dead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fill what is dead, above 9e9 or not finite.

        Returns
        -------
        npho_filled, time_filled, dead_left
            Each (batch, 4760), unchanged to the bit where a channel is not filled.  A filled one
            has the predicted time if the model predicts times, else 1e10, no time: what stands in
            the file for a dead channel is no measurement.  Dead are left those without a
            prediction.
        """
        n = self.normalisation
        valid, _ = channel_validity(npho, time, dead, n.npho_threshold, torch)
        channels = normalise_arrays(npho, time, dead, n, torch)
        prediction = self.model(torch.stack(channels, dim=-1), ~valid)
        filled = ~valid & self.model.predicted
        seconds = (
            n.inverse_time(prediction[..., 1])
            if self.fills_time
            else torch.full_like(time, INVALID)
        )
        return (
            torch.where(filled, n.inverse(prediction[..., 0], torch), npho),
            torch.where(filled, seconds, time),
            ~valid & ~self.model.predicted,
        )


class DeployedEncoder(nn.Module):
    """Raw events to the tokens of an encoder, without a mask.

    Parameters
    ----------
    encoder
        The encoder; that of arch xec has one token, its features.
    normalisation
        As it was trained.
    """

    def __init__(self, encoder: XECEncoder | XecEncoder, normalisation: Normalisation) -> None:
        super().__init__()
        self.encoder = encoder
        self.normalisation = normalisation

    def forward(self, npho: Tensor, time: Tensor, dead: Tensor) -> tuple[Tensor]:
        """Turn raw events (batch, 4760) into tokens (batch, tokens, width)."""
        channels = normalise_arrays(npho, time, dead, self.normalisation, torch)
        x = torch.stack(channels, dim=-1)
        if isinstance(self.encoder, XecEncoder):
            features, _ = self.encoder(x)
            return (features[:, None],)
        return (self.encoder(x),)
