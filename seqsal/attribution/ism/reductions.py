"""Rules for what goes over the whole length: linear layers, sums, maxima and softmax."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch

from seqsal.attribution.ism.pointwise import by_column, scale
from seqsal.attribution.ism.state import Local, Reference, State
from seqsal.attribution.ism.step import Hull, Step, positive
from seqsal.attribution.ism.views import Flat, Rows

__all__ = [
    "Share",
    "adaptive_max_pool",
    "addmm",
    "column_reduce",
    "greatest",
    "matmul",
    "multiply",
    "reduce",
    "softmax",
]

Tensor = torch.Tensor


def matmul(step: Step, x: Any, weight: Any) -> Any:
    """δ @ weight."""
    return _linear(step, x, weight, 1.0)


def addmm(step: Step, bias: Any, x: Any, weight: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """α δ @ weight; the bias adds nothing."""
    return None if isinstance(bias, State) else _linear(step, x, weight, alpha)


MOST_OUTPUTS = 8  # of a linear layer over all positions, for which the positions that differ are always picked out
MOST_SHARE = 0.1  # of the positions, up to which they are for any layer


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
    shape = inner.reference.result.shape
    weights = step.cached("weights", lambda: Reference(weight.reshape(*shape, -1), inner.axis))
    # (P, 1, …, O) with W in place of the length
    slices = weights.read(step.frame, inner.start, inner.width, inner.stride).movedim(inner.axis + 1, 2)
    delta = step.frame.split(inner.delta).movedim(inner.axis + 1, 2)
    product = torch.bmm(delta.flatten(2), slices.squeeze(1).flatten(1, -2)) * alpha
    return step.window.results[step.op.idx] + product.flatten(0, 1)


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
        reference = step.op.target(inner.reference.result, dims, keepdim)
        return (
            (reference + total) * (x.scale if keepdim else x.scale.squeeze(inner.axis))
            if over == [inner.axis]
            else None
        )
    return step.window.results[step.op.idx] + total


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


MAX_RISE = 30.0  # of a logit, beyond which a softmax computed from its change would lose what the reference rounds off


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
