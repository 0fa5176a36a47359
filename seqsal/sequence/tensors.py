"""Codes and one-hot sequences as torch tensors, on whatever device they live."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.sequence.codes import ALPHABET, N_CODE

__all__ = ["nearest_codes", "one_hot_tensor", "reverse_complement_tensor"]


def one_hot_tensor(codes: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Turn codes (N, L) into contiguous one-hot (N, 4, L) on the device that holds them; N is a column of zeros."""
    bases = torch.arange(len(ALPHABET), dtype=codes.dtype, device=codes.device)[:, None]
    return (codes.unsqueeze(-2) == bases).to(dtype)


def nearest_codes(X: torch.Tensor) -> NDArray[np.uint8]:
    """Turn one-hot sequences (N, 4, L) into codes (N, L), a column of zeros into N.

    What is not quite one-hot, such as a sequence that is being optimised, is read as its largest base.
    """
    X = X.detach()
    largest, total = X[:, 0], X.sum(dim=1)
    codes = torch.zeros_like(largest, dtype=torch.uint8)
    for base in range(1, len(ALPHABET)):  # argmax over a middle axis is ten times slower on a CPU
        codes = codes.masked_fill(X[:, base] > largest, base)
        largest = torch.maximum(largest, X[:, base])
    return codes.masked_fill(total <= 0.5, N_CODE).cpu().numpy()


def reverse_complement_tensor(X: torch.Tensor) -> torch.Tensor:
    """Read one-hot sequences, or scores of bases, (N, 4, L) from the other strand: both axes turned."""
    return X.flip(-2, -1)
