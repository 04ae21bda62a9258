"""ONNX files: their metadata and their hashes."""

from __future__ import annotations

import hashlib
from os import PathLike
from pathlib import Path
from typing import Final

import onnx
from pydantic import ValidationError

from xec_deploy.bundle.manifest import METADATA_KEY, REST_KEY, GraphRecord, Manifest
from xec_deploy.errors import BundleError

__all__ = [
    "IR_VERSION",
    "OPSET",
    "canonical_hash",
    "clear_metadata",
    "file_hash",
    "graph_record",
    "load_onnx",
    "manifest_of_onnx",
    "state_rest",
]

OPSET: Final = 20
"""Operator set of every graph: the first with Gelu, and one all engines read."""
IR_VERSION: Final = 10
"""File format of every graph; what onnx writes by default is newer than onnxruntime reads."""


def load_onnx(path: str | PathLike[str]) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises
    ------
    BundleError
        If the file is missing or not ONNX.
    """
    try:
        return onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise BundleError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except Exception as error:
        # protobuf raises its own DecodeError, which is not importable portably.
        raise BundleError("not an ONNX file", where=str(path)) from error


def manifest_of_onnx(model: onnx.ModelProto, where: str) -> Manifest:
    """Return the manifest in an ONNX file's metadata.

    Raises
    ------
    BundleError
        If there is none or it is damaged.
    """
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                return Manifest.model_validate_json(entry.value)
            except ValidationError as error:
                raise BundleError(
                    f"the manifest in the metadata is not valid ({error.errors()[0]['msg']})",
                    where=where,
                ) from error
    raise BundleError(
        "the ONNX file has no manifest in its metadata",
        where=where,
        fix="Without it neither normalisation nor units are known; export it with xec-deploy.",
    )


def state_rest(model: onnx.ModelProto, rest: str) -> None:
    """Have a graph say in what its float32 is to be computed by engines that can, such as bf16."""
    others = [entry for entry in model.metadata_props if entry.key != REST_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    model.metadata_props.add(key=REST_KEY, value=rest)


def clear_metadata(model: onnx.ModelProto) -> None:
    """Drop a graph's metadata, but for what it says of its rest: that changes what is computed."""
    rest = [entry for entry in model.metadata_props if entry.key == REST_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(rest)


def canonical_hash(model: onnx.ModelProto) -> str:
    """Return the SHA-256 of a graph without metadata and documentation.

    Two files with the same nodes, weights, interface and stated rest have the same hash, whoever
    wrote them.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    clear_metadata(copy)
    copy.doc_string = copy.producer_name = copy.producer_version = ""
    del copy.graph.metadata_props[:]
    copy.graph.doc_string = ""
    for node in copy.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return hashlib.sha256(copy.SerializeToString(deterministic=True)).hexdigest()


def file_hash(path: str | PathLike[str]) -> str:
    """Return the SHA-256 of a file."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def graph_record(path: str | PathLike[str]) -> GraphRecord:
    """Describe an ONNX file for the manifest of its bundle."""
    model = load_onnx(path)
    return GraphRecord(
        file=Path(path).name,
        opset=max(entry.version for entry in model.opset_import if not entry.domain),
        sha256=file_hash(path),
        canonical_sha256=canonical_hash(model),
    )
