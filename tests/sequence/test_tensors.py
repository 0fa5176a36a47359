"""The torch forms equal the numpy forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqsal.sequence.codes import one_hot, reverse_complement
from seqsal.sequence.tensors import one_hot_tensor, reverse_complement_tensor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_one_hot_tensor_equals_numpy(rng: np.random.Generator, device: torch.device, dtype: torch.dtype) -> None:
    codes = rng.integers(0, 5, (6, 31)).astype(np.uint8)
    X = one_hot_tensor(torch.from_numpy(codes).to(device), dtype)
    assert X.dtype == dtype and X.is_contiguous() and X.device.type == device.type
    np.testing.assert_array_equal(X.float().cpu().numpy(), one_hot(codes))


def test_reverse_complement_tensor_equals_numpy(rng: np.random.Generator, device: torch.device) -> None:
    codes = rng.integers(0, 5, (6, 31)).astype(np.uint8)
    X = reverse_complement_tensor(one_hot_tensor(torch.from_numpy(codes).to(device)))
    np.testing.assert_array_equal(X.cpu().numpy(), one_hot(reverse_complement(codes)))


def test_no_sequences_make_an_empty_tensor() -> None:
    assert one_hot_tensor(torch.zeros((0, 5), dtype=torch.uint8)).shape == (0, 4, 5)
