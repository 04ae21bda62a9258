"""Checkpoints: reading the research code's and the project's own, writing the latter.

A file is opened with ``weights_only=True``, so nothing in it can execute; weights load strictly,
a missing or extra tensor is an error that names it.  Exponentially averaged (EMA) weights are
the ones to deploy and are preferred where present.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError
from torch import Tensor

from xec_deploy.detector.layout import LayoutName, get_layout
from xec_deploy.errors import BundleError, nearest
from xec_deploy.normalisation import Normalisation
from xec_train.models import TASK_DIMENSIONS, ModelConfig, TaskName, XECMultiHeadModel

__all__ = [
    "RegressorCheckpoint",
    "load_regressor",
    "open_checkpoint",
    "regressor_entries",
    "save_regressor",
]

WeightSource = str
EMA_KEYS = ("ema_state_dict", "best_ema_state")
EMA_PREFIX = "module."


@dataclass(frozen=True)
class RegressorCheckpoint:
    """A regressor ready to run, with everything that defines its inputs and outputs.

    Attributes
    ----------
    model
        In eval mode, float32.
    normalisation, layout
        As trained.
    log_transform
        Tasks whose head emits the logarithm of the quantity.
    weights
        ``"ema"`` or ``"model"``.
    training
        Provenance recorded by the trainer (epoch, loss, recipe), empty if unknown.
    """

    model: XECMultiHeadModel
    normalisation: Normalisation
    layout: LayoutName
    log_transform: tuple[TaskName, ...]
    weights: WeightSource
    sha256: str
    training: dict[str, Any] = field(default_factory=dict)


def load_regressor(
    path: str | PathLike[str],
    *,
    layout: LayoutName | None = None,
    log_transform: tuple[TaskName, ...] | None = None,
    ema: bool = True,
) -> RegressorCheckpoint:
    """Load a regressor checkpoint of the research code or of this project.

    Parameters
    ----------
    path
        File written by ``torch.save``.
    layout
        Overrides nothing silently: needed only if the file does not state one, in which case
        ``research`` is what the research code means.
    log_transform
        Tasks trained on logarithms; the research code does not record them.
    ema
        Prefer averaged weights.

    Raises
    ------
    BundleError
        If the file is not such a checkpoint, or a tensor is missing, extra or of another shape.
    """
    where = str(path)
    content = open_checkpoint(path)
    config = content.get("config")
    if not isinstance(config, Mapping) or not isinstance(content.get("model_state_dict"), Mapping):
        raise BundleError(
            "not a regressor checkpoint: no 'model_state_dict' or no 'config'",
            where=where,
            fix="Pass a file written by the regressor trainer.",
        )
    stated = config.get("layout")
    if layout is not None and stated is not None and layout != stated:
        raise BundleError(
            f"the checkpoint was trained with layout {stated!r}, not {layout!r}", where=where
        )
    if stated not in (None, *get_args(LayoutName)):
        raise BundleError(
            f"config key 'layout': unknown layout {stated!r}",
            where=where,
            fix=nearest(str(stated), get_args(LayoutName)),
        )
    chosen: LayoutName = stated or layout or "research"
    weights, state = _weights(content, ema)
    model_config, normalisation = _configs(config, state, where)
    model = XECMultiHeadModel(model_config, get_layout(chosen), normalisation)
    _load_strictly(model, state, where)
    return RegressorCheckpoint(
        model=model.eval(),
        normalisation=normalisation,
        layout=chosen,
        log_transform=log_transform
        if log_transform is not None
        else tuple(config.get("log_transform", ())),
        weights=weights,
        sha256=hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        training=dict(content.get("training", {})) or _research_training(content),
    )


def save_regressor(
    path: str | PathLike[str],
    model: XECMultiHeadModel,
    *,
    normalisation: Normalisation,
    ema_state: Mapping[str, Tensor] | None = None,
    log_transform: tuple[TaskName, ...] = (),
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint that :func:`load_regressor` reads, replacing the file atomically."""
    content = regressor_entries(
        model.config,
        model.backbone.layout.name,
        normalisation,
        model_state=model.state_dict(),
        ema_state=ema_state,
        log_transform=log_transform,
        training=training,
    )
    part = Path(f"{os.fspath(path)}.part")
    torch.save(content, part)
    part.replace(path)


