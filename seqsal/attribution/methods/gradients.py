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
from seqsal.attribution.methods.base import Model, Scores, SharedForward, TargetsModel, check_prediction, sum_over_bases
from seqsal.errors import ModelError

__all__ = ["GradientXInput", "Saliency", "corrected", "gradient_x_input", "input_gradient", "saliency"]


def input_gradient(f: Model, X: torch.Tensor, *, create_graph: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Return f(X) and ∂f/∂X from one forward pass.

    The gradient of the sum over the batch is each window's own gradient as long as windows do not influence each other,
    which a model in evaluation mode guarantees.

    Parameters
    ----------
    f
        (N, 4, L) → (N,), or (N, T) for T targets.
    X
        (N, 4, L).
    create_graph
        Keep the graph of both results, so that they can be differentiated by the parameters of `f`, and by `X` where it
        requires a gradient.

    Returns
    -------
    tuple of Tensor
        (N,) and (N, 4, L); or (N, T) and (N, T, 4, L).

    Raises
    ------
    ModelError
        The output has the wrong shape, or does not depend differentiably on the input.

    Examples
    --------
    >>> X = torch.eye(4)[None]
    >>> prediction, gradient = input_gradient(lambda X: (X**2).sum((1, 2)), X)
    >>> prediction, bool((gradient == 2 * X).all())
    (tensor([4.]), True)
    """
    if not (create_graph and X.requires_grad):
        X = X.detach().requires_grad_()
    plain = create_graph or is_compiled(getattr(f, "single", (f,))[0])
    with torch.enable_grad():
        with contextlib.nullcontext() if plain else fast_backward(X.device):
            prediction = f(X)
        if prediction.ndim != 2 or len(prediction) != len(X):
            check_prediction(prediction, len(X))
        if prediction.grad_fn is None:
            raise ModelError(
                "model: the output is cut off from the input's gradient (detach, argmax, rounding or no_grad inside); "
                "use a method without gradients such as ism"
            )
        columns = prediction.reshape(len(X), -1).unbind(dim=1)
        gradients = [
            _gradient(column, X, create_graph=create_graph, keep_graph=t + 1 < len(columns))
            for t, column in enumerate(columns)
        ]
    gradient = gradients[0] if prediction.ndim == 1 else _stacked(gradients)
    return (prediction if create_graph else prediction.detach()), gradient


def _gradient(column: torch.Tensor, X: torch.Tensor, *, create_graph: bool, keep_graph: bool) -> torch.Tensor:
    gradient: torch.Tensor | None
    (gradient,) = torch.autograd.grad(
        column.sum(), X, allow_unused=True, retain_graph=keep_graph or create_graph, create_graph=create_graph
    )
    if gradient is None:
        raise ModelError("model: the output does not depend on the sequence; check that the right input is attributed")
    return gradient


def _stacked(gradients: list[torch.Tensor]) -> torch.Tensor:
    """T times (N, 4, L) → (N, T, 4, L), each of them contiguous, and a single one not copied."""
    return torch.stack(gradients).transpose(0, 1) if len(gradients) > 1 else gradients[0].unsqueeze(1)


def corrected(gradient: torch.Tensor) -> torch.Tensor:
    """Remove what a gradient (…, 4, L) has in common at the four bases: g[b, l] − ¼ Σ_c g[c, l]."""
    return gradient - sum_over_bases(gradient) / 4


def gradient_x_input(
    f: Model, X: torch.Tensor, *, gradient_correction: bool = True, create_graph: bool = False
) -> Scores:
    """Gradient times input (Shrikumar et al. 2016, arXiv:1605.01713): h = g, so that the track is Σ_b g · X.

    Parameters
    ----------
    f
        (N, 4, L) → (N,), or (N, T) for T targets, in evaluation mode.
    X
        One-hot windows (N, 4, L).
    gradient_correction
        Subtract the mean over the four bases from the gradient first (Majdandzic et al. 2023,
        doi:10.1186/s13059-023-02956-3).
    create_graph
        Keep the graph, so that a loss can be built on the scores and differentiated by the parameters of `f`. On CUDA
        cuDNN's recurrent layers have no second derivative; turn cuDNN off around them.

    Returns
    -------
    Scores
        `hypothetical` (N, 4, L), or (N, T, 4, L).

    Raises
    ------
    ModelError
        The output has the wrong shape, or does not depend differentiably on the input.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 6, 1), torch.nn.Flatten(0))
    >>> X = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 3, 3, 0]]), 4).mT.float()
    >>> scores = gradient_x_input(model, X, create_graph=True)
    >>> scores.track(X).shape
    torch.Size([1, 6])
    >>> loss = (scores.prediction - 1).square().mean() + 0.1 * scores.track(X)[:, :2].abs().mean()
    >>> loss.backward()  # a map that is to be small at the first two bases
    >>> model[1].weight.grad.shape
    torch.Size([1, 24])
    """
    prediction, gradient = input_gradient(f, X, create_graph=create_graph)
    return Scores(prediction, corrected(gradient) if gradient_correction else gradient)


def saliency(f: Model, X: torch.Tensor, *, gradient_correction: bool = True, create_graph: bool = False) -> Scores:
    """Magnitude of the gradient, h = |g| (Simonyan, Vedaldi and Zisserman 2013, arXiv:1312.6034).

    Parameters, results and errors are those of :func:`gradient_x_input`.

    Examples
    --------
    >>> X = torch.eye(4)[None]
    >>> saliency(lambda X: -3 * X[:, 0].sum(1), X, gradient_correction=False).hypothetical[0, :, 0]
    tensor([3., 0., 0., 0.])
    """
    scores = gradient_x_input(f, X, gradient_correction=gradient_correction, create_graph=create_graph)
    return scores._replace(hypothetical=scores.hypothetical.abs())


class GradientXInput(SharedForward):
    """Gradient times input; see :func:`gradient_x_input`, whose options these are."""

    name = "gradient_x_input"
    can_compile = True

    def __init__(self, *, gradient_correction: bool = True) -> None:
        self.gradient_correction = gradient_correction

    def score(self, f: TargetsModel, X: torch.Tensor) -> Scores:
        """Score one batch; see :meth:`SharedForward.score`."""
        return gradient_x_input(f, X, gradient_correction=self.gradient_correction)

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Whether the gradient was corrected."""
        return {"gradient_correction": self.gradient_correction}


class Saliency(GradientXInput):
    """Magnitude of the gradient: how much a base matters, not in which direction; see :func:`saliency`."""

    name = "saliency"
    signed = False

    def score(self, f: TargetsModel, X: torch.Tensor) -> Scores:
        """Score one batch; see :meth:`SharedForward.score`."""
        return saliency(f, X, gradient_correction=self.gradient_correction)
