"""What callers see of a graph: names, types, ranks and the batch axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import onnx
from onnx import TensorProto

from xec_deploy.bundle.manifest import (
    FILLED_OUTPUT,
    INPUTS,
    LEGACY_INPUT,
    LEGACY_OUTPUT,
    METADATA_KEY,
    TASK_OUTPUTS,
    TOKENS_OUTPUT,
    Manifest,
)
from xec_deploy.checks.registry import Finding, check
from xec_deploy.checks.subject import Subject
from xec_deploy.detector.constants import N_SENSORS

__all__ = ["Tail", "expected_inputs", "expected_outputs"]

Tail = tuple[int | None, ...]
"""Dimensions after the batch; None where any size is right."""

CHANNELS: Final = 2
_TYPES: Final = {"float32": TensorProto.FLOAT, "bool": TensorProto.BOOL}
NORMALISATION_PART: Final = "normalisation"


def expected_inputs(manifest: Manifest | None, name: str) -> dict[str, tuple[int, Tail]]:
    """Return the contract's inputs of a graph: name -> (element type, dimensions after the batch).

    Parameters
    ----------
    manifest
        Of the graph; None if it has none.
    name
        Of the graph in its bundle.
    """
    if manifest is not None and manifest.io == "legacy" and name != NORMALISATION_PART:
        return {LEGACY_INPUT: (TensorProto.FLOAT, (N_SENSORS, CHANNELS))}
    return {key: (_TYPES[kind], (N_SENSORS,)) for key, kind in INPUTS.items()}


def expected_outputs(manifest: Manifest | None, name: str) -> dict[str, Tail] | None:
    """Return the contract's outputs of a graph; None where nothing says which there are."""
    if name == NORMALISATION_PART:
        return {LEGACY_INPUT: (N_SENSORS, CHANNELS)}
    if manifest is None:
        return None
    if manifest.kind == "inpainter":
        return {FILLED_OUTPUT: (N_SENSORS,)}
    if manifest.kind == "encoder":
        return {TOKENS_OUTPUT: (None, None)}
    tails: dict[str, Tail] = {}
    for task, record in manifest.tasks.items():
        width = len(record.outputs)
        if manifest.io == "legacy":
            # As the head emits them: means, then log variances.
            tails[LEGACY_OUTPUT + task] = (width * (2 if record.has_sigma else 1),)
        else:
            tails[task] = (width,)
            if record.has_sigma:
                tails[f"{task}_sigma"] = (width,)
    return tails


@check("E05")
def contract(subject: Subject) -> Iterator[Finding]:
    """Names, types and ranks of inputs and outputs are the contract's, and the manifest is inside.

    Protects every caller: a graph that takes normalised events where raw ones are expected runs
    without an error and gives wrong numbers. Without the manifest in its metadata a lone file does
    not say which normalisation, layout and units it was made with.
    """
    manifest, graph = subject.manifest, subject.model.graph
    if manifest is None and subject.name != NORMALISATION_PART:
        yield Finding(f"the metadata has no valid manifest ({METADATA_KEY!r})")
    inputs = expected_inputs(manifest, subject.name)
    fed = _fed(graph)
    yield from _names("input", [value.name for value in fed], list(inputs))
    for value in fed:
        if value.name in inputs:
            element, tail = inputs[value.name]
            yield from _shape(value, element, tail)
    outputs = expected_outputs(manifest, subject.name)
    if outputs is None:
        yield from _unknown_outputs(graph)
        return
    yield from _names("output", [value.name for value in graph.output], list(outputs))
    for value in graph.output:
        if value.name in outputs:
            yield from _shape(value, TensorProto.FLOAT, outputs[value.name])


@check("E06")
def batch_axis(subject: Subject) -> Iterator[Finding]:
    """Axis 0 of every input and output is one symbolic dimension of the same name.

    Protects from a batch frozen by the exporter's example, which fails at the first other batch,
    and from inputs whose batches an engine may take for different ones.
    """
    names: dict[str, str] = {}
    for value in _interface(subject):
        shape = value.type.tensor_type.shape.dim
        if not shape:
            yield Finding("has no batch axis", tensor=value.name)
        elif not shape[0].dim_param:
            frozen = f"frozen at {shape[0].dim_value}" if shape[0].dim_value else "without a name"
            yield Finding(f"axis 0 is {frozen}", tensor=value.name)
        else:
            names[value.name] = shape[0].dim_param
    if len(set(names.values())) > 1:
        listed = ", ".join(f"{tensor}: {name}" for tensor, name in names.items())
        yield Finding(f"axis 0 has different names ({listed})")


@check("E07")
def fixed_shape(subject: Subject) -> Iterator[Finding]:
    """No other dimension of an input or output is dynamic.

    Protects the engines' planning: every further free dimension multiplies the shapes an engine has
    to be ready for, and a detector has a fixed number of sensors.
    """
    for value in _interface(subject):
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if axis and not dimension.HasField("dim_value"):
                label = dimension.dim_param or "unnamed"
                yield Finding(f"axis {axis} is dynamic ({label})", tensor=value.name)


def _fed(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that are no initialisers, which old exporters list as well."""
    constants = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def _interface(subject: Subject) -> list[onnx.ValueInfoProto]:
    return [*_fed(subject.model.graph), *subject.model.graph.output]


def _names(what: str, given: list[str], expected: list[str]) -> Iterator[Finding]:
    for name in expected:
        if name not in given:
            yield Finding(f"{what} {name!r} is missing")
    for name in given:
        if name not in expected:
            yield Finding(f"{what} {name!r} is not in the contract", tensor=name)


def _shape(value: onnx.ValueInfoProto, element: int, tail: Tail) -> Iterator[Finding]:
    tensor = value.type.tensor_type
    if tensor.elem_type != element:
        found, wanted = (TensorProto.DataType.Name(kind) for kind in (tensor.elem_type, element))
        yield Finding(f"is {found}, the contract has {wanted}", tensor=value.name)
    dimensions = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    fits = len(dimensions) == len(tail) + 1 and all(
        want is None or have is None or have == want
        for have, want in zip(dimensions[1:], tail, strict=True)
    )
    if not fits:
        wanted = ", ".join(["batch", *(str(size or "any") for size in tail)])
        found = ", ".join(d.dim_param or str(d.dim_value) for d in tensor.shape.dim)
        yield Finding(f"has shape ({found}), the contract has ({wanted})", tensor=value.name)


def _unknown_outputs(graph: onnx.GraphProto) -> Iterator[Finding]:
    known = {FILLED_OUTPUT, TOKENS_OUTPUT}
    for task in TASK_OUTPUTS:
        known |= {task, f"{task}_sigma"}
    for value in graph.output:
        if value.name not in known:
            yield Finding(f"output {value.name!r} is not in the contract", tensor=value.name)
