"""Toy models with known answers, and windows in memory, for the tests of several modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn


class Linear(nn.Module):
    """f(X) = Σ w · X + bias: gradient × input is w at the base that is there."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return (self.weight * X).sum(dim=(1, 2)) + 0.5


class Small(nn.Module):
    """A convolutional network with batch normalisation and dropout, which must be in evaluation mode to be right."""

    def __init__(self, n_filters: int = 8, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv1d(4, n_filters, 7, padding=3)
        self.norm = nn.BatchNorm1d(n_filters)
        self.norm.running_mean.uniform_(-0.2, 0.2)
        self.norm.running_var.uniform_(0.5, 2)
        self.block = nn.Conv1d(n_filters, n_filters, 3, padding=2, dilation=2)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(n_filters, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.norm(self.stem(X)))
        h = h + torch.nn.functional.gelu(self.block(h))
        return self.head(self.dropout(h.mean(-1))).squeeze(-1)


class Windows:
    """Codes in memory as a window source."""

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        n, self.length = codes.shape
        starts = np.arange(n, dtype=np.int64) * self.length
        self.codes = codes
        self.windows = pd.DataFrame(
            {"chrom": "chrA", "start": starts, "end": starts + self.length, "name": [f"w{i}" for i in range(n)],
             "score": np.nan, "strand": ".", "summit": -1}
        )  # fmt: skip
        self.rejected = self.windows[:0].assign(reason="")
        self.chrom_sizes = {"chrA": n * self.length}
        self.provenance: dict[str, Any] = {"fasta": "toy.fa"}
        self.n_read = 0

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        picked = self.codes[rows]
        self.n_read += len(picked)
        return picked


def random_codes(rng: np.random.Generator, n: int, length: int, share_unknown: float = 0.0) -> NDArray[np.uint8]:
    """Random DNA codes (n, length), some of them N."""
    codes = rng.integers(0, 4, size=(n, length), dtype=np.uint8)
    codes[rng.random((n, length)) < share_unknown] = 4
    return codes
