"""Writing checkpoints of the project's own, with all that defines the model beside its weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel
from torch import Tensor

from xec_deploy.detector.layout import LayoutName
from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint.contents import Kind
from xec_train.models import (
    EncoderConfig,
    Inpainter,
    InpainterModelConfig,
    MAEModelConfig,
    MaskedAutoencoder,
    ModelConfig,
    Regressor,
    TaskName,
    XEC_Inpainter,
    XecEncoderConfig,
    XecInpainter,
    XecInpainterModelConfig,
    XecMae,
    XecMaeModelConfig,
    XecModelConfig,
    XECMultiHeadModel,
)

__all__ = [
    "checkpoint_entries",
    "encoder_entries",
    "regressor_entries",
    "save_encoder",
    "save_inpainter",
    "save_mae",
    "save_regressor",
    "write_whole",
]

FORMAT: Final = 1
EMA_PREFIX: Final = "module."
KIND_OF: Final[tuple[tuple[type[BaseModel], Kind], ...]] = (
    (XecModelConfig, "regressor"),
    (XecInpainterModelConfig, "inpainter"),
    (XecMaeModelConfig, "mae"),
    (XecEncoderConfig, "encoder"),
    (ModelConfig, "regressor"),
    (MAEModelConfig, "mae"),
    (InpainterModelConfig, "inpainter"),
    (EncoderConfig, "encoder"),
)


def checkpoint_entries(
    model: BaseModel,
    layout: LayoutName,
    normalisation: Normalisation,
    *,
    model_state: Mapping[str, Tensor],
    ema_state: Mapping[str, Tensor] | None = None,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the entries of a checkpoint that ``load_checkpoint`` reads.

    Parameters
    ----------
    model
        Configuration; its class says which kind of model it is.
    layout, normalisation
        As trained.
    model_state, ema_state
        State dicts, the second that of exponentially averaged weights.
    training
        Provenance: step, metrics, recipe.
    """
    return {
        "format": FORMAT,
        "kind": next(kind for config, kind in KIND_OF if isinstance(model, config)),
        "model_state_dict": dict(model_state),
        "ema_state_dict": {EMA_PREFIX + name: tensor for name, tensor in ema_state.items()}
        if ema_state is not None
        else None,
        "config": {
            **model.model_dump(mode="json"),
            **normalisation.model_dump(mode="json"),
            "layout": layout,
        },
        "training": dict(training or {}),
    }


def regressor_entries(
    model: ModelConfig | XecModelConfig,
    layout: LayoutName,
    normalisation: Normalisation,
    *,
    model_state: Mapping[str, Tensor],
    ema_state: Mapping[str, Tensor] | None = None,
    log_transform: tuple[TaskName, ...] = (),
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the entries of a regressor's checkpoint; see :func:`checkpoint_entries`.

    The states are those of a model that emits physical units, or for the tasks of
    ``log_transform`` their logarithms.
    """
    entries = checkpoint_entries(
        model,
        layout,
        normalisation,
        model_state=model_state,
        ema_state=ema_state,
        training=training,
    )
    entries["config"]["log_transform"] = list(log_transform)
    return entries


def encoder_entries(
    model: EncoderConfig | XecEncoderConfig,
    layout: LayoutName,
    normalisation: Normalisation,
    *,
    encoder_state: Mapping[str, Tensor],
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the entries of a checkpoint of an encoder alone, given any model's configuration."""
    kind = XecEncoderConfig if isinstance(model, XecEncoderConfig) else EncoderConfig
    config = kind(**model.model_dump(include=set(kind.model_fields)))
    return checkpoint_entries(
        config, layout, normalisation, model_state=encoder_state, training=training
    )


def save_regressor(
    path: str | PathLike[str],
    model: Regressor,
    *,
    normalisation: Normalisation,
    ema_state: Mapping[str, Tensor] | None = None,
    log_transform: tuple[TaskName, ...] = (),
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint that ``load_regressor`` reads, replacing the file atomically."""
    entries = regressor_entries(
        model.config,
        model.backbone.layout.name if isinstance(model, XECMultiHeadModel) else "physical",
        normalisation,
        model_state=model.state_dict(),
        ema_state=ema_state,
        log_transform=log_transform,
        training=training,
    )
    write_whole(path, entries)


def save_mae(
    path: str | PathLike[str],
    model: MaskedAutoencoder,
    *,
    ema_state: Mapping[str, Tensor] | None = None,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint that ``load_mae`` reads, replacing the file atomically."""
    _save(path, model, ema_state, training)


def save_inpainter(
    path: str | PathLike[str],
    model: Inpainter,
    *,
    ema_state: Mapping[str, Tensor] | None = None,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint that ``load_inpainter`` reads, replacing the file atomically."""
    _save(path, model, ema_state, training)


def save_encoder(
    path: str | PathLike[str],
    model: MaskedAutoencoder | XEC_Inpainter,
    *,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write the encoder of a model alone, replacing the file atomically."""
    entries = encoder_entries(
        model.config,
        "physical" if isinstance(model, XecMae) else model.layout.name,
        model.normalisation,
        encoder_state=model.encoder.state_dict(),
        training=training,
    )
    write_whole(path, entries)


def _save(
    path: str | PathLike[str],
    model: MaskedAutoencoder | Inpainter,
    ema_state: Mapping[str, Tensor] | None,
    training: Mapping[str, Any] | None,
) -> None:
    entries = checkpoint_entries(
        model.config,
        "physical" if isinstance(model, XecInpainter | XecMae) else model.layout.name,
        model.normalisation,
        model_state=model.state_dict(),
        ema_state=ema_state,
        training=training,
    )
    write_whole(path, entries)


def write_whole(path: str | PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a file that is never seen half written."""
    part = Path(f"{os.fspath(path)}.part")
    torch.save(dict(content), part)
    part.replace(path)
