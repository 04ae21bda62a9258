"""What results were made of, and whether existing results are still those."""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import uproot

from xec_deploy import __version__
from xec_deploy.backends import Backend
from xec_deploy.bundle import Bundle
from xec_deploy.events import DeadChannels, EventFile, FileWatch, file_checksum
from xec_deploy.inference.selection import Selection

__all__ = [
    "RECIPE_KEYS",
    "differences",
    "input_record",
    "now",
    "read_provenance",
    "recipe_record",
    "same_input",
    "same_inputs",
]

RECIPE_KEYS: Final = (
    "bundle",
    "precision",
    "backend",
    "dead_channels",
    "inpainting",
    "keep",
    "batch",
    "conventional",
    "form",
)
"""What, beside the input, determines the results."""
LEFT_OUT: Final = {
    "bundle": ("path",),
    "dead_channels": ("source",),
    "backend": ("batch", "sessions", "threads"),
}
"""Where files lie and how many threads ran is no reason to compute anew."""
INPUT_KEYS: Final = ("tree", "branches", "run", "selection")
"""What of an input determines the values, beside its content."""


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def recipe_record(
    bundle: Bundle,
    backend: Backend,
    precision: str,
    dead: DeadChannels,
    keep: tuple[str, ...],
    *,
    choice: Mapping[str, Any] | None,
    reco: Mapping[str, Any] | None,
    inpainting: str,
    form: str,
) -> dict[str, Any]:
    """Describe how values are made, the same for all files of a run."""
    return {
        "bundle": {"path": str(bundle.path.resolve()), **bundle.identity},
        "precision": precision,
        "choice": choice,
        "backend": backend.describe(),
        "dead_channels": {"source": dead.description, "sha256": dead.sha256},
        "inpainting": inpainting,
        "keep": list(keep),
        "batch": backend.options.batch,
        "conventional": reco,
        "form": form,
        "versions": {
            "xec-deploy": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "uproot": uproot.__version__,
        },
    }


def input_record(events: EventFile, watch: FileWatch, selection: Selection) -> dict[str, Any]:
    """Describe an input file; the checksum is filled in when the file has been read."""
    local = Path(events.path)
    return {
        "path": str(local.resolve()) if watch.size is not None else events.path,
        "tree": events.tree,
        "entries": events.num_entries,
        "bytes": watch.size,
        "modified_ns": watch.modified_ns,
        "uuid": events.uuid,
        "checksum": None,
        "branches": {
            "npho": events.branches.npho,
            "time": events.branches.time,
            "run": events.branches.run,
            "event": events.branches.event,
            "dead": events.branches.dead,
        },
        "run": events.assigned_run,
        "selection": selection.describe(),
        "form": events.form,
        "codec": events.codec,
    }


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Return the provenance in a result file; None if the file has none or is unusable."""
    try:
        with uproot.open({path: None}, object_cache=None, array_cache=None) as file:
            content = json.loads(str(file["provenance"]))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not a finished result
        return None
    return content if isinstance(content, dict) else None


def differences(
    existing: Mapping[str, Any], recipe: Mapping[str, Any], open_choices: Collection[str]
) -> list[str]:
    """Return what differs between how results were made and how they would be made now.

    ``open_choices`` are the keys the user left to the program: any value is as good.
    """
    return [
        key
        for key in RECIPE_KEYS
        if key not in open_choices
        and _essence(key, existing.get(key)) != _essence(key, recipe[key])
    ]


def same_inputs(existing: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether existing results were made of these inputs."""
    stated = existing.get("inputs", [existing.get("input")])
    return (
        isinstance(stated, list)
        and len(stated) == len(sources)
        and all(same_input(*pair) for pair in zip(stated, sources, strict=True))
    )


def same_input(stated: Any, source: Mapping[str, Any]) -> bool:
    """Tell whether an input is the one that is stated.

    A file of the same size and time of change is taken for the same without reading it; one that
    was copied or touched is by its checksum, and one behind a URL by the identity its writer
    gave it.
    """
    if not isinstance(stated, dict):
        return False
    if any(stated.get(key) != source[key] for key in (*INPUT_KEYS, "bytes", "entries", "uuid")):
        return False
    if source["bytes"] is None or stated.get("modified_ns") == source["modified_ns"]:
        return True
    checksum = stated.get("checksum")
    return checksum is not None and checksum == file_checksum(source["path"])


def _essence(key: str, value: Any) -> Any:
    """Leave out what does not change values, or is compared beside this."""
    if isinstance(value, Mapping):
        return {k: v for k, v in value.items() if k not in LEFT_OUT.get(key, ())}
    return value
