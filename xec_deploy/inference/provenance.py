"""What results were made of, and whether existing results are still those."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import uproot

from xec_deploy import __version__
from xec_deploy.backends import Backend
from xec_deploy.bundle import Bundle
from xec_deploy.events import DeadChannels, EventFile, file_checksum

__all__ = ["input_record", "matches", "now", "read_provenance", "recipe_record"]

RECIPE_KEYS: Final = (
    "bundle",
    "precision",
    "backend",
    "dead_channels",
    "keep",
    "batch",
    "conventional",
)
"""What, beside the input, determines the values."""
INPUT_KEYS: Final = ("checksum", "tree", "branches", "run")
"""What of an input determines the values."""


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def recipe_record(
    bundle: Bundle,
    backend: Backend,
    precision: str,
    dead: DeadChannels,
    keep: tuple[str, ...],
    batch: int,
    *,
    reco: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Describe how values are made, the same for all files of a run."""
    return {
        "bundle": {"path": str(bundle.path.resolve()), **bundle.identity},
        "precision": precision,
        "backend": backend.describe(),
        "dead_channels": {"source": dead.description, "sha256": dead.sha256},
        "keep": list(keep),
        "batch": batch,
        "conventional": reco,
        "versions": {
            "xec-deploy": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "uproot": uproot.__version__,
        },
    }


def input_record(events: EventFile) -> dict[str, Any]:
    """Describe an input file: path, size, checksum, tree, branches, run number of a run list."""
    local = Path(events.path)
    is_local = local.is_file()
    return {
        "path": str(local.resolve()) if is_local else events.path,
        "tree": events.tree,
        "entries": events.num_entries,
        "bytes": local.stat().st_size if is_local else None,
        "checksum": file_checksum(local) if is_local else None,
        "branches": {
            "npho": events.branches.npho,
            "time": events.branches.time,
            "run": events.branches.run,
            "event": events.branches.event,
            "dead": events.branches.dead,
        },
        "run": events.assigned_run,
        "form": events.form,
        "codec": events.codec,
    }


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Return the provenance in a result file; None if the file has none or is unusable."""
    try:
        with uproot.open(path) as file:
            content = json.loads(str(file["provenance"]))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not a finished result
        return None
    return content if isinstance(content, dict) else None


def matches(
    existing: Mapping[str, Any], recipe: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]
) -> bool:
    """Tell whether existing results are what running again would give."""
    same_recipe = all(
        _essence(key, existing.get(key)) == _essence(key, recipe[key]) for key in RECIPE_KEYS
    )
    stated = existing.get("inputs", [existing.get("input")])
    return (
        same_recipe
        and isinstance(stated, list)
        and len(stated) == len(sources)
        and all(_same_input(*pair) for pair in zip(stated, sources, strict=True))
    )


def _same_input(stated: Any, source: Mapping[str, Any]) -> bool:
    return (
        isinstance(stated, dict)
        and stated.get("checksum") is not None
        and all(stated.get(key) == source[key] for key in INPUT_KEYS)
    )


def _essence(key: str, value: Any) -> Any:
    """Leave out what does not change values: where the bundle lies, how many threads ran."""
    left_out = {"bundle": "path", "backend": "threads"}.get(key)
    if left_out is not None and isinstance(value, Mapping):
        return {k: v for k, v in value.items() if k != left_out}
    return value
