"""Methods that need one backward pass: `saliency` and `gradient_x_input`.

With g = ∂f/∂X of shape (N, 4, L):

* `saliency` is |g| (Simonyan, Vedaldi and Zisserman 2013, arXiv:1312.6034);
* `gradient_x_input` is g · X (Shrikumar et al. 2016, arXiv:1605.01713).

*Gradient correction* (Majdandzic, Rajesh and Koo, Genome Biology 2023, doi:10.1186/s13059-023-02956-3): one-hot DNA
lives on a simplex, Σ_b X[b, l] = 1, so the component of g that is common to the four bases of a position points where
no sequence can go, and training leaves it arbitrary. It is removed by g[b, l] ← g[b, l] − ¼ Σ_c g[c, l]. For a linear
model Σ w · X the corrected track is w − mean(w) at the base that is there.

Several targets share one forward pass, and have one backward pass each.
"""

from __future__ import annotations

import contextlib

import torch

from seqsal.attribution.compute import fast_backward, is_compiled
from seqsal.attribution.methods.base import ScalarModel, Scores, TargetsModel
from seqsal.attribution.targets import OneTarget, SharedForward
from seqsal.errors import ModelError

__all__ = ["GradientXInput", "Saliency", "input_gradient", "input_gradients"]


def input_gradients(model: TargetsModel, X: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return f(X) of T targets, (N, T), and ∂f/∂X of each, T times (N, 4, L), from one forward pass.

    The gradient of the sum over the batch is each window's own gradient as long as windows do not influence each other,
    which a model in evaluation mode guarantees.

    Raises
    ------
    ModelError
        The output has the wrong shape, or does not depend differentiably on the input.
    """
    X = X.detach().requires_grad_()
    with torch.enable_grad():
        with contextlib.nullcontext() if is_compiled(model.single[0]) else fast_backward(X.device):
            predictions = model(X)
        if predictions.grad_fn is None:
            raise ModelError(
                "model: the output is cut off from the input's gradient (detach, argmax, rounding or no_grad inside); "
                "use a method without gradients such as ism"
            )
        n_targets = predictions.shape[1]
        gradients = [_gradient(predictions[:, t], X, keep_graph=t + 1 < n_targets) for t in range(n_targets)]
    return predictions.detach(), gradients


def input_gradient(model: ScalarModel, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return f(X), (N,), and ∂f/∂X, (N, 4, L): :func:`input_gradients` for a single target."""
    predictions, (gradient,) = input_gradients(OneTarget(model), X)
    return predictions[:, 0], gradient


def _gradient(prediction: torch.Tensor, X: torch.Tensor, *, keep_graph: bool) -> torch.Tensor:
    gradient: torch.Tensor | None
    (gradient,) = torch.autograd.grad(prediction.sum(), X, allow_unused=True, retain_graph=keep_graph)
    if gradient is None:
        raise ModelError("model: the output does not depend on the sequence; check that the right input is attributed")
    return gradient


class GradientXInput(SharedForward):
    """Gradient times input: g · X, with the gradient correction unless told otherwise.

    Parameters
    ----------
    gradient_correction
        Subtract the mean over the four bases from the gradient first.
    """

    name = "gradient_x_input"
    can_compile = True

    def __init__(self, *, gradient_correction: bool = True) -> None:
        self.gradient_correction = gradient_correction

    def attribute_targets(self, model: TargetsModel, X: torch.Tensor) -> list[Scores]:
        """Score one batch; see :meth:`Method.attribute_targets`."""
        predictions, gradients = input_gradients(model, X)
        return [
            Scores(prediction, self._score(gradient))
            for prediction, gradient in zip(predictions.unbind(dim=1), gradients, strict=True)
        ]

    def _score(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient - gradient.mean(dim=1, keepdim=True) if self.gradient_correction else gradient

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Whether the gradient was corrected."""
        return {"gradient_correction": self.gradient_correction}


class Saliency(GradientXInput):
    """Magnitude of the gradient, |g|: how much a base matters, not in which direction."""

    name = "saliency"
    signed = False

    def _score(self, gradient: torch.Tensor) -> torch.Tensor:
        return super()._score(gradient).abs()
