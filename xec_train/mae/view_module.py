"""The masked autoencoder of arch xec as it is trained: fitted on views computed once, then on."""

from __future__ import annotations

import logging
from itertools import accumulate

import torch
from torch import Tensor, nn

from xec_train.config import MaeConfig
from xec_train.config.mae import MaeTraining
from xec_train.data import RawBatch
from xec_train.mae.module import FirstEvents, PretrainingModule
from xec_train.mae.view_pairs import MaskedEvents, Pairs, collect_pairs
from xec_train.models import XecMae
from xec_train.training.losses import event_loss
from xec_train.training.rows import fit_rows

__all__ = ["XecMaeModule", "fit_pairs"]

logger = logging.getLogger(__name__)


class XecMaeModule(PretrainingModule):
    """Predicts what would be seen of the whole event: moments, fovea, coarse cells, PMTs."""

    model: XecMae

    def __init__(
        self, config: MaeConfig, first_events: FirstEvents, start: str | None = None
    ) -> None:
        super().__init__(config, first_events, start)
        self._kept: list[Tensor] = []

    def prepare(self) -> None:
        """Load weights to start from; measure and fit on views computed once."""
        super().prepare()
        fitted = self._fit_on_views(self.model) if self.trainer.is_global_zero else None
        state = self.share(fitted) or {}
        for model in self.models:
            model.load_state_dict(state)

    def _fit_on_views(self, model: XecMae) -> dict[str, Tensor]:
        """Measure spreads and fit the model; return its state on the CPU."""
        options = self.config.training
        torch.manual_seed(options.seed)
        model.to(self.device)
        pairs = collect_pairs(
            model,
            lambda: self.first_events(options.view_fit.events),
            self._masked_events,
            options.view_fit,
            standardised=self.start is not None,
        )
        if options.view_fit.epochs:
            last = fit_pairs(model, pairs, options)
            logger.info("fitted on %d views, last loss %.4f", len(pairs), last)
        return {name: tensor.cpu() for name, tensor in model.state_dict().items()}

    def _masked_events(self, batch: RawBatch) -> MaskedEvents:
        batch = self.augment(batch)
        x = self.normalise(batch)
        return MaskedEvents(x, self.masked(batch, x), self.event_weight(batch, x))

    def training_loss(self, batch: RawBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of what is seen beyond the masked events."""
        events = self._masked_events(batch)
        with torch.no_grad():
            view, difference = self.model.views(events.x, events.mask)
            seen, target = self.model.seen(view), self.model.target(difference)
        loss = view_loss(self.model(seen), target, events.weight, self.config.training)
        return loss, {}

    def validate(self, model: nn.Module, batch: RawBatch) -> None:
        """Keep sums of squares, errors and losses of the events."""
        assert isinstance(model, XecMae)  # noqa: S101 - built so
        x = self.normalise(batch)
        view, difference = model.views(x, self.validation_mask(batch, x))
        target = model.target(difference)
        prediction = model(model.seen(view))
        loss = view_loss(prediction, target, None, self.config.training)
        parts = [loss.double() * len(x), torch.tensor(float(len(x)), device=x.device)]
        for part in self._parts(model).values():
            error = (prediction[:, part] - target[:, part]).double()
            parts += [error.square().sum(), target[:, part].double().square().sum()]
        self._kept.append(torch.stack([value.double() for value in parts]).cpu())

    def validation_metrics(self) -> dict[str, float]:
        """Return ``val_loss``, and the share of the squares that is not predicted, by part."""
        kept = [part for parts in self.gather(self._kept) for part in parts]
        loss, count, *squares = torch.stack(kept).sum(dim=0).tolist()
        self._kept, self.validated = [], 0
        metrics = {"val_loss": loss / count}
        if self.config.training.track_metrics:
            pairs = zip(squares[::2], squares[1::2], strict=True)
            for name, (error, total) in zip(self._parts(self.model), pairs, strict=True):
                metrics[f"val_{name}_unexplained"] = error / max(total, 1e-12)
        return metrics

    @staticmethod
    def _parts(model: XecMae) -> dict[str, slice]:
        """Return where in a view which light is."""
        view = model.encoder.view
        ends = accumulate(view.parts.values())
        places = {
            name: slice(end - count, end)
            for (name, count), end in zip(view.parts.items(), ends, strict=True)
        }
        return {name: place for name, place in places.items() if place.stop <= view.lights}


def fit_pairs(model: XecMae, pairs: Pairs, options: MaeTraining) -> float:
    """Train a model on pairs; it ends with averaged weights.  Return the last loss."""
    device = model.unit.device

    def loss_of(rows: Tensor) -> Tensor:
        seen, target = (part[rows].to(device).float() for part in (pairs.seen, pairs.target))
        weight = None if pairs.weight is None else pairs.weight[rows].to(device)
        bf16 = options.precision == "bf16-mixed"
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            prediction = model(seen)
        return view_loss(prediction, target, weight, options)

    trained = nn.ModuleList([model.encoder.layers, model.decoder])
    model.train()
    return fit_rows(trained, len(pairs), loss_of, options.view_fit, seed=options.seed)


def view_loss(
    prediction: Tensor, target: Tensor, weight: Tensor | None, options: MaeTraining
) -> Tensor:
    """Return the mean loss of predictions (batch, view.lights)."""
    scale = target.new_ones(target.shape[1])
    losses = event_loss(options.loss_fn, prediction, target, scale=scale, beta=options.loss_beta)
    return (losses if weight is None else losses * weight).mean()
