"""From a checkpoint's config, and where that is silent from its weights, to the model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from torch import Tensor

from xec_deploy.errors import BundleError, UsageError, nearest
from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint.contents import KINDS, Contents, Kind, encoder_part
from xec_train.models import (
    TASK_DIMENSIONS,
    EncoderConfig,
    InpainterModelConfig,
    MAEModelConfig,
    ModelConfig,
    XecEncoderConfig,
    XecInpainterModelConfig,
    XecMaeModelConfig,
    XecModelConfig,
)

__all__ = ["Architecture", "architecture"]

T = TypeVar("T", bound=BaseModel)
Rules: TypeAlias = dict[str, Callable[[Mapping[str, Tensor]], Any]]

CONFIGS: Final[dict[Kind, type[EncoderConfig]]] = {
    "regressor": ModelConfig,
    "mae": MAEModelConfig,
    "inpainter": InpainterModelConfig,
    "encoder": EncoderConfig,
}
OWN_CONFIGS: Final[dict[Kind, type[BaseModel]]] = {
    "regressor": XecModelConfig,
    "mae": XecMaeModelConfig,
    "inpainter": XecInpainterModelConfig,
    "encoder": XecEncoderConfig,
}
"""The same for the project's own architecture, whose checkpoints state everything."""
IRRELEVANT: Final = frozenset(
    {"arch", "head_dropout", "transformer_dropout", "drop_path_rate"}
    | {"head_channels", "hex_head_channels", "cross_attn_k", "cross_attn_hidden"}
    | {"cross_attn_latent_dim", "cross_attn_pos_dim"}
)
"""Keys whose absence needs no mention: they do not change what a model computes, are of the
project's own, or are seen in the weights where they matter."""

CHANNELS: Final = {1: ("npho",), 2: ("npho", "time")}


@dataclass(frozen=True)
class Architecture:
    """Model configuration and normalisation, and the keys that were neither stated nor seen.

    ``normalisation`` is None where nothing is known of it.
    """

    model: BaseModel
    normalisation: Normalisation | None
    assumed: tuple[str, ...]


def architecture(contents: Contents, given: Mapping[str, Any] | None = None) -> Architecture:
    """Work out what a checkpoint's weights are of.

    A key is taken from the file's config; if that lacks it, from ``given``; else from the shapes
    of the weights; else it has the default the research code falls back to (see
    :class:`~xec_train.models.EncoderConfig` and :class:`~xec_deploy.normalisation.Normalisation`)
    and is listed in ``assumed``.

    Raises
    ------
    BundleError
        If a value is not allowed, contradicts ``given``, or nothing at all is stated.
    UsageError
        If ``given`` has an unknown key.
    """
    given = dict(given or {})
    own = (contents.config or {}).get("arch") == "xec" and contents.kind in OWN_CONFIGS
    config_type: type[BaseModel] = (OWN_CONFIGS if own else CONFIGS)[contents.kind]
    known = {*config_type.model_fields, *Normalisation.model_fields}
    for key in given:
        if key not in known:
            raise UsageError(f"no config key {key!r}", fix=nearest(key, known))
    stated = contents.config or {}
    for key, value in given.items():
        if key in stated and not _same(stated[key], value):
            raise BundleError(
                f"config key {key!r} is {stated[key]!r}, not {value!r}", where=contents.where
            )
    if contents.config is None and not given and contents.kind != "encoder":
        raise BundleError(
            f"holds {KINDS[contents.kind]} without its config",
            where=contents.where,
            fix="Give the values of outer_fine_pool and of the normalisation.",
        )
    values = {**({} if own else _inferred(contents)), **given, **stated}
    if contents.kind == "regressor" and not own:
        values["heads"] = _heads(contents.state)
    model = _validated(config_type, values, contents.where)
    sure = Normalisation.model_fields.keys() & values.keys()
    normalisation = (
        _validated(Normalisation, values, contents.where)
        if sure or contents.config is not None
        else None
    )
    fields = [*config_type.model_fields, *(Normalisation.model_fields if normalisation else ())]
    silent = IRRELEVANT | _without_effect(model, normalisation)
    assumed = tuple(key for key in fields if key not in values and key not in silent)
    return Architecture(model, normalisation, assumed)


