"""Fitting a regressor of ``arch: xec`` on views that are computed once.

What that architecture sees of an event has no weights in it, so it need not be computed again for
every step: views of some hundred thousand events, mirrored and with channels lost at random, fit in
memory, and the network on them trains twenty times faster than on raw events.  The training that
follows starts from there, with new losses for every event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn

from xec_deploy.cli.progress import progress_of
from xec_deploy.errors import InputError, UsageError
from xec_train.config import ViewFit
from xec_train.data import RawBatch
from xec_train.models import TaskName
from xec_train.models.xec import N_MOMENTS, RANGE, XecEncoder, XecRegressor
from xec_train.training.rows import RowStore, fit_rows

__all__ = [
    "ViewLoss",
    "Views",
    "check_memory",
    "collect_views",
    "fit_corrections",
    "measure_views",
]

logger = logging.getLogger(__name__)

MEGABYTE: Final = 1 << 20
MOMENTS, LIMITED, WEIGHT = "moments", "limited", "weight"
STANDARD_EVENTS: Final = 10_000
"""Events that mean and spread of the views are measured on."""

ViewLoss = Callable[[dict[TaskName, Tensor], Mapping[TaskName, Tensor], Tensor | None], Tensor]
"""Outputs, targets and weights of events to the loss to minimise."""


@dataclass(frozen=True, eq=False)
class Views:
    """Standardised views of n events.

    Attributes
    ----------
    moments
        (n, N_MOMENTS) float32, not limited: for the anchors.
    limited
        (n, view.count) float16, limited to ``RANGE``: for the corrections.
    targets
        Per task (n, components) float32 in physical units.
    weight
        (n,) float32, or None.
    """

    moments: Tensor
    limited: Tensor
    targets: dict[TaskName, Tensor]
    weight: Tensor | None

    def __len__(self) -> int:
        return len(self.moments)


def collect_views(
    model: XecRegressor,
    batches: Callable[[], Iterable[RawBatch]],
    normalise: Callable[[RawBatch], Tensor],
    augment: Callable[[RawBatch], RawBatch],
    options: ViewFit,
    *,
    standardised: bool = False,
) -> Views:
    """Look at events and set the mean and spread of the model's views.

    Parameters
    ----------
    model
        On the device to compute on.
    batches
        Called for every copy; raw events on the CPU.
    normalise, augment
        Raw events to network inputs, and to events mirrored and with channels lost.
    options
        How many events and copies.
    standardised
        Mean and spread are those of a pretraining already, and stay.

    Raises
    ------
    UsageError
        If the views would take more memory than allowed.
    InputError
        If there are no events.
    """
    eye = model.backbone
    device = eye.mean.device
    wanted = options.events * options.copies
    check_memory(options, 2 * model.backbone.view.count + 4 * N_MOMENTS)
    stores: dict[str, RowStore] = {}
    with torch.no_grad(), progress_of("views", wanted) as progress:
        if not standardised:
            measure_views(eye, (normalise(augment(b.to(device))) for b in batches()))
        for _ in range(options.copies):
            for raw in batches():
                batch = augment(raw.to(device))
                standard = eye.standardise(eye.view(normalise(batch)))
                rows: dict[str, Tensor] = {
                    MOMENTS: standard[:, :N_MOMENTS],
                    LIMITED: standard.clamp(-RANGE, RANGE),
                }
                rows.update((str(task), target) for task, target in batch.targets.items())
                if batch.weight is not None:
                    rows[WEIGHT] = batch.weight
                # Batches are full: the last one of a copy may bring some events more.
                most = wanted + options.copies * len(raw)
                for name, values in rows.items():
                    if name not in stores:
                        dtype = torch.float16 if name == LIMITED else torch.float32
                        stores[name] = RowStore(most, dtype)
                    stores[name].add(values)
                progress(len(raw))
    stored = {name: store.rows for name, store in stores.items()}
    return Views(
        stored.pop(MOMENTS),
        stored.pop(LIMITED),
        weight=stored.pop(WEIGHT, None),
        targets=cast("dict[TaskName, Tensor]", stored),
    )


def check_memory(options: ViewFit, event_bytes: int) -> None:
    """Refuse to compute views, of so many bytes an event, that do not fit.

    Raises
    ------
    UsageError
        If they would take more memory than allowed.
    """
    needed = options.events * options.copies * event_bytes // MEGABYTE
    if needed > options.memory_mb:
        raise UsageError(
            f"views of {options.events} events in {options.copies} copies take {needed} MB, more "
            f"than training.view_fit.memory_mb ({options.memory_mb})",
            fix="Take fewer events or copies, or allow more memory.",
        )


def measure_views(encoder: XecEncoder, inputs: Iterator[Tensor]) -> None:
    """Set mean and spread of the views to those of normalised events, the first 10 000 or so."""
    seen: list[Tensor] = []
    count = 0
    for x in inputs:
        seen.append(encoder.view(x))
        count += len(x)
        if count >= STANDARD_EVENTS:
            break
    if count == 0:
        raise InputError("no events to look at", where="training files")
    encoder.use_statistics(torch.cat(seen))


def fit_corrections(
    model: XecRegressor,
    views: Views,
    loss: ViewLoss,
    options: ViewFit,
    *,
    seed: int,
    bf16: bool,
    encoder_lr: float = 1.0,
) -> None:
    """Train everything but the anchors on the views; the model ends with averaged weights.

    See :func:`fit_rows`; ``encoder_lr`` is the share of the learning rate of the shared layers.
    """
    device = model.backbone.mean.device

    def loss_of(rows: Tensor) -> Tensor:
        with torch.no_grad():
            anchors = model.anchor_estimates(views.moments[rows].to(device))
            seen = views.limited[rows].to(device).float()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs = model.join(anchors, model.backbone.features(seen))
        targets = {task: target[rows].to(device) for task, target in views.targets.items()}
        weight = None if views.weight is None else views.weight[rows].to(device)
        return loss(outputs, targets, weight)

    shared = model.backbone.layers
    model.train()
    last = fit_rows(
        nn.ModuleList([shared, model.heads]),
        len(views),
        loss_of,
        options,
        seed=seed,
        slow=shared,
        share=encoder_lr,
    )
    logger.info("fitted on %d views, last loss %.4f", len(views), last)
