"""The file as a file: valid, typed, of pinned versions, complete in itself and free of paths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final

import onnx

from xec_deploy.bundle.manifest import METADATA_KEY
from xec_deploy.bundle.onnx_file import IR_VERSION, OPSET
from xec_deploy.checks.registry import Finding, check
from xec_deploy.checks.subject import Subject

__all__ = ["SOURCE_PATH"]

SOURCE_PATH: Final = re.compile(
    r"""\bFile\ "                                  # a traceback
    | [^\s"':]+\.(?:py|cpp|cc|cu)\b                # a source file
    | \b[A-Za-z]:\\ | (?<![\w.])/(?:home|Users|root|tmp|mnt|usr|opt|data|work)/  # a place
    """,
    re.VERBOSE,
)


@check("E01")
def valid(subject: Subject) -> Iterator[Finding]:
    """ONNX's own checker accepts the file, with full type and shape inference.

    Protects from files that one engine happens to load and another refuses, or reads differently:
    operators used against their definition, tensors used before they exist, names used twice.
    """
    if subject.invalid is not None:
        yield Finding(" ".join(subject.invalid.split())[:500])


@check("E02")
def typed(subject: Subject) -> Iterator[Finding]:
    """Strict shape inference gives every tensor a type and a rank.

    Protects from tensors whose type an engine has to guess. TensorRT and OpenVINO plan memory from
    inferred shapes, and the checks of precision below can only judge what has a type.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(
            subject.model, check_type=True, strict_mode=True, data_prop=True
        ).graph
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        yield Finding(f"shape inference fails: {' '.join(str(error).split())[:300]}")
        return
    known = {
        value.name
        for value in [*graph.input, *graph.value_info, *graph.output]
        if value.type.tensor_type.elem_type and value.type.tensor_type.HasField("shape")
    }
    for node in graph.node:
        for name in node.output:
            if name and name not in known:
                yield Finding(
                    "has no inferred type or rank",
                    node=node.name,
                    operator=node.op_type,
                    tensor=name,
                )


@check("E03")
def operator_set(subject: Subject) -> Iterator[Finding]:
    """Pinned operator set, and no domain but ONNX's own.

    Protects from graphs that depend on the exporter of the day: newer operator sets are refused by
    older engines, older ones spell Gelu and LayerNormalization out, and operators of an engine's
    private domain, as offline-optimised graphs have them, run nowhere else.
    """
    for entry in subject.model.opset_import:
        if entry.domain not in {"", "ai.onnx"}:
            yield Finding(f"imports the domain {entry.domain!r}")
        elif entry.version != OPSET:
            yield Finding(f"operator set {entry.version}, pinned is {OPSET}")
    for node in subject.nodes():
        if node.domain not in {"", "ai.onnx"}:
            yield Finding(f"is of domain {node.domain!r}", node=node.name, operator=node.op_type)
    for function in subject.model.functions:
        yield Finding(f"has a function {function.name!r} of its own")


@check("E04")
def file_format(subject: Subject) -> Iterator[Finding]:
    """Pinned version of the file format (IR).

    Protects from files that onnx writes and onnxruntime of the same day cannot read: the default of
    the onnx package runs ahead of the engines.
    """
    if subject.model.ir_version != IR_VERSION:
        yield Finding(f"IR version {subject.model.ir_version}, pinned is {IR_VERSION}")


@check("E14")
def self_contained(subject: Subject) -> Iterator[Finding]:
    """All weights are inside the file.

    Protects from a model that is half a model once it is copied, whose hash does not cover its
    weights, and from a path that leads an engine to a file outside the bundle.
    """
    for tensor in subject.tensors():
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next(
            (entry.value for entry in tensor.external_data if entry.key == "location"), ""
        )
        paths = PurePosixPath(location), PureWindowsPath(location)
        escapes = any(path.is_absolute() or ".." in path.parts for path in paths)
        where = "outside the bundle" if escapes else "in another file"
        yield Finding(f"has its data {where}: {location!r}", tensor=tensor.name)


@check("E15")
def no_source_paths(subject: Subject) -> Iterator[Finding]:
    """Neither names nor notes hold paths of source files or folders.

    Protects from bytes that differ with the place of export (the same checkpoint must give the same
    file) and from telling every reader of a model the layout of somebody's home folder. Exporters
    store the Python call stack with each node.
    """
    model, graph = subject.model, subject.model.graph
    yield from _in_notes("model", None, model)
    yield from _in_notes("graph", None, graph)
    for node in subject.nodes():
        yield from _in_notes("node", node, node)
    for value in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        yield from _in_notes(f"tensor {value.name!r}", None, value)


def _in_notes(what: str, node: onnx.NodeProto | None, holder: object) -> Iterator[Finding]:
    texts = {"name": getattr(holder, "name", ""), "doc_string": getattr(holder, "doc_string", "")}
    for entry in getattr(holder, "metadata_props", ()):
        # The manifest holds provenance that the user chose to record.
        if entry.key != METADATA_KEY:
            texts[f"metadata {entry.key!r}"] = entry.value
    for key, text in texts.items():
        match = SOURCE_PATH.search(text)
        if match:
            yield Finding(
                f"{key} of the {what} has a path: {_excerpt(text, match.start())}",
                node=node.name if node is not None else None,
                operator=node.op_type if node is not None else None,
            )


def _excerpt(text: str, start: int) -> str:
    return " ".join(text[start : start + 60].split())
