"""The quantities a regressor can have."""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["TASK_DIMENSIONS", "TaskName"]

TaskName = Literal["angle", "energy", "timing", "uvwFI", "angleVec", "n_gamma"]

TASK_DIMENSIONS: Final[dict[TaskName, int]] = {
    "angle": 2,
    "energy": 1,
    "timing": 1,
    "uvwFI": 3,
    "angleVec": 3,
    "n_gamma": 5,
}
"""Outputs of each head: degrees, GeV, ns, cm, unit vector, class logits."""
