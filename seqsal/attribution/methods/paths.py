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

from seqsal.attribution.compute import made_ahead
from seqsal.attribution.methods.base import Scores, TargetsModel, project
from seqsal.attribution.methods.gradients import input_gradients
from seqsal.attribution.targets import SharedForward
from seqsal.errors import MethodError
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number, generators
from seqsal.sequence.tensors import nearest_codes, one_hot_tensor

__all__ = ["ExpectedGradients", "IntegratedGradients", "SmoothGrad", "completeness_error", "shuffled_references"]

SHUFFLED_BP = 1 << 19  # bases shuffled together
ROUNDING = 32  # a network adds up many numbers, each rounded
BASELINES = ("uniform", "zero", "shuffle")


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


def completeness_error(total: torch.Tensor, prediction: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    """|Σ track − (f(X) − f(R))| relative to |f(X) − f(R)|, beyond what rounding explains.

    Parameters
    ----------
    total, prediction, baseline
        Σ track, f(X) and f(R), each (N,). Of the miss, `ROUNDING` times |f(X)| + |f(R)| in units of the last place is
        left out: where f(X) and f(R) are nearly the same large number, their difference is known no better.
    """
    limits, difference = torch.finfo(total.dtype), prediction - baseline
    rounding = ROUNDING * limits.eps * (prediction.abs() + baseline.abs())
    return ((total - difference).abs() - rounding).clamp_min(0) / difference.abs().clamp_min(limits.tiny)


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise MethodError(f"{name}: got {value}, expected a whole number above 0")


class SmoothGrad(SharedForward):
    """Gradient averaged over noisy copies of the input.

    Parameters
    ----------
    n_samples
        Copies.
    noise
        σ, in units of the one-hot input; unknown bases stay unknown.
    gradient_correction
        As in `gradient_x_input`.
    seed, draw
        Of the noise; another draw, other noise.
    """

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
        _check_count("n_samples", n_samples)
        if noise < 0:
            raise MethodError(f"noise: got {noise}, expected 0 or more")
        self.n_samples, self.noise = n_samples, noise
        self.gradient_correction, self.seed, self.draw = gradient_correction, seed, draw

    def n_passes(self, length: int) -> int:
        """One for each gradient; see :meth:`Method.n_passes`."""
        return self.n_samples

    def attribute_targets(self, model: TargetsModel, X: torch.Tensor) -> list[Scores]:
        """Score one batch; see :meth:`Method.attribute_targets`."""
        means = [torch.zeros_like(X) for _ in model.single]
        known = X.sum(dim=1, keepdim=True)
        for noise in made_ahead(self._noises(X), X.device):
            _, gradients = input_gradients(model, X + known * noise)
            for mean, gradient in zip(means, gradients, strict=True):
                mean += gradient / self.n_samples
        if self.gradient_correction:
            means = [mean - mean.mean(dim=1, keepdim=True) for mean in means]
        with torch.no_grad():
            return list(map(Scores, model(X).unbind(dim=1), means))

    def _noises(self, X: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the noise (N, 4, L) of each sample, which depends on (seed, bases, draw, number of the sample)."""
        codes = nearest_codes(X)
        for number in draw_number("noise", np.arange(self.n_samples), self.draw).tolist():
            own = generators(codes, seed=self.seed, number=number)
            draws = np.stack([generator.standard_normal(X.shape[1:], np.float32) for generator in own])
            yield self.noise * torch.from_numpy(draws).to(X)

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Samples, noise, and whether the gradient was corrected."""
        return {
            "n_samples": self.n_samples,
            "noise": self.noise,
            "gradient_correction": self.gradient_correction,
        }


class IntegratedGradients(SharedForward):
    """Gradient integrated on the straight line from a reference.

    Parameters
    ----------
    n_steps
        Points of the quadrature.
    baseline
        The reference: `uniform` (every base ¼), `zero`, or `shuffle` (one dinucleotide shuffle of the window).
    seed, draw
        Of the shuffle; another draw, another shuffle.
    """

    name = "integrated_gradients"
    can_compile = True
    sums_to_difference = True
    cure = "raise n_steps"

    def __init__(self, *, n_steps: int = 50, baseline: str = "uniform", seed: int = 0, draw: int = 0) -> None:
        _check_count("n_steps", n_steps)
        if baseline not in BASELINES:
            raise MethodError(f"baseline: got {baseline!r}, expected one of {', '.join(BASELINES)}")
        self.n_steps, self.baseline, self.seed, self.draw = n_steps, baseline, seed, draw

    def n_passes(self, length: int) -> int:
        """One for each gradient; see :meth:`Method.n_passes`."""
        return self.n_steps

    def attribute_targets(self, model: TargetsModel, X: torch.Tensor) -> list[Scores]:
        """Score one batch; see :meth:`Method.attribute_targets`."""
        reference = self._reference(X)
        means = [torch.zeros_like(X) for _ in model.single]
        nodes, weights = np.polynomial.legendre.leggauss(self.n_steps)
        for alpha, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            _, gradients = input_gradients(model, reference + float(alpha) * (X - reference))
            for mean, gradient in zip(means, gradients, strict=True):
                mean += float(weight) * gradient
        with torch.no_grad():
            predictions, baselines = model(X), model(reference)
        return _path_scores(X, predictions, baselines, [_relative_to(mean, reference) for mean in means])

    def _reference(self, X: torch.Tensor) -> torch.Tensor:
        if self.baseline == "shuffle":
            return next(shuffled_references(X, 1, seed=self.seed, draw=self.draw))
        known = X.sum(dim=1, keepdim=True)
        return torch.zeros_like(X) + (0.25 * known if self.baseline == "uniform" else 0.0)

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Steps and baseline."""
        return {"n_steps": self.n_steps, "baseline": self.baseline}


class ExpectedGradients(SharedForward):
    """Gradient averaged over lines from many shuffles of the window.

    Parameters
    ----------
    n_references
        Dinucleotide shuffles, one gradient each.
    seed, draw
        Of the shuffles and of the places on the lines; another draw, others.
    """

    name = "expected_gradients"
    can_compile = True
    sums_to_difference = True
    cure = "raise n_references (the error falls with their square root), or use integrated_gradients"

    def __init__(self, *, n_references: int = 50, seed: int = 0, draw: int = 0) -> None:
        _check_count("n_references", n_references)
        self.n_references, self.seed, self.draw = n_references, seed, draw

    def n_passes(self, length: int) -> int:
        """One for each gradient and each reference; see :meth:`Method.n_passes`."""
        return 2 * self.n_references

    def attribute_targets(self, model: TargetsModel, X: torch.Tensor) -> list[Scores]:
        """Score one batch; see :meth:`Method.attribute_targets`."""
        hypothetical = [torch.zeros_like(X) for _ in model.single]
        baselines = torch.zeros(len(X), len(hypothetical), dtype=X.dtype, device=X.device)
        for reference, alpha in made_ahead(self._draws(X), X.device):
            _, gradients = input_gradients(model, reference + alpha * (X - reference))
            for mean, gradient in zip(hypothetical, gradients, strict=True):
                mean += _relative_to(gradient, reference) / self.n_references
            with torch.no_grad():
                baselines += model(reference) / self.n_references
        with torch.no_grad():
            predictions = model(X)
        return _path_scores(X, predictions, baselines, hypothetical)

    def _draws(self, X: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield references (N, 4, L) with their places on the line (N, 1, 1)."""
        number = int(draw_number("references", 0, self.draw))
        own = generators(nearest_codes(X), seed=self.seed, number=number)
        places = np.stack([self._places(generator) for generator in own])  # (N, n_references)
        references = shuffled_references(X, self.n_references, seed=self.seed, draw=self.draw)
        for place, reference in zip(places.T, references, strict=True):
            yield reference, torch.from_numpy(place.copy()).to(X)[:, None, None]

    def _places(self, generator: np.random.Generator) -> NDArray[np.float64]:
        strata = (np.arange(self.n_references) + generator.random(self.n_references)) / self.n_references
        return generator.permutation(strata)

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Number of references."""
        return {"n_references": self.n_references}


def _relative_to(gradient: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """h[b, l] = g[b, l] − Σ_c R[c, l] g[c, l]; all (N, 4, L)."""
    return gradient - (reference * gradient).sum(dim=1, keepdim=True)


def _path_scores(
    X: torch.Tensor, predictions: torch.Tensor, baselines: torch.Tensor, hypothetical: list[torch.Tensor]
) -> list[Scores]:
    """Scores of each target from f(X) and f(R), both (N, T), with how far each track's sum is off."""
    errors = [
        completeness_error(project(scores, X).sum(1), predictions[:, target], baselines[:, target])
        for target, scores in enumerate(hypothetical)
    ]
    return list(map(Scores, predictions.unbind(dim=1), hypothetical, errors))
