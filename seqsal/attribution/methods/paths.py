"""Methods that average gradients: around the sequence (`smoothgrad`), or on the way to it from a reference.

With g(x) = ∂f/∂X at x, of shape (N, 4, L):

* `smoothgrad`: the mean of g(X + σ ε) over standard normal ε, projected on X (Smilkov et al. 2017, arXiv:1706.03825);
  without noise it is `gradient_x_input`.
* `integrated_gradients`: (X − R) · ∫₀¹ g(R + α (X − R)) dα for one reference R (Sundararajan, Taly and Yan 2017,
  arXiv:1703.01365); the integral by Gauss–Legendre quadrature.
* `expected_gradients`: the same, averaged over references R, with one α in each of n equal parts of (0, 1), drawn at
  random (Erion et al. 2021, doi:10.1038/s42256-021-00343-w). The references are dinucleotide shuffles of the sequence.

The last two promise Σ track = f(X) − f(R), exactly for the integral; how far the sum is off is measured. On the simplex
of one-hot DNA, (X − R) · ḡ summed over bases is ḡ at the base that is there minus the reference's mean of ḡ. For every
base this gives the hypothetical scores, h[b, l] = ḡ[b, l] − Σ_c R[c, l] ḡ[c, l]. Unknown bases are unknown in the
reference too, and get 0.

*Steps.* A quadrature that misses its promised sum by more than 1 % had too few points for its window: the points
double, for these windows alone, until the sum is right, `MAX_DOUBLINGS` times at most. What a window gets depends on
itself alone. A window that goes to the end has taken 31 times the passes of one that was right at once; the integral of
a network's piecewise gradient seldom needs more than one or two doublings.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.compute import made_ahead
from seqsal.attribution.methods.base import (
    MAX_COMPLETENESS_ERROR,
    Model,
    Scores,
    SharedForward,
    TargetsModel,
    check_option,
    completeness_error,
    project,
    refuse_incomplete,
    sum_over_bases,
)
from seqsal.attribution.methods.gradients import corrected, input_gradient
from seqsal.attribution.methods.references import GivenReferences, as_references
from seqsal.errors import MethodError
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number, generators
from seqsal.sequence.tensors import nearest_codes, one_hot_tensor

__all__ = [
    "ExpectedGradients",
    "IntegratedGradients",
    "SmoothGrad",
    "expected_gradients",
    "fixed_reference",
    "integrated_gradients",
    "shuffled_references",
    "smoothgrad",
]

SHUFFLED_BP = 1 << 19  # bases shuffled together
BASELINES = ("uniform", "zero", "shuffle")
MAX_DOUBLINGS = 4  # of the steps of integrated gradients


def shuffled_references(X: torch.Tensor, n_draws: int, *, seed: int, draw: int = 0) -> Iterator[torch.Tensor]:
    """Shuffle each window of X (N, 4, L), its dinucleotides kept, `n_draws` times: yield references (N, 4, L).

    A reference depends on (seed, draw, its number) and the window's bases alone. Several of few windows are made
    together, as a shuffle takes a step for each position, whatever the number of sequences.
    """
    codes = nearest_codes(X)
    n_together = max(SHUFFLED_BP // max(codes.size, 1), 1)
    for first in range(0, n_draws, n_together):
        numbers = draw_number("references", np.arange(first, min(first + n_together, n_draws)), draw)
        tiled = np.tile(codes, (len(numbers), 1))
        shuffled = dinucleotide_shuffle(tiled, seed=seed, draw=np.repeat(numbers, len(codes)))
        for of_draw in shuffled.reshape(len(numbers), *codes.shape):
            yield one_hot_tensor(torch.from_numpy(of_draw).to(X.device), X.dtype)


def fixed_reference(X: torch.Tensor, kind: str) -> torch.Tensor:
    """Make the reference `uniform` (every base ¼) or `zero` of windows (N, 4, L); unknown bases are unknown in it."""
    known = X.sum(dim=1, keepdim=True)
    return torch.zeros_like(X) + (0.25 * known if kind == "uniform" else 0.0)


def smoothgrad(
    f: Model,
    X: torch.Tensor,
    *,
    n_samples: int = 20,
    noise: float = 0.15,
    gradient_correction: bool = True,
    seed: int = 0,
    draw: int = 0,
    create_graph: bool = False,
) -> Scores:
    """Gradient averaged over noisy copies of the input: h = mean of g(X + σ ε) (Smilkov et al. 2017, arXiv:1706.03825).

    Parameters
    ----------
    f
        (N, 4, L) → (N,), or (N, T) for T targets, in evaluation mode.
    X
        One-hot windows (N, 4, L).
    n_samples
        Copies.
    noise
        σ, in units of the one-hot input; unknown bases stay unknown.
    gradient_correction, create_graph
        As in :func:`seqsal.attribution.methods.gradient_x_input`.
    seed, draw
        Of the noise; another draw, other noise.

    Returns
    -------
    Scores
        `hypothetical` (N, 4, L), or (N, T, 4, L).

    Examples
    --------
    >>> X = torch.eye(4)[None]
    >>> scores = smoothgrad(lambda X: (X**2).sum((1, 2)), X, n_samples=5, gradient_correction=False)
    >>> bool((scores.hypothetical - 2 * X).abs().max() < 1)
    True
    """
    known = X.sum(dim=1, keepdim=True)
    total: torch.Tensor | None = None
    for epsilon in made_ahead(_noises(X, n_samples, seed, draw), X.device):
        _, gradient = input_gradient(f, X + known * (noise * epsilon), create_graph=create_graph)
        total = _plus(total, gradient / n_samples)
    assert total is not None
    with torch.set_grad_enabled(create_graph):
        return Scores(f(X), corrected(total) if gradient_correction else total)


def _noises(X: torch.Tensor, n_samples: int, seed: int, draw: int) -> Iterator[torch.Tensor]:
    """Yield standard normal noise (N, 4, L) of each sample, which depends on (seed, bases, draw, number)."""
    codes = nearest_codes(X)
    for number in draw_number("noise", np.arange(n_samples), draw).tolist():
        own = generators(codes, seed=seed, number=number)
        yield torch.from_numpy(np.stack([one.standard_normal(X.shape[1:], np.float32) for one in own])).to(X)


def integrated_gradients(
    f: Model,
    X: torch.Tensor,
    *,
    n_steps: int = 50,
    baseline: str | torch.Tensor = "uniform",
    seed: int = 0,
    draw: int = 0,
    create_graph: bool = False,
) -> Scores:
    """Gradient integrated on the straight line from a reference R: ḡ = ∫₀¹ g(R + α (X − R)) dα, h = ḡ − Σ_c R ḡ.

    The integral is a Gauss–Legendre quadrature (Sundararajan, Taly and Yan 2017, arXiv:1703.01365). Where the sum of a
    window's track misses f(X) − f(R) by more than 1 %, its steps double, four times at most.

    Parameters
    ----------
    f
        (N, 4, L) → (N,), or (N, T) for T targets, in evaluation mode.
    X
        One-hot windows (N, 4, L).
    n_steps
        Points of the quadrature, for a start.
    baseline
        The reference: `uniform` (every base ¼), `zero`, `shuffle` (one dinucleotide shuffle of the window), or a tensor
        (N, 4, L).
    seed, draw
        Of the shuffle; another draw, another shuffle.
    create_graph
        As in :func:`seqsal.attribution.methods.gradient_x_input`.

    Returns
    -------
    Scores
        `hypothetical` (N, 4, L) and `completeness_error` (N,); or (N, T, 4, L) and (N, T).

    Examples
    --------
    >>> X = torch.eye(4)[None]
    >>> scores = integrated_gradients(lambda X: (X**2).sum((1, 2)), X, baseline="zero")
    >>> round(float(scores.track(X).sum()), 4)  # f(X) - f(0)
    4.0
    """
    if isinstance(baseline, torch.Tensor):
        R = baseline
    else:
        R = _reference(X, baseline, seed, draw)
    with torch.set_grad_enabled(create_graph):
        prediction, base = f(X), f(R)
    h = _integral(f, X, R, n_steps, create_graph)
    if prediction.ndim == 1:
        h, errors = _refined(f, X, R, h, prediction, base, n_steps, create_graph)
        return Scores(prediction, h, errors)
    found = []
    for target, start in enumerate(h.unbind(dim=1)):  # each by itself: its windows are not those of the others
        ends = prediction[:, target], base[:, target]
        found.append(_refined(_Column(f, target), X, R, start, *ends, n_steps, create_graph))
    scores, all_errors = zip(*found, strict=True)
    return Scores(prediction, torch.stack(scores).transpose(0, 1), torch.stack(all_errors, dim=1))


class _Column:
    """One target of a model of several, (N, 4, L) → (N,)."""

    def __init__(self, f: Model, target: int) -> None:
        self._f, self._target = f, target
        self.single = getattr(f, "single", (f,))  # tells whether it is compiled

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        return self._f(X)[:, self._target]


def _refined(
    f: Model,
    X: torch.Tensor,
    R: torch.Tensor,
    h: torch.Tensor,
    prediction: torch.Tensor,
    base: torch.Tensor,
    n_steps: int,
    create_graph: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Double the steps of those windows whose scores h (N, 4, L) miss their sum; return h and the errors (N,)."""
    errors = completeness_error(project(h, X).sum(-1), prediction, base)
    for _ in range(MAX_DOUBLINGS):
        n_steps *= 2
        rows = torch.nonzero(errors > MAX_COMPLETENESS_ERROR)[:, 0]
        if not len(rows):
            break
        finer = _integral(f, X[rows], R[rows], n_steps, create_graph)
        again = completeness_error(project(finer, X[rows]).sum(-1), prediction[rows], base[rows])
        h, errors = h.index_copy(0, rows, finer), errors.index_copy(0, rows, again)
    return h, errors


