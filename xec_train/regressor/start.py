"""Weights of another checkpoint to start from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from xec_train.checkpoint import (
    MAECheckpoint,
    RegressorCheckpoint,
    encoder_state,
    load_checkpoint,
)
from xec_train.config import RegressorConfig
from xec_train.models import XecMae
from xec_train.models.xec import N_MOMENTS

__all__ = ["StartingWeights", "given_weights", "starting_weights"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartingWeights:
    """Weights for part of a regressor, by the names of its plain state (physical units).

    ``noise``, of a masked autoencoder of arch xec, are variances (N_MOMENTS,) of what the moments
    of an event with hidden sensors lack, in units of their spread.
    """

    where: str
    state: Mapping[str, Tensor]
    noise: Tensor | None = None

    @property
    def has_anchors(self) -> bool:
        """Whether the anchors are among them."""
        return any(name.startswith("anchors.") for name in self.state)


def given_weights(config: RegressorConfig) -> StartingWeights | None:
    """Return what ``checkpoint.resume_from`` of a new training has for it; None for random weights.

    Raises
    ------
    BundleError
        See :func:`starting_weights`.
    """
    source = config.checkpoint.resume_from
    return starting_weights(config, source) if source else None


def starting_weights(config: RegressorConfig, path: str) -> StartingWeights:
    """Return what a checkpoint of any kind has for the regressor of a configuration.

    The encoder, and of a regressor the heads of the tasks that are trained in the same way; other
    heads start anew.  Averaged weights are preferred.

    Raises
    ------
    BundleError
        If the file is no checkpoint, or its layout or normalisation differ.
    """
    encoder = encoder_state(path, normalisation=config.normalization, layout=config.layout)
    state = {f"backbone.{name}": tensor for name, tensor in encoder.items()}
    loaded = load_checkpoint(path)
    kept: list[str] = []
    if isinstance(loaded, RegressorCheckpoint):
        theirs = loaded.model.config
        for task in config.active_tasks:
            logarithm = config.tasks[task].log_transform
            if (
                task in theirs.active_tasks
                and (task in theirs.nll_tasks) == (task in config.nll_tasks)
                and (task in loaded.log_transform) == logarithm
            ):
                kept.append(task)
        prefixes = tuple(f"{part}.{task}." for part in ("heads", "anchors") for task in kept)
        found = loaded.model.state_dict()
        state |= {name: tensor for name, tensor in found.items() if name.startswith(prefixes)}
    new = [task for task in config.active_tasks if task not in kept]
    logger.info(
        "starting from the weights of %s%s", path, f"; new heads: {', '.join(new)}" if new else ""
    )
    noise = None
    if isinstance(loaded, MAECheckpoint) and isinstance(loaded.model, XecMae):
        spread = loaded.model.encoder.inverse_spread[:N_MOMENTS] / loaded.model.unit[:N_MOMENTS]
        noise = spread.double().square()
    return StartingWeights(path, state, noise)
