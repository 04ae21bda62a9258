"""The values of a target."""

from __future__ import annotations

from typing import Final

from xec_train.models import TASK_DIMENSIONS, TaskName

__all__ = ["N_GAMMA_CLASSES", "TRUTH_COMPONENTS"]

N_GAMMA_CLASSES: Final = TASK_DIMENSIONS["n_gamma"]
"""Events of 0 to 4 photons."""
TRUTH_COMPONENTS: Final[dict[TaskName, int]] = {**TASK_DIMENSIONS, "n_gamma": 1}
"""Values of a target: as many as outputs, but one class for ``n_gamma``."""
