"""All single-base substitutions of a window through a traced model, computing only what each of them changes.

Operations with a rule work on the changed positions (:data:`RULES`); from the first one without a rule the whole result
is computed, so that every model works and gives what it gives for each mutant by itself, up to rounding. Which
operations those were is in :attr:`Mutator.whole`.

A rule is called with the operation's arguments, at least one of them a state and all tensors among them constants, and
gives the result as a state or a whole tensor; None where it does not apply. With r the reference and δ the difference:
linear operations map δ, maxima and all that works on every position by itself map the value r + δ.
"""

from __future__ import annotations

import contextlib
import logging
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.compute import run_op, tell_progress
from seqsal.attribution.graph import Op, Watch, leaves, trace
from seqsal.attribution.ism import axis_rules, local_rules
from seqsal.attribution.ism.rounding import MOST_PRECISE, in_type, is_long_sum
from seqsal.attribution.ism.state import Frame, Local, Rule, State, Step, Window

__all__ = ["Mutator", "Pass", "apply_op", "is_worth_tracing", "substitutes"]

logger = logging.getLogger(__name__)

Tensor = torch.Tensor
MAX_STRIDES = (128, 16, 1)  # tried in turn, until the period is at most MAX_PERIOD
MAX_PERIOD = 256
MOST_OPERATIONS = 2000  # of a forward pass that is traced: recurrent models, in which all changes after a substitution
ENTRIES_PER_TRACED = 1_000_000  # that are computed in the time that tracing an operation takes
WINDOWS_TO_PAY = 8  # whose whole forward passes may take as long as the tracing does
OPERATIONS_PER_STEP = 20  # that a fused recurrent layer is traced as
ENTRIES_PER_OPERATION = {"cpu": 10_000, "cuda": 500_000}  # that take as long as it takes to start an operation

RULES: dict[str, Rule] = {
    "relu": local_rules.relu,
    "add": local_rules.add,
    "sub": local_rules.subtract,
    "mul": axis_rules.multiply,
    "div": local_rules.scale,
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"), local_rules.batch_norm
    ),
    "native_layer_norm": local_rules.layer_norm,
    "_prelu_kernel": local_rules.pointwise,
    **dict.fromkeys(("_softmax", "_safe_softmax"), axis_rules.softmax),
    **dict.fromkeys(("_log_softmax", "glu"), local_rules.by_column(0)),
    "convolution": local_rules.convolution,
    "max_pool2d_with_indices": local_rules.max_pool,
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), local_rules.avg_pool),
    "constant_pad_nd": local_rules.pad,
    "slice": local_rules.slice_,
    "flip": local_rules.flip,
    "unsqueeze": axis_rules.unsqueeze,
    "squeeze": axis_rules.squeeze,
    "select": axis_rules.select,
    "permute": axis_rules.permute,
    "transpose": axis_rules.transpose,
    **dict.fromkeys(("clone", "alias", "detach"), axis_rules.same),
    "expand": axis_rules.expand,
    **dict.fromkeys(("split", "split_with_sizes", "unbind"), axis_rules.parts),
    "cat": axis_rules.cat,
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), axis_rules.view),
    "mm": axis_rules.matmul,
    "addmm": axis_rules.addmm,
    **dict.fromkeys(("mean", "sum"), axis_rules.reduce),
    **dict.fromkeys(("amax", "amin", "var", "logsumexp"), axis_rules.column_reduce),
    "max": axis_rules.greatest,
    "adaptive_max_pool2d": axis_rules.adaptive_max_pool,
}
_FIRST_ONLY = frozenset(
    "native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm native_layer_norm max "
    "adaptive_max_pool2d max_pool2d_with_indices".split()
)  # their other results are not followed
_OVERLOADS = {
    "max": ("dim",),
    "mean": ("dim",),
    "sum": ("dim_IntList",),
    "squeeze": ("dim", "dims"),
    "div": ("Tensor", "Scalar"),
    "var": ("correction",),
}  # that the rule is for, where others mean something else


