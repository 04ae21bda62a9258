"""The masked autoencoder of the project's own architecture: a whole event from part of it.

Sensors are hidden, and the network predicts what it would see had they not been.  The photons of
hidden sensors are independent of those that are seen, given the shower: to predict them, the
features must hold what the seen ones tell of it, and nothing of their noise (J. Lehtinen et al.,
"Noise2Noise", ICML 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xec_deploy.normalisation import Normalisation
from xec_train.models.xec.config import XecMaeModelConfig
from xec_train.models.xec.encoder import RANGE, XecEncoder

__all__ = ["XecMae"]


class XecMae(nn.Module):
    """Views of events with hidden sensors to what is seen of the whole event beyond that.

    The decoder is one linear layer, so that what it needs stands in the shared features.  The
    prediction is the difference of two views, that of the whole event (moments, fovea, coarse
    cells, PMTs) at the place the fovea has in the masked one, less that of the masked one; each
    number in units of its spread.

    Parameters
    ----------
    config
        Architecture.
    normalisation
        Of the input.
    """

    unit: Tensor

    def __init__(self, config: XecMaeModelConfig, normalisation: Normalisation) -> None:
        super().__init__()
        self.config = config
        self.normalisation = normalisation
        self.encoder = XecEncoder(config, normalisation)
        self.decoder = nn.Linear(config.width, self.encoder.view.lights)
        self.register_buffer("unit", torch.ones(self.encoder.view.lights))

    def forward(self, seen: Tensor) -> Tensor:
        """Predict differences (batch, view.lights) from what is :meth:`seen` of masked events."""
        prediction: Tensor = self.decoder(self.encoder.features(seen))
        return prediction

    def seen(self, view: Tensor) -> Tensor:
        """Standardise and limit a view as the network's layers get it."""
        return self.encoder.standardise(view).clamp(-RANGE, RANGE)

    def hidden(self, x: Tensor, mask: Tensor) -> Tensor:
        """Give hidden sensors the values of dead ones."""
        sentinels = (self.normalisation.sentinel_npho, self.normalisation.sentinel_time)
        return torch.where(mask[..., None], x.new_tensor(sentinels), x)

    def views(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the view of masked events, (batch, view.count), and what is to be predicted.

        The second, (batch, view.lights), is not yet in units of its spread.
        """
        with torch.autocast(x.device.type, enabled=False):
            masked, centre = self.encoder.view.look(self.hidden(x, mask))
            whole, _ = self.encoder.view.look(x, centre)
        lights = self.encoder.view.lights
        return masked, whole[:, :lights] - masked[:, :lights]

    def target(self, difference: Tensor) -> Tensor:
        """Turn differences into the unit of predictions, limited to ``RANGE``."""
        return (difference * self.unit).clamp(-RANGE, RANGE)
