"""Opening bundles and writing them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from xec_deploy.bundle.bundle import Bundle
from xec_deploy.bundle.files import GOLDEN_FILE, fill_folder, read_manifest, verify_hashes
from xec_deploy.bundle.golden import GoldenEvents
from xec_deploy.bundle.manifest import Manifest, PartName
from xec_deploy.bundle.onnx_file import load_onnx, manifest_of_onnx
from xec_deploy.errors import BundleError, UsageError

__all__ = ["open_bundle", "shipped_bundle", "write_bundle"]


def open_bundle(path: str | PathLike[str], *, verify: bool = True) -> Bundle:
    """Open a bundle folder or a lone ONNX file and verify its hashes.

    Golden events are run when an engine is first asked for.

    Raises
    ------
    BundleError
        If a file is missing, was changed, or disagrees with the manifest.
    """
    folder = Path(path)
    if folder.is_file():
        manifest = manifest_of_onnx(load_onnx(folder), str(folder))
        return Bundle(folder, manifest, golden=None)
    if not folder.is_dir():
        raise BundleError(
            "no such bundle", where=str(path), fix="Pass a folder NAME.xec or an ONNX file."
        )
    manifest = read_manifest(folder)
    if verify:
        verify_hashes(folder, manifest)
    return Bundle(folder, manifest, GoldenEvents.load(folder / GOLDEN_FILE))


def write_bundle(
    folder: Path,
    manifest: Manifest,
    graphs: Mapping[str, Path],
    golden: GoldenEvents,
    parts: Mapping[PartName, Path] | None = None,
) -> Bundle:
    """Assemble a bundle in ``folder`` (which is replaced) and open it.

    Parameters
    ----------
    folder
        Destination, written as ``folder.part`` and renamed when complete.
    manifest
        Without graph records; they are added here.
    graphs
        Precision -> ONNX file, copied into the bundle.
    golden
        Golden events.
    parts
        Part -> ONNX file, likewise.

    Raises
    ------
    UsageError
        If the folder cannot be written.
    """
    part = folder.with_name(folder.name + ".part")
    try:
        fill_folder(part, manifest, graphs, golden, parts or {})
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    except OSError as error:
        raise UsageError(
            f"the bundle cannot be written ({error.strerror or error})",
            where=str(folder),
            fix="Choose a place where you may write, with room on the disk.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return open_bundle(folder)


def shipped_bundle() -> Path:
    """Return the folder of the compact bundle that comes with the package."""
    return Path(__file__).parent.parent / "data" / "compact.xec"
