"""Options that mean nothing without another one.

In a file, which states every key, a value without use is no mistake; typed on the command line it
is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from xec_deploy.errors import UsageError

__all__ = ["check_combinations"]


@dataclass(frozen=True)
class _Rule:
    options: tuple[str, ...]
    holds: Callable[[Any], bool]
    needs: str


RULES: Final = (
    _Rule(
        ("--reset-epoch", "--refresh-lr", "--new-mlflow-run"),
        lambda config: config.checkpoint.resume_from is not None,
        "--resume-from",
    ),
    _Rule(
        ("--outer-fine-pool",),
        lambda config: config.model.outer_mode == "finegrid",
        "--outer-mode finegrid",
    ),
    _Rule(
        (
            "--outer-mode",
            "--outer-fine-pool",
            "--encoder-dim",
            "--dim-feedforward",
            "--num-fusion-layers",
            "--hidden-dim",
            "--drop-path-rate",
            "--head-type",
        ),
        lambda config: config.model.arch == "research",
        "--arch research",
    ),
    _Rule(
        ("--lr-min",),
        lambda config: config.training.lr_scheduler not in ("none", "onecycle"),
        "--lr-scheduler cosine, cosine_restarts or plateau",
    ),
    _Rule(
        ("--prefetch-factor",),
        lambda config: config.data.num_workers > 0,
        "--num-workers above 0",
    ),
    _Rule(
        ("--mlflow-experiment",),
        lambda config: config.mlflow.enabled is not False,
        "--set mlflow.enabled=true",
    ),
    _Rule(
        ("--npho-loss-weight-alpha",),
        lambda config: config.training.npho_loss_weight.enabled,
        "--npho-loss-weight-enabled",
    ),
    _Rule(
        ("--intensity-reweighting-nbins", "--intensity-reweighting-target"),
        lambda config: config.training.intensity_reweighting.enabled,
        "--intensity-reweighting-enabled",
    ),
    _Rule(
        ("--time-weight", "--use-npho-time-weight", "--no-npho-time-weight"),
        lambda config: "time" in config.model.predict_channels,
        "--set model.predict_channels=[npho,time]",
    ),
    _Rule(
        ("--freeze-encoder",),
        lambda config: config.training.mae_checkpoint or config.checkpoint.resume_from,
        "--mae-checkpoint",
    ),
    _Rule(
        ("--global-only",),
        lambda config: config.model.head_type == "per_face",
        "--head-type per_face",
    ),
)


def check_combinations(config: Any, options: Collection[str]) -> None:
    """Check that every option given has a meaning beside the others and the file.

    Raises
    ------
    UsageError
        Naming the option and the one it needs.
    """
    for rule in RULES:
        for option in rule.options:
            if option in options and not rule.holds(config):
                raise UsageError(
                    f"{option} has no effect without {rule.needs}",
                    fix="Add it, or leave the option out.",
                )
