"""All single-base substitutions of a window through a traced model, computing only what each of them changes.

Operations with a rule (:mod:`seqsal.attribution.ism.rules`) work on the changed positions; from the first one without
a rule the whole result is computed, so that every model works and gives what it gives for each mutant by itself, up to
rounding.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.compute import run_op
from seqsal.attribution.graph import Graph, Op, trace
from seqsal.attribution.ism.rules import rule_for, takes_any_order
from seqsal.attribution.ism.state import Frame, Local, Reference, State
from seqsal.attribution.ism.step import Rule, Step

__all__ = ["Mutator"]

Tensor = torch.Tensor
MAX_STRIDES = (128, 16, 1)  # tried in turn, until the period is at most MAX_PERIOD
MAX_PERIOD = 256
ENTRIES_PER_OPERATION = {"cpu": 10_000, "cuda": 500_000}  # that take as long as it takes to start an operation


class Window:
    """One window's results, which its mutants are compared with.

    Parameters
    ----------
    graph
        The model.
    X
        (1, 4, L).
    """

    def __init__(self, graph: Graph, X: Tensor) -> None:
        self.results: dict[int, Any] = {graph.ops[0].idx: X}
        self._references: dict[tuple[Any, ...], Reference] = {}
        self._finite: dict[int, bool] = {}

        def keep(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            self.results[op.idx] = result = _apply(op, args, kwargs)
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


def _apply(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on whole results, whose order in memory some operations insist on."""
    if op.target is not operator.getitem and not takes_any_order(op):
        args = tuple(arg.contiguous() if isinstance(arg, Tensor) else arg for arg in args)
    return run_op(op.target, args, kwargs)


@dataclass
class _Pass:
    """One batch of mutants on its way through the graph; called with each operation."""

    mutator: Mutator
    window: Window
    frame: Frame
    strides: set[int] = field(default_factory=set)
    n_entries: list[int] = field(default_factory=list)

    def __call__(self, op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if op.target is operator.getitem:
            return args[0][args[1]]
        result = self._follow(op, args, kwargs)
        if result is None:
            result = _apply(op, _whole(args), _whole(kwargs))
        self._note(result)
        return result

    def _follow(self, op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute an operation on what changes; None where it cannot be."""
        rule = self.mutator.rules.get(op.idx)
        n_followed = sum(isinstance(leaf, State) for leaf in _leaves(args))
        if rule is None or n_followed != self.mutator.n_varying[op.idx] or not self.window.is_finite(op.idx):
            return None
        return rule(Step(op, self.window, self.frame, self.mutator.last_use, self.mutator.cache), *args, **kwargs)

    def _note(self, result: Any) -> None:
        for item in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(item, Local):
                self.strides.add(abs(item.stride))
                self.n_entries.append(item.n_entries)
            elif isinstance(item, Tensor):
                self.n_entries.append(item.numel())


def _whole(value: Any) -> Any:
    """Put whole results for all states in arguments."""
    if isinstance(value, State):
        return value.full()
    if isinstance(value, (list, tuple)):
        return type(value)(_whole(item) for item in value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


def _leaves(value: Any) -> Iterator[Any]:
    for item in value:
        if isinstance(item, (list, tuple)):
            yield from _leaves(item)
        else:
            yield item


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

    Raises
    ------
    ModelError
        The model's structure cannot be read.
    """

    def __init__(self, model: Any, X: Tensor, n_windows: int, n_at_once: int) -> None:
        self.graph = trace(model, X)
        varying = {op.idx for op in self.graph.ops if op.varies}
        self.rules: dict[int, Rule] = {}
        self.n_varying = {op.idx: sum(idx in varying for idx in op.refs()) for op in self.graph.varying}
        self.last_use = {idx: op.idx for op in self.graph.ops for idx in op.refs()}
        self.last_use[self.graph.output] = -1
        self.cache: dict[Any, Any] = {}
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

    def _learn(self, X: Tensor) -> None:
        """Follow one mutant through the model, to see strides and sizes."""
        window = Window(self.graph, X)
        results = [result for result in window.results.values() if isinstance(result, Tensor)]
        self.n_entries = sum(result.numel() for result in results)
        self.dtypes = {result.dtype for result in results if result.is_floating_point()}
        for max_stride in MAX_STRIDES:
            frame = Frame(np.zeros(1, dtype=np.int64), 1, 0, max_stride)
            passed = _Pass(self, window, frame)
            middle = X.shape[2] // 2
            self._run(passed, np.array([middle]), np.array([[int(X[0, :, middle].argmin())]]))
            self.period, self.max_stride = math.lcm(1, *passed.strides), max_stride
            self.largest, self.n_carried = max(passed.n_entries), sum(passed.n_entries)
            if self.period <= MAX_PERIOD:
                break

    def __call__(self, X: Tensor, positions: NDArray[np.int64] | None = None) -> Tensor:
        """Score one window.

        Parameters
        ----------
        X
            (1, 4, L).
        positions
            Where bases are substituted, increasing; everywhere by default.

        Returns
        -------
        Tensor
            Output with each base at each position, (T, 4, L); the window's own at other positions.
        """
        window = Window(self.graph, X)
        outputs = window.output[0][:, None, None].repeat(1, *X.shape[1:])  # right for the base that is there
        positions = np.arange(X.shape[2]) if positions is None else positions
        for batch in self._batches(X[0].argmax(0).cpu().numpy(), (X[0].sum(0) == 0).cpu().numpy(), positions):
            result = self._run(_Pass(self, window, batch.frame), batch.positions, batch.bases)  # (P · K, T)
            bases = torch.from_numpy(batch.bases).to(X.device)
            at = torch.from_numpy(batch.positions).to(X.device)[:, None].expand_as(bases)
            outputs[:, bases.flatten(), at.flatten()] = result.T
        return outputs

    def _run(self, passed: _Pass, positions: NDArray[np.int64], bases: NDArray[np.int64]) -> Tensor:
        """Compute the outputs of the mutants of a batch, (P · K, T)."""
        first = self.graph.ops[0].idx
        reference = passed.window.reference(first, 2)
        there = reference.result[0][:, torch.from_numpy(positions).to(reference.result.device)]  # (4, P)
        delta = -there.T[:, None, :, None].repeat(1, bases.shape[1], 1, 1).flatten(0, 1)  # (P · K, 4, 1)
        delta[torch.arange(len(delta), device=delta.device), torch.from_numpy(bases.ravel()).to(delta.device), 0] += 1
        start = int(positions[0] - passed.frame.offsets(1)[0])
        state = Local(passed.frame, reference, start, 1, delta=delta, owned=False)
        output: Tensor = _whole(self.graph.run(state, passed))  # type: ignore[arg-type]
        return output

    def _batches(
        self, codes: NDArray[np.int64], unknown: NDArray[np.bool_], positions: NDArray[np.int64]
    ) -> Iterator[_Batch]:
        """Cut positions into batches: three other bases at each, and the fourth where the base is unknown."""
        others = np.array([[b for b in range(4) if b != code] for code in range(4)])
        bases = others[np.where(unknown, 3, codes)]  # (L, 3)
        fourth = np.full((len(codes), 1), 3)
        for where, put in ((positions, bases), (positions[unknown[positions]], fourth)):
            n_positions = max(self.n_at_once // put.shape[1], 1)
            for phase in range(self.period):
                own = where[where % self.period == phase]
                for first in range(0, len(own), n_positions):
                    part = own[first : first + n_positions]
                    frame = Frame(part // self.period, put.shape[1], self.period, self.max_stride)
                    yield _Batch(part, put[part], frame)