class _Count(Watch):
    """Counts the operations of a forward pass and the entries of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.n_operations = self.n_entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_recurrent = "rnn" in func.name() and isinstance(args[0], Tensor)  # fused: one operation for all steps
        self.n_operations += OPERATIONS_PER_STEP * max(args[0].shape) if is_recurrent else 1
        self.n_entries += sum(leaf.numel() for leaf in leaves(result) if isinstance(leaf, Tensor))
        return result


def is_worth_tracing(model: Any, X: Tensor) -> bool:
    """Tell whether a model is large enough to be traced, and not a recurrent one; counted, and so always the same."""
    with torch.no_grad(), _Count() as count:
        model(X)
    n_whole = WINDOWS_TO_PAY * 3 * X.shape[2] * count.n_entries
    return count.n_operations <= MOST_OPERATIONS and count.n_operations * ENTRIES_PER_TRACED <= n_whole


def substitutes(X: Tensor) -> NDArray[np.int64]:
    """List the three other bases at each position of a window (1, 4, L), A C G at an unknown one: (L, 3)."""
    others = np.array([[b for b in range(4) if b != code] for code in range(4)])
    codes, unknown = X[0].argmax(0).cpu().numpy(), (X[0].sum(0) == 0).cpu().numpy()
    bases: NDArray[np.int64] = others[np.where(unknown, 3, codes)]
    return bases


def rule_for(op: Op, consumers: Sequence[Op]) -> Rule | None:
    """Find the rule of an operation whose result some `consumers` take."""
    if op.target is operator.getitem:
        return None
    overload = getattr(op.target, "_overloadname", "")
    if op.name in RULES and overload in _OVERLOADS.get(op.name, (overload,)):
        takes_first = all(user.target is operator.getitem and user.args[1] == 0 for user in consumers)
        return RULES[op.name] if op.name not in _FIRST_ONLY or takes_first else None
    return local_rules.pointwise if _is_pointwise(op) and op.batch_axis == 0 else None


def _is_pointwise(op: Op) -> bool:
    return torch.Tag.pointwise in getattr(op.target, "tags", ())


def apply_op(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on whole results, whose order in memory some operations insist on."""
    if op.target is not operator.getitem and not (op.name in RULES or _is_pointwise(op)):
        args = tuple(arg.contiguous() if isinstance(arg, Tensor) else arg for arg in args)
    return run_op(op.target, args, kwargs)