def regressor_entries(
    model: ModelConfig,
    layout: LayoutName,
    normalisation: Normalisation,
    *,
    model_state: Mapping[str, Tensor],
    ema_state: Mapping[str, Tensor] | None = None,
    log_transform: tuple[TaskName, ...] = (),
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the entries of a checkpoint that :func:`load_regressor` reads.

    The states are those of a model that emits physical units.
    """
    return {
        "format": 1,
        "model_state_dict": dict(model_state),
        "ema_state_dict": {EMA_PREFIX + name: tensor for name, tensor in ema_state.items()}
        if ema_state is not None
        else None,
        "config": {
            **model.model_dump(mode="json"),
            **normalisation.model_dump(mode="json"),
            "layout": layout,
            "log_transform": list(log_transform),
        },
        "training": dict(training or {}),
    }


def open_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the content of a checkpoint; nothing in the file is executed.

    Raises
    ------
    BundleError
        If the file is absent, no checkpoint, or would execute code.
    """
    where = str(path)
    try:
        with warnings.catch_warnings():
            # A bare pickle is refused below, in words of our own.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BundleError("no such file", where=where) from error
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        if name is None:
            raise BundleError("not a checkpoint written by torch.save", where=where) from error
        raise BundleError(
            f"refused: opening the file would execute code ({name[1]})",
            where=where,
            fix="Save only tensors, numbers, strings, lists and dictionaries.",
        ) from error
    except OSError as error:
        raise BundleError(f"cannot read the file ({error.strerror})", where=where) from error
    # What torch raises for a file that is no checkpoint depends on its first bytes.
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BundleError("not a checkpoint written by torch.save", where=where) from error
    if not isinstance(content, dict):
        raise BundleError("not a checkpoint: the file holds no dictionary", where=where)
    return content


def _weights(content: Mapping[str, Any], ema: bool) -> tuple[WeightSource, dict[str, Tensor]]:
    for key in EMA_KEYS if ema else ():
        averaged = content.get(key)
        if averaged:
            return "ema", {
                name.removeprefix(EMA_PREFIX): tensor
                for name, tensor in averaged.items()
                if name != "n_averaged"
            }
    state = content["model_state_dict"]
    return "model", {name.removeprefix(EMA_PREFIX): tensor for name, tensor in state.items()}


def _configs(
    config: Mapping[str, Any], state: Mapping[str, Tensor], where: str
) -> tuple[ModelConfig, Normalisation]:
    heads = tuple(task for task in TASK_DIMENSIONS if f"heads.{task}.0.weight" in state)
    if not heads:
        raise BundleError(
            "not a regressor checkpoint: it has no heads (a masked autoencoder or an inpainter?)",
            where=where,
            fix="Pass a file written by the regressor trainer.",
        )
    try:
        model = ModelConfig(
            **{k: config[k] for k in ModelConfig.model_fields if k in config and k != "heads"},
            heads=heads,
        )
        normalisation = Normalisation(
            **{k: config[k] for k in Normalisation.model_fields if k in config}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(
            f"config key {'.'.join(map(str, first['loc']))!r}: {first['msg']}", where=where
        ) from error
    absent = [task for task in model.active_tasks if task not in heads]
    if absent:
        raise BundleError(f"task {absent[0]!r} is active but its head has no weights", where=where)
    return model, normalisation


def _load_strictly(model: XECMultiHeadModel, state: Mapping[str, Tensor], where: str) -> None:
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split("\n\t", 1)[-1].split())
        raise BundleError(
            f"the weights do not fit the model of the checkpoint's config: {detail}",
            where=where,
            fix="The file and its config disagree; check encoder_dim, outer_mode and the layout.",
        ) from error


def _research_training(content: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("epoch", "best_val_loss", "mlflow_run_id")
    return {key: content[key] for key in keys if content.get(key) is not None}
