"""Agreement of two tracks against scipy and one position at a time."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from seqsal.agreement.measures import Moments, local_cosine, overlap, rank_rows, row_moments, top_weights

N, LENGTH = 30, 80


@pytest.fixture
def tracks(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a = rng.normal(3, 2, size=(N, LENGTH)).astype(np.float32)
    b = (0.5 * a + rng.normal(-1, 1, size=a.shape)).round(1).astype(np.float32)  # with ties
    return a, b, rng.random(a.shape) < 0.9


def test_correlations_are_scipys(tracks: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    a, b, known = tracks
    pearson = row_moments(a, b, known).pearson()
    spearman = row_moments(rank_rows(a, known), rank_rows(b, known), known).pearson()
    for i in range(N):
        x, y = (track[i, known[i]].astype(np.float64) for track in (a, b))
        assert pearson[i] == pytest.approx(scipy.stats.pearsonr(x, y).statistic, abs=1e-12)
        assert spearman[i] == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)


def test_moments_of_rows_make_the_pearson_of_all(tracks: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    a, b, known = tracks
    a = a + 100 * np.arange(N, dtype=np.float32)[:, None]  # most of the variance is between the rows
    expected = scipy.stats.pearsonr(a[known].astype(np.float64), b[known].astype(np.float64)).statistic
    moments = row_moments(a, b, known)
    assert moments.pooled_pearson() == pytest.approx(expected, abs=1e-12)
    parts = [row_moments(a[i : i + 7], b[i : i + 7], known[i : i + 7]) for i in range(0, N, 7)]
    joined = Moments(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    assert joined.pooled_pearson() == moments.pooled_pearson()


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_constant_track_has_no_correlation(constant: float) -> None:
    a = np.full((1, 50), constant, dtype=np.float32)
    b = np.linspace(0, 1, 50, dtype=np.float32)[None]
    moments = row_moments(a, b, np.ones((1, 50), dtype=bool))
    assert np.isnan(moments.pearson()).all() and np.isnan(moments.pooled_pearson())


def test_nothing_known() -> None:
    values, known = np.ones((1, 8), dtype=np.float32), np.zeros((1, 8), dtype=bool)
    assert np.isnan(row_moments(values, values, known).pearson()).all()
    top = top_weights(values, known, 3)
    assert not top.any() and np.isnan(overlap(values, values, top, top)[0]).all()
    assert np.isnan(local_cosine(values, values, known, 3)).all()


@given(st.lists(st.integers(-4, 4), min_size=3, max_size=12), st.integers(1, 12), st.data())
def test_top_positions_share_ties(values: list[int], k: int, data: st.DataObject) -> None:
    known = np.array([data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))])
    k = min(k, len(values))
    weights = top_weights(np.array([values], dtype=np.float32), known, k)[0]
    size = np.abs(values)[known[0]]
    assert weights.sum() == pytest.approx(min(k, len(size)))
    assert not weights[~known[0]].any()
    if k < len(size):
        threshold = np.sort(size)[-k]
        np.testing.assert_array_equal(weights[known[0]][size > threshold], 1)
        np.testing.assert_array_equal(weights[known[0]][size < threshold], 0)
        assert len(set(weights[known[0]][size == threshold])) == 1


def test_overlap_counts_common_top_positions(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, N, LENGTH))
    known = np.ones(a.shape, dtype=bool)
    share, n_common, n_same = overlap(a, b, top_weights(a, known, 9), top_weights(b, known, 9))
    for i in range(N):
        common = set(np.argsort(-np.abs(a[i]))[:9]) & set(np.argsort(-np.abs(b[i]))[:9])
        assert n_common[i] == len(common) and share[i] == pytest.approx(len(common) / 9)
        assert n_same[i] == sum(a[i, j] * b[i, j] > 0 for j in common)


def test_constant_tracks_overlap_by_chance(rng: np.random.Generator) -> None:
    a, b = np.zeros((1, 100)), rng.normal(size=(1, 100))
    known = np.ones(a.shape, dtype=bool)
    top = top_weights(a, known, 5)
    assert overlap(a, b, top, top_weights(b, known, 5))[0] == pytest.approx(5 / 100)
    assert overlap(a, a, top, top)[0] == pytest.approx(5 / 100)


@pytest.mark.parametrize("width", [3, 21])
def test_local_agreement_one_position_at_a_time(tracks: tuple[np.ndarray, np.ndarray, np.ndarray], width: int) -> None:
    a, b, known = tracks
    found = local_cosine(a, b, known, width)
    for i in range(0, N, 5):
        for j in range(LENGTH):
            near = [p for p in range(max(0, j - width // 2), min(LENGTH, j + width // 2 + 1)) if known[i, p]]
            x, y = a[i, near].astype(np.float64), b[i, near].astype(np.float64)
            if not known[i, j] or len(near) < width / 2:
                assert np.isnan(found[i, j])
            else:
                assert found[i, j] == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)), abs=1e-12)


def test_local_agreement_beside_a_peak_is_its_own() -> None:
    """A running sum would lose what is 10⁹ times smaller than a peak that has passed."""
    a = np.full((1, 60), 1e-9)
    a[0, 20] = 1.0
    b = np.where(np.arange(60) < 20, 1.0, -1.0)[None] * a
    found = local_cosine(a, b, np.ones((1, 60), dtype=bool), 5)[0]
    np.testing.assert_allclose(found[:18], 1)
    np.testing.assert_allclose(found[20:], -1)


def test_local_agreement_of_silence() -> None:
    a = np.zeros((1, 40))
    a[0, 5] = 1
    found = local_cosine(a, a, np.ones((1, 40), dtype=bool), 5)[0]
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(found)), np.arange(3, 8))
