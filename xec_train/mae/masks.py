"""Which sensors a masked autoencoder does not see: single ones, boards, whole regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from xec_deploy.detector.geometry import design_geometry
from xec_train.config.mae import MaeConfig
from xec_train.data import RawBatch
from xec_train.data.masking import MaskSampler

__all__ = ["MaskOfEvents", "regions"]


@dataclass(frozen=True)
class MaskOfEvents:
    """Draws masks as a configuration says, over valid sensors only."""

    sampler: MaskSampler
    region_probability: float = 0.0
    region_radius: float = 0.0

    @classmethod
    def of_config(cls, config: MaeConfig) -> MaskOfEvents:
        """Take what section model, and for times section training, says of masks."""
        model = config.model
        sampler = MaskSampler(
            model.mask_ratio,
            ratio_min=model.mask_ratio_min,
            npho_flat=model.mask_npho_flat,
            board_probability=model.mask_board_probability,
            time_scale=config.training.time.mask_ratio_scale,
        )
        return cls(sampler, model.mask_region_probability, model.mask_region_radius)

    def __call__(
        self, batch: RawBatch, valid: Tensor, timed: Tensor, generator: Generator | None = None
    ) -> Tensor:
        """Draw (batch, 4760) bool, True only where ``valid``; ``timed``: those with a time."""
        mask = self.sampler(valid, npho=batch.npho, time_valid=timed, generator=generator)
        if self.region_probability == 0:
            return mask
        hidden = regions(valid, self.region_probability, self.region_radius, generator)
        return mask | (hidden & valid)


def regions(
    like: Tensor, probability: float, radius: float, generator: Generator | None = None
) -> Tensor:
    """Draw, with a probability for each event, all sensors around one of them.

    Parameters
    ----------
    like
        Any (events, 4760) tensor, for number of events and device.
    probability
        That an event has a region at all.
    radius
        Each region has a radius uniform from 0 to this [cm].
    generator
        Source of randomness on the device; None for torch's own.

    Returns
    -------
    hidden
        (events, 4760) bool.
    """
    events, sensors, device = *like.shape, like.device
    position = torch.from_numpy(np.array(design_geometry().position)).float().to(device)
    centre = torch.randint(sensors, (events,), generator=generator, device=device)
    reach = radius * torch.rand(events, 1, generator=generator, device=device)
    happens = torch.rand(events, 1, generator=generator, device=device) < probability
    hidden: Tensor = happens & (torch.cdist(position[centre], position) < reach)
    return hidden
