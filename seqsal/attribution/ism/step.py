"""What a rule is given: one operation on one batch of mutants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from seqsal.attribution.graph import Op
from seqsal.attribution.ism.state import Frame, Local, Reference, State

__all__ = ["UNFIT", "Hull", "Rule", "Step", "positive"]

Tensor = torch.Tensor
Rule = Callable[..., Any]


class _Window(Protocol):
    """What rules need of :class:`seqsal.attribution.ism.mutants.Window`."""

    results: dict[int, Any]

    def reference(self, idx: int, axis: int, part: int | None = None) -> Reference: ...
    def sliced(self, key: tuple[Any, ...], tensor: Tensor, axis: int) -> Reference: ...


@dataclass(frozen=True)
class Step:
    """One operation on one batch of mutants.

    Attributes
    ----------
    op
        The operation.
    window
        Results for the unmutated window.
    frame
        The mutants.
    last_use
        Number of the last operation that takes a result.
    cache
        What depends on the model alone, by any key.
    """

    op: Op
    window: _Window
    frame: Frame
    last_use: dict[int, int]
    cache: dict[Any, Any]

    def consumes(self, state: Local, at: int = 0) -> bool:
        """Whether nobody else will look at an argument, so that its memory may be written to."""
        ref = self.op.args[at]
        return state.owned and self.last_use[ref.idx] == self.op.idx and self.op.refs().count(ref.idx) == 1

    def make(self, axis: int, start: int, stride: int, part: int | None = None, **given: Any) -> Local:
        """State of this operation's result, or of one part of it."""
        return Local(self.frame, self.window.reference(self.op.idx, axis, part), start, stride, **given)

    def map_like(
        self, x: Local, axis: int, f: Callable[[Tensor], Tensor], at: int = 0, part: int | None = None
    ) -> Local:
        """Return the result of a linear map f that leaves the positions where they are."""
        owned = self.consumes(x, at)
        given: dict[str, Any] = {"delta": f(x.delta)} if x.has_delta and x.is_float else {"value": f(x.value)}
        return self.make(axis, x.start, x.stride, part, owned=owned, **given)

    def shape(self) -> tuple[int, ...]:
        """Shape of the result for one window."""
        return tuple(self.window.results[self.op.idx].shape)

    def cached(self, key: str, compute: Callable[[], Any]) -> Any:
        """Something that depends on the model alone."""
        name = (self.op.idx, key)
        if name not in self.cache:
            self.cache[name] = compute()
        return self.cache[name]


def positive(dim: int, ndim: int) -> int:
    """Count an axis from the front."""
    return dim % ndim


UNFIT = object()


class Hull(NamedTuple):
    """Columns that cover those of several states."""

    axis: int
    start: int
    width: int
    stride: int
    length: int

    @classmethod
    def of(cls, args: Sequence[Any], ndim: int, shape: Sequence[int] | None = None) -> Hull | None:
        """Find the columns, if the states are of one geometry and of the result's rank."""
        found = [a for a in args if isinstance(a, State)]
        states = [a for a in found if isinstance(a, Local)]
        first = states[0] if states else None
        if first is None or len(states) < len(found) or any(s.ndim != ndim for s in states):
            return None
        if len({(s.axis, s.stride, s.length) for s in states}) > 1:
            return None
        if shape is not None and shape[first.axis] != first.length:
            return None
        start = min(s.start for s in states)
        width = max(s.start + s.width for s in states) - start
        return cls(first.axis, start, width, first.stride, first.length)

    def constant(self, step: Step, i: int, arg: Any, ndim: int) -> Any:
        """Slice a constant where it changes along the length, (B, …) or as it is."""
        if not isinstance(arg, Tensor) or self.axis - ndim < -arg.ndim or arg.shape[self.axis - ndim] == 1:
            return arg
        slices = self.split_constant(step, i, arg, ndim)
        if slices is UNFIT:
            return UNFIT
        return slices.expand(-1, step.frame.n_bases, *slices.shape[2:]).flatten(0, 1)

    def split_constant(self, step: Step, i: int, arg: Tensor, ndim: int) -> Any:
        """Slices of a constant along the length, (P, 1, …)."""
        if arg.ndim == ndim and arg.shape[0] != 1:
            return UNFIT
        whole = arg.reshape((1,) * (ndim - arg.ndim) + tuple(arg.shape))
        reference = step.window.sliced(("constant", step.op.idx, i), whole, self.axis)
        return reference.read(step.frame, self.start, self.width, self.stride)
