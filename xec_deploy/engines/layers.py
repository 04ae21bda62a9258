"""What a built engine computes in, from TensorRT's own list of its layers.

The list is that of the engine inspector.  It is also the last thing a builder logs, which is the
only way to it on a machine that cannot load the engine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

__all__ = ["LOGGED_LAYERS", "LayerSummary", "proof_of", "summarise_layers"]

LOGGED_LAYERS: Final = "Layers:\n"
"""How the builder's message with the list begins."""

TYPES: Final = {
    "float": "fp32", "fp32": "fp32", "half": "fp16", "fp16": "fp16", "bfloat16": "bf16",
    "bf16": "bf16", "int8": "int8", "fp8": "fp8", "int4": "int4",
}  # fmt: skip
"""Types that arithmetic is done in, by TensorRT's spellings in lower case."""

_LAYER: Final = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), (?P<rest>.*)$")
_PART: Final = re.compile(
    r"(?P<part>Inputs|Constants|Outputs): \[(?P<tensors>(?: ?\{[^{}]*\},?)*)\]"
)
_TENSOR: Final = re.compile(r"\{ (?P<text>Name: [^{}]*)\}")
_DIMENSIONS: Final = re.compile(r"Dimensions: \[(?P<sizes>[^\]]*)\]")
_DATATYPE: Final = re.compile(r"Datatype: (?P<type>[^,}]*)")
# Version 10 gives the weights of convolutions so, and no list of constants.
_WEIGHTS: Final = re.compile(r"Weights\W+Type\W+(?P<type>\w+)\W+Count\W+(?P<count>\d+)")
_MATRIX_KINDS: Final = ("gemm", "conv", "matrixmultiply", "fullyconnected", "attention", "mha")
_NO_MATRIX: Final = ("kgen", "shape", "pool", "reformat", "noop", "constant")
_NAMED_MATRIX: Final = re.compile(r"Fc|Gemm|Conv(?!ert)|MatMul|_mha_", re.ASCII)


class LayerSummary(BaseModel):
    """Layers of an engine by the type they compute in.

    Attributes
    ----------
    layers
        Number of layers.
    matrix
        Layers of matrix products and convolutions, by the type of what they multiply.
    weights
        Elements of their weights, by type.
    other
        Other layers with arithmetic, by the lowest type they take.
    source
        ``inspector``, or ``builder`` where no GPU could load the engine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int
    matrix: dict[str, int]
    weights: dict[str, int]
    other: dict[str, int]
    source: str

    def share(self, precision: str) -> float:
        """Return which part of the weights is multiplied in a precision, 0 to 1."""
        total = sum(self.weights.values())
        return self.weights.get(precision, 0) / total if total else 0.0


@dataclass(frozen=True)
class _Tensor:
    type: str | None
    sizes: tuple[int, ...]
    whole: bool = False
    """Whether these are all weights of a layer, in one."""

    @property
    def is_matrix(self) -> bool:
        return self.whole or sum(size > 1 for size in self.sizes) > 1

    @property
    def elements(self) -> int:
        count = 1
        for size in self.sizes:
            count *= size
        return count


@dataclass(frozen=True)
class _Layer:
    name: str
    kind: str
    inputs: tuple[_Tensor, ...]
    constants: tuple[_Tensor, ...]

    @property
    def weights(self) -> tuple[_Tensor, ...]:
        return tuple(t for t in self.constants if t.is_matrix and t.type is not None)

    @property
    def is_matrix(self) -> bool:
        kind = self.kind.lower()
        if any(word in kind for word in _NO_MATRIX):
            return False
        named = bool(_NAMED_MATRIX.search(self.name))
        return named or any(word in kind for word in _MATRIX_KINDS)


def summarise_layers(text: str, source: str) -> LayerSummary:
    """Summarise the list of layers that the inspector or the builder gives, line by line.

    Parameters
    ----------
    text
        ``EngineInspector.get_engine_information(LayerInformationFormat.ONELINE)``, or the message
        of a builder, of an engine built with detailed profiling verbosity.
    source
        ``inspector`` or ``builder``.
    """
    layers = list(_layers(text))
    matrix: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    other: Counter[str] = Counter()
    for layer in layers:
        if layer.is_matrix:
            computed = _computed_in(layer)
            if computed is not None:
                matrix[computed] += 1
                weights[computed] += sum(weight.elements for weight in layer.weights)
            continue
        types = [t.type for t in (*layer.inputs, *layer.constants) if t.type is not None]
        if types:
            other[min(types, key=_rank)] += 1
    return LayerSummary(
        layers=len(layers),
        matrix=dict(sorted(matrix.items())),
        weights=dict(sorted(weights.items())),
        other=dict(sorted(other.items())),
        source=source,
    )


def proof_of(summary: LayerSummary, precision: str) -> str | None:
    """Return why an engine is not in the precision it is built for; None if it is.

    An fp32 engine has no layer in a lower type.  Of any other the matrix layers must be in that
    type at least in part: groups that cost too much accuracy stay in a higher one on purpose.
    """
    found = ", ".join(f"{count} in {name}" for name, count in summary.matrix.items()) or "none"
    if precision == "fp32":
        lower = {**summary.matrix, **summary.other}.keys() - {"fp32"}
        if lower:
            return (
                f"layers in {', '.join(sorted(lower))} in an fp32 engine (matrix layers: {found})"
            )
        if not summary.matrix and not summary.other:
            return "no layer states its type"
        return None
    if not summary.matrix.get(precision):
        return f"no matrix layer computes in {precision} (matrix layers: {found})"
    return None


def _layers(text: str) -> Iterator[_Layer]:
    for line in text.splitlines():
        match = _LAYER.match(line.strip())
        if match:
            parts = {
                p["part"]: tuple(_tensors(p["tensors"])) for p in _PART.finditer(match["rest"])
            }
            stated = _WEIGHTS.search(match["rest"])
            weights = (
                (_Tensor(_arithmetic_type(stated["type"]), (1, int(stated["count"])), whole=True),)
                if stated
                else ()
            )
            yield _Layer(
                match["name"],
                match["kind"],
                parts.get("Inputs", ()),
                parts.get("Constants", ()) + weights,
            )


def _tensors(text: str) -> Iterator[_Tensor]:
    for match in _TENSOR.finditer(text):
        datatype = _DATATYPE.search(match["text"])
        sizes = _DIMENSIONS.search(match["text"])
        yield _Tensor(
            _arithmetic_type(datatype["type"]) if datatype else None,
            tuple(int(size) for size in sizes["sizes"].split(",") if size) if sizes else (),
        )


def _arithmetic_type(text: str) -> str | None:
    # Version 10 writes the type into a description: "Row major linear FP16 format".
    words = re.split(r"\W+", text.lower())
    return next((TYPES[word] for word in words if word in TYPES), None)


def _computed_in(layer: _Layer) -> str | None:
    """Return the type a matrix layer multiplies in: that of its activations."""
    types = [tensor.type for tensor in (*layer.inputs, *layer.weights) if tensor.type is not None]
    return types[0] if types else None


def _rank(name: str) -> int:
    return ("int4", "fp8", "int8", "bf16", "fp16", "fp32").index(name)
