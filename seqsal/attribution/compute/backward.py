"""Backward passes of dilated convolutions on the CPU, by torch's fast kernel where it would choose its slow one.

The gradient of a convolution's input is a convolution of the output's gradient, with the kernel turned round and
d · (k − 1) − p zeros on both sides, for width k, dilation d and padding p. oneDNN's direct kernel takes few zeros as
*padding*: beyond 8 or so, which is dilation 8 at width 3, torch gets a general matrix product instead, at 60 where the
direct kernel does 98 GFLOP/s (64 channels, one core with AVX-512). With the zeros written beside the values there is
nothing to pad, and every dilation is as fast as the first. Forward passes are left as torch computes them: a backward
pass is linear in the gradient and differs by rounding alone (3 · 10⁻⁷ of the largest value), but a ReLU whose input is
0 but for rounding could flip.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["direct_gradients", "single"]

BLOCK = 16  # the direct kernel works on blocks of so many channels
FEW_CHANNELS, MANY_CHANNELS = 16, 48
MUCH_PADDING = {FEW_CHANNELS: 32, MANY_CHANNELS: 8}  # beyond which writing zeros pays, from so many channels on


def direct_gradients(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """While entered, let this thread's forward passes prepare fast backward passes.

    Gradients with respect to the model's input are the same up to rounding; those of parameters that require them are
    left to torch, as is everything but float32 convolutions on a CPU.

    Parameters
    ----------
    device
        Where the model runs.
    """
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return contextlib.nullcontext()
    return _Watch()


class _Watch(TorchFunctionMode):
    """Replaces the 1D convolutions that gain."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not torch.conv1d or torch.compiler.is_compiling():  # a compiler chooses kernels of its own
            return func(*args, **kwargs)
        return _convolve(*args, **kwargs)


def _convolve(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> torch.Tensor:  # fmt: skip
    span = single(dilation) * (weight.shape[-1] - 1)
    zeros = span - _padding(padding, span)
    if (
        single(stride) == 1
        and groups == 1
        and zeros >= _much(min(weight.shape[:2]))
        and all(n_channels % BLOCK == 0 for n_channels in weight.shape[:2])
        and _needs_gradient(input, weight, bias)
    ):
        result: torch.Tensor = _Convolution.apply(input, weight, bias, padding, dilation, zeros)
        return result
    return F.conv1d(input, weight, bias, stride, padding, dilation, groups)


def single(value: int | tuple[int, ...] | list[int]) -> int:
    """Return a 1D convolution's stride, padding or dilation, which may be given as a sequence of one number."""
    return value if isinstance(value, int) else value[0]


def _padding(padding: Any, span: int) -> int:
    """Positions that a convolution adds on each side; as many as there can be where the sides differ."""
    if isinstance(padding, str):
        return span // 2 if padding == "same" and span % 2 == 0 else (0 if padding == "valid" else span)
    return single(padding)


def _much(n_channels: int) -> float:
    """Zeros on each side from which on a convolution of so many channels gains."""
    if n_channels >= MANY_CHANNELS:
        return MUCH_PADDING[MANY_CHANNELS]
    return MUCH_PADDING[FEW_CHANNELS] if n_channels >= FEW_CHANNELS else float("inf")


def _needs_gradient(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Whether a backward pass will want the gradient of the input, in float32, and of nothing else."""
    frozen = not weight.requires_grad and (bias is None or not bias.requires_grad)
    single = input.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return frozen and single and input.dim() == 3 and input.requires_grad and torch.is_grad_enabled()


class _Convolution(torch.autograd.Function):
    """A convolution of stride 1 whose backward pass is one too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(X: Any, weight: Any, bias: Any, padding: Any, dilation: Any, zeros: int) -> torch.Tensor:
        return F.conv1d(X, weight, bias, 1, padding, dilation)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        X, weight, _, _, ctx.dilation, ctx.zeros = inputs
        nothing = weight.new_zeros(()).expand(X.shape)  # in X's place: a checkpoint compares what torch's own one keeps
        ctx.save_for_backward(nothing, weight)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        _, weight = ctx.saved_tensors
        turned = weight.transpose(0, 1).flip(2)
        grad = F.conv1d(F.pad(grads[0], (ctx.zeros, ctx.zeros)), turned, dilation=ctx.dilation)
        return grad, None, None, None, None, None
