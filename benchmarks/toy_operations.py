"""One small network for every kind of operation that a sequence model may contain: (N, 4, L) → (N,).

Each is a convolution, the operation, and a linear head, with fixed random weights; they are what the table of
completeness errors (`benchmarks/completeness.py`) and the tests of DeepLIFT's rules run through.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["LENGTH", "OPERATIONS", "Toy", "toy"]

LENGTH = 40
N_FILTERS = 6
Tensor = torch.Tensor


class Toy(nn.Module):
    """Convolution → body → linear head over all that comes out."""

    def __init__(self, body: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, N_FILTERS, 5, padding=2)
        self.body = body if isinstance(body, nn.Module) else _Function(body)
        with torch.no_grad():
            n_features = self.body(self.stem(torch.zeros(2, 4, LENGTH))).flatten(1).shape[1]
        self.head = nn.Linear(n_features, 1)

    def forward(self, X: Tensor) -> Tensor:
        """Score windows (N, 4, L)."""
        return self.head(self.body(2 * self.stem(X)).flatten(1)).squeeze(1)


class _Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, h: Tensor) -> Tensor:
        return self.function(h)


class _Twice(nn.Module):
    """One activation module that is called twice, as a class attribute shared by layers often is."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.conv = nn.ReLU(), nn.Conv1d(N_FILTERS, N_FILTERS, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return self.act(self.conv(self.act(h)))


class _Gate(nn.Module):
    """Squeeze and excite: channels weighted by a function of their means."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(N_FILTERS, N_FILTERS)

    def forward(self, h: Tensor) -> Tensor:
        return h * torch.sigmoid(self.linear(h.mean(-1)))[:, :, None]


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(N_FILTERS, 2, batch_first=True)

    def forward(self, h: Tensor) -> Tensor:
        h = h.transpose(1, 2)
        return h + self.attention(h, h, h, need_weights=False)[0]


class _Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer = kind(N_FILTERS, 4, batch_first=True, bidirectional=True)

    def forward(self, h: Tensor) -> Tensor:
        return self.layer(F.max_pool1d(h, 8).transpose(1, 2))[0]


class _Norm(nn.Module):
    """A normalisation over the channels of each position."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, h: Tensor) -> Tensor:
        return self.norm(h.transpose(1, 2))


def _batch_norm() -> nn.Module:
    norm = nn.BatchNorm1d(N_FILTERS)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(norm, nn.ReLU())


def _scaled_attention(h: Tensor) -> Tensor:
    h = h.transpose(1, 2)
    return F.scaled_dot_product_attention(h, h, h)


def _attention_pool(h: Tensor) -> Tensor:
    h = h.unflatten(2, (-1, 2))
    return (h * h.softmax(-1)).sum(-1)


def _assigned(h: Tensor) -> Tensor:
    h = h.clone()
    h[:, :, 5:15] = h[:, :, 5:15].exp()
    return h


OPERATIONS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "nn.ReLU": nn.ReLU,
    "nn.ReLU called twice": _Twice,
    "F.relu": lambda: F.relu,
    "Tensor.relu_": lambda: lambda h: h.clone().relu_(),
    "leaky_relu": lambda: F.leaky_relu,
    "nn.PReLU": nn.PReLU,
    "nn.ELU": nn.ELU,
    "F.elu": lambda: F.elu,
    "nn.GELU": nn.GELU,
    "F.gelu": lambda: F.gelu,
    "F.silu": lambda: F.silu,
    "F.softplus": lambda: F.softplus,
    "F.hardtanh": lambda: F.hardtanh,
    "torch.tanh": lambda: torch.tanh,
    "torch.sigmoid": lambda: torch.sigmoid,
    "F.logsigmoid": lambda: F.logsigmoid,
    "Tensor.exp": lambda: lambda h: h.exp(),
    "log1p(abs)": lambda: lambda h: h.abs().log1p(),
    "Tensor ** 2": lambda: lambda h: h**2,
    "clamp": lambda: lambda h: h.clamp(-0.5, 1),
    "nn.MaxPool1d(2)": lambda: nn.MaxPool1d(2),
    "MaxPool1d(4)": lambda: nn.MaxPool1d(4),
    "MaxPool1d(5, stride 2)": lambda: nn.MaxPool1d(5, stride=2),
    "MaxPool1d(3, stride 1, padded)": lambda: nn.MaxPool1d(3, stride=1, padding=1),
    "MaxPool1d(3, dilation 2, ceil)": lambda: nn.MaxPool1d(3, dilation=2, ceil_mode=True),
    "F.max_pool1d(7, 3)": lambda: lambda h: F.max_pool1d(h, 7, 3),
    "AdaptiveMaxPool1d(7)": lambda: nn.AdaptiveMaxPool1d(7),
    "amax over the length": lambda: lambda h: h.amax(-1),
    "max over the length": lambda: lambda h: h.max(-1).values,
    "maximum of halves": lambda: lambda h: torch.maximum(h[:, :3], h[:, 3:]),
    "AvgPool1d(4, stride 3)": lambda: nn.Sequential(nn.AvgPool1d(4, 3), nn.ReLU()),
    "AdaptiveAvgPool1d(7)": lambda: nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool1d(7)),
    "BatchNorm1d": _batch_norm,
    "LayerNorm": lambda: _Norm(nn.LayerNorm(N_FILTERS)),
    "RMSNorm": lambda: _Norm(nn.RMSNorm(N_FILTERS)),
    "GroupNorm": lambda: nn.GroupNorm(3, N_FILTERS),
    "InstanceNorm1d": lambda: nn.InstanceNorm1d(N_FILTERS),
    "softmax": lambda: lambda h: h.softmax(-1),
    "log_softmax": lambda: lambda h: F.log_softmax(h, 1),
    "logsumexp": lambda: lambda h: h.logsumexp(-1),
    "std over the length": lambda: lambda h: h.std(-1),
    "gate: h · sigmoid(h)": lambda: lambda h: h * torch.sigmoid(h),
    "GLU": lambda: lambda h: F.glu(h, 1),
    "ratio: h / (1 + |h|)": lambda: lambda h: h / (1 + h.abs()),
    "squeeze and excite": _Gate,
    "attention pooling": lambda: _attention_pool,
    "MultiheadAttention": _Attention,
    "scaled_dot_product_attention": lambda: _scaled_attention,
    "outer product (einsum)": lambda: lambda h: torch.einsum("ncl,nkl->nck", h, h) / math.sqrt(LENGTH),
    "LSTM": lambda: _Recurrent(nn.LSTM),
    "GRU": lambda: _Recurrent(nn.GRU),
    "assignment to a slice": lambda: _assigned,
    "concatenation": lambda: lambda h: torch.cat([h.relu(), h.tanh()], 1),
}


def toy(name: str) -> Toy:
    """Make the network of one operation, in evaluation mode, with weights that do not depend on the others."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Toy(OPERATIONS[name]()).eval().requires_grad_(False)
