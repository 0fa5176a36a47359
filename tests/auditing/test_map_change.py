"""Differences of maps against scipy, and intervals against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from seqsal.auditing.map_change import (
    compare_maps,
    mean_interval,
    mean_known,
    mean_rows,
    number,
    pearson_of,
    share_interval,
)
from seqsal.auditing.settings import AuditSettings


def test_similarity_is_over_what_counts(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 5, 40))
    known = rng.random((5, 40)) < 0.8
    found = compare_maps(a, b, known)
    for i in range(5):
        x, y = a[i, known[i]], b[i, known[i]]
        assert found.pearson[i] == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
        assert found.spearman[i] == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
        assert found.relative_change[i] == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x))


def test_maps_of_nothing_have_no_correlation() -> None:
    zero, other = np.zeros((1, 4)), np.array([[0.0, 1, 0, 2]])
    known = np.ones((1, 4), dtype=bool)
    assert compare_maps(zero, zero, known).relative_change[0] == 0
    assert np.isnan(compare_maps(zero, other, known).relative_change[0])
    assert np.isnan(compare_maps(zero, other, known).pearson[0])
    assert np.isnan(compare_maps(other, other, ~known).spearman[0])


def test_a_share_has_wilsons_interval() -> None:
    n, k, z = 32, 10, scipy.stats.norm.ppf(0.975)
    centre, half = (k + z**2 / 2) / (n + z**2), z / (n + z**2) * math.sqrt(k * (n - k) / n + z**2 / 4)
    assert share_interval(k, n, 0.95) == pytest.approx([centre - half, centre + half])
    assert share_interval(1, 1, 0.95) is None


def test_what_is_no_number_is_left_out(rng: np.random.Generator) -> None:
    values = np.array([1.0, np.nan, 3.0])
    assert mean_known(values) == 2
    assert mean_known(values[1:2]) is None
    assert number(np.nan) is None
    assert mean_interval(values[:2], rng, AuditSettings()) is None
    assert mean_interval(np.ones(5), rng, AuditSettings()) == [1, 1]
    assert np.array_equal(mean_rows(np.array([[1, np.nan], [3, np.nan]])), [2, np.nan], equal_nan=True)
    assert pearson_of(np.ones(3), np.arange(3.0)) is None
    assert pearson_of(np.arange(3.0), -np.arange(3.0)) == pytest.approx(-1)
