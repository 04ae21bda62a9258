"""Adding a graph of another precision to a bundle that exists."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

from xec_deploy.bundle.bundle import LONE_PRECISION, Bundle
from xec_deploy.bundle.files import MANIFEST_FILE
from xec_deploy.bundle.manifest import METADATA_KEY
from xec_deploy.bundle.onnx_file import clear_metadata, graph_record, load_onnx
from xec_deploy.bundle.opening import open_bundle
from xec_deploy.errors import BundleError, UsageError
from xec_deploy.whole_file import write_whole

__all__ = ["add_graph"]

PRECISION: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def add_graph(
    bundle: Bundle,
    precision: str,
    file: str | PathLike[str],
    origin: Mapping[str, Any] | None = None,
) -> Bundle:
    """Add a graph to a bundle, or replace one of the same precision.

    The graph gets the bundle's manifest as metadata, beside what it says of its rest, and the name
    ``PRECISION.onnx``; nothing else of the bundle changes.  Whenever this is interrupted the bundle
    stays valid, at worst without a graph of that precision.

    Parameters
    ----------
    bundle
        A bundle folder, opened.
    precision
        ``fp16``, ``bf16``, ``int8-cpu``, ``int8-trt``, ..: small letters, digits and hyphens.
    file
        ONNX file with the inputs and outputs of the bundle's fp32 graph; it is not changed.
    origin
        How it was made (method, calibration, versions), for the manifest.

    Returns
    -------
    bundle
        The bundle, opened anew.

    Raises
    ------
    UsageError
        If the bundle or the precision cannot have such a graph, or the folder cannot be written.
    BundleError
        If the file is no ONNX file or has other inputs or outputs.
    """
    folder = bundle.path
    if not folder.is_dir() or bundle.manifest.io != "raw":
        raise UsageError(
            "only a bundle folder whose graphs take raw events can be given another graph",
            where=str(folder),
            fix="Export it again, without --io.",
        )
    if precision == LONE_PRECISION or not PRECISION.fullmatch(precision):
        raise UsageError(
            f"a graph cannot be added as precision {precision!r}",
            fix="Take small letters, digits and hyphens, and not fp32, which the others come from.",
        )
    model, whole = load_onnx(file), load_onnx(bundle.file())
    for what in ("input", "output"):
        names, expected = ([port.name for port in getattr(m.graph, what)] for m in (model, whole))
        if names != expected:
            raise BundleError(
                f"the graph has {what}s {', '.join(names)}; the bundle's are {', '.join(expected)}",
                where=str(file),
            )
    clear_metadata(model)
    # The very text: a bundle of an older version lacks keys that would now be written.
    model.metadata_props.extend(e for e in whole.metadata_props if e.key == METADATA_KEY)
    target = folder / f"{precision}.onnx"
    try:
        _change_graphs(folder, precision, None)
        write_whole(target, model.SerializeToString(deterministic=True), sync=True)
        record = graph_record(target).model_copy(update={"origin": dict(origin or {})})
        _change_graphs(folder, precision, record.model_dump(mode="json"))
    except OSError as error:
        raise UsageError(
            f"the graph cannot be added ({error.strerror or error})", where=str(folder)
        ) from error
    return open_bundle(folder)


def _change_graphs(folder: Path, precision: str, record: Mapping[str, Any] | None) -> None:
    """Set or drop one entry of the manifest's graphs and leave the rest as it is."""
    path = folder / MANIFEST_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    graphs = content["graphs"]
    if record is None:
        if graphs.pop(precision, None) is None:
            return
    else:
        graphs[precision] = record
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, text.encode("utf-8"), sync=True)
