"""Operators: those every engine runs alike, and those that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import onnx

from xec_deploy.checks.registry import Finding, check
from xec_deploy.checks.subject import Subject

__all__ = ["ALLOWED", "DENIED"]

_ELEMENTWISE: Final = (
    "Abs Add And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip "
    "Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf "
    "IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow "
    "Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Tan Tanh "
    "ThresholdedRelu Where Xor Acos Acosh Asin Asinh Atan Atanh"
)
_REDUCTIONS: Final = (
    "ArgMax ArgMin CumSum GlobalAveragePool GlobalMaxPool LogSoftmax LpNormalization ReduceL1 "
    "ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare Softmax TopK"
)
_LAYERS: Final = (
    "AveragePool BatchNormalization Conv ConvTranspose Einsum Gemm GroupNormalization "
    "InstanceNormalization LayerNormalization MatMul MaxPool QuantizeLinear DequantizeLinear"
)
_SHAPES: Final = (
    "Concat Constant ConstantOfShape DepthToSpace Expand Flatten Gather GatherElements GatherND "
    "Identity Pad Range Reshape Resize ScatterElements ScatterND Shape Size Slice SpaceToDepth "
    "Split Squeeze Tile Transpose Trilu Unsqueeze"
)
ALLOWED: Final = frozenset(f"{_ELEMENTWISE} {_REDUCTIONS} {_LAYERS} {_SHAPES}".split())
"""Pure functions of fixed output rank that onnxruntime, OpenVINO and TensorRT implement."""

_DATA_DEPENDENT: Final = "the shape of its output depends on the data"
_CONTROL: Final = "control flow keeps engines from planning"
_RANDOM: Final = "the same event must give the same numbers"
_HOST: Final = "TensorRT has no kernel for it"
_SEQUENCE: Final = "sequences and optionals are no tensors"
DENIED: Final[dict[str, str]] = {
    **dict.fromkeys(("NonZero", "Unique", "Compress", "NonMaxSuppression"), _DATA_DEPENDENT),
    **dict.fromkeys(("Loop", "If", "Scan"), _CONTROL),
    **dict.fromkeys(
        ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli",
         "Multinomial", "Dropout"),
        _RANDOM,
    ),
    **dict.fromkeys(("DFT", "STFT", "Det", "MelWeightMatrix"), _HOST),
    **dict.fromkeys(
        ("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert",
         "SequenceLength", "SequenceMap", "SplitToSequence", "ConcatFromSequence", "Optional",
         "OptionalGetElement", "OptionalHasElement"),
        _SEQUENCE,
    ),
}  # fmt: skip
"""Operators never accepted, each with the reason."""

_TRAINING_DOMAINS: Final = frozenset({"ai.onnx.training", "ai.onnx.preview.training"})
_TRAINING: Final = frozenset(
    {
        "Adagrad",
        "Adam",
        "Momentum",
        "Gradient",
        "SoftmaxCrossEntropyLoss",
        "NegativeLogLikelihoodLoss",
    }
)


@check("E09")
def allowed_operators(subject: Subject) -> Iterator[Finding]:
    """Every operator is on the list of those that all engines run alike.

    Protects from graphs that work on one engine only, and from results that differ between runs: on
    the list are pure functions whose output shapes follow from input shapes. Refused by name are
    data-dependent shapes (NonZero, Unique, ..), control flow (Loop, If, Scan), random numbers, and
    what TensorRT has no kernel for (DFT, Det). Scattering must not reduce: the order of a sum over
    duplicates is not defined, and TensorRT refuses it.
    """
    for node in subject.nodes():
        if node.domain not in {"", "ai.onnx"}:
            continue  # E03 says so
        reason = DENIED.get(node.op_type)
        if reason is None and node.op_type not in ALLOWED and node.op_type not in _TRAINING:
            reason = "it is not on the list of operators that all engines run"
        if reason is None and _reduces(node):
            reason = "scattering with a reduction has no defined order"
        if reason is not None:
            yield Finding(f"not allowed: {reason}", node=node.name, operator=node.op_type)


@check("E10")
def no_training(subject: Subject) -> Iterator[Finding]:
    """Nothing of a training is left: no loss, no optimiser, no layer in training mode.

    Protects from a model exported without eval(): a normalisation in training mode takes its
    statistics from the batch, so that an event's numbers depend on its neighbours.
    """
    if subject.model.training_info:
        yield Finding("the file has a training graph")
    for node in subject.nodes():
        if node.domain in _TRAINING_DOMAINS or node.op_type in _TRAINING:
            yield Finding("belongs to a training", node=node.name, operator=node.op_type)
        if node.op_type == "BatchNormalization" and (
            _attribute(node, "training_mode") or len(node.output) > 1
        ):
            yield Finding("is in training mode", node=node.name, operator=node.op_type)
        if node.op_type == "Dropout":
            yield Finding("drops values at random", node=node.name, operator=node.op_type)


def _reduces(node: onnx.NodeProto) -> bool:
    if node.op_type not in {"ScatterElements", "ScatterND"}:
        return False
    return _attribute(node, "reduction") not in {None, b"none"}


def _attribute(node: onnx.NodeProto, name: str) -> object:
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return None
