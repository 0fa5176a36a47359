"""Methods that need one backward pass: `saliency` and `gradient_x_input`.

With g = ∂f/∂X of shape (N, 4, L):

* `saliency` is |g| (Simonyan, Vedaldi and Zisserman 2013, arXiv:1312.6034);
* `gradient_x_input` is g · X (Shrikumar et al. 2016, arXiv:1605.01713).

*Gradient correction* (Majdandzic, Rajesh and Koo, Genome Biology 2023, doi:10.1186/s13059-023-02956-3): one-hot DNA
lives on a simplex, Σ_b X[b, l] = 1, so the component of g that is common to the four bases of a position points where
no sequence can go, and training leaves it arbitrary. It is removed by g[b, l] ← g[b, l] − ¼ Σ_c g[c, l]. For a linear
model Σ w · X the corrected track is w − mean(w) at the base that is there.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.base import Method, ScalarModel, Scores, check_prediction
from seqsal.errors import ModelError

__all__ = ["GradientXInput", "Saliency", "input_gradient"]


def input_gradient(model: ScalarModel, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return f(X), (N,), and ∂f/∂X, (N, 4, L).

    The gradient of the sum over the batch is each window's own gradient as long as windows do not influence each other,
    which a model in evaluation mode guarantees.

    Raises
    ------
    ModelError
        The output has the wrong shape, or does not depend differentiably on the input.
    """
    X = X.detach().requires_grad_()
    with torch.enable_grad():
        prediction = model(X)
        check_prediction(prediction, len(X))
        if prediction.grad_fn is None:
            raise ModelError(
                "model: the output is cut off from the input's gradient (detach, argmax, rounding or no_grad inside); "
                "use a method without gradients such as ism"
            )
        (gradient,) = torch.autograd.grad(prediction.sum(), X, allow_unused=True)
    if gradient is None:
        raise ModelError("model: the output does not depend on the sequence; check that the right input is attributed")
    return prediction.detach(), gradient


class GradientXInput(Method):
    """Gradient times input: g · X, with the gradient correction unless told otherwise.

    Parameters
    ----------
    gradient_correction
        Subtract the mean over the four bases from the gradient first.
    """

    name = "gradient_x_input"

    def __init__(self, *, gradient_correction: bool = True) -> None:
        self.gradient_correction = gradient_correction

    def attribute(self, model: ScalarModel, X: torch.Tensor, rows: NDArray[np.int64]) -> Scores:
        """Score one batch; see :meth:`Method.attribute`."""
        prediction, gradient = input_gradient(model, X)
        if self.gradient_correction:
            gradient = gradient - gradient.mean(dim=1, keepdim=True)
        return Scores(prediction, gradient)

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Whether the gradient was corrected."""
        return {"gradient_correction": self.gradient_correction}


class Saliency(GradientXInput):
    """Magnitude of the gradient, |g|: how much a base matters, not in which direction."""

    name = "saliency"
    signed = False

    def attribute(self, model: ScalarModel, X: torch.Tensor, rows: NDArray[np.int64]) -> Scores:
        """Score one batch; see :meth:`Method.attribute`."""
        prediction, gradient, _ = super().attribute(model, X, rows)
        return Scores(prediction, gradient.abs())
