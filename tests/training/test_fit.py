"""Shifts and strands against slicing by hand."""

from __future__ import annotations

import numpy as np
import torch

from seqsal.sequence.codes import one_hot, reverse_complement
from seqsal.training.fit import View, augmented_batch, centred_batch


def drawn(n: int, slack: int, seed: int = 0, *, reverse_complement: bool = True) -> View:
    generator, cpu = torch.Generator().manual_seed(seed), torch.device("cpu")
    return View.draw(n, slack, generator, reverse_complement=reverse_complement, device=cpu)


def test_every_sequence_is_a_shift_on_one_of_both_strands(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 5, (400, 26), dtype=np.uint8)
    X = augmented_batch(torch.from_numpy(codes), 20, drawn(400, 6))[0].numpy()
    seen = set()
    for row, x in zip(codes, X, strict=True):
        options = {}
        for shift in range(7):
            crop = row[shift : shift + 20]
            options[one_hot(crop).tobytes()] = (shift, "+")
            options[one_hot(reverse_complement(crop)).tobytes()] = (shift, "-")
        seen.add(options[np.ascontiguousarray(x).tobytes()])
    assert seen == {(shift, strand) for shift in range(7) for strand in "+-"}


def test_without_augmentation_the_middle_is_read(rng: np.random.Generator) -> None:
    codes = torch.from_numpy(rng.integers(0, 5, (9, 20), dtype=np.uint8))
    plain, _ = augmented_batch(codes, 20, drawn(9, 0, reverse_complement=False))
    assert torch.equal(plain, centred_batch(codes, 20))
    wide = torch.nn.functional.pad(codes, (3, 3), value=1)
    assert torch.equal(centred_batch(wide, 20), plain)


def test_draws_depend_on_the_generator_alone(rng: np.random.Generator) -> None:
    codes = torch.from_numpy(rng.integers(0, 4, (9, 30), dtype=np.uint8))
    batches = [augmented_batch(codes, 20, drawn(9, 10, seed=seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def test_marks_go_with_their_bases() -> None:
    codes = torch.arange(30, dtype=torch.uint8)[None].repeat(50, 1) % 4
    marks = (torch.arange(30) % 4 == 1).to(torch.int8)[None].repeat(50, 1)  # under every C
    X, moved = augmented_batch(codes, 20, drawn(50, 10), marks)
    assert moved is not None
    is_c, is_g = X[:, 1].bool(), X[:, 2].bool()
    assert all(torch.equal(row.bool(), c) or torch.equal(row.bool(), g)
               for row, c, g in zip(moved, is_c, is_g, strict=True))  # fmt: skip
    assert {int(torch.equal(row.bool(), c)) for row, c in zip(moved, is_c, strict=True)} == {0, 1}
