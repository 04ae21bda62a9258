"""An engine in plain words."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from xec_deploy.bundle import open_bundle
from xec_deploy.bundle.files import MANIFEST_FILE
from xec_deploy.bundle.onnx_file import canonical_hash, load_onnx
from xec_deploy.engines.manifest import EngineManifest, read_engine_manifest
from xec_deploy.engines.profiles import describe_profiles

__all__ = ["describe_engine"]


def describe_engine(engine: str | PathLike[str]) -> dict[str, Any]:
    """Return what an engine is, for people: the verified manifest in plain values.

    Raises
    ------
    BundleError
        As :func:`read_engine_manifest`.
    """
    manifest = read_engine_manifest(engine)
    facts: dict[str, Any] = {
        "engine": str(engine),
        "state": _state(Path(engine), manifest),
        "bytes": manifest.bytes,
        "bundle": manifest.bundle,
        "graph": f"{manifest.graph}, {manifest.graph_sha256[:16]}",
        "precision": manifest.precision,
        "built with": f"{manifest.flavour} {manifest.version}",
        "for": f"{manifest.target}, {manifest.host}",
        "batch": describe_profiles(manifest.options.profiles),
        "layers": manifest.layers.model_dump(),
        "build time [s]": round(manifest.build_seconds, 1),
        "key": manifest.key,
    }
    if manifest.requested != manifest.precision:
        facts["asked for"] = manifest.requested
    if manifest.fallbacks:
        facts["not built"] = {part.precision: part.reason for part in manifest.fallbacks}
    if manifest.warnings:
        facts["warnings"] = dict(enumerate(manifest.warnings))
    return facts


def _state(engine: Path, manifest: EngineManifest) -> str:
    folder = engine.resolve().parent.parent
    if not (folder / MANIFEST_FILE).is_file():
        return "complete; not in a bundle"
    bundle = open_bundle(folder)
    if manifest.graph not in bundle.manifest.graphs:
        return f"stale: the bundle has no {manifest.graph!r} graph"
    if canonical_hash(load_onnx(bundle.graph(manifest.graph))) != manifest.graph_sha256:
        return f"stale: the bundle's {manifest.graph} graph is another"
    return f"complete, of the bundle's {manifest.graph} graph"
