"""Held-out chromosomes and hashed names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqsal.errors import TrainingError
from seqsal.regions import make_regions
from seqsal.training.split import PARTS, assign_parts, choose_chroms

SHARES = {"valid_fraction": 0.15, "test_fraction": 0.15}


@given(st.lists(st.integers(1, 60), min_size=3, max_size=25), st.randoms())
def test_every_chromosome_is_in_one_part(counts: list[int], random: object) -> None:
    chroms = [f"chr{i}" for i, n in enumerate(counts) for _ in range(n)]
    parts = choose_chroms(chroms, valid_chroms=None, test_chroms=None, **SHARES)
    assert set(parts) == set(chroms) and set(parts.values()) == set(PARTS)
    random.shuffle(chroms)  # type: ignore[attr-defined]
    assert choose_chroms(chroms, valid_chroms=None, test_chroms=None, **SHARES) == parts


def test_shares_are_about_right() -> None:
    rng = np.random.default_rng(0)
    chroms = [f"chr{i}" for i in rng.integers(0, 22, 5000)]
    parts = choose_chroms(chroms, valid_chroms=None, test_chroms=None, **SHARES)
    for part, share in (("train", 0.7), ("valid", 0.15), ("test", 0.15)):
        assert np.mean([parts[chrom] == part for chrom in chroms]) == pytest.approx(share, abs=0.03)


def test_the_users_choice_holds() -> None:
    chroms = ["chr1"] * 8 + ["chr2"] * 4 + ["chr3"] * 2 + ["chr4"]
    parts = choose_chroms(chroms, valid_chroms=["chr1"], test_chroms=["chr4", "chr2"], **SHARES)
    assert parts == {"chr1": "valid", "chr2": "test", "chr3": "train", "chr4": "test"}
    parts = choose_chroms(chroms, valid_chroms=None, test_chroms=["chr2"], **SHARES)
    assert [chrom for chrom, part in parts.items() if part == "test"] == ["chr2"]
    assert set(parts.values()) == set(PARTS)


@pytest.mark.parametrize(
    ("chroms", "valid", "test", "message"),
    [
        ("ab", None, None, r"positives lie on 2 chromosomes \(a, b\), which leaves none for test; at least 3"),
        ("abc", ["a", "b"], ["c"], "leaves none for train"),
        ("abc", [], ["c"], "leaves none for valid"),
        ("abc", ["a"], ["a"], "chromosome a: named for validation and for test"),
        ("abc", ["a"], ["chrX"], "chromosome chrX: held out, but no positive lies on it; the positives lie on a, b, c"),
    ],
)
def test_impossible_splits(chroms: str, valid: list[str] | None, test: list[str] | None, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        choose_chroms(list(chroms), valid_chroms=valid, test_chroms=test, **SHARES)


def test_contigs_are_split_by_name() -> None:
    names = [f"record {i}" for i in range(2000)]
    windows = make_regions(names, np.zeros(2000, int), np.full(2000, 10), name=names)
    is_contig = np.ones(2000, dtype=bool)
    parts = assign_parts(windows, is_contig, {}, valid=0.1, test=0.2)
    assert np.mean(parts == "test") == pytest.approx(0.2, abs=0.03)
    assert np.mean(parts == "valid") == pytest.approx(0.1, abs=0.03)
    half = windows.iloc[::2].reset_index(drop=True)
    assert (assign_parts(half, is_contig[::2], {}, valid=0.1, test=0.2) == parts[::2]).all()


def test_placed_windows_follow_their_chromosome() -> None:
    windows = make_regions(["chr1", "chr2", "chr9"], [0, 0, 0], [5, 5, 5])
    parts = assign_parts(windows, np.zeros(3, dtype=bool), {"chr1": "test", "chr2": "valid"}, valid=0.1, test=0.1)
    assert parts.tolist() == ["test", "valid", "train"]
