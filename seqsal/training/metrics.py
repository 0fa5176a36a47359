"""How well predictions separate or follow the truth; ties are exact, never broken by the order of the rows.

scipy.stats takes half a second to import, so it is imported where training needs it and not where a model is loaded.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["auroc", "average_precision", "pearson", "spearman"]


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive outscores a negative, ties counting half.

    From ranks: (R - n₁(n₁ + 1)/2) / (n₁ n₀), with R the sum of the positives' mid-ranks (Mann and Whitney 1947,
    doi:10.1214/aoms/1177730491).

    Parameters
    ----------
    labels, scores
        Shape (N,); a label above 0.5 is a positive.

    Returns
    -------
    float
        NaN when a class is empty.
    """
    from scipy import stats

    positive, values = _binary(labels, scores)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    rank_sum = float(stats.rankdata(values)[positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve as a step function: Σ (Rₖ - Rₖ₋₁) Pₖ over distinct scores, descending.

    Parameters
    ----------
    labels, scores
        Shape (N,); a label above 0.5 is a positive.

    Returns
    -------
    float
        NaN when there is no positive. A random score gives the share of positives.
    """
    positive, values = _binary(labels, scores)
    n_positive = int(positive.sum())
    if n_positive == 0:
        return float("nan")
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    n_true = np.cumsum(positive[order])[last_of_tie]
    precision = n_true / (last_of_tie + 1)
    recall_step = np.diff(n_true, prepend=0) / n_positive
    return float(np.sum(recall_step * precision))


def pearson(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Linear correlation of two vectors of shape (N,); NaN when one of them is constant or N < 2."""
    return _correlation("pearsonr", truth, predicted)


def spearman(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Rank correlation of two vectors of shape (N,); NaN when one of them is constant or N < 2."""
    return _correlation("spearmanr", truth, predicted)


def _binary(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    positive = np.asarray(labels, dtype=np.float64) > 0.5
    values = np.asarray(scores, dtype=np.float64)
    if positive.shape != values.shape or positive.ndim != 1:
        raise ValueError(f"labels {positive.shape} and scores {values.shape} must be vectors of one length")
    return positive, values


def _correlation(name: str, truth: ArrayLike, predicted: ArrayLike) -> float:
    from scipy import stats

    x, y = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        return float(getattr(stats, name)(x, y).statistic)
