"""Under which names results are written: the project's, or those of the research script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.events import Column
from xec_deploy.inference.spool import Rows

__all__ = ["TRUTH_BRANCHES", "ResultStyle", "result_style"]

_TRUTH: Final[dict[str, tuple[str, ...]]] = {
    "emission": ("emiAng",),
    "energy": ("energyReco", "energyTruth"),
    "timing": ("timeTruth",),
    "position": ("uvwRecoFI", "uvwTruth"),
    "vertex": ("xyzVTX",),
}
"""What the research script compares with: of each the first branch that a file has."""
TRUTH_BRANCHES: Final = tuple(name for names in _TRUTH.values() for name in names)

_UNITS: Final = {
    "theta": "deg",
    "phi": "deg",
    "energy": "GeV",
    "timing": "ns",
    "u": "cm",
    "v": "cm",
    "w": "cm",
}


@dataclass(frozen=True)
class ResultStyle:
    """Tree, branches, and the rows in them.

    Attributes
    ----------
    tree
        Name of the tree.
    columns
        Its branches.
    """

    tree: str
    columns: dict[str, Column]
    legacy: bool = False

    def rows(self, rows: Rows) -> Mapping[str, NDArray[Any]]:
        """Return rows as they were inferred under the names of the style."""
        if not self.legacy:
            return rows
        return {**_legacy_rows(rows), **{n: rows[n] for n in self.columns if n in rows}}


def result_style(style: str, columns: Mapping[str, Column], keep: tuple[str, ...]) -> ResultStyle:
    """Return the style called ``xec`` or ``legacy``, for rows of these columns."""
    if style == "xec":
        return ResultStyle("xec", dict(columns))
    pairs = [(side, name, unit) for name, unit in _UNITS.items() for side in ("pred", "true")]
    legacy = {
        "run_id": Column("i4"),
        "event_id": Column("i4"),
        **{f"{side}_{name}": Column("f4", unit) for side, name, unit in pairs},
        "opening_angle": Column("f4", "deg"),
        **{f"{axis}_vtx": Column("f4", "cm") for axis in "xyz"},
        **{name: columns[name] for name in keep},
    }
    return ResultStyle("val_tree", legacy, legacy=True)


def _legacy_rows(rows: Rows) -> Rows:
    """Return what the research script wrote; NaN, not zero, where a file has no such truth."""
    count = len(rows["run"])
    nothing = np.full((count, 3), np.nan, np.float32)

    def found(role: str, columns: int) -> NDArray[Any]:
        present = [rows[name] for name in _TRUTH[role] if name in rows]
        values = np.asarray(present[0], np.float32) if present else nothing[:, :columns]
        return values.reshape(count, -1)

    emission, position, vertex = found("emission", 2), found("position", 3), found("vertex", 3)
    predicted = {name: rows.get(name, nothing[:, 0]) for name in _UNITS}
    true = {
        "theta": emission[:, 0],
        "phi": emission[:, 1],
        "energy": found("energy", 1)[:, 0],
        "timing": found("timing", 1)[:, 0],
        **{axis: position[:, index] for index, axis in enumerate("uvw")},
    }
    return {
        "run_id": rows["run"],
        "event_id": rows["event"],
        **{f"pred_{name}": values for name, values in predicted.items()},
        **{f"true_{name}": values for name, values in true.items()},
        "opening_angle": _opening_angle(predicted, true),
        **{f"{axis}_vtx": vertex[:, index] for index, axis in enumerate("xyz")},
    }


def _opening_angle(
    first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]]
) -> NDArray[np.float64]:
    """Angle [deg] between two directions given by ``theta`` and ``phi`` [deg]."""
    one, other = _direction(first), _direction(second)
    cross = np.linalg.norm(np.cross(one, other), axis=-1)
    angle: NDArray[np.float64] = np.degrees(np.arctan2(cross, np.sum(one * other, axis=-1)))
    return angle


def _direction(angles: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    theta = np.radians(np.asarray(angles["theta"], np.float64))
    phi = np.radians(np.asarray(angles["phi"], np.float64))
    return np.stack(
        [-np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1
    )