@dataclass
class Pass:
    """One batch of mutants on its way through the graph; called with each operation."""

    mutator: Mutator
    window: Window
    frame: Frame
    strides: set[int] = field(default_factory=set)
    n_entries: list[int] = field(default_factory=list)

    def __call__(self, op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute an operation on what changes, or on whole results."""
        if op.target is operator.getitem:
            return args[0][args[1]]
        followed = [leaf for leaf in leaves(args) if isinstance(leaf, State)]
        result = self._follow(op, args, kwargs, len(followed))
        if result is None:
            if followed:
                self.mutator.whole[op.idx] = op
            result = self._whole(op, _full(args), _full(kwargs))
        self._note(result)
        return result

    def _follow(self, op: Op, args: tuple[Any, ...], kwargs: dict[str, Any], n_followed: int) -> Any:
        """Compute an operation on what changes; None where it cannot be."""
        rule = self.mutator.rules.get(op.idx)
        if rule is None or n_followed != self.mutator.n_varying[op.idx] or not self.window.is_finite(op.idx):
            return None
        return rule(Step(op, self.window, self.frame, self.mutator.last_use, self.mutator.cache), *args, **kwargs)

    def _whole(self, op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute an operation on whole results; small ones in float64, if their arguments are sums over the length."""
        reference = self.window.results[op.idx]
        if not isinstance(reference, Tensor) or reference.dtype != torch.float32:
            return apply_op(op, args, kwargs)
        is_small = reference.numel() <= MOST_PRECISE and "mkldnn" not in op.name
        if op.name in ("mean", "sum") and is_small:
            kwargs = {**kwargs, "dtype": torch.float64}
        elif is_small and is_long_sum(op.target, args):
            args = in_type(args, torch.float64)
        elif any(isinstance(leaf, Tensor) and leaf.dtype == torch.float64 for leaf in leaves(args)):
            dtype = torch.float64 if is_small else torch.float32
            args, kwargs = in_type(args, dtype), in_type(kwargs, dtype)
        return apply_op(op, args, kwargs)

    def _note(self, result: Any) -> None:
        for item in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(item, Local):
                self.strides.add(abs(item.stride))
                self.n_entries.append(item.n_entries)
            elif isinstance(item, Tensor):
                self.n_entries.append(item.numel())


def _full(value: Any) -> Any:
    """Put whole results for all states in arguments."""
    if isinstance(value, State):
        return value.full()
    if isinstance(value, (list, tuple)):
        return type(value)(_full(item) for item in value)
    if isinstance(value, dict):
        return {key: _full(item) for key, item in value.items()}
    return value


class _Batch(NamedTuple):
    """Mutants that go together: positions (P,), the bases put there (P, K), and where they are in the model."""

    positions: NDArray[np.int64]
    bases: NDArray[np.int64]
    frame: Frame


class Mutator:
    """Outputs of a model for all single-base substitutions of a window.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N, T), frozen and in evaluation mode.
    X
        One window, (1, 4, L), on the model's device.
    n_windows
        Whole windows that suit the device; the largest result of a batch of mutants is kept to a quarter of what all
        results of these take.
    n_at_once
        Mutants in a batch, at most.

    Attributes
    ----------
    whole
        Operations that were computed on whole results although only some positions had changed, by number.
    saving
        How many times less there is to compute than with a whole forward pass for each mutant, roughly.

    Raises
    ------
    ModelError
        The model's structure cannot be read.
    """

    def __init__(self, model: Any, X: Tensor, n_windows: int, n_at_once: int) -> None:
        self.graph = trace(model, X, check=False)
        self.held: list[tuple[Tensor, Window]] = []  # a window and its results, until the first is scored
        varying = {op.idx for op in self.graph.ops if op.varies}
        self.rules: dict[int, Rule] = {}
        self.n_varying = {op.idx: sum(idx in varying for idx in op.refs()) for op in self.graph.varying}
        self.last_use = {idx: op.idx for op in self.graph.ops for idx in op.refs()}
        self.last_use[self.graph.output] = -1
        self.cache: dict[Any, Any] = {}
        self.whole: dict[int, Op] = {}
        consumers: dict[int, list[Op]] = {}
        for op in self.graph.ops:
            for idx in op.refs():
                consumers.setdefault(idx, []).append(op)
        for op in self.graph.varying:
            constant = all(idx in varying or idx in self.graph.constants for idx in op.refs())
            rule = rule_for(op, consumers.get(op.idx, [])) if constant else None
            if rule is not None:
                self.rules[op.idx] = rule
        self._learn(X)
        self.n_at_once = max(1, min(n_at_once, n_windows * self.n_entries // (4 * self.largest)))
        n_mutants = 3 * X.shape[2]
        n_batches = self.period * math.ceil(n_mutants / self.period / self.n_at_once)
        start = ENTRIES_PER_OPERATION.get(X.device.type, ENTRIES_PER_OPERATION["cpu"]) * len(self.graph.varying)
        self.saving = n_mutants * self.n_entries / (n_mutants * self.n_carried + n_batches * start)
        logger.debug(
            "mutants: %d operations, of which %d on whole results (%s); %.3g times less to compute than whole passes",
            len(self.graph.varying), len(self.whole), ", ".join(map(str, self.whole.values())) or "none", self.saving,
        )  # fmt: skip

    def _learn(self, X: Tensor) -> None:
        """Follow one mutant through the model, to see strides and sizes."""
        window = self.window(X)
        self.held.append((X, window))
        results = [result for result in window.results.values() if isinstance(result, Tensor)]
        self.n_entries = sum(result.numel() for result in results)
        self.dtypes = {result.dtype for result in results if result.is_floating_point()}
        for max_stride in MAX_STRIDES:
            self.whole.clear()
            frame = Frame(np.zeros(1, dtype=np.int64), 1, 0, max_stride)
            passed = Pass(self, window, frame)
            middle = X.shape[2] // 2
            self._run(passed, np.array([middle]), np.array([[int(X[0, :, middle].argmin())]]))
            self.period, self.max_stride = math.lcm(1, *passed.strides), max_stride
            self.largest, self.n_carried = max(passed.n_entries), sum(passed.n_entries)
            if self.period <= MAX_PERIOD:
                break

    def window(self, X: Tensor) -> Window:
        """Compute the results for one window, (1, 4, L), or hand out those that are at hand, once."""
        with contextlib.suppress(IndexError):  # of threads that score at the same time one has them
            held, window = self.held.pop()
            if torch.equal(held, X):
                return window
        return Window(self.graph, X, apply_op)

    def __call__(
        self,
        X: Tensor,
        positions: NDArray[np.int64] | None = None,
        bases: NDArray[np.int64] | None = None,
        window: Window | None = None,
    ) -> Tensor:
        """Score one window.

        Parameters
        ----------
        X
            (1, 4, L).
        positions
            Where bases are substituted, increasing; everywhere by default.
        bases
            Which are put at each of the L positions, (L, K); all others by default.
        window
            Its results, if they are at hand.

        Returns
        -------
        Tensor
            Output with each base at each position, (T, 4, L); the window's own at other positions. In float64 where a
            model of float32 ends in a sum over the length.
        """
        window = self.window(X) if window is None else window
        positions = np.arange(X.shape[2]) if positions is None else positions
        unchanged = window.output
        if bases is None:  # as the mutants are computed, so that what is rounded off is the same
            frame = Frame(np.zeros(1, dtype=np.int64), 1, self.period, self.max_stride)
            unchanged = self._run(Pass(self, window, frame), positions[:1], None)
        outputs = unchanged[0][:, None, None].repeat(1, *X.shape[1:])  # right for the base that is there
        unknown = (X[0].sum(0) == 0).cpu().numpy()
        groups = [(positions, substitutes(X) if bases is None else bases)]
        if bases is None:  # an unknown base has a fourth
            groups.append((positions[unknown[positions]], np.full((X.shape[2], 1), 3)))
        for batch in self._batches(groups):
            result = self._run(Pass(self, window, batch.frame), batch.positions, batch.bases)  # (P · K, T)
            put = torch.from_numpy(batch.bases).to(X.device)
            at = torch.from_numpy(batch.positions).to(X.device)[:, None].expand_as(put)
            outputs[:, put.flatten(), at.flatten()] = result.T.to(outputs.dtype)
            tell_progress(len(result))
        return outputs

    def _run(self, passed: Pass, positions: NDArray[np.int64], bases: NDArray[np.int64] | None) -> Tensor:
        """Compute the outputs of the mutants of a batch, (P · K, T); without bases, of the window as it is."""
        first = self.graph.ops[0].idx
        reference = passed.window.reference(first, 2)
        there = reference.result[0][:, torch.from_numpy(positions).to(reference.result.device)]  # (4, P)
        if bases is None:
            delta = torch.zeros_like(there).T[:, :, None]
        else:
            delta = -there.T[:, None, :, None].repeat(1, bases.shape[1], 1, 1).flatten(0, 1)  # (P · K, 4, 1)
            put = torch.from_numpy(bases.ravel()).to(delta.device)
            delta[torch.arange(len(delta), device=delta.device), put, 0] += 1
        start = int(positions[0] - passed.frame.offsets(1)[0])
        state = Local(passed.frame, reference, start, 1, delta=delta, owned=False)
        output: Tensor = _full(self.graph.run(state, passed))  # type: ignore[arg-type]
        return output

    def _batches(self, groups: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> Iterator[_Batch]:
        """Cut positions, and the bases (L, K) to be put there, into batches."""
        for where, put in groups:
            n_positions = max(self.n_at_once // put.shape[1], 1)
            for phase in range(self.period):
                own = where[where % self.period == phase]
                for first in range(0, len(own), n_positions):
                    part = own[first : first + n_positions]
                    frame = Frame(part // self.period, put.shape[1], self.period, self.max_stride)
                    yield _Batch(part, put[part], frame)
