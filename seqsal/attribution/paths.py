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
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.base import Method, ScalarModel, Scores, project
from seqsal.attribution.gradients import input_gradient
from seqsal.errors import MethodError
from seqsal.sequence.codes import codes_from_one_hot
from seqsal.sequence.shuffle import dinucleotide_shuffle
from seqsal.sequence.tensors import one_hot_tensor

__all__ = ["ExpectedGradients", "IntegratedGradients", "SmoothGrad", "completeness_error", "shuffled_reference"]

BASELINES = ("uniform", "zero", "shuffle")
Rows = NDArray[np.int64]


def shuffled_reference(X: torch.Tensor, rows: Rows, seed: int, draw: int) -> torch.Tensor:
    """Shuffle each window (N, 4, L), its dinucleotides kept; depends on (seed, row, draw) and the window alone."""
    codes = codes_from_one_hot(X.cpu().numpy())
    shuffled = dinucleotide_shuffle(codes, seed=seed, rows=rows, draw=draw)
    return one_hot_tensor(torch.from_numpy(shuffled).to(X.device), X.dtype)


def completeness_error(total: torch.Tensor, difference: torch.Tensor) -> torch.Tensor:
    """|Σ track − (f(X) − f(R))| relative to |f(X) − f(R)|, all (N,)."""
    tiny = torch.finfo(difference.dtype).tiny
    return (total - difference).abs() / difference.abs().clamp_min(tiny)


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise MethodError(f"{name}: got {value}, expected a whole number above 0")


class SmoothGrad(Method):
    """Gradient averaged over noisy copies of the input.

    Parameters
    ----------
    n_samples
        Copies.
    noise
        σ, in units of the one-hot input; unknown bases stay unknown.
    gradient_correction
        As in `gradient_x_input`.
    seed
        Of the noise.
    """

    name = "smoothgrad"

    def __init__(
        self, *, n_samples: int = 20, noise: float = 0.15, gradient_correction: bool = True, seed: int = 0
    ) -> None:
        _check_count("n_samples", n_samples)
        if noise < 0:
            raise MethodError(f"noise: got {noise}, expected 0 or more")
        self.n_samples, self.noise = n_samples, noise
        self.gradient_correction, self.seed = gradient_correction, seed

    def attribute(self, model: ScalarModel, X: torch.Tensor, rows: Rows) -> Scores:
        """Score one batch; see :meth:`Method.attribute`."""
        mean = torch.zeros_like(X)
        for sample in range(self.n_samples):
            mean += input_gradient(model, X + self._noise(X, rows, sample))[1] / self.n_samples
        if self.gradient_correction:
            mean = mean - mean.mean(dim=1, keepdim=True)
        with torch.no_grad():
            return Scores(model(X), mean)

    def _noise(self, X: torch.Tensor, rows: Rows, sample: int) -> torch.Tensor:
        draws = [
            np.random.default_rng([self.seed, int(row), sample]).standard_normal(X.shape[1:], np.float32)
            for row in rows
        ]
        known = X.sum(dim=1, keepdim=True)
        return self.noise * known * torch.from_numpy(np.stack(draws)).to(X)

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Samples, noise, and whether the gradient was corrected."""
        return {
            "n_samples": self.n_samples,
            "noise": self.noise,
            "gradient_correction": self.gradient_correction,
        }


class IntegratedGradients(Method):
    """Gradient integrated on the straight line from a reference.

    Parameters
    ----------
    n_steps
        Points of the quadrature.
    baseline
        The reference: `uniform` (every base ¼), `zero`, or `shuffle` (one dinucleotide shuffle of the window).
    seed
        Of the shuffle.
    """

    name = "integrated_gradients"
    sums_to_difference = True
    cure = "raise n_steps"

    def __init__(self, *, n_steps: int = 50, baseline: str = "uniform", seed: int = 0) -> None:
        _check_count("n_steps", n_steps)
        if baseline not in BASELINES:
            raise MethodError(f"baseline: got {baseline!r}, expected one of {', '.join(BASELINES)}")
        self.n_steps, self.baseline, self.seed = n_steps, baseline, seed

    def attribute(self, model: ScalarModel, X: torch.Tensor, rows: Rows) -> Scores:
        """Score one batch; see :meth:`Method.attribute`."""
        reference = self._reference(X, rows)
        mean = torch.zeros_like(X)
        nodes, weights = np.polynomial.legendre.leggauss(self.n_steps)
        for alpha, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            mean += float(weight) * input_gradient(model, reference + float(alpha) * (X - reference))[1]
        hypothetical = _relative_to(mean, reference)
        with torch.no_grad():
            prediction = model(X)
            difference = prediction - model(reference)
        total = project(hypothetical, X).sum(1)
        return Scores(prediction, hypothetical, completeness_error(total, difference))

    def _reference(self, X: torch.Tensor, rows: Rows) -> torch.Tensor:
        if self.baseline == "shuffle":
            return shuffled_reference(X, rows, self.seed, draw=0)
        known = X.sum(dim=1, keepdim=True)
        return torch.zeros_like(X) + (0.25 * known if self.baseline == "uniform" else 0.0)

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Steps and baseline."""
        return {"n_steps": self.n_steps, "baseline": self.baseline}


class ExpectedGradients(Method):
    """Gradient averaged over lines from many shuffles of the window.

    Parameters
    ----------
    n_references
        Dinucleotide shuffles, one gradient each.
    seed
        Of the shuffles and of the places on the lines.
    """

    name = "expected_gradients"
    sums_to_difference = True
    cure = "raise n_references (the error falls with their square root), or use integrated_gradients"

    def __init__(self, *, n_references: int = 50, seed: int = 0) -> None:
        _check_count("n_references", n_references)
        self.n_references, self.seed = n_references, seed

    def attribute(self, model: ScalarModel, X: torch.Tensor, rows: Rows) -> Scores:
        """Score one batch; see :meth:`Method.attribute`."""
        hypothetical, baseline = torch.zeros_like(X), torch.zeros(len(X), dtype=X.dtype, device=X.device)
        for reference, alpha in self._draws(X, rows):
            gradient = input_gradient(model, reference + alpha * (X - reference))[1]
            hypothetical += _relative_to(gradient, reference) / self.n_references
            with torch.no_grad():
                baseline += model(reference) / self.n_references
        with torch.no_grad():
            prediction = model(X)
        total = project(hypothetical, X).sum(1)
        return Scores(prediction, hypothetical, completeness_error(total, prediction - baseline))

    def _draws(self, X: torch.Tensor, rows: Rows) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield references (N, 4, L) with their places on the line (N, 1, 1)."""
        places = np.stack([self._places(int(row)) for row in rows])  # (N, n_references)
        for draw in range(self.n_references):
            alpha = torch.from_numpy(places[:, draw]).to(X)[:, None, None]
            yield shuffled_reference(X, rows, self.seed, draw), alpha

    def _places(self, row: int) -> NDArray[np.float64]:
        generator = np.random.default_rng([self.seed, row])
        strata = (np.arange(self.n_references) + generator.random(self.n_references)) / self.n_references
        return generator.permutation(strata)

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Number of references."""
        return {"n_references": self.n_references}


def _relative_to(gradient: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """h[b, l] = g[b, l] − Σ_c R[c, l] g[c, l]; all (N, 4, L)."""
    return gradient - (reference * gradient).sum(dim=1, keepdim=True)
