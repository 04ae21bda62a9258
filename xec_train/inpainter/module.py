"""The inpainter as it is trained: masks like dead channels, losses of the hidden sensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Generator, Tensor, nn

from xec_deploy import __version__
from xec_deploy.detector.layout import get_layout
from xec_train.checkpoint import checkpoint_entries
from xec_train.checkpoint.load import load_strictly
from xec_train.config import InpainterConfig
from xec_train.data import RawBatch
from xec_train.data.intensity import IntensityWeights, total_light
from xec_train.data.masking import MaskSampler
from xec_train.inpainter.losses import Hidden, SensorLoss
from xec_train.inpainter.metrics import SensorErrors
from xec_train.inpainter.start import StartingWeights
from xec_train.models import XecInpainter, build_inpainter, padded_sensors
from xec_train.training import TrainingModule

__all__ = ["InpainterModule", "mask_sampler"]

MEASURED_EVENTS: Final = 4000
"""Events on which the spread of moments and the histogram of the light are measured."""

FirstEvents = Callable[[int], Iterable[RawBatch]]
"""Batches with the first so many events of the training sample, the same in all processes."""


def mask_sampler(config: InpainterConfig) -> MaskSampler:
    """Return what draws the masks of a configuration."""
    model, training = config.model, config.training
    timed = "time" in model.predict_channels
    ratio = model.mask_ratio
    return MaskSampler(
        {str(face): share for face, share in ratio.items()} if isinstance(ratio, dict) else ratio,
        ratio_min=model.mask_ratio_min,
        npho_flat=model.mask_npho_flat,
        board_probability=training.dead_board_probability,
        time_scale=training.time.mask_ratio_scale if timed else 1.0,
    )


class InpainterModule(TrainingModule):
    """An inpainter in training.

    Parameters
    ----------
    config
        The configuration.
    first_events
        Events to measure spreads on, before a new training.
    start
        Weights to start from instead of random ones.
    on_interval
        Called with the deployed model and the epoch every ``checkpoint.root_save_interval`` epochs,
        in the first process.
    """

    def __init__(
        self,
        config: InpainterConfig,
        first_events: FirstEvents,
        start: StartingWeights | None = None,
        on_interval: Callable[[nn.Module, int], Any] | None = None,
    ) -> None:
        network = config.network()
        model = build_inpainter(
            network,
            get_layout(config.layout),
            config.normalization,
            config.model.sensor_positions_file,
        )
        if config.encoder_frozen:
            encoder: Any = model.encoder
            encoder.requires_grad_(requires_grad=False)
        super().__init__(model, config.training, config.normalization)
        self.config = config
        self.network = network
        self.loss = SensorLoss(config.training, config.normalization)
        reweighting = config.training.intensity_reweighting
        self.event_weights = (
            IntensityWeights(reweighting.nbins, reweighting.target) if reweighting.enabled else None
        )
        self._sampler = mask_sampler(config)
        self._first_events = first_events
        self._start = start
        self._on_interval = on_interval
        self._errors = SensorErrors()
        self._validated = 0

    def prepare(self) -> None:
        """Load weights to start from, measure the spread of moments and the light of the events."""
        if self._start is not None:
            self._start.apply(self._models)
        measured = self._measure() if self.trainer.is_global_zero else None
        model_state, weight_state = self.share(measured) or ({}, {})
        for model in self._models:
            load_strictly(model, {**model.state_dict(), **model_state}, "the first events")
        if self.event_weights is not None:
            self.event_weights.load_state_dict(weight_state)

    def train(self, mode: bool = True) -> InpainterModule:
        """Set the mode; a frozen encoder stays what it will be in use, without dropout."""
        super().train(mode)
        if self.config.encoder_frozen:
            encoder: Any = self.model.encoder
            encoder.eval()
        return self

    def training_loss(self, batch: RawBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and that of each channel, of sensors hidden at random."""
        return self.loss.total(self.loss(*self._predict(self.model, batch)))

    def validate(self, model: nn.Module, batch: RawBatch) -> None:
        """Add the errors of hidden sensors, the same ones at each validation."""
        generator = Generator(self.device)
        generator.manual_seed(self.options.seed + 7919 * (self._validated + 1))
        self._validated += 1
        prediction, hidden = self._predict(model, batch, generator)
        photons = self.normalisation.inverse(prediction[:, 0], torch)
        self._errors.add(photons, hidden, self.loss(prediction, hidden))

    def validation_metrics(self) -> dict[str, float]:
        """Return errors in photons, losses by channel, and ``val_loss``."""
        errors = SensorErrors.joined(self.gather(self._errors))
        self._errors, self._validated = SensorErrors(), 0
        total, means = self.loss.total(errors.loss_parts())
        options = self.config.training
        return {
            **{f"val_{name}": float(mean) for name, mean in means.items()},
            **errors.metrics(errors=options.track_mae_rmse, by_face=options.track_metrics),
            "val_loss": float(total),
        }

    def on_train_epoch_end(self) -> None:
        """Write predictions now and then."""
        epoch = self.trainer.current_epoch + 1
        if (
            self._on_interval is not None
            and self.trainer.is_global_zero
            and epoch % self.config.checkpoint.root_save_interval == 0
        ):
            self._on_interval(self.evaluated, epoch)

    def deployable(self) -> dict[str, Any]:
        """Return the entries of the checkpoint that inference opens."""
        average = None if self.average is None else self.average.module.state_dict()
        return checkpoint_entries(
            self.network,
            self.config.layout,
            self.normalisation,
            model_state=self.model.state_dict(),
            ema_state=average,
            training={
                "step": int(self.trainer.global_step),
                "recipe": self.config.model_dump(mode="json"),
                "version": __version__,
            },
        )

    @property
    def _models(self) -> list[nn.Module]:
        return [self.model] if self.average is None else [self.model, self.average.module]

    def _predict(
        self, model: nn.Module, batch: RawBatch, generator: Generator | None = None
    ) -> tuple[Tensor, Hidden]:
        """Hide sensors and predict them; return predictions (m, channels) and the truth."""
        x = self.normalise(batch)
        mask = self._hide(x, batch, generator)
        sensors, present = padded_sensors(mask)
        prediction = model(x, mask, sensors)[present]
        wanted = sensors[..., None].expand(-1, -1, x.shape[2])
        weight = batch.weight
        if self.event_weights is not None:
            light = total_light(batch.npho, x[..., 0] != self.normalisation.sentinel_npho)
            weight = self.event_weights(light)
        return prediction, Hidden(
            sensors=sensors[present],
            photons=batch.npho.gather(1, sensors)[present],
            normalised=x.gather(1, wanted)[present],
            weight=None if weight is None else weight[:, None].expand_as(sensors)[present],
        )

    def _hide(self, x: Tensor, batch: RawBatch, generator: Generator | None) -> Tensor:
        return self._sampler(
            x[..., 0] != self.normalisation.sentinel_npho,
            npho=batch.npho,
            time_valid=x[..., 1] != self.normalisation.sentinel_time,
            generator=generator,
        )

    def _measure(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the measured state of the model and of the event weights, on the CPU."""
        model = self.model
        needed = isinstance(model, XecInpainter) or self.event_weights is not None
        pairs, light = [], []
        model.to(self.device)
        for raw in self._first_events(MEASURED_EVENTS) if needed else ():
            batch = raw.to(self.device)
            x = self.normalise(batch)
            light.append(total_light(batch.npho, x[..., 0] != self.normalisation.sentinel_npho))
            if isinstance(model, XecInpainter):
                pairs.append(model.look(x, self._hide(x, batch, None)).moments)
        if isinstance(model, XecInpainter):
            model.measure(torch.cat(pairs))
        state = {name: value.cpu() for name, value in model.state_dict().items()} if pairs else {}
        if self.event_weights is None:
            return state, {}
        self.event_weights.fit(torch.cat(light).cpu())
        return state, dict(self.event_weights.state_dict())


def predictions_path(directory: Path, epoch: int | None) -> Path:
    """Return the file of the predictions after an epoch, or of the best checkpoint."""
    name = "best" if epoch is None else f"epoch_{epoch}"
    return directory / f"inpainter_predictions_{name}.root"
