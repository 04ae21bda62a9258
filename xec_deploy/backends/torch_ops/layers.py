"""Operators with weights, and what stands between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from xec_deploy.backends.torch_ops.kinds import Attributes, Operator, OpError, text

__all__ = ["LAYERS"]


def _matrix_product(attributes: Attributes, left: Tensor, right: Tensor) -> Tensor:
    del attributes
    return torch.matmul(left, right)


def _gemm(
    attributes: Attributes, left: Tensor, right: Tensor, offset: Tensor | None = None
) -> Tensor:
    left = left.T if attributes.get("transA") else left
    right = right.T if attributes.get("transB") else right
    product: Tensor = attributes.get("alpha", 1.0) * (left @ right)
    if offset is not None:
        product = product + attributes.get("beta", 1.0) * offset
    return product


def _einsum(attributes: Attributes, *inputs: Tensor) -> Tensor:
    product: Tensor = torch.einsum(text(attributes, "equation", ""), *inputs)
    return product


def _padding(attributes: Attributes, spatial: int) -> tuple[list[int], list[int]]:
    """Return padding before and after each spatial axis."""
    if text(attributes, "auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        raise OpError("automatic padding")
    pads = list(attributes.get("pads", [0] * 2 * spatial))
    return pads[:spatial], pads[spatial:]


def _padded(x: Tensor, before: list[int], after: list[int], value: float) -> Tensor:
    pairs = list(zip(before, after, strict=True))
    return functional.pad(x, [size for pair in reversed(pairs) for size in pair], value=value)


def _convolution(
    attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    spatial = x.ndim - 2
    function: Callable[..., Tensor] = {
        1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d,
    }[spatial]  # fmt: skip
    before, after = _padding(attributes, spatial)
    if before != after:
        x, before = _padded(x, before, after, 0.0), [0] * spatial
    return function(
        x,
        weight,
        bias,
        stride=attributes.get("strides", [1] * spatial),
        padding=before,
        dilation=attributes.get("dilations", [1] * spatial),
        groups=attributes.get("group", 1),
    )


def _transposed_convolution(
    attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    spatial = x.ndim - 2
    function: Callable[..., Tensor] = {
        1: functional.conv_transpose1d,
        2: functional.conv_transpose2d,
        3: functional.conv_transpose3d,
    }[spatial]
    before, after = _padding(attributes, spatial)
    if before != after or "output_shape" in attributes:
        raise OpError("padding that differs between the sides")
    return function(
        x,
        weight,
        bias,
        stride=attributes.get("strides", [1] * spatial),
        padding=before,
        output_padding=attributes.get("output_padding", [0] * spatial),
        dilation=attributes.get("dilations", [1] * spatial),
        groups=attributes.get("group", 1),
    )


def _average_pool(attributes: Attributes, x: Tensor) -> Tensor:
    spatial = x.ndim - 2
    function: Callable[..., Tensor] = {
        1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d,
    }[spatial]  # fmt: skip
    before, after = _padding(attributes, spatial)
    if before != after or any(size != 1 for size in attributes.get("dilations", [])):
        raise OpError("padding that differs between the sides, or dilation")
    return function(
        x,
        attributes["kernel_shape"],
        stride=attributes.get("strides", [1] * spatial),
        padding=before,
        ceil_mode=bool(attributes.get("ceil_mode")),
        count_include_pad=bool(attributes.get("count_include_pad")),
    )


def _max_pool(attributes: Attributes, x: Tensor) -> Tensor:
    spatial = x.ndim - 2
    function: Callable[..., Tensor] = {
        1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d,
    }[spatial]  # fmt: skip
    before, after = _padding(attributes, spatial)
    return function(
        _padded(x, before, after, -torch.inf),
        attributes["kernel_shape"],
        stride=attributes.get("strides", [1] * spatial),
        dilation=attributes.get("dilations", [1] * spatial),
        ceil_mode=bool(attributes.get("ceil_mode")),
    )


def _global(function: Callable[..., Tensor]) -> Operator:
    def operator(attributes: Attributes, x: Tensor) -> Tensor:
        del attributes
        return function(x, list(range(2, x.ndim)), keepdim=True)

    return operator


def _layer_norm(
    attributes: Attributes, x: Tensor, scale: Tensor, offset: Tensor | None = None
) -> Tensor:
    axis = attributes.get("axis", -1) % x.ndim
    shape = list(x.shape[axis:])
    return functional.layer_norm(
        x,
        shape,
        scale.expand(shape),
        None if offset is None else offset.expand(shape),
        attributes.get("epsilon", 1e-5),
    )


def _batch_norm(attributes: Attributes, x: Tensor, *parameters: Tensor) -> Tensor:
    scale, offset, mean, variance = parameters
    return functional.batch_norm(
        x, mean, variance, scale, offset, eps=attributes.get("epsilon", 1e-5)
    )


def _instance_norm(attributes: Attributes, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return functional.instance_norm(
        x, weight=scale, bias=offset, eps=attributes.get("epsilon", 1e-5)
    )


def _resize(
    attributes: Attributes,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    del roi
    mode = text(attributes, "mode", "nearest")
    coordinates = text(attributes, "coordinate_transformation_mode", "half_pixel")
    nearest = mode == "nearest"
    rounding = text(attributes, "nearest_mode", "round_prefer_floor")
    if attributes.get("antialias") or "axes" in attributes or mode not in {"linear", "nearest"}:
        raise OpError(f"mode {mode!r} of resizing")
    if nearest and (coordinates, rounding) != ("asymmetric", "floor"):
        raise OpError(f"the nearest by {coordinates!r} and {rounding!r} of resizing")
    if not nearest and coordinates not in {"half_pixel", "pytorch_half_pixel", "align_corners"}:
        raise OpError(f"coordinates {coordinates!r} of resizing")
    given: Any = sizes
    if given is None or not given.numel():
        assert scales is not None  # noqa: S101 - one of the two is there
        given = torch.floor(torch.tensor(x.shape) * scales.cpu().double())
    target = [int(size) for size in given.tolist()]
    if target[:2] != list(x.shape[:2]):
        raise OpError("resizing of channels")
    if nearest:
        return functional.interpolate(x, target[2:], mode="nearest")
    kind = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.ndim]
    aligned = coordinates == "align_corners"
    return functional.interpolate(x, target[2:], mode=kind, align_corners=aligned)


def _scale_of(scale: Tensor, x: Tensor, axis: int) -> Tensor:
    """Shape scales or zero points of a quantisation to the tensor."""
    if scale.numel() == 1:
        return scale.reshape(())
    shape = [1] * x.ndim
    shape[axis % x.ndim] = -1
    return scale.reshape(shape)


def _quantise(
    attributes: Attributes, x: Tensor, scale: Tensor, zero: Tensor | None = None
) -> Tensor:
    axis = attributes.get("axis", 1)
    kind = torch.uint8 if zero is None else zero.dtype
    steps = torch.round(x / _scale_of(scale, x, axis))
    if zero is not None:
        steps = steps + _scale_of(zero, x, axis).to(steps.dtype)
    limits = torch.iinfo(kind)
    return steps.clamp(limits.min, limits.max).to(kind)


def _dequantise(
    attributes: Attributes, x: Tensor, scale: Tensor, zero: Tensor | None = None
) -> Tensor:
    axis = attributes.get("axis", 1)
    steps = x.to(scale.dtype)
    if zero is not None:
        steps = steps - _scale_of(zero, x, axis).to(scale.dtype)
    return steps * _scale_of(scale, x, axis)


LAYERS: Final[dict[str, Operator]] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "DequantizeLinear": _dequantise,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matrix_product,
    "MaxPool": _max_pool,
    "QuantizeLinear": _quantise,
    "Resize": _resize,
}
