"""Graphs and calibration records in bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import onnx

from xec_deploy.bundle import Bundle, open_bundle
from xec_deploy.bundle.bundle import MANIFEST_FILE
from xec_deploy.bundle.manifest import METADATA_KEY
from xec_deploy.bundle.onnx_file import graph_record

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
    """Add a graph to a bundle, replacing one of the same name, and open the bundle again.

    Parameters
    ----------
    bundle
        A folder.
    name
        Of the graph; the file is ``NAME.onnx``.
    model
        The graph; the manifest is put into its metadata.
    origin
        How it was made, for the manifest.
    """
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, bundle.manifest.without_hashes().model_dump_json()
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    folder = bundle.path
    file = folder / f"{name}.onnx"
    part = folder / f"{name}.onnx.part"
    manifest_part = folder / f"{MANIFEST_FILE}.part"
    try:
        part.write_bytes(model.SerializeToString(deterministic=True))
        record = graph_record(part).model_copy(update={"file": file.name, "origin": dict(origin)})
        manifest = bundle.manifest.model_copy(
            update={"graphs": {**bundle.manifest.graphs, name: record}}
        )
        text = manifest.model_dump_json(indent=2) + "\n"
        manifest_part.write_text(text, encoding="utf-8")
        part.replace(file)
        manifest_part.replace(folder / MANIFEST_FILE)
    finally:
        part.unlink(missing_ok=True)
        manifest_part.unlink(missing_ok=True)
    return open_bundle(folder)
