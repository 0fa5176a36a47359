"""The networks that benchmarks run, as factories for `--model`."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["NETWORKS", "Basset", "DilatedCNN", "basset", "dilated_cnn"]


class DilatedCNN(nn.Module):
    """64 filters, a stem of 21 bp, 8 residual blocks with dilations 2 to 256, mean pooling: (N, 4, L) → (N, 1)."""

    def __init__(self, n_filters: int = 64, n_blocks: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, n_filters, 21, padding=10)
        dilations = [2**block for block in range(1, n_blocks + 1)]
        self.blocks = nn.ModuleList(nn.Conv1d(n_filters, n_filters, 3, padding=d, dilation=d) for d in dilations)
        self.activations = nn.ModuleList(nn.ReLU() for _ in range(n_blocks + 1))  # modules, for peers that need them
        self.head = nn.Linear(n_filters, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Score one-hot windows."""
        h = self.activations[0](self.stem(X))
        for block, activation in zip(self.blocks, self.activations[1:], strict=True):
            h = h + activation(block(h))
        return self.head(h.mean(-1))


def dilated_cnn() -> DilatedCNN:
    """Make the network with fixed random weights."""
    torch.manual_seed(0)
    return DilatedCNN().eval()


class Basset(nn.Sequential):
    """Three convolutions with max pooling and wide layers, 600 bp (Kelley et al. 2016, doi:10.1101/gr.200535.115)."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv1d(4, 300, 19, padding=9), nn.BatchNorm1d(300), nn.ReLU(), nn.MaxPool1d(3)),
            *(nn.Conv1d(300, 200, 11, padding=5), nn.BatchNorm1d(200), nn.ReLU(), nn.MaxPool1d(4)),
            *(nn.Conv1d(200, 200, 7, padding=3), nn.BatchNorm1d(200), nn.ReLU(), nn.MaxPool1d(4)),
            *(nn.Flatten(), nn.Linear(200 * 12, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 1)),
        )


def basset() -> Basset:
    """Make the network with fixed random weights."""
    torch.manual_seed(0)
    return Basset().eval()


NETWORKS = {"64-filter 8-block dilated CNN": (dilated_cnn, 2114), "Basset": (basset, 600)}
