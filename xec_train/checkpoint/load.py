"""Loading checkpoints, strictly and by kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, cast

from pydantic import BaseModel
from torch import Tensor, nn

from xec_deploy.detector.layout import LayoutName, get_layout
from xec_deploy.errors import BundleError
from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint.architecture import Architecture, architecture
from xec_train.checkpoint.contents import (
    KINDS,
    Contents,
    Kind,
    WeightSource,
    encoder_part,
    read,
)
from xec_train.models import (
    EncoderConfig,
    Inpainter,
    InpainterModelConfig,
    MAEModelConfig,
    MaskedAutoencoder,
    ModelConfig,
    Regressor,
    TaskName,
    XECEncoder,
    XecEncoder,
    XecEncoderConfig,
    XecInpainterModelConfig,
    XecMaeModelConfig,
    XecModelConfig,
    build_inpainter,
    build_mae,
    build_regressor,
)

__all__ = [
    "EncoderCheckpoint",
    "InpainterCheckpoint",
    "MAECheckpoint",
    "RegressorCheckpoint",
    "load_checkpoint",
    "load_encoder",
    "load_inpainter",
    "load_mae",
    "load_regressor",
    "load_strictly",
]


@dataclass(frozen=True, kw_only=True)
class _Checkpoint:
    """A model ready to run, with everything that defines its inputs and outputs.

    Attributes
    ----------
    layout
        As trained.
    weights
        ``"ema"`` or ``"model"``.
    sha256
        Of the file.
    training
        Provenance recorded by the trainer (epoch, loss, recipe), empty if unknown.
    architecture
        The model's configuration.
    assumed
        Config keys that an old file does not state and its weights do not show; their values are
        the defaults the research code falls back to.
    """

    layout: LayoutName
    weights: WeightSource
    sha256: str
    training: dict[str, Any]
    architecture: BaseModel
    assumed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RegressorCheckpoint(_Checkpoint):
    """A regressor, in eval mode, float32.

    ``log_transform`` lists the tasks whose head emits the logarithm of the quantity.
    """

    model: Regressor
    normalisation: Normalisation
    log_transform: tuple[TaskName, ...]


@dataclass(frozen=True, kw_only=True)
class MAECheckpoint(_Checkpoint):
    """A masked autoencoder, in eval mode, float32."""

    model: MaskedAutoencoder
    normalisation: Normalisation


@dataclass(frozen=True, kw_only=True)
class InpainterCheckpoint(_Checkpoint):
    """An inpainter, in eval mode, float32."""

    model: Inpainter
    normalisation: Normalisation


@dataclass(frozen=True, kw_only=True)
class EncoderCheckpoint(_Checkpoint):
    """An encoder, in eval mode, float32.

    ``normalisation`` is None for a bare state dict, which says nothing of it.
    """

    model: XECEncoder | XecEncoder
    normalisation: Normalisation | None


def load_checkpoint(
    path: str | PathLike[str],
    *,
    layout: LayoutName | None = None,
    config: Mapping[str, Any] | None = None,
    ema: bool = True,
) -> RegressorCheckpoint | MAECheckpoint | InpainterCheckpoint | EncoderCheckpoint:
    """Load a checkpoint of whatever kind it is, of the research code or of this project.

    Parameters
    ----------
    path
        File written by ``torch.save``.
    layout
        Needed only if the file does not state one, in which case ``research`` is what the
        research code means; a different one is an error.
    config
        Values of config keys the file does not state.
    ema
        Prefer exponentially averaged weights.

    Raises
    ------
    BundleError
        If the file is not a checkpoint, or a tensor is missing, extra or of another shape.
    """
    contents = read(path, ema=ema)
    match contents.kind:
        case "regressor":
            return _regressor(contents, layout, config, None)
        case "mae":
            return _mae(contents, layout, config)
        case "inpainter":
            return _inpainter(contents, layout, config)
        case "encoder":
            return _encoder(contents, layout, config)


def load_regressor(
    path: str | PathLike[str],
    *,
    layout: LayoutName | None = None,
    log_transform: tuple[TaskName, ...] | None = None,
    config: Mapping[str, Any] | None = None,
    ema: bool = True,
) -> RegressorCheckpoint:
    """Load a regressor; see :func:`load_checkpoint`.

    ``log_transform`` names the tasks trained on logarithms, which the research code does not
    record; None for what the file says.
    """
    return _regressor(_of_kind("regressor", path, ema), layout, config, log_transform)


def load_mae(
    path: str | PathLike[str],
    *,
    layout: LayoutName | None = None,
    config: Mapping[str, Any] | None = None,
    ema: bool = True,
) -> MAECheckpoint:
    """Load a masked autoencoder; see :func:`load_checkpoint`."""
    return _mae(_of_kind("mae", path, ema), layout, config)


def load_inpainter(
    path: str | PathLike[str],
    *,
    layout: LayoutName | None = None,
    config: Mapping[str, Any] | None = None,
    ema: bool = True,
) -> InpainterCheckpoint:
    """Load an inpainter; see :func:`load_checkpoint`."""
    return _inpainter(_of_kind("inpainter", path, ema), layout, config)


def load_encoder(
    path: str | PathLike[str],
    *,
    layout: LayoutName | None = None,
    config: Mapping[str, Any] | None = None,
    ema: bool = True,
) -> EncoderCheckpoint:
    """Load the encoder of a checkpoint of any kind; see :func:`load_checkpoint`."""
    return _encoder(read(path, ema=ema), layout, config)


def load_strictly(
    model: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    *,
    into: str = "the model of the checkpoint's config",
    fix: str = (
        "The file and its config disagree; check encoder_dim, outer_mode, outer_fine_pool and the "
        "layout."
    ),
) -> None:
    """Load weights, every tensor of the model and no other.

    Raises
    ------
    BundleError
        If one is missing, extra or of another shape, or an index map differs.
    """
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split("\n\t", 1)[-1].split())
        raise BundleError(
            f"the weights do not fit {into}: {detail}", where=where, fix=fix
        ) from error


def _of_kind(kind: Kind, path: str | PathLike[str], ema: bool) -> Contents:
    contents = read(path, ema=ema)
    if contents.kind != kind:
        raise BundleError(
            f"not {KINDS[kind]} checkpoint: it holds {KINDS[contents.kind]}",
            where=contents.where,
            fix=f"Pass a checkpoint of {KINDS[kind]}.",
        )
    return contents


def _regressor(
    contents: Contents,
    layout: LayoutName | None,
    config: Mapping[str, Any] | None,
    log_transform: tuple[TaskName, ...] | None,
) -> RegressorCheckpoint:
    chosen, found = _layout(contents, layout), architecture(contents, config)
    model_config = cast("ModelConfig | XecModelConfig", found.model)
    for task in model_config.active_tasks:
        if isinstance(model_config, ModelConfig) and task not in model_config.heads:
            raise BundleError(
                f"task {task!r} is active but its head has no weights", where=contents.where
            )
    normalisation = _known(found, contents)
    model = build_regressor(model_config, get_layout(chosen), normalisation)
    load_strictly(model, contents.state, contents.where)
    stated = (contents.config or {}).get("log_transform", ())
    return RegressorCheckpoint(
        model=model.eval(),
        normalisation=normalisation,
        log_transform=tuple(stated) if log_transform is None else log_transform,
        **_common(contents, chosen, found),
    )


def _mae(
    contents: Contents, layout: LayoutName | None, config: Mapping[str, Any] | None
) -> MAECheckpoint:
    chosen, found = _layout(contents, layout), architecture(contents, config)
    normalisation = _known(found, contents)
    model = build_mae(
        cast("MAEModelConfig | XecMaeModelConfig", found.model), get_layout(chosen), normalisation
    )
    load_strictly(model, contents.state, contents.where)
    return MAECheckpoint(
        model=model.eval(),
        normalisation=normalisation,
        **_common(contents, chosen, found),
    )


def _inpainter(
    contents: Contents, layout: LayoutName | None, config: Mapping[str, Any] | None
) -> InpainterCheckpoint:
    chosen, found = _layout(contents, layout), architecture(contents, config)
    normalisation = _known(found, contents)
    model = build_inpainter(
        cast("InpainterModelConfig | XecInpainterModelConfig", found.model),
        get_layout(chosen),
        normalisation,
    )
    load_strictly(model, contents.state, contents.where)
    return InpainterCheckpoint(
        model=model.eval(),
        normalisation=normalisation,
        **_common(contents, chosen, found),
    )


def _encoder(
    contents: Contents, layout: LayoutName | None, config: Mapping[str, Any] | None
) -> EncoderCheckpoint:
    chosen, found = _layout(contents, layout), architecture(contents, config)
    if isinstance(found.model, XecInpainterModelConfig):
        raise BundleError(
            "an inpainter of arch xec has no encoder",
            where=contents.where,
            fix="Load the inpainter itself.",
        )
    model: XECEncoder | XecEncoder
    if isinstance(found.model, XecModelConfig | XecEncoderConfig):
        model = XecEncoder(found.model, _known(found, contents))
    else:
        research = cast("EncoderConfig", found.model)
        sentinel_time = (found.normalisation or Normalisation()).sentinel_time
        model = XECEncoder(research, get_layout(chosen), sentinel_time)
    load_strictly(model, encoder_part(contents), contents.where)
    return EncoderCheckpoint(
        model=model.eval(),
        normalisation=found.normalisation,
        **_common(contents, chosen, found),
    )


def _common(contents: Contents, layout: LayoutName, found: Architecture) -> dict[str, Any]:
    return {
        "layout": layout,
        "weights": contents.weights,
        "sha256": contents.sha256,
        "training": contents.training,
        "architecture": found.model,
        "assumed": found.assumed,
    }


def _known(found: Architecture, contents: Contents) -> Normalisation:
    if found.normalisation is None:
        raise BundleError(
            "the file does not state the normalisation of its input", where=contents.where
        )
    return found.normalisation


def _layout(contents: Contents, layout: LayoutName | None) -> LayoutName:
    stated = contents.stated_layout
    if layout is not None and stated is not None and layout != stated:
        raise BundleError(
            f"the checkpoint was trained with layout {stated!r}, not {layout!r}",
            where=contents.where,
        )
    return stated or layout or "research"
