"""Values that are valid but change nothing, to be named rather than passed over in silence."""

from __future__ import annotations

from pydantic import BaseModel

from xec_train.config.regressor import RegressorConfig
from xec_train.config.sensors import SensorConfig
from xec_train.models import NetworkConfig

__all__ = ["without_effect"]


def without_effect(config: RegressorConfig | SensorConfig, *, gpu: bool) -> list[str]:
    """Return keys whose value does nothing here, each with the reason in brackets."""
    checkpoint = config.checkpoint
    found = []
    if config.training.compile != "none" and not gpu:
        found.append(f"training.compile: {config.training.compile} (only used on a GPU)")
    if config.distributed.num_gpus > 1 and not gpu and config.distributed.devices is None:
        found.append(f"distributed.num_gpus: {config.distributed.num_gpus} (there is no GPU)")
    if isinstance(config, RegressorConfig):
        found += _of_other_architecture(config)
    if config.model.outer_mode == "split" and config.model.outer_fine_pool is not None:
        found.append("model.outer_fine_pool (model.outer_mode is split)")
    if checkpoint.resume_from is None:
        found += [
            f"checkpoint.{key} (checkpoint.resume_from is empty)"
            for key in ("reset_epoch", "refresh_lr", "new_mlflow_run")
            if getattr(checkpoint, key)
        ]
    return found


def _of_other_architecture(config: RegressorConfig) -> list[str]:
    """Return keys of the model that its architecture does not have."""
    model, arch = config.model, config.model.arch
    others = {
        "research": ["model.xec"] if _changed(model, "xec") else [],
        "xec": [f"model.{name}" for name in NetworkConfig.model_fields if _changed(model, name)],
    }
    if arch == "research" and _changed(config.training, "view_fit"):
        others["research"].append("training.view_fit")
    return [f"{key} (model.arch is {arch})" for key in others[arch] if key != "model.arch"]


def _changed(section: BaseModel, name: str) -> bool:
    """Return whether a key has another value than its default."""
    default = type(section).model_fields[name].get_default(call_default_factory=True)
    return bool(getattr(section, name) != default)
