"""Intervals, correlations and tests against their formulas, slow definitions and scipy."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

import seqsal.auditing.stats as module
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import (
    auroc,
    compare_maps,
    fisher_p,
    kruskal_wallis,
    mann_whitney_p,
    mean_interval,
    mean_known,
    mean_rows,
    number,
    pearson,
    percentile_interval,
    q_values_of,
    rank_correlation,
    resample_means,
    share_interval,
    signed_rank_p,
    spearman,
)

SETTINGS = AuditSettings(n_bootstrap=400)


def slow_tail(n: int, confidence: float) -> float:
    """Hesterberg 2015, section 5.3: the quantile that the lower end is taken at."""
    t = stats.t.ppf(1 - (1 - confidence) / 2, n - 1)
    return float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * t))


@pytest.mark.parametrize("n", [2, 5, 300])
def test_the_interval_is_expanded_for_few_regions(rng: np.random.Generator, n: int) -> None:
    resampled = rng.normal(size=(5000, 2))
    ends = percentile_interval(resampled, n, 0.9)
    tail = slow_tail(n, 0.9)
    np.testing.assert_allclose(ends, np.quantile(resampled, [tail, 1 - tail], axis=0))
    assert tail < 0.05
    assert n < 300 or tail > 0.045


@pytest.mark.parametrize("n", [8, 20, 60])
def test_nineteen_of_twenty_intervals_hold_the_mean(n: int) -> None:
    generator = np.random.default_rng(3)
    samples = generator.normal(2.0, 1.0, size=(400, n))
    intervals = np.array([mean_interval(sample, generator, SETTINGS) for sample in samples])
    covered = ((intervals[:, 0] <= 2) & (2 <= intervals[:, 1])).mean()
    assert 0.92 <= covered <= 0.98


def test_columns_are_resampled_together(rng: np.random.Generator) -> None:
    values = rng.normal(size=(9, 1))
    resampled = resample_means(np.hstack([values, 3 * values]), rng, 50)
    assert resampled.shape == (50, 2)
    np.testing.assert_allclose(resampled[:, 1], 3 * resampled[:, 0], atol=1e-12)
    assert resampled[:, 0].std() > 0


def test_chunks_of_resamples_are_all_there(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_WEIGHTS", 70)
    values = rng.normal(size=(10, 3))
    resampled = resample_means(values, rng, 5001)
    assert resampled.shape == (5001, 3)
    np.testing.assert_allclose(resampled.mean(axis=0), values.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(resampled.var(axis=0), values.var(axis=0) / 10, rtol=0.1)


def test_equal_values_have_an_interval_of_no_width(rng: np.random.Generator) -> None:
    assert mean_interval(np.full(7, 0.1), rng, SETTINGS) == (0.1, 0.1)


def test_one_region_has_no_interval(rng: np.random.Generator) -> None:
    assert mean_interval([1.0], rng, SETTINGS) is None
    assert mean_interval([], rng, SETTINGS) is None


def test_similarity_is_over_what_counts(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 5, 40))
    known = rng.random((5, 40)) < 0.8
    found = compare_maps(a, b, known)
    for i in range(5):
        x, y = a[i, known[i]], b[i, known[i]]
        assert found.pearson[i] == pytest.approx(stats.pearsonr(x, y).statistic)
        assert found.spearman[i] == pytest.approx(stats.spearmanr(x, y).statistic)
        assert found.relative_change[i] == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x))


def test_maps_of_nothing_have_no_correlation() -> None:
    zero, other = np.zeros((1, 4)), np.array([[0.0, 1, 0, 2]])
    known = np.ones((1, 4), dtype=bool)
    assert compare_maps(zero, zero, known).relative_change[0] == 0
    assert np.isnan(compare_maps(zero, other, known).relative_change[0])
    assert np.isnan(compare_maps(zero, other, known).pearson[0])
    assert np.isnan(compare_maps(other, other, ~known).spearman[0])


def test_a_share_has_wilsons_interval() -> None:
    n, k, z = 32, 10, stats.norm.ppf(0.975)
    centre, half = (k + z**2 / 2) / (n + z**2), z / (n + z**2) * math.sqrt(k * (n - k) / n + z**2 / 4)
    assert share_interval(k, n, 0.95) == pytest.approx((centre - half, centre + half))
    assert share_interval(1, 1, 0.95) is None


def test_what_is_no_number_is_left_out(rng: np.random.Generator) -> None:
    values = np.array([1.0, np.nan, 3.0])
    assert mean_known(values) == 2
    assert mean_known(values[1:2]) is None
    assert number(np.nan) is None
    assert mean_interval(values[:2], rng, AuditSettings()) is None
    assert mean_interval(np.ones(5), rng, AuditSettings()) == (1, 1)
    assert np.array_equal(mean_rows(np.array([[1, np.nan], [3, np.nan]])), [2, np.nan], equal_nan=True)
    assert pearson(np.ones(3), np.arange(3.0)) is None
    assert pearson(np.arange(3.0), -np.arange(3.0)) == pytest.approx(-1)


def test_auroc_counts_pairs(rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 5, 30).astype(float), rng.integers(1, 6, 20).astype(float)
    pairs = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()
    assert auroc(a, b) == pytest.approx(pairs)
    assert auroc(a, b[:0]) is None


def test_correlations_of_two_sets_of_numbers(rng: np.random.Generator) -> None:
    a = rng.integers(0, 6, 40).astype(float)
    b = a + rng.normal(size=40)
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert pearson(a[:2], b[:2]) is None
    assert pearson(a, None) is None
    assert spearman(a, None) is None
    assert spearman(a, np.append(b[1:], np.nan)) is None
    assert pearson(a, 1 + 1e-9 * b, min_spread=1e-6) is None
    assert pearson(a, 1 + 1e-9 * b) == pytest.approx(pearson(a, b))


def test_rank_correlation_is_row_by_row(rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 5, size=(2, 4, 30))
    known = rng.random((4, 30)) < 0.8
    found = rank_correlation(a, b, known)
    for i in range(4):
        assert found[i] == pytest.approx(stats.spearmanr(a[i, known[i]], b[i, known[i]]).statistic)
    assert np.isnan(rank_correlation(np.ones((1, 4)), b[:1, :4], known[:1, :4] | True)).all()


@pytest.mark.parametrize("table", [(10, 10, 0, 10), (3, 9, 1, 12), (0, 10, 10, 10), (5, 5, 7, 7), (0, 0, 0, 0)])
def test_fisher_is_the_tail_of_the_hypergeometric(table: tuple[int, int, int, int]) -> None:
    a, n, b, m = table
    ways = [math.comb(n, k) * math.comb(m, a + b - k) for k in range(a, min(n, a + b) + 1)]
    exact = Fraction(sum(ways), math.comb(n + m, a + b))
    assert fisher_p(a, n, b, m) == pytest.approx(float(exact))
    assert fisher_p([a, a], n, [b, b], m) == pytest.approx([float(exact)] * 2)


def test_rank_tests_of_what_is_equal_find_nothing() -> None:
    assert mann_whitney_p(np.ones(5), np.ones(4)) == 1
    assert kruskal_wallis([np.ones(5), np.ones(4)]) == (0, 1)
    assert signed_rank_p(np.full(30, 1e-8), 1e-6) == 1
    assert signed_rank_p(np.ones(5), 1e-6) == 1


def test_rank_tests_against_all_orders() -> None:
    """Six differences of one sign: 2 of the 2^6 choices of signs; 5 against 5 apart: 2 of the choices of 5 of 10."""
    assert signed_rank_p(np.arange(1.0, 7.0), 1e-6) == pytest.approx(2 / 2**6)
    assert mann_whitney_p(np.arange(5.0), np.arange(5.0, 10.0)) == pytest.approx(2 / math.comb(10, 5))


def test_kruskal_wallis_effect_is_the_share_of_the_variation_in_ranks(rng: np.random.Generator) -> None:
    groups = [rng.normal(size=8), rng.normal(1.0, size=6)]
    ranks = stats.rankdata(np.concatenate(groups))
    between = sum(len(part) * (part.mean() - ranks.mean()) ** 2 for part in (ranks[:8], ranks[8:]))
    assert kruskal_wallis(groups)[0] == pytest.approx(between / ((ranks - ranks.mean()) ** 2).sum())


def test_q_values_of_benjamini_and_hochberg() -> None:
    assert len(q_values_of([])) == 0
    np.testing.assert_allclose(q_values_of([0.01, np.nan, 0.04, 0.03]), [0.03, np.nan, 0.04, 0.04])
