"""Operations that a CPU runs faster in another form than the one that PyTorch chooses.

* A 1-D convolution keeps its channels along the last axis (as a 2-D one in `channels_last` format): oneDNN then reads
  and writes them in vectors without rearranging memory before and after, 1.4 to 1.7 times faster for 64 channels. What
  follows keeps that order by itself, because elementwise operations keep the strides of what they are given.
* The rescale rule of `relu` in one pass over memory instead of seven.

Both give what their plain forms give up to rounding, which is why methods whose result is continuous in the activations
use them and plain gradients do not: rounding can flip a `relu` that is at zero, and with it a gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["call", "relu_multipliers"]

_aten = torch.ops.aten
_RESHAPES = frozenset({_aten.view.default, _aten._unsafe_view.default})
_LOSE_ORDER = _RESHAPES | {_aten.mean.dim, _aten.sum.dim_IntList}  # their gradients come in the plain order
MIN_CHANNELS = 16  # with fewer, rearranging costs more than it saves


def call(target: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run an ATen operation in the form that suits the device; differentiable."""
    if target is _aten.convolution.default and _suits(args):
        return _ChannelsLast.apply(*args[:6], args[8])
    if target in _LOSE_ORDER and args[0].requires_grad and not args[0].is_contiguous():
        args = (_KeepOrder.apply(args[0]), *args[1:])
    if target in _RESHAPES:
        return args[0].reshape(args[1])  # a view need not exist in another order of memory
    return target(*args, **kwargs)


class _KeepOrder(torch.autograd.Function):
    """The same tensor, whose gradient comes in its own order of memory."""

    @staticmethod
    def forward(ctx: Any, X: torch.Tensor) -> torch.Tensor:
        ctx.size, ctx.stride = X.shape, X.stride()
        return X.view_as(X)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return _ordered(grads[0], ctx.stride)


def _ordered(tensor: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    """Copy a tensor into another order of memory unless it has it."""
    if tensor.stride() == stride:
        return tensor
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _suits(args: Sequence[Any]) -> bool:
    X, weight, transposed = args[0], args[1], args[6]
    return bool(
        X.device.type == "cpu" and X.ndim == 3 and not transposed and min(weight.shape[0], X.shape[2]) >= MIN_CHANNELS
    )


def _last(X: torch.Tensor) -> torch.Tensor:
    """(N, C, L) → (N, C, 1, L) with the channels last in memory."""
    return X.transpose(1, 2).contiguous().transpose(1, 2).unsqueeze(2)


class _ChannelsLast(torch.autograd.Function):
    """1-D convolution of (N, C, L) by way of (N, C, 1, L), channels last."""

    @staticmethod
    def forward(
        ctx: Any, X: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> torch.Tensor:
        weight = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        shape = ([1, *stride], [0, *padding], [1, *dilation], False, [0, 0], groups)
        last = _last(X)
        ctx.save_for_backward(weight)
        ctx.shape, ctx.size, ctx.stride = shape, last.shape, last.stride()
        result: torch.Tensor = _aten.convolution(last, weight, bias, *shape)
        return result.squeeze(2)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        like = torch.empty_strided(ctx.size, ctx.stride, dtype=weight.dtype)  # only its layout is read
        mask = [True, False, False]
        grad = _aten.convolution_backward(_last(grads[0]), like, weight, None, *ctx.shape, mask)[0]
        return grad.squeeze(2), None, None, None, None, None, None


def relu_multipliers(r: torch.Tensor, x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor | None:
    """Grad · Δrelu / Δx in one pass, for dense CPU tensors; None where that is not what they are.

    Parameters
    ----------
    r, grad
        (N, …), of one order in memory.
    x
        The same shape, or with a first axis of 1.
    """
    dense = r.device.type == "cpu" and r.dtype in (torch.float32, torch.float64) and _is_block(r)
    if not dense or len(x) not in (1, len(r)) or x[0].stride() != r[0].stride():
        return None
    grad = _ordered(grad, r.stride())
    out = torch.empty_strided(r.shape, r.stride(), dtype=r.dtype)
    _compiled()(*(_block(tensor) for tensor in (r, x, grad, out)))
    return out


def _is_block(tensor: torch.Tensor) -> bool:
    """Whether the entries of each row lie together without gaps, rows one after the other."""
    row = tensor[0]
    return tensor.stride(0) == row.numel() and torch.empty_like(row).stride() == row.stride()


def _block(tensor: torch.Tensor) -> Any:
    """(N, …) as an array (N, entries) in the order of memory."""
    n_entries = tensor[0].numel()
    return torch.as_strided(tensor.detach(), (len(tensor), n_entries), (n_entries, 1)).numpy()


@functools.cache
def _compiled() -> Any:
    from numba import njit  # here because it takes half a second that other methods can do without

    try:
        return njit(nogil=True, error_model="numpy", cache=True)(_relu_multipliers)
    except RuntimeError:  # no folder that a compiled function could be kept in
        return njit(nogil=True, error_model="numpy")(_relu_multipliers)


def _relu_multipliers(r: Any, x: Any, grad: Any, out: Any) -> None:
    zero = r.dtype.type(0)
    for row in range(r.shape[0]):
        there = x[row if x.shape[0] > 1 else 0]
        for i in range(r.shape[1]):
            a, b = r[row, i], there[i]
            slope = (max(b, zero) - max(a, zero)) / (b - a)
            out[row, i] = grad[row, i] * (slope if b != a else r.dtype.type(a > zero))
