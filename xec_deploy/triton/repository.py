"""A Triton model repository with the graphs of a bundle."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np

from xec_deploy.bundle import Bundle
from xec_deploy.bundle.bundle import Inpaint
from xec_deploy.bundle.onnx_file import file_hash
from xec_deploy.errors import UsageError
from xec_deploy.triton.config import (
    MODEL_FILES,
    Engine,
    Serving,
    Tensor,
    config_text,
    onnx_tensors,
)
from xec_deploy.triton.models import ServedModel, models_of
from xec_deploy.whole_file import write_whole

__all__ = ["CONFIG_FILE", "RECORD_FILE", "WrittenModel", "write_repository"]

CONFIG_FILE: Final = "config.pbtxt"
RECORD_FILE: Final = "manifest.json"
"""Beside each version's file: the bundle's manifest and what the file is."""
WARMUP: Final = "warmup"
"""Where Triton looks for the data of warm-up requests."""


@dataclass(frozen=True)
class WrittenModel:
    """What became of one model: its name, the version served and whether that is new."""

    name: str
    version: int
    is_new: bool
    folder: Path


def write_repository(
    bundle: Bundle,
    folder: str | PathLike[str],
    *,
    serving: Serving,
    precision: str = "fp32",
    name: str | None = None,
    inpaint: Inpaint | None = None,
    engine: Engine = "onnxruntime",
    target: str | None = None,
    version: int | None = None,
    replace_config: bool = False,
) -> list[WrittenModel]:
    """Write the graphs of a bundle as models of a repository, which may have others.

    A model that is there already gets a new version, unless its newest one is the very same file.
    A server that polls the repository never sees half a model: a version's folder gets its name
    when it is complete.

    Parameters
    ----------
    bundle
        Where the graphs come from.
    folder
        Repository; made if absent.
    serving
        How the server runs the models.
    precision, inpaint
        Graph of the bundle, and what happens to dead channels; see
        :meth:`xec_deploy.bundle.Bundle.graph`.
    name
        Of the model; of the bundle if None, with the precision unless that is fp32.  Parts of the
        graph become models ``<name>_inpainter`` and ``<name>_regressor``.
    engine, target
        Backend of Triton; ``tensorrt`` takes the bundle's engine of the precision for a compute
        capability such as ``sm80``, which may be None if there is only one.
    version
        Number of the new version; the next one if None.
    replace_config
        Replace a ``config.pbtxt`` that is not what would be written.

    Returns
    -------
    models
        One for each graph.

    Raises
    ------
    UsageError
        If a model of that name has other inputs or outputs, or another configuration, or the
        version is there, or nothing can be written.
    """
    models = models_of(bundle, precision, name, inpaint, engine=engine, target=target)
    try:
        return [
            _write(bundle, Path(folder), model, serving, version, replace_config=replace_config)
            for model in models
        ]
    except OSError as error:
        raise UsageError(
            f"the repository cannot be written ({error.strerror or error})",
            where=str(folder),
            fix="Choose a place where you may write, with room on the disk.",
        ) from error


def _write(
    bundle: Bundle,
    folder: Path,
    model: ServedModel,
    serving: Serving,
    version: int | None,
    *,
    replace_config: bool,
) -> WrittenModel:
    home = folder / model.name
    present = _versions(home)
    _check_tensors(home, present, model)
    warmup = _warmup_inputs(bundle, model)
    text = config_text(
        model.name,
        model.engine,
        model.inputs,
        model.outputs,
        model.limited(serving),
        extended_only=model.extended_only,
        warmup=warmup,
    )
    _check_config(home / CONFIG_FILE, text, replace=replace_config)
    sha256 = file_hash(model.file)
    newest = present[-1] if present else None
    same = newest is not None and _recorded_hash(home / str(newest)) == sha256
    number = (newest if same else (newest or 0) + 1) if version is None else version
    assert number is not None  # noqa: S101 - the newest version exists if it is the same
    if version in present and not (same and version == newest):
        raise UsageError(
            f"version {version} is there already",
            where=str(home),
            fix="Leave --model-version out for the next one.",
        )
    home.mkdir(parents=True, exist_ok=True)
    # Triton reads the warm-up data when it loads a version.
    _write_warmup(bundle, home / WARMUP, warmup)
    write_whole(home / CONFIG_FILE, text.encode())
    target = home / str(number)
    if not (same and number == newest):
        _write_version(bundle, model, target, sha256)
    return WrittenModel(model.name, number, not same, target)


def _versions(home: Path) -> list[int]:
    """Return the versions that a server would see: folders named by a number without zeros."""
    if not home.is_dir():
        return []
    names = [path.name for path in home.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if re.fullmatch(r"[1-9]\d*", name))


def _check_tensors(home: Path, present: Sequence[int], model: ServedModel) -> None:
    """Refuse a version that callers of the others could not use."""
    graph = home / str(present[-1]) / MODEL_FILES["onnxruntime"] if present else None
    if graph is None or not graph.is_file():
        return
    if onnx_tensors(graph) != (model.inputs, model.outputs):
        raise UsageError(
            f"model {model.name!r} is there with other inputs or outputs",
            where=str(home),
            fix="Choose another --name.",
        )


def _check_config(path: Path, text: str, *, replace: bool) -> None:
    if path.is_file() and not replace and path.read_text(encoding="utf-8") != text:
        raise UsageError(
            "the configuration is another one (other options, or edited by hand)",
            where=str(path),
            fix="Pass --replace-config to write it anew, or choose another --name.",
        )


def _recorded_hash(version: Path) -> str | None:
    try:
        record = json.loads((version / RECORD_FILE).read_text(encoding="utf-8"))
        return str(record["served"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        # Not written by this program; it counts as another one.
        return None


def _write_version(bundle: Bundle, model: ServedModel, target: Path, sha256: str) -> None:
    # Not a number, so that a server that polls passes it over.
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        shutil.copyfile(model.file, part / MODEL_FILES[model.engine])
        record = {
            "served": {
                "file": MODEL_FILES[model.engine],
                "sha256": sha256,
                "graph": model.graph,
                "inpaint": model.inpaint,
                "bundle": bundle.identity,
            },
            "manifest": json.loads(bundle.manifest.model_dump_json()),
        }
        (part / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _warmup_inputs(bundle: Bundle, model: ServedModel) -> tuple[Tensor, ...]:
    """Return the inputs for which golden events have data; empty if for one they have none."""
    named = {"npho", "time", "dead"}
    known = bundle.golden is not None and all(tensor.name in named for tensor in model.inputs)
    return model.inputs if known else ()


def _write_warmup(bundle: Bundle, folder: Path, inputs: Sequence[Tensor]) -> None:
    """Write the first golden event, raw: the server repeats it to the size of a batch."""
    golden = bundle.golden
    if not inputs or golden is None:
        return
    folder.mkdir(exist_ok=True)
    for tensor in inputs:
        values = np.ascontiguousarray(getattr(golden, tensor.name)[0])
        write_whole(folder / tensor.name, values.tobytes())
