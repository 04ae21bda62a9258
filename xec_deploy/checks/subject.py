"""What is checked: one graph, and what its bundle says about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import onnx

from xec_deploy.bundle import Bundle, GoldenEvents, GraphRecord, Manifest, open_bundle
from xec_deploy.bundle.onnx_file import load_onnx, manifest_of_onnx
from xec_deploy.errors import BundleError

__all__ = ["PRECISIONS", "Subject", "subjects_of"]

PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8-cpu", "int8-trt")
"""Names of a bundle's graphs; a lone file's precision is told by its name alone."""


@dataclass(frozen=True)
class Subject:
    """One ONNX file to be checked.

    Attributes
    ----------
    path
        The file.
    name
        Precision or name of the part in its bundle; the file's name without suffix for a lone file.
    record
        Its record in the bundle; None for a lone file.
    golden
        The bundle's golden events; None for a lone file.
    """

    path: Path
    name: str
    record: GraphRecord | None = None
    golden: GoldenEvents | None = None

    @property
    def precision(self) -> str | None:
        """Precision the file is meant to have; None if nothing says so."""
        return self.name if self.name in PRECISIONS else None

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The file's content; external data is not followed."""
        return load_onnx(self.path)

    @cached_property
    def manifest(self) -> Manifest | None:
        """The manifest in the file's metadata; None if there is none or it is damaged."""
        try:
            return manifest_of_onnx(self.model, str(self.path))
        except BundleError:
            return None

    @cached_property
    def invalid(self) -> str | None:
        """Why the graph is no valid ONNX; None if it is."""
        try:
            onnx.checker.check_model(str(self.path), full_check=True)
        except Exception as error:  # noqa: BLE001 - of a dozen classes, some of them of protobuf
            return str(error)
        return None

    @cached_property
    def inferred(self) -> onnx.GraphProto:
        """The graph with the types and shapes that inference finds."""
        inferred = onnx.shape_inference.infer_shapes(self.model, check_type=True, data_prop=True)
        return inferred.graph

    @cached_property
    def types(self) -> dict[str, int]:
        """Element type of every tensor of the main graph that has one."""
        graph = self.inferred
        found = {tensor.name: tensor.data_type for tensor in graph.initializer}
        for value in [*graph.input, *graph.value_info, *graph.output]:
            element = value.type.tensor_type.elem_type
            if element:
                found[value.name] = element
        return found

    @cached_property
    def initialisers(self) -> dict[str, onnx.TensorProto]:
        """Constant tensors of the main graph by name, those of Constant nodes included."""
        found = {tensor.name: tensor for tensor in self.model.graph.initializer}
        for node in self.model.graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.HasField("t"):
                        found[node.output[0]] = attribute.t
        return found

    @cached_property
    def element_types(self) -> frozenset[int]:
        """Every element type of any tensor."""
        return frozenset(self.types.values()) | {tensor.data_type for tensor in self.tensors()}

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """Iterate over all nodes, those of subgraphs and functions included."""
        yield from _nodes(self.model.graph.node)
        for function in self.model.functions:
            yield from _nodes(function.node)

    def tensors(self) -> Iterator[onnx.TensorProto]:
        """Iterate over all constant tensors, those in attributes and subgraphs included."""
        yield from self.model.graph.initializer
        for node in self.nodes():
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                for graph in [attribute.g, *attribute.graphs]:
                    yield from graph.initializer


def subjects_of(path: str | Path) -> tuple[Subject, ...]:
    """Return the graphs of a bundle, or a lone ONNX file.

    Raises
    ------
    BundleError
        If the bundle or the file cannot be read.
    """
    file = Path(path)
    if file.is_file():
        subject = Subject(file, file.stem)
        len(subject.model.graph.node)  # read here, so that an unreadable file is one error
        return (subject,)
    return tuple(_bundle_subjects(open_bundle(file)))


def _bundle_subjects(bundle: Bundle) -> Iterator[Subject]:
    manifest = bundle.manifest
    for name, record in [*manifest.graphs.items(), *manifest.parts.items()]:
        yield Subject(bundle.path / record.file, name, record, bundle.golden)


def _nodes(nodes: Iterator[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _nodes(graph.node)
