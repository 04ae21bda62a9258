"""Names under which files store the true (or reference) value of each task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["TRUTH_BRANCHES", "TruthBranches", "find_truth"]


@dataclass(frozen=True)
class TruthBranches:
    """Candidate branch names of one task, the first present one counts, and their unit."""

    candidates: tuple[str, ...]
    unit: str | None


TRUTH_BRANCHES: Final = MappingProxyType(
    {
        "energy": TruthBranches(("energyTruth", "energy"), "GeV"),
        "angle": TruthBranches(("emiAng", "angle"), "deg"),
        "timing": TruthBranches(("timeTruth", "timing"), "ns"),
        "uvwFI": TruthBranches(("uvwTruth", "uvwFI"), "cm"),
        "angleVec": TruthBranches(("emiVec", "angleVec"), None),
        "n_gamma": TruthBranches(("nGamma", "n_gamma"), None),
    }
)


def find_truth(names: Iterable[str]) -> dict[str, str]:
    """Map each task to its truth branch among ``names``; tasks without one are left out."""
    present = set(names)
    return {
        task: name
        for task, truth in TRUTH_BRANCHES.items()
        for name in [next((name for name in truth.candidates if name in present), None)]
        if name is not None
    }
