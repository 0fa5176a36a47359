"""How finite differences pass through operations: the rules of DeepLIFT.

An operation y = g(a, b, …) is seen at two points, the sequence's and the reference's, with Δ for their difference. A
rule gives *multipliers* m with Δy = m_a Δa + m_b Δb + …, exactly; multipliers follow the chain rule (Shrikumar,
Greenside and Kundaje 2017, arXiv:1704.02685), and so the contributions m Δx of the bases sum to Δ of the output.

* linear operations: their own derivative;
* a function of one number (`relu`, `exp`, …): the *rescale* rule m = Δy / Δx, and where Δx = 0 the derivative;
* products y = a b (elementwise, matrix products, gating, attention): m_a = b̄ and m_b = ā with the mean of both points.
  This is the Shapley value of the two factors (Shapley 1953), and the only symmetric rule without a remainder;
* a maximum: let i be where it is at the sequence, and j where it is at the reference. Of the pair (i, j) each gets its
  Shapley value, m_i Δx_i = ½ [max(x_i, r_j) − r_j + x_i − max(r_i, x_j)] and the rest of Δy goes to j; both m are
  within [0, 1]. It does not matter how windows of a pooling overlap, or what their sizes are;
* softmax, layer norm and their like: written as sums, exponentials, powers and products, to which the above applies.
  A softmax is not changed by a shift, so each point's own maximum is subtracted first, by the rule of the maximum.

Every function below takes the reference's value `r`, which carries the gradient, and the sequence's value `x`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from seqsal.attribution.compute import relu_multipliers

__all__ = ["maximum_at", "normalised", "product", "quotient", "relu", "rescale", "softmax", "square", "summed_exp"]

Unary = Callable[[torch.Tensor], torch.Tensor]


class _Rescale(torch.autograd.Function):
    """g(r), whose derivative is the slope of the chord from r to x."""

    @staticmethod
    def forward(ctx: Any, r: torch.Tensor, x: torch.Tensor, function: Unary, slope: Any) -> torch.Tensor:
        ctx.save_for_backward(r, x)
        ctx.slope = slope
        return function(r)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        r, x = ctx.saved_tensors
        return ctx.slope(r, x).mul_(grads[0]), None, None, None


def rescale(function: Unary, r: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Apply a function of one number by the rescale rule; `x` has the shape of `r` or is broadcast to it."""

    def slope(r: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return _chord(function, r, x.expand_as(r))

    result: torch.Tensor = _Rescale.apply(r, x.detach(), function, slope)
    return result


def _chord(function: Unary, r: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Δy / Δx; the derivative half way where Δx is lost in rounding."""
    difference = x - r
    small = torch.finfo(r.dtype).eps ** 0.6  # there rounding costs the quotient as much as a kink costs the derivative
    near = (difference.abs() <= small * (x.abs() + r.abs())) | (x == r)  # the latter for infinities too
    slope = (function(x) - function(r)) / difference
    if near.device.type != "cpu" or near.any():
        with torch.enable_grad():
            middle = torch.where(near, torch.where(x == r, x, (x + r) / 2), torch.ones_like(x)).requires_grad_()
            (derivative,) = torch.autograd.grad(function(middle).sum(), middle)
        slope = torch.where(near, derivative, slope)
    return slope


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, r: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(r, x)
        return torch.relu(r)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        r, x = ctx.saved_tensors
        multiplied = relu_multipliers(r, x, grads[0])
        if multiplied is None:
            slope = (torch.relu(x) - torch.relu(r)).div_(x - r)  # 0 / 0 where they are equal
            multiplied = torch.where(slope.isnan(), (r > 0).to(r.dtype), slope).mul_(grads[0])
        return multiplied, None


def relu(r: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Rectify by the rescale rule, with fewer passes over memory than the general form."""
    result: torch.Tensor = _Relu.apply(r, x.detach())
    return result


def square(r: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Square by the rescale rule, whose slope is x + r."""
    result: torch.Tensor = _Rescale.apply(r, x.detach(), torch.square, lambda r, x: x + r)
    return result


def product(
    multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    r: tuple[torch.Tensor, torch.Tensor],
    x: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Apply a bilinear operation to two factors, each with the mean of the other as its multiplier."""
    a, b = r
    a_mean, b_mean = ((now.detach() + then.detach()) / 2 for now, then in zip(r, x, strict=True))
    parts = multiply(a, b_mean) + multiply(a_mean, b)
    return parts + (multiply(a.detach(), b.detach()) - parts.detach())


def quotient(r: tuple[torch.Tensor, torch.Tensor], x: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Divide: the product with the reciprocal."""
    inverse = rescale(torch.reciprocal, r[1], x[1])
    return product(torch.mul, (r[0], inverse), (x[0], x[1].reciprocal()))


class _PairMaximum(torch.autograd.Function):
    """r_j, with the multipliers of the pair (i, j); see the module."""

    @staticmethod
    def forward(ctx: Any, r_i: torch.Tensor, r_j: torch.Tensor, x_i: torch.Tensor, x_j: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(r_i, r_j, x_i, x_j)
        return r_j.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        r_i, r_j, x_i, x_j = ctx.saved_tensors
        up, down = torch.maximum(x_i, r_j), torch.maximum(r_i, x_j)
        m_i = _ratio((up - r_j + x_i - down) / 2, x_i - r_i, (x_i > r_j).to(r_i.dtype) / 2 + (x_i >= x_j) / 2)
        m_j = _ratio((x_i - up + down - r_j) / 2, x_j - r_j, (r_j > x_i).to(r_j.dtype) / 2 + (r_j >= r_i) / 2)
        return grads[0] * m_i, grads[0] * m_j, None, None


def _ratio(part: torch.Tensor, difference: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    return torch.where(difference == 0, otherwise, part / difference)


def maximum_at(
    r: torch.Tensor, x: torch.Tensor, r_index: torch.Tensor, x_index: torch.Tensor, dim: int = -1
) -> torch.Tensor:
    """Maximum of values r and x along an axis, given where it is at each point, as `torch.gather` reads places."""
    x = x.detach()
    result: torch.Tensor = _PairMaximum.apply(
        r.gather(dim, x_index), r.gather(dim, r_index), x.gather(dim, x_index), x.gather(dim, r_index)
    )
    return result


def summed_exp(
    r: torch.Tensor, x: torch.Tensor, dims: Sequence[int]
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Exponentials, each point shifted by its own maximum: (e, Σ e) at the reference, at the sequence, and the shift.

    The reference's shift carries the gradient by the rule of the maximum. One shift for both would leave e^(−Δ) at the
    point with the lower maximum, and its reciprocal loses all digits where the maxima differ by 15 in float32.
    """
    dims = list(dims)
    shift, shift_there = _maxima(r, x.expand_as(r), dims)
    r, x = r - shift, x - shift_there
    e_r, e_x = rescale(torch.exp, r, x), x.exp()
    return (e_r, e_r.sum(dims, keepdim=True)), (e_x, e_x.sum(dims, keepdim=True)), shift


def _maxima(r: torch.Tensor, x: torch.Tensor, dims: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Maxima over some axes, kept with length 1, the first by :func:`maximum_at`; 0 where either is infinite."""
    last = list(range(-len(dims), 0))
    at_r, at_x = (value.movedim(dims, last).flatten(-len(dims)) for value in (r, x))
    r_index, x_index = (value.argmax(-1, keepdim=True) for value in (at_r, at_x))
    largest = [maximum_at(at_r, at_x, r_index, x_index), at_x.amax(-1, keepdim=True)]
    finite = largest[0].isfinite() & largest[1].isfinite()
    shape = [1 if dim in {d % r.ndim for d in dims} else size for dim, size in enumerate(r.shape)]
    kept = [torch.where(finite, value, torch.zeros_like(value)).reshape(shape) for value in largest]
    return kept[0], kept[1]


def softmax(r: torch.Tensor, x: torch.Tensor, dim: int) -> torch.Tensor:
    """Exponentials divided by their sum."""
    at_r, at_x, _ = summed_exp(r, x, [dim])
    return quotient(at_r, at_x)


def normalised(r: torch.Tensor, x: torch.Tensor, dims: Sequence[int], eps: float) -> torch.Tensor:
    """(r − mean) / √(variance + eps) over some axes, as layer, group and instance norm have it."""
    dims = list(dims)
    r, x = r - r.mean(dims, keepdim=True), (x - x.mean(dims, keepdim=True)).expand_as(r)
    variance, there = square(r, x).mean(dims, keepdim=True) + eps, x.square().mean(dims, keepdim=True) + eps
    return product(torch.mul, (r, rescale(torch.rsqrt, variance, there)), (x, there.rsqrt()))
