"""Codes and one-hot sequences as torch tensors, on whatever device they live."""

from __future__ import annotations

import torch

from seqsal.sequence.codes import ALPHABET

__all__ = ["one_hot_tensor", "reverse_complement_tensor"]


def one_hot_tensor(codes: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Turn codes into one-hot on the device that holds them.

    Parameters
    ----------
    codes : Tensor of uint8, shape (N, L)
        A C G T N = 0 1 2 3 4.
    dtype
        Of the result.

    Returns
    -------
    Tensor, shape (N, 4, L)
        Contiguous; rows A, C, G, T; an unknown base is a column of zeros.
    """
    bases = torch.arange(len(ALPHABET), dtype=codes.dtype, device=codes.device)[:, None]
    return (codes.unsqueeze(-2) == bases).to(dtype)


def reverse_complement_tensor(X: torch.Tensor) -> torch.Tensor:
    """Read one-hot sequences, or any scores of bases, of shape (N, 4, L) from the other strand.

    With the rows in the order A, C, G, T, complementing is reversing the rows.
    """
    return X.flip(-2, -1)
