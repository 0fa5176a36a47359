"""Rules for operations on one position at a time, and for windows that move along the length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from seqsal.attribution.compute import MIN_CHANNELS, convolve_channels_last, image_weight
from seqsal.attribution.ism.state import UNFIT, Hull, Local, Rule, State, Step, pad_of, positive

__all__ = [
    "add", "avg_pool", "batch_norm", "by_column", "convolution", "flip", "layer_norm", "max_pool", "pad", "pointwise",
    "relu", "scale", "slice_", "subtract",
]  # fmt: skip

Tensor = torch.Tensor
_aten = torch.ops.aten


def pointwise(step: Step, *args: Any, **kwargs: Any) -> Local | None:
    """f(r + δ), for operations that work on every entry by itself."""
    out = step.window.results[step.op.idx]
    span = Hull.of(args, out.ndim, out.shape)
    if span is None or any(isinstance(value, (Tensor, State)) for value in kwargs.values()):
        return None
    own = [
        a.values(span.start, span.width) if isinstance(a, Local) else span.constant(step, i, a, out.ndim)
        for i, a in enumerate(args)
    ]
    if any(a is UNFIT for a in own):
        return None
    value = step.op.target(*own, **kwargs)
    return step.make(span.axis, span.start, span.stride, value=value, owned=True)


def relu(step: Step, x: Any) -> Local | None:
    """Compute max(δ, −r) + min(r, 0), which is relu(r + δ) − relu(r), in the memory of δ where nobody needs it."""
    if not isinstance(x, Local) or not x.has_delta:
        return pointwise(step, x)
    negative, low = x.reference.relu_terms(step.frame, x.start, x.width, x.stride)
    delta = step.frame.split(x.delta)
    out = delta if step.consumes(x) else torch.empty_like(delta)
    torch.maximum(delta, negative, out=out)
    out += low
    return step.make(x.axis, x.start, x.stride, delta=out.flatten(0, 1), owned=True)


def add(step: Step, x: Any, y: Any, alpha: float = 1) -> Local | None:
    """δx + α δy; a constant adds nothing."""
    return _combine(step, x, y, alpha, 1)


def subtract(step: Step, x: Any, y: Any, alpha: float = 1) -> Local | None:
    """δx − α δy; a constant adds nothing."""
    return _combine(step, x, y, alpha, -1)


def _combine(step: Step, x: Any, y: Any, alpha: float, sign: int) -> Local | None:
    states = [item for item in (x, y) if isinstance(item, Local)]
    out = step.window.results[step.op.idx]
    span = Hull.of((x, y), out.ndim, out.shape)
    if span is None:
        return None
    if not all(_is_alike(state, out) for state in states) or not any(state.has_delta for state in states):
        return pointwise(step, x, y, alpha=alpha)
    if len(states) == 2:
        return _sum(step, x, y, sign * alpha, span)
    at, factor = (0, 1.0) if states[0] is x else (1, sign * alpha)
    return step.map_like(states[0], span.axis, lambda delta: delta if factor == 1 else delta * factor, at)


def _is_alike(state: Local, out: Tensor) -> bool:
    """Whether a result is of the same shape and kind as one of its arguments."""
    there = state.reference.result
    return state.is_float and there.shape == out.shape and there.dtype == out.dtype


def _sum(step: Step, x: Local, y: Local, alpha: float, span: Hull) -> Local:
    """δx + α δy on the columns of both, in the memory of the wider one if nobody needs it."""

    def covers(state: Local) -> bool:
        return (state.start, state.width) == (span.start, span.width)

    if alpha == 1 and not (covers(x) and step.consumes(x, 0)) and covers(y):
        x, y, at = y, x, 1
    else:
        at = 0
    total = x.deltas(span.start, span.width)
    if covers(x) and not step.consumes(x, at):
        total = total.clone()
    total.narrow(span.axis, y.start - span.start, y.width).add_(y.delta, alpha=alpha)
    return step.make(span.axis, span.start, span.stride, delta=total, owned=True)


def scale(step: Step, x: Any, y: Any) -> Local | None:
    """δ times or divided by a constant; anything else by its value."""
    state, factor, at = (x, y, 0) if isinstance(x, State) else (y, x, 1)
    out = step.window.results[step.op.idx]
    divides_by_state = at == 1 and step.op.name == "div"
    if isinstance(factor, State) or divides_by_state or not isinstance(state, Local):
        return pointwise(step, x, y)
    if not state.has_delta or not _is_alike(state, out):
        return pointwise(step, x, y)
    span = Hull.of((state,), out.ndim, out.shape)
    if span is None:
        return None
    if isinstance(factor, Tensor) and factor.ndim >= out.ndim - span.axis and factor.shape[span.axis - out.ndim] != 1:
        factor = span.constant(step, 1 - at, factor, out.ndim)
        if factor is UNFIT:
            return None
    delta = step.op.target(state.delta, factor)
    return step.make(span.axis, span.start, span.stride, delta=delta, owned=True)


def batch_norm(step: Step, x: Any, weight: Any, bias: Any, mean: Any, var: Any, *rest: Any) -> tuple[Any, ...] | None:
    """δ · weight / √(variance + ε), by channel."""
    trains = step.op.name != "_native_batch_norm_legit_no_training" and rest[0]
    if not isinstance(x, Local) or x.axis < 2 or trains or var is None:
        return None

    def scales() -> Tensor:
        factor = (var + rest[-1]).rsqrt()
        return (factor if weight is None else factor * weight).view(-1, *[1] * (x.ndim - 2))

    factor = step.cached("scale", scales)
    delta = x.delta.mul_(factor) if step.consumes(x) else x.delta * factor
    return (step.make(x.axis, x.start, x.stride, part=0, delta=delta, owned=True),)


def by_column(dims_at: int, *, parts: bool = False) -> Rule:
    """Make the rule of an operation along another axis than the length, whose result keeps all: softmax of channels."""

    def rule(step: Step, x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Local) or len(args) <= dims_at or x.axis == positive(args[dims_at], x.ndim):
            return None
        value = step.op.target(x.value, *args, **kwargs)
        return step.make(x.axis, x.start, x.stride, value=value, owned=True)

    return rule


def layer_norm(step: Step, x: Any, shape: Sequence[int], *args: Any) -> Any:
    """Normalise values over the axes behind the length."""
    if not isinstance(x, Local) or x.axis >= x.ndim - len(shape):
        return None
    value = step.op.target(x.value, shape, *args)[0]
    return (step.make(x.axis, x.start, x.stride, part=0, value=value, owned=True),)


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
