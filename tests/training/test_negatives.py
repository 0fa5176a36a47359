"""Sampled windows keep their distance, their GC content and their chromosomes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seqsal.errors import TrainingError
from seqsal.io.background import MAX_N_FRACTION, gc_fraction
from seqsal.regions import make_regions
from seqsal.training.negatives import sample_windows


class Memory:
    """A genome in memory."""

    def __init__(self, chroms: Mapping[str, NDArray[np.uint8]]) -> None:
        self.chroms = chroms
        self.chrom_sizes = {name: len(codes) for name, codes in chroms.items()}

    def read_windows(self, windows: pd.DataFrame) -> NDArray[np.uint8]:
        rows = zip(windows["chrom"], windows["start"], windows["end"], strict=True)
        return np.stack([self.chroms[chrom][start:end] for chrom, start, end in rows])


def random_genome(seed: int = 0, length: int = 3000) -> Memory:
    """Three chromosomes whose GC content rises along them."""
    rng = np.random.default_rng(seed)
    is_gc = rng.random((3, length)) < np.linspace(0.1, 0.9, length)
    codes = np.where(is_gc, rng.integers(1, 3, (3, length)), rng.choice([0, 3], (3, length))).astype(np.uint8)
    return Memory({f"chr{i + 1}": codes[i] for i in range(3)})


spans = st.lists(st.tuples(st.integers(-20, 180), st.integers(1, 60)), max_size=6)


@settings(max_examples=60, deadline=None)
@given(spans, st.integers(1, 30), st.integers(0, 25), st.integers(0, 5))
def test_exactly_the_allowed_starts_are_drawn(
    sites: list[tuple[int, int]], length: int, min_distance: int, seed: int
) -> None:
    """Against every start of a small chromosome, checked one by one."""
    genome = Memory({"chr1": np.zeros(150, dtype=np.uint8)})
    avoid = make_regions("chr1", [s for s, _ in sites], [s + n for s, n in sites])
    allowed = {
        start
        for start in range(150 - length + 1)
        if all(start - (s + n) >= min_distance or s - (start + length) >= min_distance for s, n in sites)
    }

    def draw() -> pd.DataFrame:
        return sample_windows(
            genome, avoid, n_windows=3000, length=length, chroms=["chr1"], min_distance=min_distance, seed=seed
        )

    if not allowed:
        with pytest.raises(TrainingError, match="no room for windows"):
            draw()
        return
    windows = draw()
    assert set(windows["start"]) == allowed  # 3,000 draws of at most 150 starts: missing one has p < 1e-6
    assert (windows["end"] - windows["start"] == length).all()


def test_chromosomes_and_seed() -> None:
    genome = random_genome()
    avoid = make_regions("chr1", [100], [200])
    arguments = {"n_windows": 200, "length": 50, "chroms": ["chr3", "chr2"], "min_distance": 10}
    windows = sample_windows(genome, avoid, seed=1, **arguments)
    assert set(windows["chrom"]) == {"chr2", "chr3"}
    assert len(windows) == 200 and (windows["strand"] == ".").all()
    pd.testing.assert_frame_equal(windows, sample_windows(genome, avoid, seed=1, **arguments))
    assert not windows.equals(sample_windows(genome, avoid, seed=2, **arguments))
    assert sample_windows(genome, avoid, seed=1, **arguments | {"n_windows": 0}).empty


def test_gc_content_is_that_of_the_positives() -> None:
    genome = random_genome()
    avoid = make_regions("chr1", [0], [1])
    wanted = np.linspace(0.6, 0.8, 40)
    arguments = {"n_windows": 120, "length": 100, "chroms": list(genome.chrom_sizes), "min_distance": 0, "seed": 0}
    matched = gc_fraction(genome.read_windows(sample_windows(genome, avoid, match_gc=wanted, **arguments)))
    free = gc_fraction(genome.read_windows(sample_windows(genome, avoid, **arguments)))
    wanted = np.sort(np.tile(wanted, 3))
    assert np.abs(np.sort(matched) - wanted).max() <= 0.03
    assert np.abs(np.sort(free) - wanted).max() > 0.2


def test_gc_content_that_is_rare_takes_the_nearest() -> None:
    genome = Memory({"chr1": np.tile(np.array([0, 1], dtype=np.uint8), 500)})  # half G and C everywhere
    windows = sample_windows(
        genome, make_regions("chr1", [0], [1]), n_windows=30, length=20, chroms=["chr1"], min_distance=0, seed=0,
        match_gc=np.array([0.0, 1.0]),
    )  # fmt: skip
    assert len(windows) == 30


def test_no_windows_of_unknown_bases() -> None:
    codes = np.zeros(5000, dtype=np.uint8)
    codes[500:4800] = 4
    genome = Memory({"chr1": codes})
    arguments = {"length": 100, "chroms": ["chr1"], "min_distance": 0, "seed": 0}
    windows = sample_windows(genome, make_regions("chr1", [0], [1]), n_windows=50, **arguments)
    assert ((genome.read_windows(windows) == 4).mean(axis=1) <= MAX_N_FRACTION).all()
    codes[:] = 4
    with pytest.raises(TrainingError, match="50 of 50 windows of 100 bp could not be drawn, nearly all"):
        sample_windows(genome, make_regions("chr1", [0], [1]), n_windows=50, **arguments)


def test_gc_fraction() -> None:
    codes = np.array([[0, 1, 2, 3], [1, 2, 1, 4], [4, 4, 4, 4]], dtype=np.uint8)
    assert gc_fraction(codes).tolist() == [0.5, 1.0, 0.5]
