"""Operators that move, cut and join elements."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from xec_deploy.backends.torch_ops.kinds import Attributes, Operator, OpError, integers, text

__all__ = ["SHAPES"]


def _concat(attributes: Attributes, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, attributes["axis"])


def _constant_of_shape(attributes: Attributes, shape: Tensor) -> Tensor:
    value = attributes.get("value")
    if value is None:
        return torch.zeros(integers(shape))
    return torch.full(integers(shape), value.item(), dtype=value.dtype, device=value.device)


def _expand(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    del attributes
    # Both ways: an axis of one in the shape keeps the tensor's.
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(integers(shape))))


def _flatten(attributes: Attributes, x: Tensor) -> Tensor:
    axis = attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(torch.tensor(x.shape[:axis]).prod()), -1)


def _gather(attributes: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = attributes.get("axis", 0) % x.ndim
    found = torch.index_select(x, axis, (indices % x.shape[axis]).reshape(-1).to(x.device))
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _gather_elements(attributes: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = attributes.get("axis", 0) % x.ndim
    return torch.gather(x, axis, indices % x.shape[axis])


def _gather_nd(attributes: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    if attributes.get("batch_dims"):
        raise OpError("axes of a batch in gathering")
    return x[tuple(indices.unbind(-1))]


def _scatter_elements(
    attributes: Attributes, x: Tensor, indices: Tensor, updates: Tensor
) -> Tensor:
    _without_reduction(attributes)
    axis = attributes.get("axis", 0) % x.ndim
    return x.scatter(axis, indices % x.shape[axis], updates)


def _scatter_nd(attributes: Attributes, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    _without_reduction(attributes)
    return x.index_put(tuple(indices.unbind(-1)), updates)


def _without_reduction(attributes: Attributes) -> None:
    if text(attributes, "reduction", "none") != "none":
        raise OpError("scattering with a reduction")


def _identity(attributes: Attributes, x: Tensor) -> Tensor:
    del attributes
    return x


def _pad(
    attributes: Attributes,
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    mode = text(attributes, "mode", "constant")
    sizes = integers(pads)
    chosen = [axis % x.ndim for axis in integers(axes)] or list(range(x.ndim))
    for axis, before, after in zip(chosen, sizes[: len(chosen)], sizes[len(chosen) :], strict=True):
        x = _pad_axis(x, axis, (before, after), mode, value)
    return x


def _pad_axis(
    x: Tensor, axis: int, sizes: tuple[int, int], mode: str, value: Tensor | None
) -> Tensor:
    """Pad one axis by elements of the tensor or by a value; negative sizes cut."""
    size = x.shape[axis]
    places = torch.arange(-sizes[0], size + sizes[1], device=x.device)
    if mode == "constant":
        inside = (places >= 0) & (places < size)
        shape = [1] * x.ndim
        shape[axis] = -1
        fill = torch.zeros((), dtype=x.dtype, device=x.device) if value is None else value
        kept = torch.index_select(x, axis, places.clamp(0, size - 1))
        return torch.where(inside.reshape(shape), kept, fill.reshape(()).to(x.dtype))
    if mode == "edge":
        places = places.clamp(0, size - 1)
    elif mode == "wrap":
        places = places % size
    elif mode == "reflect":
        period = max(2 * (size - 1), 1)
        places = places % period
        places = torch.minimum(places, period - places)
    else:
        raise OpError(f"mode {mode!r} of padding")
    return torch.index_select(x, axis, places)


def _range(attributes: Attributes, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    del attributes
    return torch.arange(
        start.item(), limit.item(), delta.item(), dtype=start.dtype, device=start.device
    )


def _reshape(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    target = integers(shape)
    if not attributes.get("allowzero"):
        target = [x.shape[i] if size == 0 else size for i, size in enumerate(target)]
    return x.reshape(target)


def _shape(attributes: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[attributes.get("start", 0) : attributes.get("end")])


def _size(attributes: Attributes, x: Tensor) -> Tensor:
    del attributes
    return torch.tensor(x.numel())


def _slice(
    attributes: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    del attributes
    first, last = integers(starts), integers(ends)
    chosen = integers(axes) or list(range(len(first)))
    strides = integers(steps) or [1] * len(first)
    for axis, start, end, step in zip(chosen, first, last, strides, strict=True):
        size = x.shape[axis]
        if step > 0:
            cut = [slice(None)] * x.ndim
            cut[axis] = slice(*slice(start, end, step).indices(size))
            x = x[tuple(cut)]
        else:
            # Torch has no negative steps.
            places = range(size)[slice(start, None if end < -size else end, step)]
            # Counted on the device: a list would have to be copied there.
            chosen_places = torch.arange(len(places), device=x.device) * step + places.start
            x = torch.index_select(x, axis, chosen_places)
    return x


def _split(attributes: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = attributes.get("axis", 0)
    if sizes is not None:
        return torch.split(x, integers(sizes), axis)
    # The last part is the smaller one.
    each = -(-x.shape[axis] // attributes["num_outputs"])
    return torch.split(x, each, axis)


def _squeeze(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    del attributes
    return x.squeeze() if axes is None else x.squeeze(integers(axes))


def _unsqueeze(attributes: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    del attributes
    places = integers(axes)
    rank = x.ndim + len(places)
    for axis in sorted(axis % rank for axis in places):
        x = x.unsqueeze(axis)
    return x


def _tile(attributes: Attributes, x: Tensor, repeats: Tensor) -> Tensor:
    del attributes
    return x.repeat(integers(repeats))


def _transpose(attributes: Attributes, x: Tensor) -> Tensor:
    return x.permute(attributes.get("perm", list(range(x.ndim))[::-1]))


def _triangle(attributes: Attributes, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    offset = 0 if diagonal is None else int(diagonal)
    return torch.triu(x, offset) if attributes.get("upper", 1) else torch.tril(x, offset)


SHAPES: Final[dict[str, Operator]] = {
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Identity": _identity,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
}
