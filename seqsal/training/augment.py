"""Training batches: each window seen at a random shift and from a random strand."""

from __future__ import annotations

import torch

from seqsal.sequence.tensors import one_hot_tensor, reverse_complement_tensor

__all__ = ["augmented_batch", "centred_batch"]


def augmented_batch(
    codes: torch.Tensor, length: int, *, reverse_complement: bool, generator: torch.Generator
) -> torch.Tensor:
    """Crop each window at a random place, and turn every second one, on average, to the other strand.

    Parameters
    ----------
    codes : Tensor of uint8, shape (n, length + 2 * max_shift)
    length
        Of the crops, in bp.
    reverse_complement
        False leaves all of them on their strand.
    generator
        On the CPU, whatever the device of `codes`, so that the draws are the same everywhere.

    Returns
    -------
    Tensor of float32, shape (n, 4, length)
    """
    n_windows, width = codes.shape
    offsets = torch.randint(0, width - length + 1, (n_windows,), generator=generator)
    X = one_hot_tensor(_crop(codes, offsets.to(codes.device), length))
    if not reverse_complement:
        return X
    is_turned = torch.rand(n_windows, generator=generator).to(codes.device) < 0.5
    return torch.where(is_turned[:, None, None], reverse_complement_tensor(X), X)


def centred_batch(codes: torch.Tensor, length: int) -> torch.Tensor:
    """Crop the middle of each window and make it one-hot: (n, length + 2 * max_shift) → (n, 4, length)."""
    offset = (codes.shape[1] - length) // 2
    return one_hot_tensor(codes[:, offset : offset + length])


def _crop(codes: torch.Tensor, offsets: torch.Tensor, length: int) -> torch.Tensor:
    columns = offsets[:, None] + torch.arange(length, device=codes.device)  # (n, length)
    return codes.gather(1, columns)
