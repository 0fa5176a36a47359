"""Rules for operations on one position at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from seqsal.attribution.ism.state import Local, State
from seqsal.attribution.ism.step import UNFIT, Hull, Rule, Step, positive

__all__ = ["add", "batch_norm", "by_column", "layer_norm", "pointwise", "relu", "scale", "subtract"]

Tensor = torch.Tensor


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
    negative, low = x.reference.relu_terms
    delta = step.frame.split(x.delta)
    out = delta if step.consumes(x) else torch.empty_like(delta)
    torch.maximum(delta, x.slices(negative), out=out)
    out += x.slices(low)
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
    """Rule for operations along other axes than the length, whose result keeps all axes: softmax over channels."""

    def rule(step: Step, x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Local) or x.axis == positive(args[dims_at], x.ndim):
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
