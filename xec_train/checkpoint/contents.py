"""What a checkpoint holds: its kind, the weights to use, and what it says of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, get_args

from torch import Tensor

from xec_deploy.detector.layout import LayoutName
from xec_deploy.errors import BundleError, nearest
from xec_train.checkpoint.opening import open_checkpoint

__all__ = ["KINDS", "Contents", "Kind", "WeightSource", "detect_kind", "encoder_part", "read"]

Kind = Literal["regressor", "mae", "inpainter", "encoder"]
WeightSource = Literal["ema", "model"]

KINDS: Final[dict[Kind, str]] = {
    "regressor": "a regressor",
    "mae": "a masked autoencoder",
    "inpainter": "an inpainter",
    "encoder": "an encoder alone",
}

EMA_KEYS: Final = ("ema_state_dict", "best_ema_state")
WRAPPERS: Final = ("module.", "_orig_mod.")
"""Prefixes that averaging, distributed training and compilation put before every name."""
ENCODER_PREFIXES: Final[dict[Kind, str]] = {
    "regressor": "backbone.",
    "mae": "encoder.",
    "inpainter": "encoder.",
    "encoder": "",
}
NULLABLE: Final = ("outer_fine_pool", "dim_feedforward", "summary_width")
"""Config keys for which None says something; of any other it says that it is not known."""


@dataclass(frozen=True)
class Contents:
    """A checkpoint that has been read but not built.

    ``config`` is None if the file states none; ``stated_layout`` likewise.
    """

    where: str
    kind: Kind
    state: dict[str, Tensor]
    weights: WeightSource
    config: dict[str, Any] | None
    training: dict[str, Any]
    sha256: str

    @property
    def stated_layout(self) -> LayoutName | None:
        """Layout the file states."""
        layout = (self.config or {}).get("layout")
        if layout not in (None, *get_args(LayoutName)):
            raise BundleError(
                f"config key 'layout': unknown layout {layout!r}",
                where=self.where,
                fix=nearest(str(layout), get_args(LayoutName)),
            )
        return layout


def read(path: str | PathLike[str], *, ema: bool = True) -> Contents:
    """Read a checkpoint of any kind, of the research code or of this project.

    Raises
    ------
    BundleError
        If the file is no checkpoint, or not of a model that is known here.
    """
    where = str(path)
    content = open_checkpoint(path)
    weights, state = _weights(content, where, ema)
    kind = detect_kind(state)
    stated = content.get("kind")
    if kind is None or stated not in (None, kind):
        raise BundleError(
            "not a checkpoint of a known model"
            if kind is None
            else f"says it is of kind {stated!r} but holds {KINDS[kind]}",
            where=where,
            fix="Pass a checkpoint of a regressor, a masked autoencoder or an inpainter.",
        )
    if "encoder.pos_embed" in state and kind == "encoder":
        state = _without_prefix(state, "encoder.")
    config = content.get("config")
    training = content.get("training")
    return Contents(
        where=where,
        kind=kind,
        state=state,
        weights=weights,
        config={key: value for key, value in config.items() if value is not None or key in NULLABLE}
        if isinstance(config, Mapping)
        else None,
        training=dict(training) if isinstance(training, Mapping) else _research_training(content),
        sha256=hashlib.sha256(Path(path).read_bytes()).hexdigest(),
    )


def detect_kind(state: Mapping[str, Tensor]) -> Kind | None:
    """Return the kind of model a state dict is of, None if of none."""
    firsts = {name.split(".", 1)[0] for name in state}
    if {"heads", "backbone"} <= firsts:
        return "regressor"
    if {"inner_head", "tube_head"} <= firsts:
        return "inpainter"
    if {"encoder", "decoder", "unit"} <= firsts:
        return "mae"
    if "encoder" in firsts:
        if firsts & {"cross_attn_head", "head_inner"}:
            return "inpainter"
        if "dec_inner" in firsts:
            return "mae"
        return "encoder" if firsts == {"encoder"} else None
    alone = {"pos_embed", "fusion_transformer"}, {"inverse_spread", "shared"}
    return "encoder" if any(names <= firsts for names in alone) else None


def encoder_part(contents: Contents) -> dict[str, Tensor]:
    """Return the encoder's state dict, with the names of an encoder alone."""
    prefix = ENCODER_PREFIXES[contents.kind]
    return _without_prefix(contents.state, prefix) if prefix else dict(contents.state)


def _without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _weights(
    content: Mapping[str, Any], where: str, ema: bool
) -> tuple[WeightSource, dict[str, Tensor]]:
    source: WeightSource = "model"
    state = content.get("model_state_dict")
    for key in EMA_KEYS if ema else ():
        averaged = content.get(key)
        if isinstance(averaged, Mapping) and averaged:
            source = "ema"
            state = {name: value for name, value in averaged.items() if name != "n_averaged"}
            break
    if state is None and "model_state_dict" not in content:
        state = content  # a bare state dict
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(tensor, Tensor) for tensor in state.values())
    ):
        raise BundleError(
            "not a checkpoint of a known model: it holds no weights ('model_state_dict')",
            where=where,
        )
    return source, {_unwrapped(str(name)): tensor for name, tensor in state.items()}


def _unwrapped(name: str) -> str:
    while name.startswith(WRAPPERS):
        for prefix in WRAPPERS:
            name = name.removeprefix(prefix)
    return name


def _research_training(content: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("epoch", "best_val_loss", "mlflow_run_id")
    return {key: content[key] for key in keys if content.get(key) is not None}
