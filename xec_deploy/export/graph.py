"""The deployed network: raw events in, physical quantities out."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from xec_deploy.normalisation import Normalisation, normalise_arrays
from xec_train.models import TASK_DIMENSIONS, Regressor, TaskName

__all__ = ["DeployedRegressor"]


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
