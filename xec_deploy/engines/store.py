"""Engines in a bundle's folder: complete or absent, and listed in its manifest."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from xec_deploy.bundle import Bundle, Manifest
from xec_deploy.bundle.files import MANIFEST_FILE
from xec_deploy.engines.manifest import EngineManifest, manifest_path, read_engine_manifest
from xec_deploy.errors import BundleError

__all__ = ["FOLDER", "keep", "list_in_bundle", "reusable", "scratch"]

FOLDER: Final = "engines"
"""Of a bundle, where its engines are."""


def reusable(path: Path, key: str) -> EngineManifest | None:
    """Return the manifest of an engine that is complete and has this key."""
    try:
        manifest = read_engine_manifest(path)
    except BundleError:
        return None
    return manifest if manifest.key == key else None


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield a file in the folder of the engines that is gone afterwards, whatever happens."""
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as stream:
        part = Path(stream.name)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def keep(part: Path, path: Path, manifest: EngineManifest) -> None:
    """Give an engine its name; its manifest first, so that an engine always has one."""
    described = manifest_path(path)
    draft = part.with_name(part.name + ".json")
    path.unlink(missing_ok=True)
    try:
        draft.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        draft.replace(described)
        part.chmod(0o644)
        part.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def list_in_bundle(bundle: Bundle, path: Path, manifest: EngineManifest) -> None:
    """Add an engine to the list in the bundle's manifest."""
    file = bundle.path / MANIFEST_FILE
    # As it is now: something else may have been added during the build.
    current = Manifest.model_validate_json(file.read_text(encoding="utf-8"))
    chosen = {"key", "sha256", "graph", "precision", "flavour", "version", "target", "options"}
    entry = manifest.model_dump(mode="json", include=chosen)
    present = {k: v for k, v in current.engines.items() if (path.parent / k).is_file()}
    changed = current.model_copy(update={"engines": {**present, path.name: entry}})
    part = file.with_name(f"{MANIFEST_FILE}.part")
    try:
        part.write_text(changed.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
