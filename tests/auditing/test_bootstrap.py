from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seqsal.auditing import bootstrap
from seqsal.auditing.bootstrap import mean_interval, percentile_interval, resample_means
from seqsal.auditing.settings import AuditSettings

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
    monkeypatch.setattr(bootstrap, "CHUNK_WEIGHTS", 70)
    values = rng.normal(size=(10, 3))
    resampled = resample_means(values, rng, 5001)
    assert resampled.shape == (5001, 3)
    np.testing.assert_allclose(resampled.mean(axis=0), values.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(resampled.var(axis=0), values.var(axis=0) / 10, rtol=0.1)


def test_equal_values_have_an_interval_of_no_width(rng: np.random.Generator) -> None:
    assert mean_interval(np.full(7, 0.1), rng, SETTINGS) == [0.1, 0.1]


def test_one_region_has_no_interval(rng: np.random.Generator) -> None:
    assert mean_interval([1.0], rng, SETTINGS) is None
    assert mean_interval([], rng, SETTINGS) is None
