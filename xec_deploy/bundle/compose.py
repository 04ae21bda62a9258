"""Joining graphs, and keeping what was joined in a folder of the user's."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import onnx

from xec_deploy.bundle.manifest import METADATA_KEY, Manifest
from xec_deploy.bundle.onnx_file import clear_metadata
from xec_deploy.errors import BundleError

__all__ = ["cache_folder", "cached_graph", "embed_manifest", "join", "keep_outputs"]

CACHE_VARIABLE: Final = "XEC_CACHE"


def join(
    first: onnx.ModelProto, second: onnx.ModelProto, wires: Mapping[str, str]
) -> onnx.ModelProto:
    """Return a graph with the inputs of ``first`` and the outputs of ``second``.

    Parameters
    ----------
    first, second
        Graphs of the same opset, without a name in common but those of inputs.
    wires
        Input of ``second`` -> output of ``first`` that it is given; inputs that are not listed
        are those of ``first`` of the same name.

    Raises
    ------
    BundleError
        If the opsets differ or names collide.
    """
    opsets = [{entry.domain: entry.version for entry in m.opset_import} for m in (first, second)]
    if opsets[0].get("") != opsets[1].get(""):
        raise BundleError(
            f"a graph of opset {opsets[1].get('')} cannot follow one of opset {opsets[0].get('')}"
        )
    shared = _defined(first) & _defined(second)
    if shared:
        raise BundleError(f"both graphs have a value {min(shared)!r}")
    joined = onnx.ModelProto()
    joined.CopyFrom(second)
    graph = joined.graph
    del graph.node[:]
    graph.node.extend(first.graph.node)
    for node in second.graph.node:
        added = graph.node.add()
        added.CopyFrom(node)
        added.input[:] = [wires.get(name, name) for name in node.input]
    graph.initializer.extend(first.graph.initializer)
    del graph.input[:]
    graph.input.extend(first.graph.input)
    # Of one batch axis for both, and nothing said twice.
    graph.value_info.extend(first.graph.value_info)
    _share_constants(graph)
    domains = opsets[0].keys() - opsets[1].keys()
    joined.opset_import.extend(e for e in first.opset_import if e.domain in domains)
    joined.ir_version = max(first.ir_version, second.ir_version)
    return joined


def _share_constants(graph: onnx.GraphProto) -> None:
    """Let equal constants be one."""
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    kept = []
    for tensor in graph.initializer:
        content = onnx.TensorProto()
        content.CopyFrom(tensor)
        content.name = ""
        digest = hashlib.sha256(content.SerializeToString(deterministic=True)).digest()
        if digest in first:
            same[tensor.name] = first[digest]
        else:
            first[digest] = tensor.name
            kept.append(onnx.TensorProto.FromString(tensor.SerializeToString()))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]


def _defined(model: onnx.ModelProto) -> set[str]:
    """Return what a graph defines besides its inputs."""
    names = {tensor.name for tensor in model.graph.initializer}
    return names.union(*(node.output for node in model.graph.node))


def keep_outputs(model: onnx.ModelProto, outputs: Mapping[str, str]) -> onnx.ModelProto:
    """Return a graph with some of its outputs, ``{name: new name}``, and what they need."""
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    graph = kept.graph
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [outputs.get(name, name) for name in names]
    ports = [port for port in graph.output if port.name in outputs]
    for port in ports:
        port.name = outputs[port.name]
    chosen = [onnx.ValueInfoProto.FromString(port.SerializeToString()) for port in ports]
    del graph.output[:]
    graph.output.extend(chosen)
    needed = {port.name for port in chosen}
    nodes = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    for field, items in (
        (graph.node, nodes[::-1]),
        (graph.initializer, [t for t in graph.initializer if t.name in needed]),
        (graph.value_info, [v for v in graph.value_info if v.name in needed]),
    ):
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(copies)
    return kept


def embed_manifest(model: onnx.ModelProto, manifest: Manifest | None) -> None:
    """Put a manifest, less the hashes, into a graph's metadata in place of all but its rest."""
    clear_metadata(model)
    if manifest is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, manifest.without_hashes().model_dump_json()


def cache_folder(name: str) -> Path:
    """Return the user's folder for files that can be made again, for temporary ones if need be.

    ``$XEC_CACHE``, else ``$XDG_CACHE_HOME/xec-deploy``, else ``~/.cache/xec-deploy``; where that
    cannot be written, a folder of the user's among the temporary files.
    """
    stated = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    candidates = [Path(stated)] if stated else [Path(base) / "xec-deploy"]
    candidates.append(Path(tempfile.gettempdir()) / f"xec-deploy-{os.getuid()}")
    for candidate in candidates:
        folder = candidate / name
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        # A folder of somebody else under that name is not to be trusted with graphs to run.
        if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK):
            return folder
    raise BundleError(
        "no folder for joined graphs can be written",
        where=", ".join(map(str, candidates)),
        fix=f"Set {CACHE_VARIABLE} to one.",
    )


def cached_graph(key: str, make: Callable[[], onnx.ModelProto]) -> Path:
    """Return a graph's file in the cache, made where it is not there yet.

    Parameters
    ----------
    key
        Everything the graph depends on.
    make
        Makes it.
    """
    path = cache_folder("graphs") / f"{hashlib.sha256(key.encode()).hexdigest()}.onnx"
    if not path.is_file():
        content = make().SerializeToString(deterministic=True)
        # Two processes may want the same graph: each writes its own file, the last name stands.
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            part.write(content)
        Path(part.name).replace(path)
    return path