def _reference(X: torch.Tensor, baseline: str, seed: int, draw: int) -> torch.Tensor:
    if baseline == "shuffle":
        return next(shuffled_references(X, 1, seed=seed, draw=draw))
    return fixed_reference(X, baseline)


_gauss_legendre = functools.cache(np.polynomial.legendre.leggauss)  # 800 points take longer than many a model's pass


def _integral(f: Model, X: torch.Tensor, R: torch.Tensor, n_steps: int, create_graph: bool) -> torch.Tensor:
    total: torch.Tensor | None = None
    nodes, weights = _gauss_legendre(n_steps)
    for alpha, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        _, gradient = input_gradient(f, R + float(alpha) * (X - R), create_graph=create_graph)
        total = _plus(total, float(weight) * gradient)
    assert total is not None
    return _relative_to(total, R)


def expected_gradients(
    f: Model,
    X: torch.Tensor,
    *,
    n_references: int = 50,
    references: str | torch.Tensor = "shuffle",
    seed: int = 0,
    draw: int = 0,
    create_graph: bool = False,
) -> Scores:
    """Gradient averaged over lines from many shuffles R of the window: h = mean of g(R + α (X − R)) − Σ_c R g.

    α is drawn once in each of `n_references` equal parts of (0, 1) (Erion et al. 2021, doi:10.1038/s42256-021-00343-w).

    Parameters
    ----------
    f, X, create_graph
        As for :func:`integrated_gradients`, and so are the results.
    n_references
        Dinucleotide shuffles, one gradient each.
    references
        `shuffle`, or others in their place, (N, K, 4, L).
    seed, draw
        Of the shuffles and of α; another draw, others.

    Examples
    --------
    >>> X = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 1, 3, 0, 2, 0]]), 4).mT.float()
    >>> scores = expected_gradients(lambda X: 2 * X[:, 0, 0], X, n_references=3)  # a shuffle keeps the first base
    >>> float(scores.track(X).abs().sum())
    0.0
    """
    h: torch.Tensor | None = None
    base: torch.Tensor | None = None
    given = None if isinstance(references, str) else references
    n_references = n_references if given is None else given.shape[1]
    for R, alpha in made_ahead(_lines(X, n_references, seed, draw, given), X.device):
        _, gradient = input_gradient(f, R + alpha * (X - R), create_graph=create_graph)
        h = _plus(h, _relative_to(gradient, R) / n_references)
        with torch.no_grad():
            base = _plus(base, f(R) / n_references)
    assert h is not None and base is not None
    with torch.set_grad_enabled(create_graph):
        prediction = f(X)
    return Scores(prediction, h, completeness_error(project(h, X).sum(-1), prediction, base))


