"""Rules for the same entries under other axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from seqsal.attribution.ism.state import Local, State
from seqsal.attribution.ism.step import Hull, Step, positive

__all__ = [
    "Flat", "Rows", "cat", "expand", "parts", "permute", "same", "select", "squeeze", "transpose", "unsqueeze", "view",
]  # fmt: skip

Tensor = torch.Tensor


def unsqueeze(step: Step, x: Any, dim: int) -> Any:
    """Add an axis of length 1."""
    if not isinstance(x, Local):
        return None
    at = dim % (x.ndim + 1)
    return step.map_like(x, x.axis + (at <= x.axis), lambda tensor: tensor.unsqueeze(at))


def squeeze(step: Step, x: Any, dims: int | Sequence[int]) -> Any:
    """Drop axes of length 1 other than the batch and the length."""
    if not isinstance(x, Local):
        return None
    given = {positive(dim, x.ndim) for dim in ([dims] if isinstance(dims, int) else dims)}
    gone = [dim for dim in given if x.reference.result.shape[dim] == 1]
    if 0 in given or x.axis in gone:
        return None
    shift = sum(dim < x.axis for dim in gone)
    return step.map_like(x, x.axis - shift, lambda tensor: tensor.squeeze(gone))


def select(step: Step, x: Any, dim: int, index: int) -> Any:
    """Pick one entry of another axis than the length."""
    if not isinstance(x, Local) or positive(dim, x.ndim) in (0, x.axis):
        return None
    at = positive(dim, x.ndim)
    return step.map_like(x, x.axis - (at < x.axis), lambda tensor: tensor.select(at, index))


def permute(step: Step, x: Any, dims: Sequence[int]) -> Any:
    """Reorder axes behind the batch."""
    if not isinstance(x, Local):
        return None
    order = [positive(dim, x.ndim) for dim in dims]
    return step.map_like(x, order.index(x.axis), lambda tensor: tensor.permute(order)) if order[0] == 0 else None


def transpose(step: Step, x: Any, a: int, b: int) -> Any:
    """Swap two axes behind the batch."""
    if not isinstance(x, Local):
        return None
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return permute(step, x, order)


def same(step: Step, x: Any, *_: Any, **__: Any) -> Any:
    """Leave everything as it is."""
    return step.map_like(x, x.axis, lambda tensor: tensor) if isinstance(x, Local) else None


def expand(step: Step, x: Any, *_: Any, **__: Any) -> Any:
    """Repeat along other axes than the length."""
    shape = step.shape()
    if not isinstance(x, Local) or len(shape) != x.ndim or shape[x.axis] != x.length:
        return None
    sizes = [-1 if i in (0, x.axis) else size for i, size in enumerate(shape)]
    expanded = step.map_like(x, x.axis, lambda tensor: tensor.expand(sizes))
    expanded.owned = False
    return expanded


def parts(step: Step, x: Any, *args: Any) -> Any:
    """Rule for splitting along another axis than the length: split, unbind."""
    dim = args[-1] if len(args) > (step.op.name != "unbind") else 0
    if not isinstance(x, Local) or positive(dim, x.ndim) in (0, x.axis):
        return None
    axis = x.axis - (positive(dim, x.ndim) < x.axis) if step.op.name == "unbind" else x.axis
    kind = "delta" if x.has_delta else "value"
    tensors = step.op.target(x.delta if x.has_delta else x.value, *args)
    return tuple(step.make(axis, x.start, x.stride, part=i, **{kind: t}) for i, t in enumerate(tensors))


def cat(step: Step, items: Sequence[Any], dim: int = 0) -> Any:
    """δ beside δ; a constant has none."""
    out = step.window.results[step.op.idx]
    span = Hull.of(items, out.ndim)
    if span is None or positive(dim, out.ndim) in (0, span.axis) or not out.is_floating_point():
        return None
    if any(item.reference.result.dtype != out.dtype for item in items if isinstance(item, Local)):
        return None
    blocks = []
    for item in items:
        if isinstance(item, Local):
            blocks.append(item.deltas(span.start, span.width))
        else:
            shape = list(item.shape)
            shape[0], shape[span.axis] = len(step.frame), span.width
            blocks.append(item.new_zeros(shape))
    return step.make(span.axis, span.start, span.stride, delta=torch.cat(blocks, dim), owned=True)


class Rows(State):
    """Positions and windows on one axis, (N · L, C), as a linear layer on every position has them.

    Parameters
    ----------
    inner
        The same as (N, L, C).
    """

    def __init__(self, inner: Local) -> None:
        self.inner = inner

    def full(self) -> Tensor:
        """All rows, (B · L, C)."""
        return self.inner.full().flatten(0, 1)


class Flat(State):
    """All entries of a window on one axis, (N, C · L).

    Parameters
    ----------
    inner
        Before it was flattened.
    """

    def __init__(self, inner: Local) -> None:
        self.inner = inner

    def full(self) -> Tensor:
        """All entries, (B, C · L)."""
        return self.inner.full().flatten(1)


def view(step: Step, x: Any, *_: Any) -> Any:
    """Split and merge other axes than the length, or merge the length with the batch or with all others."""
    shape = step.shape()
    if isinstance(x, Rows):
        inner = x.inner
        if step.op.windows_on_axis != 1 or shape[:2] != (1, inner.length):
            return None
        whole = (len(step.frame), inner.width, *shape[2:])
        return step.make(1, inner.start, inner.stride, **_reshaped(inner, whole))
    if not isinstance(x, Local) or step.op.batch_axis != 0:
        return None
    if step.op.windows_on_axis == x.length and x.axis == 1 and shape == (x.length, math.prod(shape[1:])):
        return Rows(x) if x.ndim == 3 else None
    axis = _kept_axis(tuple(x.reference.result.shape), x.axis, shape)
    if step.op.windows_on_axis != 1 or axis is None:
        return Flat(x) if step.op.windows_on_axis == 1 and len(shape) == 2 else None
    sizes = (len(step.frame), *shape[1:axis], x.width, *shape[axis + 1 :])
    return step.make(axis, x.start, x.stride, **_reshaped(x, sizes))


def _reshaped(x: Local, sizes: Sequence[int]) -> dict[str, Any]:
    return {"delta": x.delta.reshape(sizes)} if x.has_delta else {"value": x.value.reshape(sizes)}


def _kept_axis(before: tuple[int, ...], axis: int, after: tuple[int, ...]) -> int | None:
    """Axis on which a reshape leaves the length by itself."""
    lead, rest = math.prod(before[1:axis]), math.prod(before[axis + 1 :])
    for i in range(1, len(after)):
        if after[i] == before[axis] and (math.prod(after[1:i]), math.prod(after[i + 1 :])) == (lead, rest):
            return i
    return None
