"""The files of a bundle: reading, verifying and laying them down."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from xec_deploy.bundle.golden import GoldenEvents
from xec_deploy.bundle.manifest import GraphRecord, Manifest, PartName
from xec_deploy.bundle.onnx_file import file_hash, graph_record, load_onnx, manifest_of_onnx
from xec_deploy.errors import BundleError

__all__ = ["GOLDEN_FILE", "MANIFEST_FILE", "fill_folder", "read_manifest", "verify_hashes"]

MANIFEST_FILE: Final = "manifest.json"
GOLDEN_FILE: Final = "golden.npz"


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a bundle.

    Raises
    ------
    BundleError
        If it is missing or not valid.
    """
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(
            f"not a bundle: {MANIFEST_FILE} cannot be read ({error.strerror})", where=str(folder)
        ) from error
    except UnicodeDecodeError as error:
        raise BundleError("not a text file", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise BundleError(f"key {key!r}: {first['msg']}", where=str(path)) from error


def verify_hashes(folder: Path, manifest: Manifest) -> None:
    """Compare the files of a bundle with its manifest.

    Raises
    ------
    BundleError
        If a file is missing, was changed, or says another thing of itself.
    """
    records = [*manifest.graphs.values(), *manifest.parts.values()]
    expected = {record.file: record.sha256 for record in records}
    expected[GOLDEN_FILE] = manifest.golden_sha256 or ""
    for name, sha256 in expected.items():
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise BundleError(f"the bundle lacks {name!r}", where=str(folder))
        if file_hash(file) != sha256:
            raise BundleError(
                f"{name!r} is not the file the manifest describes (its hash differs)",
                where=str(folder),
                fix="The bundle was damaged or edited; export it again.",
            )
    described: list[tuple[GraphRecord, Manifest | None]] = [
        *((record, manifest.without_hashes()) for record in manifest.graphs.values()),
        *((record, manifest.of_part(name)) for name, record in manifest.parts.items()),
    ]
    for record, expected_manifest in described:
        if expected_manifest is None:
            continue
        inside = manifest_of_onnx(load_onnx(folder / record.file), str(folder / record.file))
        if inside != expected_manifest:
            raise BundleError(
                f"{MANIFEST_FILE} disagrees with the metadata of {record.file!r}",
                where=str(folder),
                fix="The manifest was edited; export the bundle again.",
            )


def fill_folder(
    part: Path,
    manifest: Manifest,
    graphs: Mapping[str, Path],
    golden: GoldenEvents,
    parts: Mapping[PartName, Path],
) -> None:
    """Make a folder with graphs, golden events and the manifest, with the hashes in it."""
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for source in (*graphs.values(), *parts.values()):
        shutil.copyfile(source, part / source.name)
    golden.save(part / GOLDEN_FILE)
    complete = manifest.model_copy(
        update={
            "graphs": {name: graph_record(part / file.name) for name, file in graphs.items()},
            "parts": {name: graph_record(part / file.name) for name, file in parts.items()},
            "golden_sha256": file_hash(part / GOLDEN_FILE),
        }
    )
    (part / MANIFEST_FILE).write_text(complete.model_dump_json(indent=2) + "\n", encoding="utf-8")
