"""Rules for the same entries under other axes, and for what goes over the whole length: sums, maxima, linear layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch

from seqsal.attribution.ism.local_rules import by_column, scale
from seqsal.attribution.ism.state import Hull, Local, Reference, State, Step, positive

__all__ = [
    "Flat", "Rows", "Share", "adaptive_max_pool", "addmm", "cat", "column_reduce", "expand", "greatest", "matmul",
    "multiply", "parts", "permute", "reduce", "same", "select", "softmax", "squeeze", "transpose", "unsqueeze", "view",
]  # fmt: skip

Tensor = torch.Tensor
MOST_OUTPUTS = 8  # of a linear layer over all positions, for which the positions that differ are always picked out
MOST_SHARE = 0.1  # of the positions, up to which they are for any layer
MAX_RISE = 30.0  # of a logit, beyond which a softmax computed from its change would lose what the reference rounds off


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
    """δ next to δ; a constant has none."""
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


def matmul(step: Step, x: Any, weight: Any) -> Any:
    """δ @ weight."""
    return _linear(step, x, weight, 1.0)


def addmm(step: Step, bias: Any, x: Any, weight: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """α δ @ weight; the bias adds nothing."""
    return None if isinstance(bias, State) else _linear(step, x, weight, alpha)


def _linear(step: Step, x: Any, weight: Any, alpha: float) -> Any:
    """Apply a linear layer to every position, or one over all of them to those that differ."""
    if isinstance(weight, State) or not isinstance(x, (Rows, Flat)):
        return None
    inner = x.inner
    if isinstance(x, Rows):
        delta = inner.delta @ weight * alpha if alpha != 1 else inner.delta @ weight
        result = step.window.results[step.op.idx]
        reference = step.window.sliced(("rows", step.op.idx), result[None], 1)
        return Rows(Local(step.frame, reference, inner.start, inner.stride, delta=delta, owned=True))
    if weight.shape[1] > MOST_OUTPUTS and inner.width > MOST_SHARE * inner.length:
        return None
    shape = (1, *inner.reference.result.shape[1:])
    weights = step.cached("weights", lambda: Reference(weight.reshape(*shape, -1), inner.axis))
    # (P, 1, …, O) with W in place of the length
    slices = weights.read(step.frame, inner.start, inner.width, inner.stride).movedim(inner.axis + 1, 2)
    delta = step.frame.split(inner.delta).movedim(inner.axis + 1, 2)
    product = torch.matmul(delta.flatten(2), slices.squeeze(1).flatten(1, -2)) * alpha
    return _precisely(step.window.results[step.op.idx], product.flatten(0, 1))


def reduce(step: Step, x: Any, dims: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    """Sum or mean: of δ, added to what the reference has."""
    if not isinstance(x, (Local, Share)) or not dims or not _local_of(x).is_float or kwargs.get("dtype") is not None:
        return None
    inner = _local_of(x)
    over = [positive(dim, inner.ndim) for dim in dims]
    if 0 in over:
        return None
    if inner.axis not in over:
        if isinstance(x, Share):
            return None
        axis = inner.axis if keepdim else inner.axis - sum(dim < inner.axis for dim in over)
        return step.make(axis, inner.start, inner.stride, delta=step.op.target(inner.delta, dims, keepdim), owned=True)
    total = inner.delta.sum(over, keepdim)
    if step.op.name == "mean":
        total /= math.prod(inner.reference.result.shape[dim] for dim in over)
    if isinstance(x, Share):
        if over != [inner.axis]:
            return None
        reference = step.op.target(inner.reference.result, dims, keepdim)
        return _precisely(reference, total) * (x.scale if keepdim else x.scale.squeeze(inner.axis))
    return _precisely(step.window.results[step.op.idx], total)


def _precisely(reference: Tensor, delta: Tensor) -> Tensor:
    """Add a small difference to what it is a difference to, without rounding it off in float32."""
    return reference.double() + delta if reference.dtype == torch.float32 else reference + delta


def column_reduce(step: Step, x: Any, dims: Any = (), *args: Any, **kwargs: Any) -> Any:
    """Rule for other reductions: over other axes than the length, of the values."""
    given = [dims] if isinstance(dims, int) else dims
    if not isinstance(x, Local) or not given:
        return None
    over = {positive(dim, x.ndim) for dim in given}
    if 0 in over:
        return None
    if x.axis in over:
        return _maximum(step, x, *args) if step.op.name == "amax" and over == {x.axis} else None
    value = step.op.target(x.value, dims, *args, **kwargs)
    kept = value.ndim == x.ndim
    axis = x.axis if kept else x.axis - sum(dim < x.axis for dim in over)
    return step.make(axis, x.start, x.stride, value=value, owned=True)


def _maximum(step: Step, x: Local, keepdim: bool = False) -> Tensor:
    """Maximum over the length: of the columns that are carried and of the reference before and after them."""
    result, axis = x.reference.result, x.axis
    lowest = torch.full_like(result.narrow(axis, 0, 1), -math.inf)
    before = torch.cat([lowest, result.cummax(axis).values], axis)  # maximum of the first i positions
    after = torch.cat([result.flip(axis).cummax(axis).values.flip(axis), lowest], axis)  # of all from i on
    key = (step.op.idx, "maximum")
    before_at = step.window.sliced((*key, "before"), before, axis)
    after_at = step.window.sliced((*key, "after"), after, axis)
    value = x.value
    beyond = x.outside(x.start, x.width)
    if beyond is not None:
        value = step.frame.split(value).masked_fill(beyond, -math.inf).flatten(0, 1)
    inside = step.frame.split(value.amax(axis, keepdim=True))
    ends = [before_at.read(step.frame, x.start, 1, x.stride), after_at.read(step.frame, x.start + x.width, 1, x.stride)]
    highest = functools.reduce(torch.maximum, ends, inside).flatten(0, 1)
    return highest if keepdim else highest.squeeze(axis)


def greatest(step: Step, x: Any, dim: int, keepdim: bool = False) -> Any:
    """Maximum over the length, without its position."""
    if not isinstance(x, Local) or positive(dim, x.ndim) != x.axis or not x.is_float:
        return None
    return (_maximum(step, x, keepdim),)


def adaptive_max_pool(step: Step, x: Any, size: Sequence[int]) -> Any:
    """Pool to a single position."""
    if not isinstance(x, Local) or any(n != 1 for n in size) or x.axis < x.ndim - 2 or not x.is_float:
        return None
    other = 2 * x.ndim - 3 - x.axis  # of the last two axes
    return (_maximum(step, x, keepdim=True),) if x.reference.result.shape[other] == 1 else None


class Share(State):
    """A local result times a number for each mutant: a softmax over the length, of which every entry changes a little.

    Parameters
    ----------
    inner
        The result with the reference's denominator.
    scale
        (B, …) with 1 in place of the length.
    """

    def __init__(self, inner: Local, scale: Tensor) -> None:
        self.inner, self.scale = inner, scale

    def full(self) -> Tensor:
        """Return the whole result, (B, …)."""
        return self.inner.full() * self.scale


def _local_of(x: Local | Share) -> Local:
    return x.inner if isinstance(x, Share) else x


def softmax(step: Step, x: Any, dim: int, half: bool) -> Any:
    """Share p e^δ / (1 + Σ p (e^δ − 1)) over the length, p the reference's; over other axes that of the values."""
    if not isinstance(x, Local) or half:
        return None
    if positive(dim, x.ndim) != x.axis:
        return by_column(0)(step, x, dim, half)
    if float(x.delta.amax()) > MAX_RISE:
        return None
    share = step.window.reference(step.op.idx, x.axis)
    rise = (step.frame.split(torch.expm1(x.delta)) * x.slices(share)).flatten(0, 1)
    beyond = x.outside(x.start, x.width)
    if beyond is not None:
        step.frame.split(rise).masked_fill_(beyond, 0)
    scale = 1 / (1 + rise.sum(x.axis, keepdim=True))
    return Share(step.make(x.axis, x.start, x.stride, delta=rise), scale)


def multiply(step: Step, x: Any, y: Any) -> Any:
    """Multiply; the product with a share is the share of the product."""
    share, other = (x, y) if isinstance(x, Share) else (y, x)
    if not isinstance(share, Share):
        return scale(step, x, y)
    if not isinstance(other, Local) or other.ndim != share.inner.ndim or not other.is_float:
        return None
    span = Hull.of((share.inner, other), other.ndim)
    if span is None or share.inner.reference.result.shape != other.reference.result.shape:
        return None
    product = step.op.target(share.inner.values(span.start, span.width), other.values(span.start, span.width))
    return Share(step.make(span.axis, span.start, span.stride, value=product, owned=True), share.scale)
