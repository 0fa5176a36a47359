"""Predictions on the CPU in the layout that convolutions are fast in: channels last.

torch's CPU kernels for a 1D convolution copy its input into a blocked layout and its output back, each time. In a
tensor whose channels are adjacent in memory a convolution reads and writes what is there, and as long as everything
between two convolutions works element by element, nothing is ever copied. Predictions of dilated networks of 64
filters came 1.2 times as fast, of BPNet 1.6 times, of 512 filters equally fast. Batch normalisation and max pooling
have no such kernels for 1D, and networks with them ran 0.75 to 0.9 times as fast, so the layout is for networks that
are made of `FRIENDLY` functions alone, and of convolutions of 64 channels or more. That depends on the network and
nothing else, and values differ by rounding, as those of two batch sizes do.

Gradients would gain as much (1.3 and 1.5 times), but a ReLU whose input is 0 but for rounding may be open in one
layout and closed in the other: in 64 windows of 2,114 bp they came out up to 0.3 % of the largest value away from
what a plain loop gives. Their forward passes are left in torch's own layout;
:mod:`seqsal.attribution.compute.backward` makes
their backward passes faster.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from seqsal.attribution.compute.backward import single

__all__ = ["in_fast_layout"]

LEAST_CHANNELS = 64  # read by a convolution
MOST_OFF = 1e-3  # of a prediction: far above rounding
FRIENDLY = frozenset(
    "__get__ __getitem__ __len__ size dim numel is_floating_point to float add add_ __add__ __radd__ __iadd__ sub rsub "
    "__sub__ __rsub__ mul mul_ __mul__ __rmul__ __imul__ div __truediv__ neg __neg__ clamp clamp_min exp log log1p "
    "relu relu_ leaky_relu elu selu gelu silu mish softplus sigmoid tanh softmax log_softmax dropout narrow squeeze "
    "unsqueeze flatten reshape cat stack mean sum amax logsumexp linear".split()
)


def in_fast_layout(model: nn.Module, X: torch.Tensor) -> nn.Module:
    """Return the model as it runs fastest where X is: itself, or a view that computes with channels last.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,), in evaluation mode.
    X
        A window or several, (N, 4, L).
    """
    if X.device.type != "cpu" or not torch.backends.mkldnn.is_available() or not _suits(model, X):
        return model
    return _view(model)


def _view(model: nn.Module) -> nn.Module:
    view = copy.copy(model)
    setattr(view, "forward", _channels_last(model.forward))  # noqa: B010 (nn.Module types its attributes as modules)
    return view


def _suits(model: nn.Module, X: torch.Tensor) -> bool:
    """Whether a model's forward pass gains by channels last; asked of one window, once for each model."""
    if model not in _KNOWN:
        try:
            with torch.no_grad():
                _KNOWN[model] = _gains(model, X[:1])
        except Exception:
            return False  # the pass that counts will tell what is wrong
    return _KNOWN[model]


def _gains(model: nn.Module, X: torch.Tensor) -> bool:
    """Look at a forward pass, and try it: scripted functions are not seen, and may want adjacent positions."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        return False
    expected = model(X)  # before the look: a wrapped model looks at itself in its first pass
    record = _Record()
    with record:
        model(X)
    if not record.has_wide or not record.names <= FRIENDLY:
        return False
    return torch.allclose(_view(model)(X), expected, rtol=MOST_OFF, atol=MOST_OFF * float(expected.abs().max()))


_KNOWN: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


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
            self.has_wide |= _n_read(*args, **kwargs) >= LEAST_CHANNELS
        else:
            self.names.add(getattr(func, "__name__", repr(func)))
        return func(*args, **kwargs)


class _ChannelsLast(TorchFunctionMode):
    """Computes 1D convolutions as 2D ones of height 1 with channels last."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        plain = func is torch.conv1d and _is_plain(*args, **kwargs)
        return _convolve(*args, **kwargs) if plain else func(*args, **kwargs)


def _channels_last(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def run(*args: Any) -> torch.Tensor:
        with _ChannelsLast():  # a state of the thread
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


def _convolve(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> torch.Tensor:  # fmt: skip
    wide, kernel = (tensor.unsqueeze(2).contiguous(memory_format=torch.channels_last) for tensor in (input, weight))
    return F.conv2d(wide, kernel, bias, (1, single(stride)), (0, single(padding)), (1, single(dilation))).squeeze(2)
