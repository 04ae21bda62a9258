"""Weights of another checkpoint to start from."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from xec_deploy.errors import UsageError
from xec_train.checkpoint import InpainterCheckpoint, initialise_encoder, load_checkpoint
from xec_train.checkpoint.load import load_strictly
from xec_train.config import InpainterConfig
from xec_train.models import XEC_Inpainter

__all__ = ["StartingWeights", "starting_weights"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartingWeights:
    """A checkpoint to start from: all of it, or its encoder."""

    config: InpainterConfig
    path: str
    whole: bool

    def apply(self, models: Iterable[nn.Module]) -> None:
        """Load the weights into models.

        Raises
        ------
        BundleError
            If layout, normalisation or shapes differ.
        """
        for model in models:
            if self.whole:
                state = load_checkpoint(self.path).model.state_dict()
                load_strictly(
                    model,
                    state,
                    self.path,
                    into="the inpainter to train",
                    fix="Give section model the values of the checkpoint.",
                )
            elif isinstance(model, XEC_Inpainter):
                initialise_encoder(
                    model.encoder, self.path, normalisation=self.config.normalization
                )


def starting_weights(config: InpainterConfig) -> StartingWeights | None:
    """Return what a new training of a configuration starts from; None for random weights.

    That is ``checkpoint.resume_from``, an inpainter in whole or the encoder of another model, else
    the encoder of ``training.mae_checkpoint``.

    Raises
    ------
    BundleError
        If the file is no checkpoint.
    UsageError
        If it is of another normalisation, or an encoder and the architecture has none.
    """
    path = config.checkpoint.resume_from or config.training.mae_checkpoint
    if path is None:
        return None
    loaded = load_checkpoint(path)
    whole = isinstance(loaded, InpainterCheckpoint) and path == config.checkpoint.resume_from
    if whole and loaded.normalisation != config.normalization:
        raise UsageError(
            "the inpainter was trained on inputs normalised otherwise",
            where=path,
            fix="Use the normalisation of the checkpoint.",
        )
    if not whole and config.model.arch == "xec":
        raise UsageError(
            "an inpainter of arch xec has no encoder to start from another model's",
            where=path,
            fix="Start from an inpainter of arch xec.",
        )
    logger.info("starting from the %s of %s", "weights" if whole else "encoder", path)
    return StartingWeights(config, path, whole)
