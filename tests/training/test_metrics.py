"""Metrics against scikit-learn, slow definitions, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from seqsal.training.metrics import auroc, average_precision, pearson, spearman

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
