"""``xec-train regressor``, ``distill``, ``mae`` and ``inpainter``."""

from __future__ import annotations

from xec_train.cli.command import train_command
from xec_train.cli.flags import DISTILL_FLAGS, INPAINTER_FLAGS, MAE_FLAGS, REGRESSOR_FLAGS

__all__ = ["distill", "inpainter", "mae", "regressor"]

regressor = train_command(
    "regressor",
    config="RegressorConfig",
    trainer="xec_train.regressor:train_regressor",
    flags=REGRESSOR_FLAGS,
    last_checkpoint="checkpoint_last.pth",
    example="xec-train regressor --config regressor_512 --train-path 'data/train_*.root' "
    "--val-path data/val.root --epochs 2",
    text="""Train the multi-task regressor on ROOT files with truth.

    Options override the file; any key has --set. See docs/configuration.md for all keys.
    """,
)

distill = train_command(
    "distill",
    config="DistillConfig",
    trainer="xec_train.distill:train_distilled",
    flags=DISTILL_FLAGS,
    last_checkpoint="checkpoint_last.pth",
    example="xec-train distill --config distill --teacher runs/large/checkpoint_best.pth "
    "--train-path 'data/run_*.root' --val-path data/val.root",
    text="""Train a compact regressor to say what larger ones say; no truth is needed.

    Options override the file; any key has --set. See docs/distillation.md.
    """,
)

mae = train_command(
    "mae",
    config="MaeConfig",
    trainer="xec_train.mae:train_mae",
    flags=MAE_FLAGS,
    last_checkpoint="mae_checkpoint_last.pth",
    example="xec-train mae --config mae --train-path 'data/train_*.root' --val-path data/val.root",
    text="""Train a masked autoencoder on ROOT files; no truth is needed.

    A regressor or an inpainter can start from its encoder. Options override the file; any key
    has --set.
    """,
)

inpainter = train_command(
    "inpainter",
    config="InpainterConfig",
    trainer="xec_train.inpainter:train_inpainter",
    flags=INPAINTER_FLAGS,
    last_checkpoint="inpainter_checkpoint_last.pth",
    example="xec-train inpainter --config inpainter_per_face --train-path 'data/train_*.root' "
    "--val-path data/val.root --mae-checkpoint artifacts/mae_checkpoint_best.pth",
    text="""Train the network that fills in dead channels; no truth is needed.

    Options override the file; any key has --set.
    """,
)
