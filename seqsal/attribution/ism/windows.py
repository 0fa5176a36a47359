"""Rules for windows that move along the length, and for what moves the length itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from seqsal.attribution.compute import MIN_CHANNELS, convolve_channels_last, image_weight
from seqsal.attribution.ism.state import Local, State, pad_of
from seqsal.attribution.ism.step import Step, positive

__all__ = ["avg_pool", "convolution", "flip", "max_pool", "pad", "slice_"]

Tensor = torch.Tensor
_aten = torch.ops.aten


class _Span(NamedTuple):
    """Results that a window of k columns, d apart, reaches when it is moved by s over an input padded by p."""

    start: int
    width: int
    left: int  # columns that are needed before the input's own
    right: int

    @classmethod
    def of(cls, x: Local, kernel: int, stride: int, padding: int, dilation: int) -> _Span:
        reach = (kernel - 1) * dilation
        start = -((reach - x.start - padding) // stride)
        stop = (x.start + x.width - 1 + padding) // stride + 1
        left = x.start - (start * stride - padding)
        right = (stop - 1) * stride - padding + reach + 1 - x.start - x.width
        return cls(start, stop - start, left, right)


def convolution(
    step: Step, x: Any, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, _: Any,
    groups: int,
) -> Any:  # fmt: skip
    """Convolve δ; the bias adds nothing."""
    if not isinstance(x, Local) or isinstance(weight, State) or transposed or x.axis < 2:
        return None
    at = x.axis - 2
    s, p, d = (_of(value, at) for value in (stride, padding, dilation))
    if not step.frame.follows(x.stride * s):
        return None
    span = _Span.of(x, weight.shape[x.axis], s, p, d)
    if span.width < 1:
        return _nothing(step, x.axis, x.stride * s)
    pads, delta = list(_all(padding, x.ndim - 2)), x.delta
    if span.left == span.right and s == 1:
        pads[at] = span.left
    else:
        pads[at], delta = 0, torch.constant_pad_nd(delta, pad_of(x.ndim, x.axis, span.left, span.right))
    shape = (_all(stride, x.ndim - 2), pads, _all(dilation, x.ndim - 2))
    delta = _convolved(step, delta, weight, *shape, groups)
    return step.make(x.axis, span.start, x.stride * s, delta=delta, owned=True).fitted()


def _convolved(step: Step, delta: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Convolve without a bias; on a CPU with channels last in memory."""
    if delta.ndim != 3 or delta.device.type != "cpu" or len(weight) < MIN_CHANNELS:
        return _aten.convolution(delta, weight, None, stride, padding, dilation, False, [0] * len(stride), groups)
    image = step.cached("weight", lambda: image_weight(weight))
    return convolve_channels_last(delta, image, stride, padding, dilation, groups)


def _of(values: Any, at: int) -> int:
    return values if isinstance(values, int) else values[at if len(values) > 1 else 0]


def _all(values: Any, n: int) -> list[int]:
    return [_of(values, i) for i in range(n)]


def _nothing(step: Step, axis: int, stride: int) -> Local:
    """No column is reached."""
    reference = step.window.reference(step.op.idx, axis)
    shape = list(reference.result.shape)
    shape[0], shape[axis] = len(step.frame), 1
    return Local(step.frame, reference, 0, stride, delta=reference.result.new_zeros(shape), owned=True).fitted()


def max_pool(step: Step, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, *_: Any) -> Any:
    """Maxima of the values; what is beyond an end is −∞."""
    spatial = 2
    if not isinstance(x, Local) or x.axis < x.ndim - spatial or not x.is_float:
        return None
    at = x.axis - (x.ndim - spatial)
    sizes = [_all(value, spatial) for value in (kernel, stride or kernel, padding, dilation)]
    k, s, p, d = (size[at] for size in sizes)
    if not step.frame.follows(x.stride * s):
        return None
    span = _Span.of(x, k, s, p, d)
    if span.width < 1:
        return None
    start, width = x.start - span.left, x.width + span.left + span.right
    value = x.values(start, width)
    beyond = x.outside(start, width)
    if beyond is not None:
        value = step.frame.split(value).masked_fill(beyond, -math.inf).flatten(0, 1)
    sizes[2][at] = 0
    value = _aten.max_pool2d_with_indices(value, *sizes)[0]
    return (step.make(x.axis, span.start, x.stride * s, part=0, value=value, owned=True).fitted(),)