def _lines(
    X: torch.Tensor, n_references: int, seed: int, draw: int, given: torch.Tensor | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield references (N, 4, L) with their α (N, 1, 1)."""
    number = int(draw_number("references", 0, draw))
    alphas = np.stack([_alphas(own, n_references) for own in generators(nearest_codes(X), seed=seed, number=number)])
    shuffled = shuffled_references(X, n_references, seed=seed, draw=draw)
    references = shuffled if given is None else given.unbind(1)
    for alpha, reference in zip(alphas.T, references, strict=True):
        yield reference, torch.from_numpy(alpha.copy()).to(X)[:, None, None]


def _alphas(generator: np.random.Generator, n: int) -> NDArray[np.float64]:
    return generator.permutation((np.arange(n) + generator.random(n)) / n)


def _plus(total: torch.Tensor | None, term: torch.Tensor) -> torch.Tensor:
    """Add in place, which no graph minds: nothing keeps a term's value."""
    return term if total is None else total.add_(term)


def _relative_to(gradient: torch.Tensor, R: torch.Tensor) -> torch.Tensor:
    """h[b, l] = g[b, l] − Σ_c R[c, l] g[c, l]; gradients (N, 4, L) or (N, T, 4, L), references (N, 4, L)."""
    if gradient.ndim == 4:
        R = R[:, None]
    return gradient - sum_over_bases(R * gradient)


class SmoothGrad(SharedForward):
    """Gradient averaged over noisy copies of the input; see :func:`smoothgrad`, whose options these are."""

    name = "smoothgrad"
    can_compile = True

    def __init__(
        self,
        *,
        n_samples: int = 20,
        noise: float = 0.15,
        gradient_correction: bool = True,
        seed: int = 0,
        draw: int = 0,
    ) -> None:
        check_option("n_samples", n_samples)
        if noise < 0:
            raise MethodError(f"noise: got {noise}, expected 0 or more")
        self.n_samples, self.noise, self.gradient_correction = n_samples, noise, gradient_correction
        self.seed, self.draw = seed, draw

    def n_passes(self, length: int) -> int:
        """One for each gradient; see :meth:`Method.n_passes`."""
        return self.n_samples

    def score(self, f: TargetsModel, X: torch.Tensor) -> Scores:
        """Score one batch; see :meth:`SharedForward.score`."""
        return smoothgrad(f, X, **self.options, seed=self.seed, draw=self.draw)  # type: ignore[arg-type]

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Samples, noise, and whether the gradient was corrected."""
        return {
            "n_samples": self.n_samples,
            "noise": self.noise,
            "gradient_correction": self.gradient_correction,
        }


class IntegratedGradients(SharedForward):
    """Gradient integrated on the straight line from a reference; see :func:`integrated_gradients`."""

    name = "integrated_gradients"
    can_compile = True
    sums_to_difference = True
    remedy = "raise n_steps or, where the output has jumps, use ism"

    def __init__(
        self,
        *,
        n_steps: int = 50,
        baseline: str = "uniform",
        allow_incomplete: bool = False,
        seed: int = 0,
        draw: int = 0,
    ) -> None:
        check_option("n_steps", n_steps)
        check_option("baseline", baseline, BASELINES)
        self.n_steps, self.baseline, self.seed, self.draw = n_steps, baseline, seed, draw
        self.allow_incomplete = allow_incomplete

    def n_passes(self, length: int) -> int:
        """One for each gradient; see :meth:`Method.n_passes`."""
        return self.n_steps

    def score(self, f: TargetsModel, X: torch.Tensor) -> Scores:
        """Score one batch; see :meth:`SharedForward.score`."""
        R = _reference(X, self.baseline, self.seed, self.draw)
        scores = integrated_gradients(f, X, n_steps=self.n_steps, baseline=R)
        if not self.allow_incomplete:
            with torch.no_grad():
                refuse_incomplete(self.name, f, scores, X, lambda: f(R), lambda: self.remedy)
        return scores

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Steps and baseline."""
        kept = {"allow_incomplete": True} if self.allow_incomplete else {}
        return {"n_steps": self.n_steps, "baseline": self.baseline, **kept}


class ExpectedGradients(SharedForward):
    """Gradient averaged over lines from many shuffles of the window; see :func:`expected_gradients`."""

    name = "expected_gradients"
    can_compile = True
    sums_to_difference = True
    remedy = "raise n_references (the error falls with their square root), or use integrated_gradients"

    def __init__(
        self,
        *,
        n_references: int = 50,
        references: str | GivenReferences = "shuffle",
        seed: int = 0,
        draw: int = 0,
    ) -> None:
        check_option("n_references", n_references)
        self.references, self.seed, self.draw = as_references(references, ("shuffle",)), seed, draw
        self.n_references = getattr(self.references, "n_references", n_references)

    def n_passes(self, length: int) -> int:
        """One for each gradient and each reference; see :meth:`Method.n_passes`."""
        return 2 * self.n_references

    def score(self, f: TargetsModel, X: torch.Tensor) -> Scores:
        """Score one batch; see :meth:`SharedForward.score`."""
        given = self.references.of(X) if isinstance(self.references, GivenReferences) else self.references
        return expected_gradients(
            f, X, n_references=self.n_references, references=given, seed=self.seed, draw=self.draw
        )

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Number of references, and what they are where they are no shuffles."""
        given = {} if self.references == "shuffle" else {"references": str(self.references)}
        return {"n_references": self.n_references, **given}
