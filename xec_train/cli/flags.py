"""Options of the training commands: each stands for one key of the configuration.

The names are those of the research code, with every spelling it has had; ``_`` and ``-`` are the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from xec_deploy.errors import UsageError

if TYPE_CHECKING:
    from xec_train.config import Override

__all__ = [
    "COMMON_FLAGS",
    "DISTILL_FLAGS",
    "INPAINTER_FLAGS",
    "MAE_FLAGS",
    "REGRESSOR_FLAGS",
    "Flag",
    "flag_overrides",
    "with_flags",
]


@dataclass(frozen=True)
class Flag:
    """An option for a key.

    Attributes
    ----------
    names
        Spellings, the first is used in messages; ``--yes/--no`` for a switch.
    key
        Of the configuration.
    type
        What click turns the text into; bool for a switch.
    count
        Values the option takes.
    greedy
        Whether it takes all values up to the next option, as argparse's ``nargs="+"``.
    value
        For a switch that only sets one value, that value.
    text
        Help, where it is not the description of the key.
    """

    names: tuple[str, ...]
    key: str
    type: type = str
    count: int = 1
    greedy: bool = False
    value: bool | None = None
    text: str | None = None

    @property
    def parameter(self) -> str:
        """Name of the value among those of the command."""
        return self.names[0].split("/")[0].removeprefix("--").replace("-", "_")


def _flag(names: str, key: str, kind: type = str, **options: Any) -> Flag:
    return Flag(tuple(names.split()), key, kind, **options)


COMMON_FLAGS: Final = (
    _flag("--train-path --train-root", "data.train_path", greedy=True),
    _flag("--val-path --val-root", "data.val_path", greedy=True),
    _flag("--tree", "data.tree_name"),
    _flag("--npho-branch", "data.npho_branch"),
    _flag("--time-branch", "data.time_branch"),
    _flag("--dead", "data.dead"),
    _flag("--batch-size", "data.batch_size", int),
    _flag("--chunksize", "data.chunksize", int),
    _flag("--memory-mb", "data.memory_mb", int),
    _flag("--num-workers", "data.num_workers", int),
    _flag("--num-threads", "data.num_threads", int, text="Of the research code; without effect."),
    _flag("--prefetch-factor", "data.prefetch_factor", int),
    _flag("--train-events", "data.train_events", int),
    _flag("--val-events", "data.val_events", int),
    _flag("--npho-scheme", "normalization.npho_scheme"),
    _flag("--npho-scale", "normalization.npho_scale", float),
    _flag("--npho-scale2", "normalization.npho_scale2", float),
    _flag("--time-scale", "normalization.time_scale", float),
    _flag("--time-shift", "normalization.time_shift", float),
    _flag("--sentinel-npho", "normalization.sentinel_npho", float),
    _flag("--sentinel-time", "normalization.sentinel_time", float),
    _flag("--npho-threshold", "normalization.npho_threshold", float),
    _flag("--arch", "model.arch"),
    _flag("--layout", "model.layout"),
    _flag("--outer-mode", "model.outer_mode"),
    _flag("--outer-fine-pool", "model.outer_fine_pool", int, count=2),
    _flag("--encoder-dim", "model.encoder_dim", int),
    _flag("--dim-feedforward", "model.dim_feedforward", int),
    _flag("--num-fusion-layers", "model.num_fusion_layers", int),
    _flag("--epochs", "training.epochs", int),
    _flag("--lr", "training.lr", float),
    _flag("--lr-scheduler", "training.lr_scheduler"),
    _flag("--lr-min", "training.lr_min", float),
    _flag("--warmup-epochs", "training.warmup_epochs", float),
    _flag("--weight-decay", "training.weight_decay", float),
    _flag("--ema-decay", "training.ema_decay", float),
    _flag("--grad-clip", "training.grad_clip", float),
    _flag("--grad-accum-steps", "training.grad_accum_steps", int),
    _flag("--amp/--no-amp", "training.amp", bool),
    _flag("--precision", "training.precision"),
    _flag("--compile", "training.compile"),
    _flag("--seed", "training.seed", int),
    _flag("--accelerator", "training.accelerator"),
    _flag("--profile/--no-profile", "training.profile", bool),
    _flag("--resume-from", "checkpoint.resume_from"),
    _flag("--reset-epoch/--no-reset-epoch", "checkpoint.reset_epoch", bool),
    _flag("--refresh-lr/--no-refresh-lr", "checkpoint.refresh_lr", bool),
    _flag("--new-mlflow-run/--no-new-mlflow-run", "checkpoint.new_mlflow_run", bool),
    _flag("--save-dir --save-path", "checkpoint.save_dir"),
    _flag("--save-interval", "checkpoint.save_interval", int),
    _flag("--num-gpus", "distributed.num_gpus", int),
    _flag("--devices", "distributed.devices", int),
    _flag("--num-nodes", "distributed.num_nodes", int),
    _flag("--mlflow-experiment", "mlflow.experiment"),
    _flag("--run-name --mlflow-run-name", "mlflow.run_name"),
    _flag("--tensorboard/--no-tensorboard", "tensorboard.enabled", bool),
)
"""Of all three models."""

REGRESSOR_FLAGS: Final = (
    _flag("--tasks", "tasks", greedy=True, text="Train these tasks and no others."),
    _flag("--hidden-dim", "model.hidden_dim", int),
    _flag("--drop-path-rate", "model.drop_path_rate", float),
    _flag("--channel-dropout-rate", "training.channel_dropout_rate", float),
    _flag("--loss-balance", "loss_balance"),
    _flag("--onnx", "export.onnx", text="Of the research code; makes a bundle of that name, .xec."),
    _flag("--bundle", "export.bundle"),
)
"""Of the regressor."""

DISTILL_FLAGS: Final = (
    *REGRESSOR_FLAGS,
    _flag("--teachers --teacher", "distillation.teachers", greedy=True),
    _flag("--label-weight", "distillation.label_weight", float),
    _flag("--labelled-path", "distillation.labelled_path", greedy=True),
)
"""Of the distillation of a regressor."""

_SENSOR_FLAGS: Final = (
    _flag("--mask-ratio", "model.mask_ratio", float),
    _flag("--loss-fn", "training.loss_fn"),
    _flag("--loss-beta", "training.loss_beta", float),
    _flag("--npho-weight", "training.npho_weight", float),
    _flag("--time-weight", "training.time.weight", float),
    _flag("--time-mask-ratio-scale", "training.time.mask_ratio_scale", float),
    _flag("--use-npho-time-weight/--no-npho-time-weight", "training.time.use_npho_weight", bool),
    _flag(
        "--npho-loss-weight-enabled/--no-npho-loss-weight-enabled",
        "training.npho_loss_weight.enabled",
        bool,
    ),
    _flag("--npho-loss-weight-alpha", "training.npho_loss_weight.alpha", float),
    _flag(
        "--intensity-reweighting-enabled/--no-intensity-reweighting-enabled",
        "training.intensity_reweighting.enabled",
        bool,
    ),
    _flag("--intensity-reweighting-nbins", "training.intensity_reweighting.nbins", int),
    _flag("--intensity-reweighting-target", "training.intensity_reweighting.target"),
    _flag("--save-predictions/--no-save-predictions", "checkpoint.save_predictions", bool),
)

MAE_FLAGS: Final = (
    *_SENSOR_FLAGS,
    _flag("--decoder-dim", "model.decoder_dim", int),
    _flag("--auto-channel-weight/--no-auto-channel-weight", "training.auto_channel_weight", bool),
    _flag("--track-mae-rmse/--no-track-mae-rmse", "training.track_mae_rmse", bool),
    _flag("--track-metrics/--no-track-metrics", "training.track_metrics", bool),
)
"""Of the MAE."""

INPAINTER_FLAGS: Final = (
    *_SENSOR_FLAGS,
    _flag("--mae-checkpoint", "training.mae_checkpoint"),
    _flag("--freeze-encoder/--finetune-encoder", "model.freeze_encoder", bool),
    _flag(
        "--global-only",
        "model.use_local_context",
        bool,
        value=False,
        text="Per-face heads do not see the sensors around.",
    ),
    _flag(
        "--disable-mae-rmse-metrics",
        "training.track_mae_rmse",
        bool,
        value=False,
        text="Do not log mean absolute and root mean square errors.",
    ),
    _flag("--mask-npho-flat/--no-mask-npho-flat", "model.mask_npho_flat", bool),
    _flag("--head-type", "model.head_type"),
)
"""Of the inpainter."""


def with_flags(flags: Sequence[Flag]) -> Callable[[Any], Any]:
    """Add options to a command."""

    def decorate(command: Any) -> Any:
        for flag in reversed(flags):
            options: dict[str, Any] = {"default": None}
            if flag.type is bool:
                options["is_flag"] = True
            else:
                options |= {"type": flag.type, "nargs": flag.count, "multiple": flag.greedy}
                options["metavar"] = _metavar(flag)
            command = click.option(*flag.names, flag.parameter, **options)(command)
        return command

    return decorate


def flag_overrides(flags: Sequence[Flag], ctx: click.Context) -> list[Override]:
    """Return the overrides of the options that were given.

    Raises
    ------
    UsageError
        If two options give one key different values.
    """
    from xec_train.config import Override  # noqa: PLC0415 - loads torch

    given: dict[str, Override] = {}
    for flag in flags:
        if ctx.get_parameter_source(flag.parameter) is not ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[flag.parameter]
        if flag.value is not None:
            value = flag.value
        elif isinstance(value, tuple):
            value = list(value)
        name = flag.names[0]
        if flag.type is bool and "/" in name:
            name = name.split("/")[0 if value else 1]
        other = given.get(flag.key)
        if other is not None and other.value != value:
            raise UsageError(f"{other.source} and {name} contradict each other")
        given[flag.key] = Override(flag.key, value, name)
    return [part for override in given.values() for part in _by_task(override)]


def _by_task(override: Override) -> list[Override]:
    """Turn ``--tasks energy,timing`` into the switches of all tasks."""
    if override.key != "tasks":
        return [override]
    from xec_train.config import Override  # noqa: PLC0415 - loads torch
    from xec_train.models import TASK_DIMENSIONS  # noqa: PLC0415

    chosen = [name for value in override.value for name in str(value).split(",")]
    return [
        Override(f"tasks.{task}.enabled", task in chosen, override.source)
        for task in dict.fromkeys([*chosen, *TASK_DIMENSIONS])
    ]


def _metavar(flag: Flag) -> str:
    if flag.key == "model.outer_fine_pool":
        return "H W"
    word = {int: "N", float: "X"}.get(flag.type, "TEXT")
    return f"{word}.." if flag.greedy else word
