"""Checkpoints as the exporter takes them: nothing about them is assumed."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, TypeAlias

from xec_deploy.detector.layout import LayoutName
from xec_deploy.errors import UsageError
from xec_deploy.export.graph import DeployedEncoder, DeployedInpainter, DeployedRegressor
from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint import (
    EncoderCheckpoint,
    InpainterCheckpoint,
    MAECheckpoint,
    RegressorCheckpoint,
    load_checkpoint,
    load_inpainter,
)
from xec_train.models import TaskName

__all__ = ["Checkpoint", "deployed_module", "open_inpainter", "open_source"]

Checkpoint: TypeAlias = (
    RegressorCheckpoint | MAECheckpoint | InpainterCheckpoint | EncoderCheckpoint
)


def open_source(
    path: str | PathLike[str], layout: LayoutName | None, config: Mapping[str, Any] | None
) -> Checkpoint:
    """Load a checkpoint of any kind; what its file leaves out must be in ``config``.

    Raises
    ------
    BundleError
        If it cannot be used.
    UsageError
        If something is neither stated nor given.
    """
    loaded = load_checkpoint(path, layout=layout, config=config)
    _nothing_assumed(loaded, str(path), "--set")
    return loaded


def open_inpainter(
    path: str | PathLike[str], layout: LayoutName | None, config: Mapping[str, Any] | None
) -> InpainterCheckpoint:
    """Load an inpainter to be put ahead of a regressor; see :func:`open_source`."""
    loaded = load_inpainter(path, layout=layout, config=config)
    _nothing_assumed(loaded, str(path), "--inpainter-set")
    return loaded


def deployed_module(
    source: Checkpoint, log_transform: tuple[TaskName, ...] | None
) -> DeployedRegressor | DeployedInpainter | DeployedEncoder:
    """Return a checkpoint's network with raw events in; ``log_transform`` None is what it says."""
    normalisation = source.normalisation
    assert normalisation is not None  # noqa: S101 - nothing is left open
    if isinstance(source, RegressorCheckpoint):
        logarithmic = source.log_transform if log_transform is None else log_transform
        return DeployedRegressor(source.model, normalisation, logarithmic)
    if isinstance(source, InpainterCheckpoint):
        return DeployedInpainter(source.model, normalisation)
    encoder = source.model.encoder if isinstance(source, MAECheckpoint) else source.model
    return DeployedEncoder(encoder, normalisation)


def _nothing_assumed(loaded: Checkpoint, where: str, flag: str) -> None:
    missing = list(loaded.assumed)
    if loaded.normalisation is None:
        missing = missing or list(Normalisation.model_fields)
    if not missing:
        return
    names = ", ".join(repr(key) for key in missing)
    said = " ".join(f"{flag} {key}={_default(loaded, key)}" for key in missing)
    raise UsageError(
        f"the checkpoint's config does not state {names}",
        where=where,
        fix=f"Say what it was trained with; what the research code falls back to is: {said}.",
    )


def _default(loaded: Checkpoint, key: str) -> str:
    normalisation = loaded.normalisation or Normalisation()
    if key in Normalisation.model_fields:
        return str(getattr(normalisation, key))
    value = getattr(getattr(loaded.model, "config", None), key, None)
    if value is None:
        return "null"
    return f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else str(value).lower()
