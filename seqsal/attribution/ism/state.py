"""What a single-base substitution changes inside a model: a few positions of each result, next to a reference.

A substitution at p touches [p, p + 1) of the input and, further in, only what is within reach of convolutions and
pools. The unmutated window goes through the model once and each result r is kept; of a batch of mutants only the
difference δ = result − r is carried, on the W positions that can differ. Linear operations act on δ alone (a
convolution of δ needs neither bias nor neighbours), others compute f(r + δ) − f(r) on the slice. To compute only what
changes is the idea of fastISM (Nair et al. 2022, doi:10.1093/bioinformatics/btac135), there with values in place of
differences.

Geometry. The mutants of a batch lie a whole number of *periods* from each other, the period being a multiple of every
stride in the model, so that one start and one width serve all: the mutant at shift q, in units of the period, covers
`start + q · period / stride` and the W − 1 positions that follow. Where that reaches over an end, δ is 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.graph import Graph, Op

__all__ = ["UNFIT", "Frame", "Hull", "Local", "Reference", "Rule", "State", "Step", "Window", "pad_of", "positive"]

Tensor = torch.Tensor
Rule = Callable[..., Any]
UNFIT = object()


@dataclass(frozen=True, eq=False)
class Frame:
    """Which mutants go through the model together: `n_bases` at each of P positions, position by position.

    Attributes
    ----------
    shifts
        Distance of each position from the first of its class, in periods, (P,), increasing.
    n_bases
        Substitutions at each position, K.
    period
        Bases in a period; 0 for a single position while the strides are not known yet.
    max_stride
        Results of a larger stride are not followed.
    own
        Whether each mutant has a window of its own: P windows that all change at one position, shifts 0.
    """

    shifts: NDArray[np.int64]
    n_bases: int
    period: int
    max_stride: int
    own: bool = False

    def __len__(self) -> int:
        return len(self.shifts) * self.n_bases

    def offsets(self, stride: int) -> NDArray[np.int64]:
        """How far apart the mutants are in a result of this stride, (P,)."""
        return self.shifts * (self.period // stride)

    def follows(self, stride: int) -> bool:
        """Whether mutants are whole positions apart in a result of this stride."""
        return abs(stride) <= self.max_stride and self.period % stride == 0

    def split(self, tensor: Tensor) -> Tensor:
        """(P · K, …) → (P, K, …)."""
        return tensor.unflatten(0, (len(self.shifts), self.n_bases))


class Reference:
    """A result for the unmutated window, (1, …), read in slices along its length, which is `axis`."""

    def __init__(self, result: Tensor, axis: int) -> None:
        self.result, self.axis, self.length = result, axis, result.shape[axis]
        self._margin = -1
        self._store = result
        self._relu: tuple[Reference, Reference] | None = None

    def store(self, low: int, high: int) -> tuple[Tensor, int]:
        """Give the result with its length in front, (margin + L + margin, 1, …), and that margin.

        Positions from `low` to before `high` are in it; beyond an end they repeat what is there.
        """
        need = max(-low, high - self.length, 0)
        if need > self._margin:
            self._margin = 1 << need.bit_length() if need else 0
            positions = torch.arange(-self._margin, self.length + self._margin, device=self.result.device)
            self._store = self.result.movedim(self.axis, 0)[positions.clamp(0, self.length - 1)].contiguous()
        return self._store, self._margin

    def read(self, frame: Frame, start: int, width: int, stride: int) -> Tensor:
        """Slices for the mutants of a frame, (P, 1, …) with `width` in place of the length; a view where possible."""
        if frame.own:  # of P windows, or of what is the same for all
            if start >= 0 and start + width <= self.length:
                return self.result.narrow(self.axis, start, width).unsqueeze(1)
            positions = torch.arange(start, start + width, device=self.result.device).clamp(0, self.length - 1)
            return self.result.index_select(self.axis, positions).unsqueeze(1)
        starts = start + frame.offsets(stride)
        store, margin = self.store(int(starts.min()), int(starts.max()) + width)
        slices = store.unfold(0, width, 1)[_picked(starts + margin, store.device)]
        return slices.movedim(-1, self.axis + 1)

    def relu_terms(self, frame: Frame, start: int, width: int, stride: int) -> tuple[Tensor, Tensor]:
        """Slices of −r and min(r, 0), with which relu(r + δ) − relu(r) = max(δ, −r) + min(r, 0)."""
        if frame.own:
            own = self.read(frame, start, width, stride)
            return -own, own.clamp(max=0)
        if self._relu is None:
            self._relu = Reference(-self.result, self.axis), Reference(self.result.clamp(max=0), self.axis)
        negative, low = (one.read(frame, start, width, stride) for one in self._relu)
        return negative, low


def _picked(rows: NDArray[np.int64], device: torch.device) -> slice | Tensor:
    """Rows as a slice if they are evenly apart."""
    gap = int(rows[1] - rows[0]) if len(rows) > 1 else 1
    if gap > 0 and (np.diff(rows) == gap).all():
        return slice(int(rows[0]), int(rows[-1]) + 1, gap)
    return torch.from_numpy(rows).to(device)


class State(ABC):
    """A result of a batch of mutants, in whatever form it is carried."""

    @abstractmethod
    def full(self) -> Tensor:
        """Return the whole result, as the model itself would have it."""


class Local(State):
    """A result of a batch of mutants that differs from its reference on W positions.

    Parameters
    ----------
    frame
        The mutants, B = P · K.
    reference
        The result for the unmutated window.
    start
        Position of the first column for shift 0.
    stride
        Bases between two positions; negative where the sequence runs backwards.
    delta, value
        One of δ and r + δ, (B, …) with W in place of the length.
    owned
        Whether no other result shares the memory of the given tensor.
    """

    def __init__(
        self,
        frame: Frame,
        reference: Reference,
        start: int,
        stride: int,
        *,
        delta: Tensor | None = None,
        value: Tensor | None = None,
        owned: bool = False,
    ) -> None:
        self.frame, self.reference, self.start, self.stride, self.owned = frame, reference, start, stride, owned
        self._delta, self._value = delta, value
        self._full: Tensor | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def axis(self) -> int:
        """Which axis is the length."""
        return self.reference.axis

    @property
    def length(self) -> int:
        """Length of the whole result, L."""
        return self.reference.length

    @property
    def _held(self) -> Tensor:
        held = self._value if self._delta is None else self._delta
        assert held is not None
        return held

    @property
    def width(self) -> int:
        """Columns that are carried, W."""
        return self._held.shape[self.axis]

    @property
    def n_entries(self) -> int:
        """Entries that are carried."""
        return self._held.numel()

    @property
    def ndim(self) -> int:
        """Axes of the result."""
        return self.reference.result.ndim

    @property
    def has_delta(self) -> bool:
        """Whether δ is at hand without computing it from the value."""
        return self._delta is not None

    @property
    def is_float(self) -> bool:
        """Whether differences make sense."""
        return self.reference.result.is_floating_point()

    def slices(self, reference: Reference | None = None) -> Tensor:
        """Read the reference on the columns that are carried, (P, 1, …)."""
        return (reference or self.reference).read(self.frame, self.start, self.width, self.stride)

    @property
    def delta(self) -> Tensor:
        """δ, (B, …)."""
        if self._delta is None:
            split = self.frame.split(self._held)
            difference = split.sub_(self.slices()) if self.owned else split - self.slices()
            self._delta, self._value, self.owned = difference.flatten(0, 1), None, True
        return self._delta

    @property
    def value(self) -> Tensor:
        """Values r + δ, (B, …)."""
        if self._value is None:
            self._value = (self.frame.split(self.delta) + self.slices()).flatten(0, 1)
        return self._value

    def deltas(self, start: int, width: int) -> Tensor:
        """δ on other columns."""
        left, right = self.start - start, start + width - self.start - self.width
        if left == right == 0:
            return self.delta
        return torch.constant_pad_nd(self.delta, pad_of(self.ndim, self.axis, left, right))

    def values(self, start: int, width: int) -> Tensor:
        """Compute r + δ on other columns."""
        if start >= self.start and start + width <= self.start + self.width:
            return self.value.narrow(self.axis, start - self.start, width)
        around = self.reference.read(self.frame, start, width, self.stride)
        shape = [self.frame.n_bases if i == 1 else size for i, size in enumerate(around.shape)]
        around = around.expand(shape).clone().flatten(0, 1)
        first, last = max(self.start, start), min(self.start + self.width, start + width)
        n_shared = max(last - first, 0)
        own = self._held.narrow(self.axis, first - self.start if n_shared else 0, n_shared)
        there = around.narrow(self.axis, first - start if n_shared else 0, n_shared)
        if self._delta is None:
            there.copy_(own)
        else:
            there.add_(own)
        return around

    def full(self) -> Tensor:
        """Return the whole result, (B, …) with all L positions."""
        if self._full is None and self.frame.own:
            inside = self.fitted()
            self._full = self.reference.result.clone()
            self._full.narrow(self.axis, inside.start, inside.width).add_(inside.delta)
        if self._full is None:
            starts = self.start + self.frame.offsets(self.stride)
            low, high = int(starts.min()), int(starts.max()) + self.width
            store, margin = self.reference.store(low, high)  # (margin + L + margin, 1, …)
            n_positions, n_bases = len(starts), self.frame.n_bases
            whole = (
                store.movedim(1, 0)
                .expand(n_positions, n_bases, *(store.shape[:1] + store.shape[2:]))
                .clone(memory_format=torch.contiguous_format)
            )  # (P, K, margin + L + margin, …)
            carried = self.frame.split(self._held).movedim(self.axis + 1, 2)
            for rows, there in _diagonals(whole, starts + margin, self.width):
                if self._delta is None:
                    there.copy_(carried[rows])
                else:
                    there.add_(carried[rows])
            whole = whole.narrow(2, margin, self.length).flatten(0, 1)
            self._full = whole.movedim(1, self.axis)
        return self._full

    def outside(self, start: int, width: int) -> Tensor | None:
        """Where columns lie beyond an end, (P, 1, …) with `width` in place of the length and 1 elsewhere; or None."""
        starts = start + self.frame.offsets(self.stride)
        if starts.min() >= 0 and starts.max() + width <= self.length:
            return None
        positions = starts[:, None] + np.arange(width)
        beyond = torch.from_numpy((positions < 0) | (positions >= self.length)).to(self._held.device)
        shape = [1] * (self.ndim + 1)
        shape[0], shape[self.axis + 1] = len(starts), width
        return beyond.view(shape)

    def fitted(self) -> Local:
        """Drop columns that are beyond an end for all mutants, and set δ to 0 where it is for some."""
        offsets, delta = self.frame.offsets(self.stride), self.delta
        first = max(0, -(self.start + int(offsets.max())))
        last = min(self.width, self.length - (self.start + int(offsets.min())))
        if last <= first:  # nothing of the mutants is left; one column says so
            none = torch.zeros_like(delta.narrow(self.axis, 0, 1))
            return Local(self.frame, self.reference, -int(offsets.min()), self.stride, delta=none, owned=True)
        delta = delta.narrow(self.axis, first, last - first)
        fitted = Local(self.frame, self.reference, self.start + first, self.stride, delta=delta, owned=self.owned)
        fitted._clear_beyond()
        return fitted

    def _clear_beyond(self) -> None:
        """Set δ to 0 in the columns that are beyond an end for some mutants."""
        starts = self.start + self.frame.offsets(self.stride)
        n_before = min(max(0, -int(starts.min())), self.width)
        n_after = min(max(0, int(starts.max()) + self.width - self.length), self.width)
        if not self.owned and n_before + n_after:
            self._delta, self.owned = self.delta.clone(), True
        for first, n_columns in ((0, n_before), (self.width - n_after, n_after)):
            beyond = self.outside(self.start + first, n_columns) if n_columns else None
            if beyond is not None:
                self.frame.split(self.delta.narrow(self.axis, first, n_columns)).masked_fill_(beyond, 0)


def _diagonals(whole: Tensor, starts: NDArray[np.int64], width: int) -> list[tuple[slice, Tensor]]:
    """Columns `starts[i]` and those that follow of each row i of (P, K, L, …), as few views (n, K, width, …)."""
    gaps = np.diff(starts)
    if len(starts) > 1 and not (gaps == gaps[0]).all():
        return [(slice(i, i + 1), whole[i : i + 1].narrow(2, int(at), width)) for i, at in enumerate(starts)]
    row, base, column, *rest = whole.stride()
    gap = int(gaps[0]) if len(gaps) else 0
    size = (*whole.shape[:2], width, *whole.shape[3:])
    stride = (row + gap * column, base, column, *rest)
    return [(slice(None), whole.as_strided(size, stride, int(starts[0]) * column))]


def pad_of(ndim: int, axis: int, left: int, right: int) -> Sequence[int]:
    """Say how to pad one axis, as `constant_pad_nd` wants it."""
    return [0, 0] * (ndim - 1 - axis) + [left, right]


class Window:
    """One window's results, which its mutants are compared with.

    Parameters
    ----------
    graph
        The model.
    X
        (1, 4, L).
    apply
        Runs an operation on whole results.
    """

    def __init__(self, graph: Graph, X: Tensor, apply: Callable[..., Any]) -> None:
        self.results: dict[int, Any] = {graph.ops[0].idx: X}
        self._references: dict[tuple[Any, ...], Reference] = {}
        self._finite: dict[int, bool] = {}

        def keep(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            self.results[op.idx] = result = apply(op, args, kwargs)
            return result

        self.output: Tensor = graph.run(X, keep)

    def reference(self, idx: int, axis: int, part: int | None = None) -> Reference:
        """Return the result of an operation, or one part of it, to be read in slices along an axis."""
        result = self.results[idx] if part is None else self.results[idx][part]
        return self.sliced((idx, axis, part), result, axis)

    def sliced(self, key: tuple[Any, ...], tensor: Tensor, axis: int) -> Reference:
        """Any tensor, (1, …), to be read in slices along an axis; remembered by its key."""
        if key not in self._references:
            self._references[key] = Reference(tensor, axis)
        return self._references[key]

    def is_finite(self, idx: int) -> bool:
        """Whether differences from an operation's result are numbers."""
        if idx not in self._finite:
            first = self.results[idx]
            tensor = first[0] if isinstance(first, (tuple, list)) else first
            self._finite[idx] = not tensor.is_floating_point() or bool(tensor.isfinite().all())
        return self._finite[idx]


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
    window: Window
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
