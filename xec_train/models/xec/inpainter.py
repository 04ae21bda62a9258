"""The inpainter of the project's own architecture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector import constants as c
from xec_deploy.normalisation import Normalisation, normalise_arrays
from xec_train.models.xec.encoder import RANGE
from xec_train.models.xec.inpainter_config import XecInpainterModelConfig
from xec_train.models.xec.inpainter_heads import InnerHead, TubeHead
from xec_train.models.xec.moments import N_MOMENTS
from xec_train.models.xec.surroundings import LogLight, Surroundings, Views

__all__ = ["XecInpainter"]


class XecInpainter(nn.Module):
    """Normalised events with hidden sensors to predictions of the sensors.

    The prediction is the mean of the live neighbours, in logarithms, plus what a small network
    makes of the surroundings, of solid angles and of the moments of the whole event.  Untrained, it
    is that mean.

    Parameters
    ----------
    config
        Architecture.
    normalisation
        Of the input; its sentinels are what hidden sensors are given.

    Attributes
    ----------
    predicted
        (4760,) bool: sensors that have a prediction, all.
    """

    predicted: Tensor
    mean: Tensor
    inverse_spread: Tensor

    def __init__(self, config: XecInpainterModelConfig, normalisation: Normalisation) -> None:
        super().__init__()
        self.config = config
        self.normalisation = normalisation
        self.surroundings = Surroundings(normalisation)
        self.register_buffer("mean", torch.zeros(N_MOMENTS))
        self.register_buffer("inverse_spread", torch.ones(N_MOMENTS))
        self.register_buffer(
            "predicted", torch.ones(c.N_SENSORS, dtype=torch.bool), persistent=False
        )
        self.event = nn.Linear(N_MOMENTS, config.context_width)
        self.inner_head = InnerHead(config)
        self.tube_head = TubeHead(config)

    def forward(self, x: Tensor, mask: Tensor, sensors: Tensor | None = None) -> Tensor:
        """Predict sensors.

        Parameters
        ----------
        x
            (batch, 4760, 2) normalised events; what masked sensors hold is not looked at.
        mask
            (batch, 4760), True or 1 where a sensor is hidden.
        sensors
            (batch, n) ids of the sensors to predict, None for all; saves most of the work for the
            inner face.

        Returns
        -------
        prediction
            (batch, 4760 or n, 1) in normalised units, of use at masked sensors only.
        """
        # In float32 also under autocast: bfloat16 has three digits.
        with torch.autocast(x.device.type, enabled=False):
            views = self.look(x, mask)
            limited = self.standardise(views.moments).clamp(-RANGE, RANGE)
        context = functional.gelu(self.event(limited))
        tubes = self.tube_head(views, context)
        if sensors is None:
            value = torch.cat([self.inner_head(views, context), tubes], dim=1)
        else:
            inner = self.inner_head.at(views, context, sensors.clamp(max=c.N_MPPC - 1))
            outer = tubes.gather(1, (sensors - c.N_MPPC).clamp_min(0))
            value = torch.where(sensors < c.N_MPPC, inner, outer)
        photons = LogLight.photons(value.to(x.dtype))
        prediction: Tensor = self.normalisation.forward(photons, torch)[..., None]
        return prediction

    def fill(self, npho: Tensor, time: Tensor, dead: Tensor) -> Tensor:
        """Return raw npho (batch, 4760) [photons] with the predictions at dead sensors.

        ``time`` is in seconds, ``dead`` bool.  Other sensors keep their raw value, invalid ones
        included.
        """
        channels = normalise_arrays(npho, time, dead, self.normalisation, torch)
        prediction = self(torch.stack(channels, dim=-1), dead)[..., 0]
        return torch.where(dead, self.normalisation.inverse(prediction, torch), npho)

    def look(self, x: Tensor, mask: Tensor) -> Views:
        """Return what is computed of the events before the first weight."""
        n = self.normalisation
        sentinels = x.new_tensor([n.sentinel_npho, n.sentinel_time])
        views: Views = self.surroundings(torch.where(mask.bool()[..., None], sentinels, x))
        return views

    def standardise(self, moments: Tensor) -> Tensor:
        """Give moments zero mean and unit spread."""
        return (moments - self.mean) * self.inverse_spread

    @torch.no_grad()
    def measure(self, moments: Tensor) -> None:
        """Take mean and spread of the moments (events, N_MOMENTS) of a sample."""
        self.mean.copy_(moments.double().mean(dim=0))
        self.inverse_spread.copy_(1.0 / moments.double().std(dim=0).clamp_min(1e-6))
