"""Graphs and calibration records in bundles."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import onnx

from xec_deploy.bundle import Bundle, add_graph

__all__ = ["graph_name", "stored_record", "write_graph"]

SUFFIXES: Final = {"cpu": "cpu", "tensorrt": "trt"}


def graph_name(precision: str, target: str) -> str:
    """Return what a graph is called in a bundle: int8 has one for each target."""
    return f"int8-{SUFFIXES[target]}" if precision == "int8" else precision


def stored_record(bundle: Bundle, name: str) -> Mapping[str, Any] | None:
    """Return the calibration record of a graph of the bundle, None without one."""
    record = bundle.manifest.graphs.get(name)
    found = None if record is None else record.origin.get("calibration")
    return found if isinstance(found, Mapping) else None


def write_graph(
    bundle: Bundle, name: str, model: onnx.ModelProto, origin: Mapping[str, Any]
) -> Bundle:
    """Check a graph and add it to a bundle; return the bundle opened again.

    Parameters
    ----------
    bundle
        A folder.
    name
        Of the graph.
    model
        The graph.
    origin
        How it was made, for the manifest.
    """
    onnx.checker.check_model(model, full_check=True)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / f"{name}.onnx"
        file.write_bytes(model.SerializeToString(deterministic=True))
        return add_graph(bundle, name, file, origin)
