"""Small modules that end in every way a model may end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

LENGTH = 30


def random_X(n: int, length: int = LENGTH, seed: int = 0) -> torch.Tensor:
    """One-hot sequences (n, 4, length)."""
    codes = torch.randint(0, 4, (n, length), generator=torch.Generator().manual_seed(seed))
    return functional.one_hot(codes, 4).float().transpose(1, 2).contiguous()


class Body(nn.Module):
    """Raw values (N, n_targets); uses sigmoid and exp inside, where they are not terminal."""

    def __init__(self, n_targets: int = 1, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.convolution = nn.Conv1d(4, 6, 5, padding=2)
        self.head = nn.Linear(6, n_targets)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = self.convolution(X)
        gated = h * torch.sigmoid(h) + torch.exp(-h.abs()).softmax(dim=1)
        return 3 * self.head(gated.mean(dim=-1))


class Ended(nn.Module):
    """A body followed by any function."""

    def __init__(self, body: nn.Module, end: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.body, self.end = body, end

    def forward(self, X: torch.Tensor) -> Any:
        return self.end(self.body(X))


class SigmoidEnd(nn.Module):
    """A body and a sigmoid, without Python callables, so that TorchScript can compile it."""

    def __init__(self, n_targets: int = 1) -> None:
        super().__init__()
        self.body = Body(n_targets)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.body(X))


def make_sigmoid() -> nn.Module:
    """Return a model, as a factory named on the command line does."""
    return SigmoidEnd()


def make_nothing() -> None:
    """Return no model."""


def make_failure() -> nn.Module:
    """Fail."""
    raise ValueError("no such\nvariant")
