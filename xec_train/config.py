"""The training configuration: one YAML file, typed, with errors that name the valid keys."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xec_deploy.errors import UsageError, nearest
from xec_deploy.normalisation import Normalisation
from xec_train.models import TASK_DIMENSIONS, ModelConfig, TaskName

__all__ = ["RegressorConfig", "load_config"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
AnyConfig = TypeVar("AnyConfig", bound=BaseModel)


class Section(BaseModel):
    """A group of keys that refuses unknown ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Input files; paths may be globs, lists are concatenated."""

    train_path: tuple[str, ...]
    val_path: tuple[str, ...]
    tree_name: str | None = None
    npho_branch: str | None = None
    time_branch: str | None = None
    dead: str | None = None
    batch_size: Count = 256
    chunksize: Count = 2048
    """Events read and shuffled together; memory is 43 kB an event."""
    val_events: Count | None = None


class TaskConfig(Section):
    """One quantity to learn.

    ``loss_scale`` gives, per component and in the unit of the quantity, the error that counts as
    one in the loss; it balances the tasks.
    """

    enabled: bool = True
    weight: Positive = 1.0
    loss_fn: Literal["smooth_l1", "l1", "mse"] = "smooth_l1"
    loss_beta: Positive = 1.0
    loss_scale: tuple[Positive, ...] | None = None


class TrainingConfig(Section):
    """Optimisation."""

    epochs: Count = 20
    lr: Positive = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    warmup_fraction: Rate = 0.05
    lr_scheduler: Literal["cosine", "none"] = "cosine"
    ema_decay: Rate = 0.999
    grad_clip: Positive = 1.0
    channel_dropout_rate: Rate = 0.1
    """Each event loses a random fraction of its channels, uniform from 0 to this."""
    val_every_steps: Count = 500
    seed: Annotated[int, Field(ge=0)] = 1
    accelerator: str = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"


class CheckpointConfig(Section):
    """Where results go."""

    save_dir: str = "runs/regressor"


class RegressorConfig(Section):
    """Configuration of ``xec-train regressor``."""

    data: DataConfig
    normalization: Normalisation = Normalisation()
    model: ModelConfig = ModelConfig()
    layout: Literal["research", "physical"] = "physical"
    tasks: dict[TaskName, TaskConfig]
    training: TrainingConfig = TrainingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @property
    def active_tasks(self) -> tuple[TaskName, ...]:
        """Enabled tasks in the fixed order of outputs."""
        return tuple(
            task for task in TASK_DIMENSIONS if task in self.tasks and self.tasks[task].enabled
        )


def load_config(
    kind: type[AnyConfig], path: str | PathLike[str], overrides: Sequence[str] = ()
) -> AnyConfig:
    """Read a YAML file, apply ``a.b=value`` overrides, validate.

    The file is never modified.

    Raises
    ------
    UsageError
        Naming the file, the key, what is wrong with it and, for an unknown key, the nearest.
    """
    where = str(path)
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration ({error.strerror})", where=where
        ) from error
    except yaml.YAMLError as error:
        raise UsageError(f"not valid YAML ({' '.join(str(error).split())})", where=where) from error
    if not isinstance(content, dict):
        raise UsageError("the configuration is not a mapping of sections", where=where)
    for override in overrides:
        _apply(content, override)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise _explain(kind, error, where) from error


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise UsageError(f"--set {override!r} has no '='", fix="Write --set section.key=value.")
    *parents, last = key.strip().split(".")
    section = content
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise UsageError(f"--set {override!r}: {parent!r} is a value, not a section")
    section[last] = yaml.safe_load(value)


def _explain(kind: type[BaseModel], error: ValidationError, where: str) -> UsageError:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return UsageError(
            f"unknown key {key!r}", where=where, fix=nearest(path[-1], _fields(kind, path[:-1]))
        )
    if first["type"] == "missing":
        return UsageError(f"key {key!r} is missing", where=where, fix="Add it; it has no default.")
    return UsageError(f"key {key!r}: {first['msg']} (it is {first['input']!r})", where=where)


def _fields(kind: type[BaseModel], path: list[str]) -> list[str]:
    """Return the valid keys of the section at ``path``."""
    section: Any = kind
    for part in path:
        fields = getattr(section, "model_fields", None)
        if fields is None or part not in fields:
            section = TaskConfig
            continue
        section = fields[part].annotation
    return list(getattr(section, "model_fields", {}))
