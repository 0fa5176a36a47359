"""DeepLIFT with dinucleotide-shuffled references: `deeplift_shap`.

For a sequence X and references R, the multipliers m of :mod:`seqsal.attribution.deeplift.rules` satisfy Σ m (X − R) =
f(X) − f(R). The hypothetical contribution of base b at position l is what that base would contribute with the same
multipliers, h[b, l] = m[b, l] − Σ_c R[c, l] m[c, l], and everything is averaged over the references (Shrikumar,
Greenside and Kundaje 2017, arXiv:1704.02685; Lundberg and Lee 2017, arXiv:1705.07874). The track then sums to f(X)
minus the mean of f(R), up to rounding; how far it is off is measured for every window.

The rules are applied to the traced operations of a model, not to its modules, so that it does not matter how the model
was written. An operation without a rule is refused before the work starts. The sequence's own forward pass is made
once, not once a reference, unless the model merges windows with something else on one axis.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import torch

from seqsal.attribution.compute import Batches, run_op
from seqsal.attribution.deeplift.operations import NO_RULE, Args, Rule, rule_for
from seqsal.attribution.graph import Graph, Op, trace
from seqsal.attribution.methods.base import (
    MAX_COMPLETENESS_ERROR,
    Model,
    OneTarget,
    ScalarModel,
    Scores,
    SharedForward,
    TargetsModel,
    check_option,
    completeness_error,
    project,
    refuse_incomplete,
)
from seqsal.attribution.methods.paths import fixed_reference, shuffled_references
from seqsal.attribution.methods.references import GivenReferences, as_references
from seqsal.errors import MethodError
from seqsal.models.aside import lay_aside, taken_back

__all__ = ["DeepLiftShap", "blame", "deeplift_shap", "make_references"]

REFERENCES = ("shuffle", "uniform", "zero")
INSTEAD = "use ism, or integrated_gradients where the output has no jumps"


@dataclass(frozen=True)
class _Plan:
    """A model's operations with their rules, and how its passes can be shared.

    Attributes
    ----------
    graph
        The operations.
    rules
        By number; operations that are not in it keep their own derivative.
    shares
        Whether one pass of a sequence serves all of its references.
    """

    graph: Graph
    rules: dict[int, Rule]
    shares: bool

    @classmethod
    def of(cls, model: Any, X: torch.Tensor) -> _Plan:
        graph = trace(model, X)
        varying = frozenset(op.idx for op in graph.ops if op.varies)
        found = {op.idx: (op, rule_for(op, varying)) for op in graph.varying}
        missing = [op for op, rule in found.values() if rule is NO_RULE]
        if missing:
            names = ", ".join(dict.fromkeys(str(op) for op in missing))
            raise MethodError(f"deeplift_shap: has no rule for {names}; {INSTEAD}")
        ruled = {idx: rule for idx, (_, rule) in found.items() if rule is not None}
        inputs = {idx for op, rule in found.values() if rule is not None for idx in op.refs()}
        shares = all(op.windows_on_axis == 1 for op in graph.ops if op.idx in inputs and op.varies)
        return cls(graph, ruled, shares)

    def forward(self, X: torch.Tensor) -> tuple[torch.Tensor, dict[int, Args]]:
        """Run sequences (n, 4, L); return outputs and the arguments of every operation that has a rule."""
        recorded: dict[int, Args] = {}

        def note(op: Op, args: Args, kwargs: dict[str, Any]) -> Any:
            if op.idx in self.rules:
                recorded[op.idx] = lay_aside(args)
            return run_op(op.target, args, kwargs)

        with torch.no_grad():
            return self.graph.run(X, note), recorded

    def repeat(self, recorded: dict[int, Args], n_references: int) -> dict[int, Args]:
        """Give each sequence as many times as it has references; a single one is broadcast where it is used."""
        axes = {op.idx: op.batch_axis for op in self.graph.ops}
        ops = {op.idx: op for op in self.graph.ops}
        return {
            idx: tuple(
                arg.repeat_interleave(n_references, axes[ref.idx]) if _is_moving(ref, ops) else arg
                for arg, ref in zip(taken_back(args), ops[idx].args, strict=True)
            )
            for idx, args in recorded.items()
        }

    def compare(self, R: torch.Tensor, there: dict[int, Args]) -> torch.Tensor:
        """Run references, differentiable with multipliers in place of derivatives."""

        def follow(op: Op, args: Args, kwargs: dict[str, Any]) -> Any:
            rule = self.rules.get(op.idx)
            return (
                run_op(op.target, args, kwargs) if rule is None else rule(op, args, kwargs, taken_back(there[op.idx]))
            )

        return self.graph.run(R, follow)


def _is_moving(ref: Any, ops: dict[int, Op]) -> bool:
    return hasattr(ref, "idx") and ref.idx in ops and ops[ref.idx].varies


@dataclass
class _Worst:
    """The window and target whose sum is furthest off, kept to find the operation to blame."""

    error: float = MAX_COMPLETENESS_ERROR
    X: torch.Tensor | None = None
    R: torch.Tensor | None = None
    target: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def note(self, errors: torch.Tensor, X: torch.Tensor, R: torch.Tensor, target: int) -> None:
        i = int(errors.argmax())
        with self.lock:
            if float(errors[i]) > self.error:
                self.error, self.X, self.R, self.target = float(errors[i]), X[i : i + 1].clone(), R[i].clone(), target


def deeplift_shap(
    f: Model,
    X: torch.Tensor,
    *,
    n_references: int = 20,
    references: str | torch.Tensor = "shuffle",
    seed: int = 0,
    draw: int = 0,
    batch_size: int = 8,
) -> Scores:
    """Contributions by differences from references, h = mean over R of m − Σ_c R m (Lundberg and Lee 2017).

    The multipliers are those of DeepLIFT's rescale rule (Shrikumar, Greenside and Kundaje 2017, arXiv:1704.02685), for
    which Σ m (X − R) = f(X) − f(R). They are not derivatives, and cannot be differentiated in turn.

    Parameters
    ----------
    f
        (N, 4, L) → (N,), or a model of T targets, in evaluation mode.
    X
        One-hot windows (N, 4, L).
    n_references
        Dinucleotide shuffles of each window; one reference for the other kinds.
    references
        `shuffle`, `uniform` (every base ¼), `zero`, or a tensor (N, K, 4, L).
    seed, draw
        Of the shuffles; another draw, other shuffles.
    batch_size
        References at a time.

    Returns
    -------
    Scores
        `hypothetical` (N, 4, L) and `completeness_error` (N,).

    Raises
    ------
    MethodError
        An operation of the model has no rule.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 8, 1), torch.nn.ReLU(), torch.nn.Flatten(0))
    >>> X = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 1, 3, 0, 2, 0]]), 4).mT.float()
    >>> scores = deeplift_shap(model, X, references="zero")
    >>> torch.allclose(scores.track(X).sum(1), model(X) - model(0 * X), atol=1e-6)
    True
    """
    R = references if isinstance(references, torch.Tensor) else make_references(X, references, n_references, seed, draw)
    if hasattr(f, "single"):
        return _contributions(_Plan.of(f, X[:1]), X, R, batch_size)
    prediction, hypothetical, errors, _ = _contributions(_Plan.of(OneTarget(f), X[:1]), X, R, batch_size)
    assert errors is not None
    return Scores(prediction[:, 0], hypothetical[:, 0], errors[:, 0])


def make_references(X: torch.Tensor, kind: str, n_references: int, seed: int, draw: int) -> torch.Tensor:
    """Make the references of windows (N, 4, L), which depend on their bases alone: (N, n_references, 4, L)."""
    if kind == "shuffle":
        return torch.stack(list(shuffled_references(X, n_references, seed=seed, draw=draw)), dim=1)
    return fixed_reference(X, kind)[:, None]


def _contributions(plan: _Plan, X: torch.Tensor, R: torch.Tensor, batch_size: int) -> Scores:
    """Score windows (N, 4, L) by their references (N, K, 4, L): (N, T), (N, T, 4, L) and (N, T)."""
    n_references = R.shape[1]
    n_windows = max(batch_size // n_references, 1)  # that fit in a batch with their references
    found = []
    for start in range(0, len(X), n_windows):
        windows = X[start : start + n_windows]
        prediction, recorded = plan.forward(windows)
        h = windows.new_zeros(prediction.shape[1], *windows.shape)
        baseline = torch.zeros_like(prediction)

        def compute(
            first: int, stop: int, start: int = start, windows: Any = windows, recorded: Any = recorded,
            h: Any = h, baseline: Any = baseline,
        ) -> None:  # fmt: skip
            some = R[start : start + len(windows), first:stop]  # (n, k, 4, L)
            outputs, multipliers = _multipliers(plan, windows, some, recorded)
            for target, m in enumerate(multipliers):
                h[target] += (m - (some * m).sum(2, keepdim=True)).sum(1) / n_references
            baseline.add_(outputs.sum(2).T / n_references)

        Batches(max(batch_size // len(windows), 1)).run(compute, n_references)
        errors = completeness_error(project(h.transpose(0, 1), windows).sum(-1), prediction, baseline)
        found.append((prediction, h, errors))
    predictions, scores, all_errors = zip(*found, strict=True)
    return Scores(torch.cat(predictions), torch.cat(scores, dim=1).transpose(0, 1), torch.cat(all_errors))


class DeepLiftShap(SharedForward):
    """Contributions by differences from references; see :func:`deeplift_shap`, whose options these are.

    Parameters
    ----------
    n_references
        Shuffles of each window.
    references
        `shuffle`, `uniform`, `zero`; an array (K, 4, L) for all windows or (N, K, 4, L); or a FASTA or BED file.
    allow_incomplete
        Keep maps whose sum is off by more than 10 %; otherwise they are refused.
    seed, draw
        Of the shuffles.
    """

    name = "deeplift_shap"
    sums_to_difference = True

    def __init__(
        self,
        *,
        n_references: int = 20,
        references: str | GivenReferences = "shuffle",
        allow_incomplete: bool = False,
        seed: int = 0,
        draw: int = 0,
    ) -> None:
        check_option("n_references", n_references)
        self.references, self.seed, self.draw = as_references(references, REFERENCES), seed, draw
        self.n_references = getattr(
            self.references, "n_references", n_references if self.references == "shuffle" else 1
        )
        self.allow_incomplete = allow_incomplete
        self._plan: _Plan | None = None
        self._batch_size = 8
        self._worst = _Worst()

    def prepare(self, model: ScalarModel, X: torch.Tensor, batch_size: int) -> None:
        """Read the model's operations and find their rules; see :meth:`Method.prepare`."""
        self.prepare_targets(OneTarget(model), X, batch_size)

    def prepare_targets(self, model: TargetsModel, X: torch.Tensor, batch_size: int) -> None:
        """Read the model's operations and find their rules; see :meth:`Method.prepare_targets`."""
        self._plan = _Plan.of(model, X)
        # next to a reference's activations lie the sequence's; below four the time between operations counts
        self._batch_size = max(batch_size // 2, min(batch_size, 4))
        self._worst = _Worst()

    def windows_at_once(self, batch_size: int) -> int:
        """As many windows as fit in a batch with their references; see :meth:`Method.windows_at_once`."""
        return max(batch_size // self.n_references, 1)

    def n_passes(self, length: int) -> int:
        """One pass for each reference; see :meth:`Method.n_passes`."""
        return self.n_references

    def references_of(self, X: torch.Tensor) -> torch.Tensor:
        """Make the references of windows (N, 4, L): (N, n_references, 4, L)."""
        if isinstance(self.references, GivenReferences):
            return self.references.of(X)
        return make_references(X, self.references, self.n_references, self.seed, self.draw)

    def score(self, f: TargetsModel, X: torch.Tensor) -> Scores:
        """Score one batch; see :meth:`SharedForward.score`."""
        R = self.references_of(X)
        scores = _contributions(self._plan or _Plan.of(f, X[:1]), X, R, self._batch_size)
        assert scores.completeness_error is not None
        for target, errors in enumerate(scores.completeness_error.unbind(dim=1)):
            self._worst.note(errors, X, R, target)
        if not self.allow_incomplete:
            with torch.no_grad():
                refuse_incomplete(
                    self.name, f, scores, X, lambda: torch.stack([f(r).mean(0) for r in R]), lambda: self.remedy
                )
        return scores

    @property
    def remedy(self) -> str:  # type: ignore[override]
        """The operation that most of the worst window's error comes from, and what to use instead."""
        advice = f"{INSTEAD}, for such windows"
        worst = self._worst
        if self._plan is None or worst.X is None or worst.R is None:
            return advice
        op, share = blame(self._plan, worst.X, worst.R, worst.target)
        return f"in the worst of them {share:.0%} of the error arises in {op}; {advice}"

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Number and kind of the references."""
        kept = {"allow_incomplete": True} if self.allow_incomplete else {}
        return {"n_references": self.n_references, "references": str(self.references), **kept}


def _multipliers(
    plan: _Plan, X: torch.Tensor, R: torch.Tensor, recorded: dict[int, Args]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return f(R), (T, n, k), and T times the multipliers, (n, k, 4, L), of k references for each of n sequences."""
    n, k = R.shape[:2]
    if not plan.shares:
        recorded = plan.forward(X.repeat_interleave(k, 0))[1]
    elif n > 1:
        recorded = plan.repeat(recorded, k)
    flat = R.flatten(0, 1).detach().requires_grad_()
    with torch.enable_grad():
        outputs = plan.compare(flat, recorded)  # (n k, T)
        last = outputs.shape[1] - 1
        multipliers = [
            torch.autograd.grad(column.sum(), flat, retain_graph=target < last)[0].reshape(R.shape)
            for target, column in enumerate(outputs.unbind(1))
        ]
    return outputs.detach().T.reshape(-1, n, k), multipliers


def blame(plan: _Plan, X: torch.Tensor, R: torch.Tensor, target: int = 0) -> tuple[Op, float]:
    """Find the operation where most of Σ m Δ is lost or gained, and its share of all that is.

    Parameters
    ----------
    plan
        The model's operations.
    X
        One sequence, (1, 4, L).
    R
        Its references, (k, 4, L).
    target
        Which of the traced outputs.
    """
    there: dict[int, tuple[Args, torch.Tensor]] = {}
    here: dict[int, tuple[Args, torch.Tensor]] = {}

    def note(op: Op, args: Args, kwargs: dict[str, Any]) -> Any:
        result = run_op(op.target, args, kwargs)
        there[op.idx] = (args, _first(result))
        return result

    def follow(op: Op, args: Args, kwargs: dict[str, Any]) -> Any:
        args = tuple(arg.view_as(arg) if _is_smooth(arg) else arg for arg in args)  # one gradient for each use
        rule = plan.rules.get(op.idx)
        result = run_op(op.target, args, kwargs) if rule is None else rule(op, args, kwargs, there[op.idx][0])
        here[op.idx] = (args, _first(result))
        return result

    with torch.no_grad():
        plan.graph.run(X.expand_as(R).contiguous(), note)
    with torch.enable_grad():
        output = plan.graph.run(R.detach().requires_grad_(), follow)[:, target]
    ops = {op.idx: op for op in plan.graph.varying}
    lost: dict[int, float] = dict.fromkeys(ops, 0.0)
    with torch.enable_grad():
        for idx, op in ops.items():
            lost[_cut_before(op, ops, here)] += _lost(output, here[idx], there[idx])
    worst = max(lost, key=lambda idx: lost[idx])
    return ops[worst], lost[worst] / max(sum(lost.values()), 1e-300)


def _cut_before(op: Op, ops: dict[int, Op], here: dict[int, tuple[Args, torch.Tensor]]) -> int:
    """Return the operation that keeps differences from reaching one of `op`'s arguments; else its own number."""
    for idx in op.refs():
        if idx in ops and isinstance(here[idx][1], torch.Tensor) and not here[idx][1].requires_grad:
            return idx if any(_is_smooth(arg) for arg in here[idx][0]) else _cut_before(ops[idx], ops, here)
    return op.idx


def _lost(output: torch.Tensor, here: tuple[Args, torch.Tensor], there: tuple[Args, torch.Tensor]) -> float:
    """|Σ m Δ of an operation's result − Σ m Δ of its arguments|."""
    (args, result), (args_there, result_there) = here, there
    pairs = [(result, result_there)] + [(a, b) for a, b in zip(args, args_there, strict=True) if _is_smooth(a)]
    pairs = [(a, b) for a, b in pairs if _is_smooth(a)]
    grads = torch.autograd.grad(output.sum(), [a for a, _ in pairs], retain_graph=True, allow_unused=True)
    sums = [
        0.0 if grad is None else float((grad * (b - a).detach()).double().sum())
        for grad, (a, b) in zip(grads, pairs, strict=True)
    ]
    return abs(sums[0] - sum(sums[1:])) if _is_smooth(result) else 0.0


def _first(result: Any) -> Any:
    return result[0] if isinstance(result, (tuple, list)) else result


def _is_smooth(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad
