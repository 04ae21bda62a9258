"""What an evaluation is to do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from xec_train.evaluation.dead import DeadPattern
from xec_train.models import TaskName

__all__ = ["Against", "EvaluationConfig"]

Against = Literal["conventional", "simple", "none"]
Count = Annotated[int, Field(ge=1)]
DeadFraction = Annotated[float, Field(ge=0, lt=1)]


class EvaluationConfig(BaseModel):
    """Settings of ``xec-train evaluate``; the file of ``--config`` may have any of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dead_fractions: tuple[DeadFraction, ...] = ()
    """Shares of channels to make dead beside those that are; the same events are run again."""
    dead_pattern: DeadPattern = "channels"
    """Whether single channels or boards of 16 go."""
    against: Against = "conventional"
    """conventional: simple estimates and the position fit; simple: without the fit; none."""
    calibration_events: Count | None = None
    """At most so many events of the calibration files are used; null for all."""
    max_events: Count | None = None
    """Evaluate so many events from the start; null for all."""
    batch_size: Count = 250
    """Events of a forward pass."""
    csv: bool = False
    """Write predictions as CSV too."""
    worst: Annotated[int, Field(ge=0)] = 10
    """Events in the list of the worst, for all quantities together and for each."""
    replicas: Annotated[int, Field(ge=0)] = 200
    """Bootstrap samples of each error; half of them in profiles."""
    min_bin_events: Count = 20
    """Bins of a profile with fewer events are left out."""
    throughput_seconds: Annotated[float, Field(ge=0)] = 2.0
    """Time spent on measuring the speed of each network; 0 leaves it out."""
    tree_name: str | None = None
    """Tree or RNTuple; null: found."""
    npho_branch: str | None = None
    """Branch of photons; null: found by name."""
    time_branch: str | None = None
    """Branch of times; null: found by name."""
    dead: str | None = None
    """Source of dead channels; null: the branch 'dead' where the file has one."""
    truth: dict[TaskName, str] = {}
    """Truth branch of a task, where its name is not a usual one."""
