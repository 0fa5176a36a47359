"""Convolutions (and a rule for `relu`) that a CPU runs faster in another form than the one that PyTorch chooses.

*Channels last.* torch's CPU kernels for a 1D convolution copy its input into a blocked layout and its output back, each
time. In a tensor whose channels are adjacent in memory (taken as a 2D one of height 1 in `channels_last` format) a
convolution reads and writes what is there: 1.4 to 1.7 times faster for 64 channels. What follows keeps that order by
itself, because elementwise operations keep the strides of what they are given, so that nothing is copied between two
convolutions.

* Predictions (:func:`fast_predictions`): those of dilated networks of 64 filters came 1.2 times as fast, of BPNet 1.6
  times, of 512 filters equally fast. Batch normalisation and max pooling have no such kernels for 1D, and networks with
  them ran 0.75 to 0.9 times as fast, so it is for networks that are made of `FRIENDLY` functions alone, and of
  convolutions of 64 channels or more. That depends on the network and nothing else, and values differ by rounding, as
  those of two batch sizes do.
* Operations of a traced model one by one (:func:`run_op`), for methods whose result is continuous in the activations.
* Gradients would gain as much (1.3 and 1.5 times), but a ReLU whose input is 0 but for rounding may be open in one
  layout and closed in the other: in 64 windows of 2,114 bp they came out up to 0.3 % of the largest value away from
  what a plain loop gives. Their forward passes are left in torch's own layout.

*Backward passes of dilated convolutions* (:func:`fast_backward`). The gradient of a convolution's input is a
convolution of the output's gradient, with the kernel turned round and d · (k − 1) − p zeros on both sides, for width k,
dilation d and padding p. oneDNN's direct kernel takes few zeros as *padding*: beyond 8 or so, which is dilation 8 at
width 3, torch gets a general matrix product instead, at 60 where the direct kernel does 98 GFLOP/s (64 channels, one
core with AVX-512). With the zeros written next to the values there is nothing to pad, and every dilation is as fast as
the first. A backward pass is linear in the gradient and differs by rounding alone (3 · 10⁻⁷ of the largest value).

*The rescale rule of `relu`* (:func:`relu_multipliers`) takes one pass over memory instead of seven.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from seqsal.models.sequence_model import facts_about
from seqsal.sequence.kernels import compiled

__all__ = [
    "MIN_CHANNELS",
    "convolve_channels_last",
    "fast_backward",
    "fast_predictions",
    "image_weight",
    "relu_multipliers",
    "run_op",
]

logger = logging.getLogger(__name__)
_aten = torch.ops.aten
_RESHAPES = frozenset({_aten.view.default, _aten._unsafe_view.default})
_LOSE_ORDER = _RESHAPES | {_aten.mean.dim, _aten.sum.dim_IntList}  # their gradients come in the plain order
MIN_CHANNELS = 16  # of the result of one convolution: with fewer, rearranging costs more than it saves
PREDICTION_CHANNELS = 64  # read by some convolution, from which on predictions gain
MOST_OFF = 1e-3  # of a prediction: far above rounding
FRIENDLY = frozenset(
    "__get__ __getitem__ __len__ size dim numel is_floating_point to float add add_ __add__ __radd__ __iadd__ sub rsub "
    "__sub__ __rsub__ mul mul_ __mul__ __rmul__ __imul__ div __truediv__ neg __neg__ clamp clamp_min exp log log1p "
    "relu relu_ leaky_relu elu selu gelu silu mish softplus sigmoid tanh softmax log_softmax dropout narrow squeeze "
    "unsqueeze flatten reshape cat stack mean sum amax logsumexp linear".split()
)
BLOCK = 16  # the direct kernel works on blocks of so many channels
FEW_CHANNELS, MANY_CHANNELS = 16, 48
MUCH_PADDING = {FEW_CHANNELS: 32, MANY_CHANNELS: 8}  # beyond which writing zeros pays, from so many channels on


def run_op(target: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run an ATen operation in the form that suits the device; differentiable.

    Parameters
    ----------
    target
        The operation.
    args, kwargs
        Its arguments.

    Examples
    --------
    >>> run_op(torch.ops.aten.add.Tensor, (torch.ones(2), torch.ones(2)), {})
    tensor([2., 2.])
    """
    if target is _aten.convolution.default and _gains_by_order(args):
        return _ImageConvolution.apply(*args[:6], args[8])
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
    """Copy a tensor into another order of memory unless it has it; the stride of the first axis follows from it."""
    if tensor.stride()[1:] == stride[1:] and (len(tensor) == 1 or tensor.stride(0) == stride[0]):
        return tensor
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _gains_by_order(args: Sequence[Any]) -> bool:
    X, weight, transposed = args[0], args[1], args[6]
    return bool(
        X.device.type == "cpu" and X.ndim == 3 and not transposed and min(weight.shape[0], X.shape[2]) >= MIN_CHANNELS
    )


