"""In-silico saturation mutagenesis: what the model says when each base is really changed.

h[b, l] = f(x with base b at l) − ¼ Σ_c f(x with base c at l), so the track is how much the base that is there beats the
mean of the four. It is exact, needs no gradient, and scores 3 L mutants a window, one more for each unknown base. For a
linear model it is the corrected gradient. Where a span of the window is kept, its bases alone are mutated, which gives
the values that mutating all of it gives there. At an unknown base the four substitutions are scored, and the track is
0.

Of each mutant only what the substitution changes is computed (:mod:`seqsal.attribution.ism.mutants`), which gives what
whole forward passes give, up to rounding. Sums over the length are carried on in float64, in whole passes too: a mean
over 32 kb changes so little that float32 misses the effects by 1 % of the largest (a network of 32 filters), these by
3e-7. What whole passes round off elsewhere is compared with float64 at the largest effects of the first window, and
told above 1 %.

Whole passes are taken where that is faster, which is counted, in operations and in the entries of their results, so
that a model is always scored in the same way: by recurrent and very small models, for which writing the operations down
takes longer than it saves, and where most of them depend on all positions. Before the first window a few mutants are
compared with the model itself; a model that the comparison does not confirm gets the whole passes. What comes out is
remembered as long as the model does not change.
"""

from __future__ import annotations

import contextlib
import logging
from typing import cast

import numpy as np
import torch

from seqsal.attribution.compute import Batches, is_out_of_memory, tell_progress
from seqsal.attribution.graph import facts_about_targets
from seqsal.attribution.ism.mutants import MOST_OPERATIONS, Mutator, is_worth_tracing, substitutes
from seqsal.attribution.ism.rounding import LongSums, rounding_error
from seqsal.attribution.methods.base import (
    Model,
    OneTarget,
    ScalarModel,
    Scores,
    SharedForward,
    TargetsModel,
    check_option,
)
from seqsal.errors import first_line

__all__ = ["InSilicoMutagenesis", "ism"]

logger = logging.getLogger(__name__)

N_WINDOWS = 8  # that suit the device, where nobody said how many do
ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-5}  # of outputs that should be equal
LOW_ROUNDING = 2e-2  # the same for half precision anywhere in the model, and for TF32
MAX_ERROR = 0.01  # of the largest effect
CONFIRMED = "confirmed"
MIN_SAVING = 1.5  # of work; less is lost to the copies in which mutants are put together


def ism(f: Model, X: torch.Tensor, *, n_at_once: int = 1024, create_graph: bool = False) -> Scores:
    """In-silico mutagenesis, h[b, l] = f(X with b at l) − ¼ Σ_c f(X with c at l): all single-base substitutions.

    Parameters
    ----------
    f
        (N, 4, L) → (N,), or a model of T targets, in evaluation mode.
    X
        One-hot windows (N, 4, L).
    n_at_once
        Mutated sequences that go through the model together, at most.
    create_graph
        Keep the graph, so that a loss can be built on the scores and differentiated by the parameters of `f`. Every
        mutant then takes a whole forward pass, all of whose activations are kept.

    Returns
    -------
    Scores
        `hypothetical` (N, 4, L).

    Examples
    --------
    >>> X = torch.eye(4)[None]
    >>> ism(lambda X: 4 * X[:, 0, 2] + X[:, 3, 3], X).hypothetical[0]
    tensor([[ 0.0000,  0.0000,  3.0000, -0.2500],
            [ 0.0000,  0.0000, -1.0000, -0.2500],
            [ 0.0000,  0.0000, -1.0000, -0.2500],
            [ 0.0000,  0.0000, -1.0000,  0.7500]])
    """
    method = InSilicoMutagenesis(n_at_once=n_at_once)
    if hasattr(f, "single"):
        return method.score(cast(TargetsModel, f), X, create_graph=create_graph)
    scores = method.score(OneTarget(f), X, create_graph=create_graph)
    return Scores(scores.prediction[:, 0], scores.hypothetical[:, 0])


