"""The masked autoencoder as it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from xec_deploy import __version__
from xec_deploy.detector.layout import get_layout
from xec_train.checkpoint import checkpoint_entries
from xec_train.config import MaeConfig
from xec_train.data import RawBatch
from xec_train.data.intensity import IntensityWeights, total_light
from xec_train.data.mirror import random_mirror
from xec_train.mae.losses import SensorLoss
from xec_train.mae.masks import MaskOfEvents
from xec_train.mae.metrics import sensor_metrics
from xec_train.mae.start import use_weights
from xec_train.models import XEC_MAE, MaskedAutoencoder, build_mae
from xec_train.training import TrainingModule

__all__ = ["FirstEvents", "MaeModule", "PretrainingModule"]

FirstEvents = Callable[[int], Iterable[RawBatch]]
"""Batches with the first so many events of the training sample, the same in all processes."""
INTENSITY_EVENTS: Final = 6000
"""Events on which the distribution of the total light is measured."""
MASK_SEED: Final = 20_240
"""Of the masks of validation events, which are the same at every validation."""


class PretrainingModule(TrainingModule):
    """What masked autoencoders of both architectures have in common.

    Parameters
    ----------
    config
        The configuration.
    first_events
        Events to measure things on, before a new training.
    start
        Checkpoint to take weights from, of an autoencoder or of any model with such an encoder.
    """

    model: nn.Module

    def __init__(
        self, config: MaeConfig, first_events: FirstEvents, start: str | None = None
    ) -> None:
        network = config.network()
        model = build_mae(network, get_layout(config.layout), config.normalization)
        super().__init__(model, config.training, config.normalization)
        self.config = config
        self.network = network
        self.mask = MaskOfEvents.of_config(config)
        self.first_events = first_events
        self.start = start
        self.validated = 0
        reweighting = config.training.intensity_reweighting
        self.intensity = (
            IntensityWeights(reweighting.nbins, reweighting.target) if reweighting.enabled else None
        )

    def prepare(self) -> None:
        """Load weights to start from, and measure the distribution of the light."""
        if self.start is not None:
            for model in self.models:
                use_weights(model, self.start, self.config)
        if self.intensity is not None:
            if self.trainer.is_global_zero:
                batches = self.first_events(INTENSITY_EVENTS)
                light = [self._light(batch, self.normalise(batch)) for batch in batches]
                self.intensity.fit(torch.cat(light))
            self.intensity.load_state_dict(self.share(self.intensity.state_dict()))

    @property
    def models(self) -> list[MaskedAutoencoder]:
        """The trained model, and the averaged one if there is one."""
        average = [] if self.average is None else [self.average.module]
        return cast("list[MaskedAutoencoder]", [self.model, *average])

    def augment(self, batch: RawBatch) -> RawBatch:
        """Mirror events, where that is asked for."""
        return random_mirror(batch) if self.config.training.mirror else batch

    def masked(
        self, batch: RawBatch, x: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw the mask of events, given normalised too: (batch, 4760) bool."""
        normalisation = self.config.normalization
        valid = x[..., 0] != normalisation.sentinel_npho
        timed = x[..., 1] != normalisation.sentinel_time
        return self.mask(batch, valid, timed, generator)

    def validation_mask(self, batch: RawBatch, x: Tensor) -> Tensor:
        """Draw the mask of validation events, the same at every validation."""
        seed = MASK_SEED + 1000 * self.global_rank + self.validated
        self.validated += 1
        return self.masked(batch, x, torch.Generator(x.device).manual_seed(seed))

    def event_weight(self, batch: RawBatch, x: Tensor) -> Tensor | None:
        """Return weights (batch,) by the total light, if they are asked for."""
        return None if self.intensity is None else self.intensity(self._light(batch, x))

    def _light(self, batch: RawBatch, x: Tensor) -> Tensor:
        return total_light(batch.npho, x[..., 0] != self.config.normalization.sentinel_npho)

    def deployable(self) -> dict[str, Any]:
        """Return the entries of a checkpoint of a masked autoencoder."""
        metrics = {name: float(v) for name, v in self.trainer.callback_metrics.items()}
        average = self.average.module.state_dict() if self.average is not None else None
        return checkpoint_entries(
            self.network,
            self.config.layout,
            self.config.normalization,
            model_state=self.model.state_dict(),
            ema_state=average,
            training={
                "version": __version__,
                "step": self.trainer.global_step,
                "epoch": self.trainer.current_epoch + 1,
                "metrics": metrics,
                "recipe": self.config.model_dump(mode="json"),
            },
        )


class MaeModule(PretrainingModule):
    """The autoencoder of arch research, which predicts every hidden sensor."""

    def __init__(
        self, config: MaeConfig, first_events: FirstEvents, start: str | None = None
    ) -> None:
        super().__init__(config, first_events, start)
        self.loss = SensorLoss(config.training, config.normalization)
        self._sums: list[Tensor] = []

    def training_loss(self, batch: RawBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of masked sensors and that of each channel."""
        batch = self.augment(batch)
        x = self.normalise(batch)
        mask = self.masked(batch, x)
        sums = self._compare(self.model, batch, x, mask, self.event_weight(batch, x))
        losses = self.loss.totals(sums)
        parts = dict(zip(self.config.model.predict_channels, losses, strict=True))
        total = self.loss.combine(losses, getattr(self.model, "channel_log_vars", None))
        return total, parts

    def _compare(
        self,
        model: nn.Module,
        batch: RawBatch,
        x: Tensor,
        mask: Tensor,
        weight: Tensor | None = None,
    ) -> Tensor:
        prediction = model(x, mask)
        compared = mask & cast("XEC_MAE", self.model).predicted
        sums: Tensor = self.loss(prediction, x, compared, batch, weight)
        return sums

    def validate(self, model: nn.Module, batch: RawBatch) -> None:
        """Keep sums over the masked sensors of the events."""
        x = self.normalise(batch)
        sums = self._compare(model, batch, x, self.validation_mask(batch, x))
        self._sums.append(sums.double().cpu())

    def validation_metrics(self) -> dict[str, float]:
        """Return ``val_loss``, with the stated weights, the channels' losses, and errors."""
        sums = torch.stack([part for parts in self.gather(self._sums) for part in parts]).sum(dim=0)
        self._sums, self.validated = [], 0
        channels = self.config.model.predict_channels
        losses = self.loss.totals(sums)
        metrics: dict[str, float] = dict(zip(channels, losses.tolist(), strict=True))
        metrics["loss"] = float(self.loss.combine(losses))
        metrics |= sensor_metrics(
            sums,
            channels,
            errors=self.config.training.track_mae_rmse,
            faces=self.config.training.track_metrics,
        )
        return {f"val_{name}": value for name, value in metrics.items()}
