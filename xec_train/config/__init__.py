"""The training configuration: typed sections, and the YAML file they come from."""

from xec_train.config.distill import DistillConfig
from xec_train.config.inpainter import InpainterConfig
from xec_train.config.mae import MaeConfig
from xec_train.config.overrides import Override
from xec_train.config.regressor import RegressorConfig, TaskConfig, ViewFit
from xec_train.config.sections import (
    CheckpointConfig,
    DataConfig,
    DistributedConfig,
    MlflowConfig,
    TensorboardConfig,
    TrainingConfig,
)
from xec_train.config.sensors import SensorConfig
from xec_train.config.yaml_file import build_config, find_config, load_config, recipes
from xec_train.config.yaml_text import dump_config

__all__ = [
    "CheckpointConfig",
    "DataConfig",
    "DistillConfig",
    "DistributedConfig",
    "InpainterConfig",
    "MaeConfig",
    "MlflowConfig",
    "Override",
    "RegressorConfig",
    "SensorConfig",
    "TaskConfig",
    "TensorboardConfig",
    "TrainingConfig",
    "ViewFit",
    "build_config",
    "dump_config",
    "find_config",
    "load_config",
    "recipes",
]
