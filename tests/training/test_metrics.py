"""Metrics against scikit-learn, slow definitions, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from seqsal.training.metrics import (
    auroc,
    average_precision,
    binary_curves,
    calibration_curve,
    intervals,
    pearson,
    spearman,
)

# few distinct scores, so that ties abound
examples = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@given(examples)
def test_against_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))


@given(examples)
def test_auroc_is_the_chance_of_the_right_order(rows: list[tuple[bool, int]]) -> None:
    wins = [(a > b) + (a == b) / 2 for is_a, a in rows if is_a for is_b, b in rows if not is_b]
    labels, scores = zip(*rows, strict=True)
    assert auroc(labels, scores) == pytest.approx(sum(wins) / len(wins))


@given(examples, st.randoms())
def test_order_of_rows_does_not_matter(rows: list[tuple[bool, int]], random: object) -> None:
    shuffled = sorted(rows, key=lambda _: random.random())  # type: ignore[attr-defined]
    before, after = (list(zip(*table, strict=True)) for table in (rows, shuffled))
    assert auroc(*before) == auroc(*after)
    assert average_precision(*before) == average_precision(*after)


def test_limits() -> None:
    labels = np.array([0, 0, 1, 1])
    assert auroc(labels, labels) == average_precision(labels, labels) == 1
    assert auroc(labels, -labels) == 0
    assert auroc(labels, np.zeros(4)) == average_precision(labels, np.zeros(4)) == 0.5
    assert math.isnan(auroc([1, 1], [0, 1]))
    assert math.isnan(auroc([0, 0], [0, 1]))
    assert math.isnan(average_precision([0, 0], [0, 1]))
    with pytest.raises(ValueError, match="must be vectors of one length"):
        auroc([0, 1], [0.1, 0.2, 0.3])


def test_correlations(rng: np.random.Generator) -> None:
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    ranks = [np.argsort(np.argsort(values)) for values in (x, y)]
    assert spearman(x, y) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    assert pearson(x, 3 - 2 * x) == pytest.approx(-1)
    assert math.isnan(pearson(x, np.ones(50))) and math.isnan(spearman([1.0], [1.0]))


def test_intervals_hold_the_truth_about_as_often_as_they_say(rng: np.random.Generator) -> None:
    n_positive, n_negative, shift, n_sets = 40, 120, 1.2, 150
    labels = np.repeat([1.0, 0.0], [n_positive, n_negative])
    many = np.concatenate([rng.normal(shift, 1, 100_000), rng.normal(0, 1, 300_000)])
    truth = {
        "auroc": stats.norm.cdf(shift / np.sqrt(2)),
        "average_precision": average_precision(np.repeat([1.0, 0.0], [100_000, 300_000]), many),
    }
    hits = dict.fromkeys(truth, 0)
    for _ in range(n_sets):
        raw = (rng.normal(0, 1, len(labels)) + shift * labels)[:, None]
        measured = {"auroc": auroc(labels, raw[:, 0]), "average_precision": average_precision(labels, raw[:, 0])}
        found = intervals(measured, "binary", labels[:, None].astype(np.float32), raw)
        for name in truth:
            low, high = found[f"{name}_interval"]
            assert 0 < low < measured[name] < high < 1
            hits[name] += low <= truth[name] <= high
    for name, n in hits.items():
        assert stats.binom.isf(0.999, n_sets, 0.93) <= n, name


@given(st.floats(0, 8), st.integers(2, 70), st.integers(0, 2**32 - 1))
def test_a_metric_lies_in_its_interval(gap: float, n_positive: int, seed: int) -> None:
    labels = np.arange(n_positive + 40) < n_positive
    raw = np.random.default_rng(seed).normal(size=len(labels)) + gap * labels
    measured = {"auroc": auroc(labels, raw), "average_precision": average_precision(labels, raw)}
    found = intervals(measured, "binary", labels[:, None].astype(np.float32), raw[:, None])
    for name, value in measured.items():
        low, high = found[f"{name}_interval"]
        assert 0 <= low <= min(value, 1.0) <= high <= 1 and high - low > 1e-3


def test_correlations_have_fishers_interval(rng: np.random.Generator) -> None:
    raw = rng.normal(size=(30, 1))
    found = intervals({"pearson": 0.5, "spearman": 0.5}, "regression", raw.astype(np.float32), raw)
    half = 1.959964 / np.sqrt(27)
    assert found["pearson_interval"] == pytest.approx(
        [np.tanh(np.arctanh(0.5) - half), np.tanh(np.arctanh(0.5) + half)]
    )
    assert found["spearman_interval"][0] < found["pearson_interval"][0]
    assert intervals({"pearson": [0.5, 0.1]}, "regression", np.zeros((9, 2), np.float32), np.zeros((9, 2))) == {}


@pytest.mark.parametrize("raw", [[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
def test_a_perfect_score_is_not_certain(raw: list[float]) -> None:
    labels = np.float32([1, 1, 0, 0])
    measured = {"auroc": auroc(labels, raw), "average_precision": average_precision(labels, raw)}
    found = intervals(measured, "binary", labels[:, None], np.array(raw)[:, None])
    for name, value in measured.items():
        low, high = found[f"{name}_interval"]
        assert low <= value <= high and high - low > 0.5  # four examples say little


def test_curves_end_where_they_must_and_hold_the_areas(rng: np.random.Generator) -> None:
    labels = (rng.random(90) < 0.3).astype(float)
    raw = rng.normal(size=90) + labels
    curves = binary_curves(labels, raw)
    x, y = curves["roc"]["false_positive_rate"], curves["roc"]["true_positive_rate"]
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(auroc(labels, raw), abs=1e-3)
    recall, precision = curves["precision_recall"]["recall"], curves["precision_recall"]["precision"]
    assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(average_precision(labels, raw), abs=1e-3)
    assert len(binary_curves(np.repeat([0, 1], 5000), rng.normal(size=10_000))["roc"]["true_positive_rate"]) <= 102
    assert binary_curves(np.ones(4), raw[:4]) == {}


def test_calibration_takes_the_weight_of_positives_out(rng: np.random.Generator) -> None:
    logits = rng.normal(-1, 1.5, 20_000)
    labels = rng.random(20_000) < 1 / (1 + np.exp(-logits))
    curve, error = calibration_curve(labels, logits)
    assert error < 0.02 and len(curve["share_of_positives"]) == 10
    np.testing.assert_allclose(curve["predicted_probability"], curve["share_of_positives"], atol=0.03)
    shifted, same = calibration_curve(labels, logits + np.log(4), positive_weight=4)
    assert same == pytest.approx(error) and shifted == curve
    assert calibration_curve(labels, logits + np.log(4))[1] > 0.1  # a network that says 4 times the odds


def test_calibration_of_equal_scores_is_one_bin() -> None:
    curve, error = calibration_curve([0, 1, 1, 0], [0.0] * 4)
    assert curve == {"predicted_probability": [0.5], "share_of_positives": [0.5]} and error == 0
