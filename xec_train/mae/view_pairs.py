"""Pairs of views computed once: of a masked event, and what the whole one shows beyond."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from xec_deploy.cli.progress import progress_of
from xec_deploy.errors import InputError
from xec_train.config import ViewFit
from xec_train.data import RawBatch
from xec_train.models import XecMae
from xec_train.models.xec import SMALLEST_SPREAD
from xec_train.regressor.view_fit import STANDARD_EVENTS, check_memory
from xec_train.training.rows import RowStore

__all__ = ["MaskedEvents", "Pairs", "collect_pairs"]

HALF: Final = 2
"""Bytes of a number."""


@dataclass(frozen=True, eq=False)
class MaskedEvents:
    """Normalised events (n, 4760, 2), the mask (n, 4760) bool to hide them by, weights (n,)."""

    x: Tensor
    mask: Tensor
    weight: Tensor | None


@dataclass(frozen=True, eq=False)
class Pairs:
    """What is seen of n events, and what is to be predicted, standardised and limited.

    Attributes
    ----------
    seen
        (n, view.count) float16.
    target
        (n, view.lights) float16.
    weight
        (n,) float32 weights of the events, or None.
    """

    seen: Tensor
    target: Tensor
    weight: Tensor | None

    def __len__(self) -> int:
        return len(self.seen)


def collect_pairs(
    model: XecMae,
    batches: Callable[[], Iterable[RawBatch]],
    masked: Callable[[RawBatch], MaskedEvents],
    options: ViewFit,
    *,
    standardised: bool = False,
) -> Pairs:
    """Look at events with and without a mask; set what the model standardises with.

    Parameters
    ----------
    model
        On the device to compute on.
    batches
        Called for every copy; raw events on the CPU.
    masked
        Raw events on the device to (mirrored) inputs and a new mask.
    options
        How many events and copies.
    standardised
        The mean and spread of views are those of another training already, and stay.

    Raises
    ------
    UsageError
        If the views would take more memory than allowed.
    InputError
        If there are no events.
    """
    eye, device = model.encoder, model.unit.device
    check_memory(options, HALF * (eye.view.count + eye.view.lights))
    stores: list[RowStore] = []
    weights: list[Tensor] = []
    with torch.no_grad(), progress_of("views", options.events * options.copies) as progress:
        parts = (masked(raw.to(device)) for raw in batches())
        _measure(model, parts, standardised=standardised)
        for _ in range(options.copies):
            for raw in batches():
                part = masked(raw.to(device))
                view, difference = model.views(part.x, part.mask)
                # Batches are full: the last one of a copy may bring some events more.
                most = (options.events + len(raw)) * options.copies
                stores = stores or [RowStore(most, torch.float16) for _ in range(2)]
                stores[0].add(model.seen(view))
                stores[1].add(model.target(difference))
                if part.weight is not None:
                    weights.append(part.weight.cpu())
                progress(len(raw))
    seen, target = (store.rows for store in stores)
    return Pairs(seen, target, torch.cat(weights) if weights else None)


def _measure(model: XecMae, parts: Iterable[MaskedEvents], *, standardised: bool) -> None:
    """Set mean and spread of the views, and as the unit of predictions that of the differences."""
    views, differences = [], []
    count = 0
    for part in parts:
        view, difference = model.views(part.x, part.mask)
        views.append(view)
        differences.append(difference)
        count += len(view)
        if count >= STANDARD_EVENTS:
            break
    if count == 0:
        raise InputError("no events to look at", where="training files")
    if not standardised:
        model.encoder.use_statistics(torch.cat(views))
    spread = torch.cat(differences).double().square().mean(dim=0).sqrt()
    model.unit.copy_(1.0 / spread.clamp_min(SMALLEST_SPREAD))
