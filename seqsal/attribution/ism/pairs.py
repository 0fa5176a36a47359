"""Pairs of windows that differ in one base, all at the same position: both outputs for little more than one.

The reference windows go through the traced model together, and next to each result the difference of the mutants is
carried on the positions that it reaches (:mod:`seqsal.attribution.ism.state`), operation by operation, so that no more
results are in memory than a forward pass needs. Where few positions differ, the second output is nearly free: of a
dilated network of 2,114 bp it took 0.2 of the time of the first.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from seqsal.attribution.compute import fast_predictions, is_out_of_memory
from seqsal.attribution.graph import Apply, Op, Ref
from seqsal.attribution.ism.mutants import Mutator, Pass, apply_op, is_worth_tracing
from seqsal.attribution.ism.state import Frame, Local, Reference, Window
from seqsal.attribution.methods.base import TargetsModel
from seqsal.errors import first_line

__all__ = ["PairModel"]

logger = logging.getLogger(__name__)
Tensor = torch.Tensor
MAX_ERROR = 1e-5  # of the largest output
MOST_CARRIED = 0.7  # of the entries of a whole pass, up to which carrying differences is worth it
N_CHECKED = 3


class _Kept(Window):
    """Results of one window."""

    def is_finite(self, idx: int) -> bool:
        """Leave it to the outputs, which are looked at: to look at every result would take as long as to compute it."""
        return True


class _Live(_Kept):
    """Results of several windows, each there as long as an operation will look at it."""

    def __init__(self, known: dict[int, Any]) -> None:
        self.results = known
        self._references: dict[tuple[Any, ...], Reference] = {}

    def forget(self, idx: int) -> None:
        """Let go of a result."""
        self.results.pop(idx, None)
        for key in [key for key in self._references if idx in key[:2]]:
            del self._references[key]


@dataclass
class _PairPass(Pass):
    """Computes each operation for the reference windows by `run`, and then what differs."""

    run: Apply = apply_op

    def __call__(self, op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        graph, window = self.mutator.graph, self.window
        assert isinstance(window, _Live)
        for arg, value in zip(op.args, args, strict=True):  # what depends on the number of windows alone
            if type(arg) is Ref and arg.idx not in window.results:
                window.results[arg.idx] = value
        own_args, own_kwargs = graph.filled(op, window.results, len(self.frame.shifts))
        window.results[op.idx] = self.run(op, own_args, own_kwargs)
        result = super().__call__(op, args, kwargs)
        for idx in graph.done_after(op):
            window.forget(idx)
        return result


class PairModel:
    """A model of T outputs, f: (N, 4, L) → (N, T), frozen and in evaluation mode, for pairs of windows.

    `is_fit` says whether pairs are scored by what differs; X (1, 4, L) is an example.
    """

    def __init__(self, model: TargetsModel, X: Tensor) -> None:
        self.model, self.is_fit = model, False
        try:
            with torch.no_grad():
                if not is_worth_tracing(model, X):
                    reason = "whole passes are faster for this model"
                else:
                    self._mutator = Mutator(model, X, 1, 1)
                    gains = fast_predictions(cast(nn.Module, model.single[0]), X) is not model.single[0]
                    self._run = apply_op if gains else _as_written
                    reason = self._doubt(X)
        except Exception as error:  # whatever a saving trips over must not stop variants from being scored
            if is_out_of_memory(error):
                raise
            reason = first_line(error)
        self.is_fit = not reason
        if reason:
            logger.info("variants: whole forward passes for both alleles, because %s", reason)

    def _doubt(self, X: Tensor) -> str:
        """Say why pairs are better scored by whole passes; empty where they are not."""
        if self._mutator.n_carried > MOST_CARRIED * self._mutator.n_entries:
            return "most of what the model computes changes with one base"
        length = X.shape[2]
        rows = torch.cat([X.roll(shift, 2) for shift in range(N_CHECKED)])
        for at in (length // 2, length - 1 - length // 2):
            bases = (rows[:, :, at].argmax(1) + torch.arange(1, 4, device=X.device)) % 4
            ours, theirs = self(rows, at, bases), torch.stack([self.model(rows), self.model(_put(rows, at, bases))])
            scale = float(theirs.abs().max())
            if not (ours - theirs).abs().max() <= MAX_ERROR * scale:
                off = float((ours - theirs).abs().max())
                return f"computing only what differs gives outputs that are off by {off:.2g}"
        return ""

    def __call__(self, X: Tensor, at: int, bases: Tensor) -> Tensor:
        """Score windows X (N, 4, L) and the same with `bases` (N,), 0 to 4, at one position: (2, N, T) in float64."""
        mutator, first = self._mutator, self._mutator.graph.ops[0].idx
        window = _Live({**mutator.graph.constants, first: X})
        frame = Frame(np.zeros(len(X), dtype=np.int64), 1, 0, mutator.max_stride, own=True)
        delta = _put(X, at, bases)[:, :, at : at + 1] - X[:, :, at : at + 1]
        state = Local(frame, window.reference(first, 2), at, 1, delta=delta, owned=True)
        output = mutator.graph.run(state, _PairPass(mutator, window, frame, run=self._run))  # type: ignore[arg-type]
        reference = window.results[mutator.graph.output]
        changed = output.full() if hasattr(output, "full") else output
        return torch.stack([reference.double(), changed.double()])

    def words(self, X: Tensor, at: int, words: Tensor) -> Tensor:
        """Score one window X (1, 4, L) with each of the words (K, 4, w) written at a position: (K, T) in float64."""
        mutator, first = self._mutator, self._mutator.graph.ops[0].idx
        window = _Kept(mutator.graph, X, self._run)
        frame = Frame(np.zeros(1, dtype=np.int64), len(words), 0, mutator.max_stride)
        delta = words - X[:, :, at : at + words.shape[2]]
        state = Local(frame, window.reference(first, 2), at, 1, delta=delta, owned=True)
        output = mutator.graph.run(state, Pass(mutator, window, frame))  # type: ignore[arg-type]
        changed: Tensor = output.full() if hasattr(output, "full") else output
        return changed.double()


def _as_written(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation; a maximum along the length without its positions, which takes an eighth of the time."""
    if op.name == "max_pool2d_with_indices" and args[0].ndim == 4 and args[0].shape[2] == 1:
        sizes = [[one, one] if isinstance(one, int) else list(one) for one in args[1:5]]
        if args[0].is_contiguous() and all(len(one) == 2 for one in sizes) and sizes[0][0] == 1:
            along: Any = [one[1:] for one in sizes]
            return torch.max_pool1d(args[0].squeeze(2), *along, *args[5:]).unsqueeze(2), None
    return op.target(*args, **kwargs)


def _put(X: Tensor, at: int, bases: Tensor) -> Tensor:
    """Windows with other bases at a position; 4 is an unknown one."""
    changed = X.clone()
    changed[:, :, at] = (bases[:, None] == torch.arange(X.shape[1], device=X.device)).to(X.dtype)
    return changed
