"""The networks that benchmarks run, as factories for `--model`."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["DilatedCNN", "dilated_cnn"]


class DilatedCNN(nn.Module):
    """64 filters, a stem of 21 bp, 8 residual blocks with dilations 2 to 256, mean pooling: (N, 4, L) → (N, 1)."""

    def __init__(self, n_filters: int = 64, n_blocks: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, n_filters, 21, padding=10)
        dilations = [2**block for block in range(1, n_blocks + 1)]
        self.blocks = nn.ModuleList(nn.Conv1d(n_filters, n_filters, 3, padding=d, dilation=d) for d in dilations)
        self.head = nn.Linear(n_filters, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Score one-hot windows."""
        h = torch.relu(self.stem(X))
        for block in self.blocks:
            h = h + torch.relu(block(h))
        return self.head(h.mean(-1))


def dilated_cnn() -> DilatedCNN:
    """Make the network with fixed random weights."""
    torch.manual_seed(0)
    return DilatedCNN().eval()
