"""Weights of another checkpoint to start a pretraining from."""

from __future__ import annotations

from os import PathLike

from xec_train.checkpoint import encoder_state
from xec_train.checkpoint.contents import read
from xec_train.checkpoint.load import load_strictly
from xec_train.config import MaeConfig
from xec_train.models import MaskedAutoencoder

__all__ = ["use_weights"]


def use_weights(model: MaskedAutoencoder, path: str | PathLike[str], config: MaeConfig) -> None:
    """Load what a checkpoint has for a masked autoencoder.

    All of an autoencoder (but learned weights of channels, where only one side has them); of any
    other model its encoder.  Averaged weights are preferred.

    Raises
    ------
    BundleError
        If the file is no checkpoint, or layout, normalisation or shapes differ.
    """
    encoder = encoder_state(path, normalisation=config.normalization, layout=config.layout)
    state = {f"encoder.{name}": tensor for name, tensor in encoder.items()}
    contents = read(path)
    mine = model.state_dict()
    if contents.kind == "mae":
        state = {name: tensor for name, tensor in contents.state.items() if name != LEARNED}
    load_strictly(
        model,
        {**mine, **state},
        str(path),
        into="the masked autoencoder to train",
        fix="Give section model the values of the checkpoint.",
    )


LEARNED = "channel_log_vars"
