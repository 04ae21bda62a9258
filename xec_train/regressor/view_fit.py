"""Fitting a regressor of ``arch: xec`` on views that are computed once.

What that architecture sees of an event has no weights in it, so it need not be computed again for
every step: views of some hundred thousand events, mirrored and with channels lost at random, fit in
memory, and the network on them trains twenty times faster than on raw events.  The training that
follows starts from there, with new losses for every event.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from xec_deploy.cli.progress import progress_of
from xec_deploy.errors import InputError, UsageError
from xec_train.config import ViewFit
from xec_train.data import RawBatch
from xec_train.models import TaskName
from xec_train.models.xec import N_MOMENTS, RANGE, XecEncoder, XecRegressor
from xec_train.training.average import WeightAverage
from xec_train.training.optimiser import adamw

__all__ = ["ViewLoss", "Views", "collect_views", "fit_anchors", "fit_corrections"]

logger = logging.getLogger(__name__)

MEGABYTE: Final = 1 << 20
SMALLEST_SPREAD: Final = 1e-6
STANDARD_EVENTS: Final = 10_000
"""Events that mean and spread of the views are measured on."""
GRADIENT_LIMIT: Final = 5.0

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
    needed = wanted * (2 * model.backbone.view.count + 4 * N_MOMENTS) // MEGABYTE
    if needed > options.memory_mb:
        raise UsageError(
            f"views of {options.events} events in {options.copies} copies take {needed} MB, more "
            f"than training.view_fit.memory_mb ({options.memory_mb})",
            fix="Take fewer events or copies, or allow more memory.",
        )
    moments: list[Tensor] = []
    limited: list[Tensor] = []
    targets: dict[TaskName, list[Tensor]] = {}
    weights: list[Tensor] = []
    with torch.no_grad(), progress_of("views", wanted) as progress:
        _measure(eye, (normalise(augment(b.to(device))) for b in batches()))
        for _ in range(options.copies):
            for raw in batches():
                batch = augment(raw.to(device))
                standard = eye.standardise(eye.view(normalise(batch)))
                moments.append(standard[:, :N_MOMENTS].cpu())
                limited.append(standard.clamp(-RANGE, RANGE).half().cpu())
                for task, target in batch.targets.items():
                    targets.setdefault(task, []).append(target.cpu())
                if batch.weight is not None:
                    weights.append(batch.weight.cpu())
                progress(len(raw))
    return Views(
        torch.cat(moments),
        torch.cat(limited),
        {task: torch.cat(parts) for task, parts in targets.items()},
        torch.cat(weights) if weights else None,
    )


def _measure(encoder: XecEncoder, inputs: Iterator[Tensor]) -> None:
    seen: list[Tensor] = []
    count = 0
    for x in inputs:
        seen.append(encoder.view(x))
        count += len(x)
        if count >= STANDARD_EVENTS:
            break
    if count == 0:
        raise InputError("no events to look at", where="training files")
    views = torch.cat(seen).double()
    encoder.mean.copy_(views.mean(dim=0))
    encoder.inverse_spread.copy_(1.0 / views.std(dim=0, correction=0).clamp_min(SMALLEST_SPREAD))


def fit_anchors(model: XecRegressor, views: Views, learned: Mapping[TaskName, Tensor]) -> None:
    """Set the anchors to the least-squares estimate of what is learned, and corrections to zero.

    ``learned`` is per task (n, components): the targets, or their logarithms.  Tasks it lacks
    (classes) and log variances have anchors of zero.
    """
    design = torch.cat([views.moments, torch.ones(len(views), 1)], dim=1).double()
    normal = design.T @ design
    # A moment that never varies (no times in the files) must not make the matrix singular.
    normal.diagonal().add_(1e-6 * len(views))
    with torch.no_grad():
        for task in model.config.active_tasks:
            anchor, last = model.anchors[task], _last(model.heads[task])
            assert isinstance(anchor, nn.Linear)  # noqa: S101 - built so
            for parameter in (anchor.weight, anchor.bias, last.weight, last.bias):
                parameter.zero_()
            if task in learned:
                solution = torch.linalg.solve(normal, design.T @ learned[task].double())
                components = learned[task].shape[1]
                anchor.weight[:components] = solution[:N_MOMENTS].T
                anchor.bias[:components] = solution[N_MOMENTS]


def fit_corrections(
    model: XecRegressor, views: Views, loss: ViewLoss, options: ViewFit, *, seed: int, bf16: bool
) -> None:
    """Train everything but the anchors on the views; the model ends with averaged weights.

    AdamW with a cosine schedule, ``options.epochs`` times through the views in random order.
    """
    device = model.backbone.mean.device
    generator = torch.Generator().manual_seed(seed)
    trained = nn.ModuleList([model.backbone.shared, model.heads])
    average = WeightAverage(copy.deepcopy(trained), options.ema_decay)
    optimiser = adamw(trained, lr=options.lr, weight_decay=options.weight_decay)
    batches = len(views) // options.batch_size
    steps = max(1, options.epochs * batches)
    warm = max(1, steps // 50)
    model.train()
    with progress_of("fit", options.epochs * len(views)) as progress:
        for step in range(steps):
            if step % max(1, batches) == 0:
                order = torch.randperm(len(views), generator=generator)
            first = step % max(1, batches) * options.batch_size
            rows = order[first : first + options.batch_size]
            rate = 0.5 * (1 + math.cos(math.pi * step / steps))
            for group in optimiser.param_groups:
                group["lr"] = options.lr * min(1.0, (step + 1) / warm) * rate
            with torch.no_grad():
                anchors = model.anchor_estimates(views.moments[rows].to(device))
                seen = views.limited[rows].to(device).float()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                outputs = model.join(anchors, model.backbone.features(seen))
            targets = {task: target[rows].to(device) for task, target in views.targets.items()}
            weight = None if views.weight is None else views.weight[rows].to(device)
            total = loss(outputs, targets, weight)
            total.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained.parameters(), GRADIENT_LIMIT)
            optimiser.step()
            optimiser.zero_grad()
            average.update(trained, step + 1)
            progress(len(rows))
    trained.load_state_dict(average.module.state_dict())
    logger.info("fitted on %d views, last loss %.4f", len(views), float(total.detach()))


def _last(head: nn.Module) -> nn.Linear:
    return [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]
