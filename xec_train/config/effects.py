"""Values that are valid but change nothing, to be named rather than passed over in silence."""

from __future__ import annotations

from xec_train.config.regressor import RegressorConfig
from xec_train.config.sensors import SensorConfig

__all__ = ["without_effect"]


def without_effect(config: RegressorConfig | SensorConfig, *, gpu: bool) -> list[str]:
    """Return keys whose value does nothing here, each with the reason in brackets."""
    checkpoint = config.checkpoint
    found = []
    if config.training.compile != "none" and not gpu:
        found.append(f"training.compile: {config.training.compile} (only used on a GPU)")
    if config.distributed.num_gpus > 1 and not gpu and config.distributed.devices is None:
        found.append(f"distributed.num_gpus: {config.distributed.num_gpus} (there is no GPU)")
    if config.model.outer_mode == "split" and config.model.outer_fine_pool is not None:
        found.append("model.outer_fine_pool (model.outer_mode is split)")
    if checkpoint.resume_from is None:
        found += [
            f"checkpoint.{key} (checkpoint.resume_from is empty)"
            for key in ("reset_epoch", "refresh_lr", "new_mlflow_run")
            if getattr(checkpoint, key)
        ]
    return found