def _without_effect(model: BaseModel, normalisation: Normalisation | None) -> set[str]:
    """Return the keys that change nothing with the values the others have."""
    silent = set()
    if isinstance(model, EncoderConfig) and model.outer_mode == "split":
        silent.add("outer_fine_pool")
    if normalisation is not None and normalisation.npho_scheme != "log1p":
        silent.add("npho_scale2")
    return silent


def _validated(config: type[T], values: Mapping[str, Any], where: str) -> T:
    try:
        return config(**{key: values[key] for key in config.model_fields if key in values})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise BundleError(f"config key {key!r}: {first['msg']}", where=where) from error


def _same(left: Any, right: Any) -> bool:
    left, right = (
        tuple(value) if isinstance(value, list | tuple) else value for value in (left, right)
    )
    return bool(left == right)


def _heads(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    return tuple(task for task in TASK_DIMENSIONS if f"heads.{task}.0.weight" in state)


def _inferred(contents: Contents) -> dict[str, Any]:
    encoder = encoder_part(contents)
    found: dict[str, Any] = {}
    for rules, state in ((ENCODER, encoder), (RULES[contents.kind], contents.state)):
        for key, rule in rules.items():
            try:
                found[key] = rule(state)
            except (KeyError, IndexError):
                # A tensor is missing, which the strict load will report by name.
                continue
    return found


def _width(name: str, axis: int = 0) -> Callable[[Mapping[str, Tensor]], int]:
    return lambda state: state[name].shape[axis]


def _channels(*names: str) -> Callable[[Mapping[str, Tensor]], tuple[str, ...]]:
    def rule(state: Mapping[str, Tensor]) -> tuple[str, ...]:
        name = next((name for name in names if name in state), names[0])
        return CHANNELS[state[name].shape[0]]

    return rule


def _layers(state: Mapping[str, Tensor]) -> int:
    prefix = "fusion_transformer.layers."
    return len({name.split(".")[2] for name in state if name.startswith(prefix)})


def _tasks_with_variances(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    return tuple(
        task
        for task in _heads(state)
        if len(state[f"heads.{task}.6.bias"]) == 2 * TASK_DIMENSIONS[task]  # type: ignore[index]
    )


def _hidden_dim(state: Mapping[str, Tensor]) -> int:
    return len(state[f"heads.{_heads(state)[0]}.0.bias"])


ENCODER: Final[Rules] = {
    "encoder_dim": _width("pos_embed", 2),
    "outer_mode": lambda s: {6: "finegrid", 7: "split"}[s["pos_embed"].shape[1]],
    "num_fusion_layers": _layers,
    "dim_feedforward": _width("fusion_transformer.layers.0.linear1.weight"),
    "hex_channels": _width("hex_encoder.stem.0.weight"),
}
CROSS: Final = "cross_attn_head"
RULES: Final[dict[Kind, Rules]] = {
    "encoder": {},
    "regressor": {"hidden_dim": _hidden_dim, "nll_tasks": _tasks_with_variances},
    "mae": {
        "decoder_dim": _width("dec_top.proj_in.weight"),
        "predict_channels": _channels("dec_top.head.1.bias"),
        "learn_channel_logvars": lambda s: "channel_log_vars" in s,
    },
    "inpainter": {
        "head_type": lambda s: "cross_attention" if f"{CROSS}.knn_indices" in s else "per_face",
        "use_local_context": lambda s: "head_inner.global_decoder.0.weight" not in s,
        "use_masked_attention": lambda s: "head_inner.nbr_indices" in s,
        "predict_channels": _channels(
            f"{CROSS}.pred_mlp.3.bias",
            "head_top.pred_head.3.bias",
            "head_top.masked_pred_head.2.bias",
        ),
        "head_channels": _width("head_inner.latent_proj.0.weight"),
        "hex_head_channels": _width("head_top.latent_proj.0.weight"),
        "cross_attn_k": _width(f"{CROSS}.knn_indices", 1),
        "cross_attn_hidden": _width(f"{CROSS}.neighbor_proj.weight"),
        "cross_attn_latent_dim": _width(f"{CROSS}.latent_proj.weight"),
        "cross_attn_pos_dim": _width(f"{CROSS}.pos_embed", 1),
    },
}
