"""Configurations of the research code, accepted as they are.

Keys that have moved are moved, keys that mean nothing here are taken out and named.  The file is
never touched: all of this happens to its content in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from xec_deploy.errors import UsageError

__all__ = ["MOVED", "UNUSED", "present_key", "translate"]

MOVED: Final[Mapping[str, str]] = {
    "data.train_root": "data.train_path",
    "data.val_root": "data.val_path",
    "checkpoint.save_path": "checkpoint.save_dir",
    "mlflow.mlflow_experiment": "mlflow.experiment",
    "mlflow.mlflow_run_name": "mlflow.run_name",
}
"""The other spelling of a key, in any configuration."""

MOVED_TIME: Final[Mapping[str, str]] = {
    "training.time_weight": "training.time.weight",
    "training.time_mask_ratio_scale": "training.time.mask_ratio_scale",
    "training.use_npho_time_weight": "training.time.use_npho_weight",
    "training.npho_threshold": "normalization.npho_threshold",
    "training.time.npho_threshold": "normalization.npho_threshold",
}
"""Options of times in MAE and inpainter: flat in old files.  The threshold decides which times
are valid, so it is part of the normalisation; the research code ignored the one stated there."""

UNUSED: Final[Mapping[str, str]] = {
    "data.num_threads": "events are normalised on the training device",
    "data.log_invalid_npho": "invalid values are never logged one by one",
}
"""Keys of the research code without a meaning here, and why."""

REPLACES: Final = frozenset({"training.npho_threshold", "training.time.npho_threshold"})


def translate(content: dict[str, Any], *, predicts_sensors: bool) -> list[str]:
    """Bring content of a research file into the present form, in place.

    Parameters
    ----------
    content
        Sections as read from YAML.
    predicts_sensors
        Whether it configures an MAE or inpainter.

    Returns
    -------
    unused
        Keys without effect, each with the reason in brackets.

    Raises
    ------
    UsageError
        If a key is given in both its spellings with different values.
    """
    for name in [name for name, section in content.items() if section is None]:
        # 'export:' with every key commented out; a null at the top level states nothing.
        del content[name]
    for old, new in _moved(predicts_sensors=predicts_sensors).items():
        _move(content, old, new)
    _move_onnx(content)
    unused = [f"{key} ({reason})" for key, reason in UNUSED.items() if _take(content, key)[0]]
    model = content.get("model")
    if (
        predicts_sensors
        and isinstance(model, dict)
        and model.get("head_type") == "cross_attention"
        and model.get("use_masked_attention")
    ):
        del model["use_masked_attention"]
        unused.append("model.use_masked_attention (head_type is cross_attention)")
    return unused


def present_key(key: str, *, predicts_sensors: bool) -> str:
    """Return the present spelling of a key."""
    return _moved(predicts_sensors=predicts_sensors).get(key, key)


def _moved(*, predicts_sensors: bool) -> dict[str, str]:
    return {**MOVED, **(MOVED_TIME if predicts_sensors else {})}


def _move(content: dict[str, Any], old: str, new: str) -> None:
    found, value = _take(content, old)
    if not found or (value is None and old in REPLACES):
        return
    section = content
    *parents, last = new.split(".")
    for parent in parents:
        if section.get(parent) is None:
            section[parent] = {}
        section = section[parent]
        if not isinstance(section, dict):
            return
    if last in section and section[last] != value and old not in REPLACES:
        raise UsageError(f"{old!r} and {new!r} are the same key with different values")
    section[last] = value


def _move_onnx(content: dict[str, Any]) -> None:
    """Take the name of an ONNX file for that of the bundle that will hold the graph."""
    found, value = _take(content, "export.onnx")
    if found and isinstance(value, str) and content["export"].get("bundle") is None:
        content["export"]["bundle"] = str(PurePath(value).with_suffix(".xec"))


def _take(content: dict[str, Any], key: str) -> tuple[bool, Any]:
    """Remove a key if it is there; return whether it was, and its value."""
    *parents, last = key.split(".")
    section: Any = content
    for parent in parents:
        section = section.get(parent) if isinstance(section, dict) else None
    if not isinstance(section, dict) or last not in section:
        return False, None
    return True, section.pop(last)