def avg_pool(
    step: Step, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, ceil: bool = False, counts: bool = True,
    divisor: int | None = None,
) -> Any:  # fmt: skip
    """Means of δ, where all windows are divided by one number."""
    spatial = 1 if step.op.name == "avg_pool1d" else 2
    if not isinstance(x, Local) or x.axis < x.ndim - spatial or not x.is_float:
        return None
    at = x.axis - (x.ndim - spatial)
    sizes = [_all(value, spatial) for value in (kernel, stride or kernel, padding)]
    k, s, p = (size[at] for size in sizes)
    if ceil or not (counts or p == 0 or divisor) or not step.frame.follows(x.stride * s):
        return None
    span = _Span.of(x, k, s, p, 1)
    if span.width < 1:
        return _nothing(step, x.axis, x.stride * s)
    sizes[2][at] = 0
    delta = torch.constant_pad_nd(x.delta, pad_of(x.ndim, x.axis, span.left, span.right))
    delta = step.op.target(delta, *sizes, False, counts, *(() if spatial == 1 else (divisor,)))
    return step.make(x.axis, span.start, x.stride * s, delta=delta, owned=True).fitted()


def pad(step: Step, x: Any, pad: Sequence[int], value: float = 0) -> Any:
    """Move δ along, or cut it; on other axes it is padded with 0."""
    if not isinstance(x, Local) or not x.is_float:
        return None
    at = 2 * (x.ndim - 1 - x.axis)
    others = [0 if at <= i < at + 2 else size for i, size in enumerate(pad)]
    left = pad[at] if at < len(pad) else 0
    delta = torch.constant_pad_nd(x.delta, others) if any(others) else x.delta
    owned = any(others) or step.consumes(x)
    return step.make(x.axis, x.start + left, x.stride, delta=delta, owned=owned).fitted()


def slice_(step: Step, x: Any, dim: int = 0, start: int | None = None, stop: int | None = None, gap: int = 1) -> Any:
    """Cut, or take every gap-th position."""
    if not isinstance(x, Local):
        return None
    if positive(dim, x.ndim) != x.axis:
        return step.map_like(x, x.axis, lambda tensor: step.op.target(tensor, dim, start, stop, gap))
    if not x.is_float or not step.frame.follows(x.stride * gap):
        return None
    first = slice(start, stop, gap).indices(x.length)[0]
    span = _Span.of(x, 1, gap, -first, 1)
    if span.width < 1:
        return _nothing(step, x.axis, x.stride * gap)
    delta = x.delta.narrow(x.axis, -span.left, x.width + span.left + span.right)
    delta = _aten.slice(delta, x.axis, 0, None, gap)
    return step.make(x.axis, span.start, x.stride * gap, delta=delta, owned=step.consumes(x)).fitted()


def flip(step: Step, x: Any, dims: Sequence[int]) -> Any:
    """Turn around; along the length the mutants then run backwards."""
    if not isinstance(x, Local):
        return None
    if x.axis not in {positive(dim, x.ndim) for dim in dims}:
        return step.map_like(x, x.axis, lambda tensor: tensor.flip(list(dims)))
    given: dict[str, Any] = {"delta": x.delta.flip(list(dims))} if x.has_delta else {"value": x.value.flip(list(dims))}
    return step.make(x.axis, x.length - x.width - x.start, -x.stride, owned=True, **given)