class InSilicoMutagenesis(SharedForward):
    """All single-base substitutions; see :func:`ism`.

    Parameters
    ----------
    n_at_once
        Mutated sequences that go through the model together, at most; fewer where they would not fit the device's cache
        or memory.
    """

    name = "ism"
    scores_unknown = True
    needs_gradient = False

    def __init__(self, *, n_at_once: int = 1024) -> None:
        check_option("n_at_once", n_at_once)
        self.n_at_once = n_at_once
        self._mutator: Mutator | None = None
        self._is_prepared = False
        self._n_windows = N_WINDOWS
        self._n_plain = 0  # mutants at once of a model without a mutator, as far as is known
        self._is_told = False  # how far whole passes are off

    def windows_at_once(self, batch_size: int) -> int:
        """One: its mutants are a batch by themselves; see :meth:`Method.windows_at_once`."""
        return 1

    def n_passes(self, length: int) -> int:
        """Three for each base, as long as nothing is known of the model; see :meth:`Method.n_passes`."""
        return 3 * length

    def prepare(self, model: ScalarModel, X: torch.Tensor, batch_size: int) -> None:
        """Read the model's operations; see :meth:`Method.prepare`."""
        self.prepare_targets(OneTarget(model), X, batch_size)

    def prepare_targets(self, model: TargetsModel, X: torch.Tensor, batch_size: int) -> None:
        """Read the model's operations; see :meth:`Method.prepare_targets`."""
        self._n_windows, self._n_plain, self._is_prepared = batch_size, 0, True
        self._mutator = _confirmed_mutator(model, X, batch_size, self.n_at_once)

    def score(self, f: TargetsModel, X: torch.Tensor, *, create_graph: bool = False) -> Scores:
        """Score one batch; see :meth:`SharedForward.score` and, for `create_graph`, :func:`ism`."""
        mutator = self._mutator
        if not self._is_prepared and not create_graph:
            mutator = _confirmed_mutator(f, X[:1], self._n_windows, self.n_at_once)
        with torch.set_grad_enabled(create_graph):
            prediction = f(X)  # (N, T)
            if create_graph:
                each = [_plain_outputs(f, x[None], self._positions(X), self.n_at_once) for x in X]
            else:
                each = [self._outputs(f, mutator, x[None]) for x in X]
            outputs = torch.stack(each)  # (N, T, 4, L)
            return Scores(prediction, (outputs - outputs.mean(dim=2, keepdim=True)).to(prediction.dtype))

    def _positions(self, X: torch.Tensor) -> range:
        """Positions that are mutated."""
        return range(X.shape[2]) if self.span is None else range(*self.span)

    def _outputs(self, model: TargetsModel, mutator: Mutator | None, X: torch.Tensor) -> torch.Tensor:
        """Score each base at each position, (T, 4, L), of one window (1, 4, L); fewer at once where memory runs out."""
        found: list[torch.Tensor] = []

        def plainly(n_at_once: int) -> None:
            found.append(_precise_outputs(model, X, self._positions(X), n_at_once))

        def locally(n_at_once: int) -> None:
            assert mutator is not None
            mutator.n_at_once = n_at_once  # also for the windows that follow
            found.append(mutator(X, np.array(self._positions(X))))

        if mutator is not None:
            Batches(mutator.n_at_once).fit(locally)
        else:
            batches = Batches(self._n_plain or min(self.n_at_once, 2 * self._n_windows))
            batches.fit(plainly)
            self._n_plain = batches.batch_size
            if not self._is_told:
                self._is_told = True
                _tell_rounding(model, X, found[0])
        return found[0]


def _plain_outputs(model: TargetsModel, X: torch.Tensor, positions: range | list[int], n_at_once: int) -> torch.Tensor:
    """Score each base at some positions, (T, 4, L), by a whole forward pass for each."""
    outputs = model(X)[0][:, None, None].repeat(1, *X.shape[1:])  # right for the base that is there
    wanted = torch.zeros_like(X[0], dtype=torch.bool)
    wanted[:, list(positions)] = True
    base, position = torch.nonzero(wanted & (X[0] == 0), as_tuple=True)
    for first in range(0, len(base), n_at_once):
        b, p = base[first : first + n_at_once], position[first : first + n_at_once]
        mutated = X.repeat(len(b), 1, 1)  # (n, 4, L)
        row = torch.arange(len(b), device=X.device)
        mutated[row, :, p] = 0
        mutated[row, b, p] = 1
        outputs[:, b, p] = model(mutated).T
        tell_progress(len(b))
    return outputs


