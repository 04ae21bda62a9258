"""A filler joined with a network's graph, kept in the user's cache."""

from __future__ import annotations

from pathlib import Path

import onnx

from xec_deploy import __version__
from xec_deploy.bundle.compose import cached_graph, embed_manifest, join
from xec_deploy.bundle.onnx_file import canonical_hash, file_hash, load_onnx, manifest_of_onnx
from xec_deploy.inpaint.filler import FILLED, FillerName, filler_graph

__all__ = ["FillerName", "filled_graph"]


def filled_graph(graph: Path, filler: FillerName) -> Path:
    """Return a file with a filler ahead of a graph of raw events; the graph is not changed.

    The file is made once for the same graph, filler and version of this package.

    Raises
    ------
    BundleError
        If the graph cannot be read, has no manifest or another opset.
    """
    key = f"{filler} {file_hash(graph)} {canonical_hash(filler_graph(filler))} {__version__}"
    return cached_graph(key, lambda: _joined(graph, filler))


def _joined(graph: Path, filler: FillerName) -> onnx.ModelProto:
    network = load_onnx(graph)
    manifest = manifest_of_onnx(network, str(graph))
    joined = join(filler_graph(filler), network, FILLED)
    policy = manifest.dead_channels.model_copy(update={"method": filler})
    embed_manifest(joined, manifest.model_copy(update={"dead_channels": policy}))
    return joined