class _ImageConvolution(torch.autograd.Function):
    """1-D convolution of (N, C, L) by way of (N, C, 1, L), channels last."""

    @staticmethod
    def forward(
        ctx: Any, X: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> torch.Tensor:
        weight = image_weight(weight)
        shape = ([1, *stride], [0, *padding], [1, *dilation], False, [0, 0], groups)
        image = _image(X)
        ctx.save_for_backward(weight)
        ctx.shape, ctx.size, ctx.stride = shape, image.shape, image.stride()
        result: torch.Tensor = _aten.convolution(image, weight, bias, *shape)
        return result.squeeze(2)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        like = torch.empty_strided(ctx.size, ctx.stride, dtype=weight.dtype)  # only its layout is read
        mask = [True, False, False]
        grad = _aten.convolution_backward(_image(grads[0]), like, weight, None, *ctx.shape, mask)[0]
        return grad.squeeze(2), None, None, None, None, None, None


def convolve_channels_last(
    X: torch.Tensor, weight: torch.Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    groups: int = 1,
) -> torch.Tensor:  # fmt: skip
    """Convolve (N, C, L) without a bias on a CPU, by way of (N, C, 1, L) with the channels last in memory.

    Parameters
    ----------
    X
        (N, C, L).
    weight
        (C', C / groups, 1, k), `channels_last` in memory (:func:`image_weight`).
    stride, padding, dilation
        One number each.
    groups
        Groups of channels.

    Examples
    --------
    >>> X, weight = torch.ones(1, 2, 5), torch.ones(3, 2, 1)
    >>> convolve_channels_last(X, image_weight(weight), [1], [0], [1]).shape
    torch.Size([1, 3, 5])
    """
    shape = ([1, *stride], [0, *padding], [1, *dilation], False, [0, 0], groups)
    result: torch.Tensor = _aten.convolution(_image(X), weight, None, *shape)
    return result.squeeze(2)


def image_weight(weight: torch.Tensor) -> torch.Tensor:
    """(C', C, k) → (C', C, 1, k), `channels_last` in memory.

    Examples
    --------
    >>> image_weight(torch.ones(3, 2, 4)).shape
    torch.Size([3, 2, 1, 4])
    """
    return weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _image(X: torch.Tensor) -> torch.Tensor:
    """(N, C, L) → (N, C, 1, L) with the channels last in memory."""
    return X.transpose(1, 2).contiguous().transpose(1, 2).unsqueeze(2)


def fast_predictions(model: nn.Module, X: torch.Tensor) -> nn.Module:
    """Return the model as it runs fastest where X is: itself, or a view that computes with channels last.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,), in evaluation mode.
    X
        A window or several, (N, 4, L).

    Examples
    --------
    >>> model = torch.nn.Flatten()  # has no convolution that could gain
    >>> fast_predictions(model, torch.zeros(1, 4, 10)) is model
    True
    """
    if X.device.type != "cpu" or not torch.backends.mkldnn.is_available() or not _gains_by_channels_last(model, X):
        return model
    return _channels_last_view(model)


def _channels_last_view(model: nn.Module) -> nn.Module:
    view = copy.copy(model)
    for name in ("forward", "columns"):
        if hasattr(model, name):
            setattr(view, name, _channels_last(getattr(model, name)))
    return view


def _gains_by_channels_last(model: nn.Module, X: torch.Tensor) -> bool:
    """Whether a model's forward pass gains by channels last; asked of one window."""
    known, key = facts_about(model), "predictions gain by channels last"
    if key not in known:
        try:
            with torch.no_grad():
                known[key] = _try(model, X[:1])
        except Exception as error:  # the pass that counts will tell what is wrong
            logger.debug("predictions: in torch's own layout, because a trial failed (%s)", error)
            return False
    gains: bool = known[key]
    return gains


def _try(model: nn.Module, X: torch.Tensor) -> bool:
    """Look at a forward pass, and try it: scripted functions are not seen, and may want adjacent positions."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        return False
    expected = model(X)  # before the look: a wrapped model looks at itself in its first pass
    record = _Record()
    with record:
        model(X)
    if not record.has_wide or not record.names <= FRIENDLY:
        return False
    found = _channels_last_view(model)(X)
    return torch.allclose(found, expected, rtol=MOST_OFF, atol=MOST_OFF * float(expected.abs().max()))


class _Record(TorchFunctionMode):
    """Notes which functions are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.has_wide = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv1d and _is_plain(*args, **kwargs):
            self.has_wide |= _n_read(*args, **kwargs) >= PREDICTION_CHANNELS
        else:
            self.names.add(getattr(func, "__name__", repr(func)))
        return func(*args, **kwargs)


class _AsImages(TorchFunctionMode):
    """Computes 1D convolutions as 2D ones of height 1 with channels last."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        plain = func is torch.conv1d and _is_plain(*args, **kwargs)
        return _convolve_as_image(*args, **kwargs) if plain else func(*args, **kwargs)


def _channels_last(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def run(*args: Any) -> torch.Tensor:
        with _AsImages():  # a state of the thread
            return function(*args)

    return run


def _is_plain(
    input: torch.Tensor, weight: torch.Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> bool:  # fmt: skip
    return input.dim() == 3 and input.dtype == torch.float32 and groups == 1 and not isinstance(padding, str)


def _n_read(input: torch.Tensor, *given: Any, **named: Any) -> int:
    """Channels that an ungrouped convolution reads."""
    return input.shape[1]


def _convolve_as_image(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> torch.Tensor:  # fmt: skip
    wide, kernel = (tensor.unsqueeze(2).contiguous(memory_format=torch.channels_last) for tensor in (input, weight))
    return F.conv2d(wide, kernel, bias, (1, _single(stride)), (0, _single(padding)), (1, _single(dilation))).squeeze(2)


def fast_backward(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """While entered, let this thread's forward passes prepare fast backward passes.

    Gradients with respect to the model's input are the same up to rounding; those of parameters that require them are
    left to torch, as is everything but float32 convolutions on a CPU.

    Parameters
    ----------
    device
        Where the model runs.

    Examples
    --------
    >>> X, weight = torch.ones(1, 48, 90, requires_grad=True), torch.ones(48, 48, 3)
    >>> with fast_backward(X.device):
    ...     output = torch.conv1d(X, weight, padding=8, dilation=8)
    >>> torch.autograd.grad(output.sum(), X)[0].unique()
    tensor([ 96., 144.])
    """
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return contextlib.nullcontext()
    return _FastBackward()


class _FastBackward(TorchFunctionMode):
    """Replaces the 1D convolutions that gain; their backward passes write what they pad into the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.room: list[torch.Tensor] = []

    def replay(self) -> _FastBackward:
        """Return itself, to be entered again; see :mod:`seqsal.models.recompute`."""
        return self

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not torch.conv1d or torch.compiler.is_compiling():  # a compiler chooses kernels of its own
            return func(*args, **kwargs)
        return _convolve_for_gradient(self.room, *args, **kwargs)


def _convolve_for_gradient(
    room: list[torch.Tensor], input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> torch.Tensor:  # fmt: skip
    span = _single(dilation) * (weight.shape[-1] - 1)
    zeros = span - _padding(padding, span)
    if (
        _single(stride) == 1
        and groups == 1
        and zeros >= _much(min(weight.shape[:2]))
        and all(n_channels % BLOCK == 0 for n_channels in weight.shape[:2])
        and _needs_gradient(input, weight, bias)
    ):
        result: torch.Tensor = _DirectGradient.apply(input, weight, bias, padding, dilation, room, zeros)
        return result
    return F.conv1d(input, weight, bias, stride, padding, dilation, groups)


def _single(value: int | tuple[int, ...] | list[int]) -> int:
    """Return a 1D convolution's stride, padding or dilation, which may be given as a sequence of one number."""
    return value if isinstance(value, int) else value[0]


def _padding(padding: Any, span: int) -> int:
    """Positions that a convolution adds on each side; as many as there can be where the sides differ."""
    if isinstance(padding, str):
        return span // 2 if padding == "same" and span % 2 == 0 else (0 if padding == "valid" else span)
    return _single(padding)


def _much(n_channels: int) -> float:
    """Zeros on each side from which on a convolution of so many channels gains."""
    if n_channels >= MANY_CHANNELS:
        return MUCH_PADDING[MANY_CHANNELS]
    return MUCH_PADDING[FEW_CHANNELS] if n_channels >= FEW_CHANNELS else float("inf")


def _needs_gradient(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Whether a backward pass will want the gradient of the input, in float32, and of nothing else."""
    frozen = not weight.requires_grad and (bias is None or not bias.requires_grad)
    single = input.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    wanted = input.dim() == 3 and input.requires_grad and torch.is_grad_enabled()
    return frozen and single and wanted and not torch._C._are_functorch_transforms_active()  # of the model's own, vmap


class _DirectGradient(torch.autograd.Function):
    """A convolution of stride 1 whose backward pass is one too."""

    @staticmethod
    def forward(
        ctx: Any, X: Any, weight: Any, bias: Any, padding: Any, dilation: Any, room: list[torch.Tensor], zeros: int
    ) -> torch.Tensor:
        nothing = weight.new_zeros(()).expand(X.shape)  # in X's place: a checkpoint compares what torch's own one keeps
        ctx.save_for_backward(nothing, weight)
        ctx.dilation, ctx.room, ctx.zeros = dilation, room, zeros
        return F.conv1d(X, weight, bias, 1, padding, dilation)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        _, weight = ctx.saved_tensors
        turned = weight.transpose(0, 1).flip(2)
        padded = F.pad(grads[0], (ctx.zeros, ctx.zeros)) if torch.is_grad_enabled() else _padded(grads[0], ctx)
        return F.conv1d(padded, turned, dilation=ctx.dilation), None, None, None, None, None, None


def _padded(grad: torch.Tensor, ctx: Any) -> torch.Tensor:
    """Pad a gradient in memory that the layer before has used: new memory costs more than the values in it."""
    n_windows, n_channels, length = grad.shape
    shape = (n_windows, n_channels, length + 2 * ctx.zeros)
    if not ctx.room or ctx.room[0].numel() < math.prod(shape):
        ctx.room[:] = [grad.new_empty(math.prod(shape))]
    padded = ctx.room[0][: math.prod(shape)].view(shape)
    padded[..., : ctx.zeros].zero_()
    padded[..., ctx.zeros + length :].zero_()
    padded[..., ctx.zeros : ctx.zeros + length].copy_(grad)
    return padded


def relu_multipliers(r: torch.Tensor, x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor | None:
    """Grad · Δrelu / Δx in one pass, for dense CPU tensors; None where that is not what they are.

    Parameters
    ----------
    r, grad
        (N, …).
    x
        The same shape, or with a first axis of 1.

    Examples
    --------
    >>> relu_multipliers(torch.tensor([[-1.0, 2.0]]), torch.tensor([[1.0, 3.0]]), torch.ones(1, 2))
    tensor([[0.5000, 1.0000]])
    """
    dense = r.device.type == "cpu" and r.dtype in (torch.float32, torch.float64) and _is_block(r)
    if not dense or len(x) not in (1, len(r)):
        return None
    x, grad = _ordered(x, r.stride()), _ordered(grad, r.stride())
    out = torch.empty_strided(r.shape, r.stride(), dtype=r.dtype)
    compiled(_relu_loop)(*(_block(tensor) for tensor in (r, x, grad, out)))
    return out


def _is_block(tensor: torch.Tensor) -> bool:
    """Whether the entries of each row lie together without gaps, rows one after the other."""
    row = tensor[0]
    return tensor.stride(0) == row.numel() and torch.empty_like(row).stride() == row.stride()


def _block(tensor: torch.Tensor) -> Any:
    """(N, …) as an array (N, entries) in the order of memory."""
    n_entries = tensor[0].numel()
    return torch.as_strided(tensor.detach(), (len(tensor), n_entries), (n_entries, 1)).numpy()


def _relu_loop(r: Any, x: Any, grad: Any, out: Any) -> None:
    zero = r.dtype.type(0)
    for row in range(r.shape[0]):
        there = x[row if x.shape[0] > 1 else 0]
        for i in range(r.shape[1]):
            a, b = r[row, i], there[i]
            slope = (max(b, zero) - max(a, zero)) / (b - a)
            out[row, i] = grad[row, i] * (slope if b != a else r.dtype.type(a > zero))