def _precise_outputs(model: TargetsModel, X: torch.Tensor, positions: range, n_at_once: int) -> torch.Tensor:
    """Score as `_plain_outputs` does, long sums in float64 where the model has any and can go on with them."""
    known, key = facts_about_targets(model), ("long sums", type(model), X.shape[1:], X.dtype, str(X.device))
    if key not in known:
        try:
            with LongSums() as sums:
                model(X)
            known[key] = sums.n_seen > 0 and sums.n_operations <= MOST_OPERATIONS  # looking at each takes time
        except RuntimeError as error:  # of an operation that is made for float32 alone
            if is_out_of_memory(error):
                raise
            known[key] = False
    with LongSums() if known[key] else contextlib.nullcontext():
        return _plain_outputs(model, X, positions, n_at_once)


def _tell_rounding(model: TargetsModel, X: torch.Tensor, outputs: torch.Tensor) -> None:
    """Warn where the effects that whole passes found are off by more than 1 % of the largest."""
    known, key = facts_about_targets(model), ("rounding", type(model), X.shape[1:], X.dtype, str(X.device))
    if key not in known:
        known[key] = rounding_error(model, X, outputs, lambda f, X, at: _plain_outputs(f, X, at, N_WINDOWS))
    if (known[key] or 0) > MAX_ERROR:
        logger.warning(
            "ism: float32 rounds off up to %.1f %% of the largest effect, as float64 shows; give the model in "
            "float64, by module.double()",
            100 * known[key],
        )


def _confirmed_mutator(model: TargetsModel, X: torch.Tensor, n_windows: int, n_at_once: int) -> Mutator | None:
    """Make a mutator that agrees with the model on a few mutants; None, and a line in the log, if there is none."""
    known, key = facts_about_targets(model), ("ism", type(model), X.shape[1:], X.dtype, str(X.device))
    mutator = None
    try:
        with torch.no_grad():
            if key not in known:
                known[key] = "" if is_worth_tracing(model, X) else "they are faster for this model"
            if known[key] == "" or known[key] is CONFIRMED:
                mutator = Mutator(model, X, n_windows, n_at_once)
            if mutator is not None and known[key] is not CONFIRMED:
                is_slower = mutator.saving < MIN_SAVING
                reason = "they are as fast for this model" if is_slower else _disagreement(mutator, model, X)
                known[key] = reason or CONFIRMED
    except Exception as error:  # whatever a saving trips over must not stop a model from being explained
        if is_out_of_memory(error):
            raise
        known[key] = first_line(error)
    if known[key] is CONFIRMED:
        return mutator
    logger.info("ism: whole forward passes for each substitution, because %s", known[key])
    return None


def _disagreement(mutator: Mutator, model: TargetsModel, X: torch.Tensor) -> str:
    """Say what is wrong with a mutator's outputs at the ends and in the middle of a window; empty if nothing is.

    Whole passes are most of what a first call on a short span takes, so one base is put at each position: what has to
    be right is which results it changes, the same for all bases.
    """
    length = X.shape[2]
    positions = np.array(sorted({0, length // 2, length - 1}))
    bases = np.take_along_axis(substitutes(X), np.arange(length)[:, None] % 3, axis=1)  # (L, 1)
    window = mutator.window(X)
    ours = mutator(X, positions, bases, window)[:, bases[positions, 0], positions]  # (T, P)
    mutator.held.append((X, window))
    mutants = X.repeat(len(positions), 1, 1)
    for mutant, position in zip(mutants, positions, strict=True):
        mutant[:, position] = torch.eye(4, dtype=X.dtype, device=X.device)[bases[position, 0]]
    theirs = torch.cat([model(mutant[None]) for mutant in mutants]).T
    effect = (theirs - window.output.T).abs().amax()
    allowed = MAX_ERROR * effect + _rounding(mutator, X) * theirs.abs().amax()
    error = (ours - theirs).abs().amax()
    return (
        ""
        if error <= allowed
        else f"computing only the changed positions gives outputs that are off by {float(error):.2g}"
    )


def _rounding(mutator: Mutator, X: torch.Tensor) -> float:
    if not mutator.dtypes <= ROUNDING.keys() or X.device.type == "cuda":
        return LOW_ROUNDING
    return max(ROUNDING[dtype] for dtype in mutator.dtypes)
