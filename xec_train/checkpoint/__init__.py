"""Checkpoints: reading the research code's and the project's own, writing the latter.

A file is opened with ``weights_only=True``, so nothing in it can execute; weights load strictly,
a missing or extra tensor is an error that names it.  Exponentially averaged (EMA) weights are
the ones to deploy and are preferred where present.
"""

from xec_train.checkpoint.contents import Kind
from xec_train.checkpoint.encoder import encoder_state, initialise_encoder
from xec_train.checkpoint.load import (
    EncoderCheckpoint,
    InpainterCheckpoint,
    MAECheckpoint,
    RegressorCheckpoint,
    load_checkpoint,
    load_encoder,
    load_inpainter,
    load_mae,
    load_regressor,
)
from xec_train.checkpoint.opening import open_checkpoint
from xec_train.checkpoint.save import (
    checkpoint_entries,
    encoder_entries,
    regressor_entries,
    save_encoder,
    save_inpainter,
    save_mae,
    save_regressor,
)

__all__ = [
    "EncoderCheckpoint",
    "InpainterCheckpoint",
    "Kind",
    "MAECheckpoint",
    "RegressorCheckpoint",
    "checkpoint_entries",
    "encoder_entries",
    "encoder_state",
    "initialise_encoder",
    "load_checkpoint",
    "load_encoder",
    "load_inpainter",
    "load_mae",
    "load_regressor",
    "open_checkpoint",
    "regressor_entries",
    "save_encoder",
    "save_inpainter",
    "save_mae",
    "save_regressor",
]
