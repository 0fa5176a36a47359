"""How well predictions separate or follow the truth; ties are exact, never broken by the order of the rows.

scipy.stats takes half a second to import, so it is imported where training needs it and not where a model is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["auroc", "average_precision", "binary_curves", "calibration_curve", "intervals", "pearson", "spearman"]

Z95 = 1.959964  # of the normal law: 95 % lie within so many standard deviations
MOST_POINTS = 101  # of a curve
N_BINS = 10  # of a calibration curve


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


def intervals(
    metrics: Mapping[str, Any], loss: str, targets: NDArray[np.float32], raw: NDArray[np.float64]
) -> dict[str, list[float]]:
    """Give the 95 % intervals of the metrics of one target, by the names ``auroc_interval`` and so on.

    AUROC: the variance of DeLong et al. (1988, doi:10.2307/2531595) on the logit scale. Average precision: the logit
    interval of Boyd et al. (2013, doi:10.1007/978-3-642-40994-3_29). Correlations: Fisher's z, for ranks with the
    variance of Fieller et al. (1957, doi:10.1093/biomet/44.3-4.470). A metric at 0 or 1 has none on that scale: there
    the other bound is that of one example more.

    Parameters
    ----------
    metrics
        Of :func:`seqsal.training.fit.evaluate`.
    loss
        Of the model.
    targets, raw
        (N, 1) truth and the head's values; several targets have no intervals.
    """
    if targets.shape[1] != 1:
        return {}
    found: dict[str, list[float]] = {}
    if loss == "binary":
        positive, values = _binary(targets[:, 0], raw[:, 0])
        n_positive, n_negative = int(positive.sum()), int((~positive).sum())
        errors = {
            "auroc": (_delong(positive, values), min(n_positive, n_negative)),
            "average_precision": (None, n_positive),
        }
        for name, (error, n) in errors.items():
            value = min(max(metrics[name], 0.0), 1.0) if n else float("nan")
            at = {0.0: 1 / (n + 1), 1.0: n / (n + 1)}.get(round(value, 9), value)
            spread = 1 / np.sqrt(n * at * (1 - at)) if not error else error / (at * (1 - at))
            logit = np.log(at / (1 - at))
            low, high = (float(1 / (1 + np.exp(-(logit + z * spread)))) for z in (-Z95, Z95))
            found[f"{name}_interval"] = [min(low, value), max(high, value)]
    else:
        for name, factor in (("pearson", 1.0), ("spearman", 1.06)):
            n = len(targets)
            if n > 3 and np.isfinite(metrics[name]):
                z = np.arctanh(np.clip(metrics[name], -1 + 1e-9, 1 - 1e-9))
                found[f"{name}_interval"] = [float(np.tanh(z + k * np.sqrt(factor / (n - 3)))) for k in (-Z95, Z95)]
    return found


def _delong(positive: NDArray[np.bool_], values: NDArray[np.float64]) -> float:
    """Return the standard error of the AUROC, from the share of the other class that each example outscores."""
    from scipy import stats

    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if min(n_positive, n_negative) < 2:
        return 0.0
    ranks = stats.rankdata(values)
    above = (ranks[positive] - stats.rankdata(values[positive])) / n_negative
    below = 1 - (ranks[~positive] - stats.rankdata(values[~positive])) / n_positive
    return float(np.sqrt(above.var(ddof=1) / n_positive + below.var(ddof=1) / n_negative))


def binary_curves(labels: ArrayLike, scores: ArrayLike) -> dict[str, dict[str, list[float]]]:
    """Give the ROC and the precision-recall curve, at most `MOST_POINTS` points each, for the checkpoint.

    Returns
    -------
    dict
        ``roc`` with ``false_positive_rate`` and ``true_positive_rate``, ``precision_recall`` with ``recall`` and
        ``precision``; empty when a class is.
    """
    positive, values = _binary(labels, scores)
    if positive.all() or not positive.any():
        return {}
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    n_true = np.cumsum(positive[order])[last_of_tie]
    n_called = last_of_tie + 1
    recall, false = n_true / positive.sum(), (n_called - n_true) / (~positive).sum()
    shown = np.unique(np.round(np.linspace(0, len(n_true) - 1, MOST_POINTS)).astype(np.int64))

    def points(values: NDArray[np.float64], first: float | None = None) -> list[float]:
        return [*([] if first is None else [first]), *np.round(values[shown], 5).tolist()]

    return {
        "roc": {"false_positive_rate": points(false, 0.0), "true_positive_rate": points(recall, 0.0)},
        "precision_recall": {"recall": points(recall), "precision": points(n_true / n_called)},
    }


def calibration_curve(
    labels: ArrayLike, logits: ArrayLike, positive_weight: float = 1.0
) -> tuple[dict[str, list[float]], float]:
    """Compare predicted probabilities with shares of positives, in `N_BINS` bins of as many examples each.

    A network that learnt with positives weighing w predicts odds that are w times those among its examples; the
    probabilities compared are those without it. The error is the mean distance over examples of both in their bin
    (expected calibration error, Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602).

    Parameters
    ----------
    labels, logits
        Shape (N,); a label above 0.5 is a positive.
    positive_weight
        w.

    Returns
    -------
    curve : dict
        ``predicted_probability`` and ``share_of_positives`` of each bin.
    error : float

    Examples
    --------
    >>> curve, error = calibration_curve([0, 0, 0, 1], [-1.0986] * 4)
    >>> curve["share_of_positives"], round(error, 3)
    ([0.25], 0.0)
    """
    positive, values = _binary(labels, logits)
    p = 1 / (1 + np.exp(np.log(positive_weight) - values))
    order = np.argsort(p, kind="stable")
    edges = np.unique(np.searchsorted(p[order], np.quantile(p, np.arange(1, N_BINS) / N_BINS)))  # ties stay together
    bins = [rows for rows in np.split(order, edges) if len(rows)]
    predicted, share = ([float(of[rows].mean()) for rows in bins] for of in (p, positive))
    error = sum(len(rows) * abs(a - b) for rows, a, b in zip(bins, predicted, share, strict=True)) / max(len(p), 1)
    curve = {"predicted_probability": predicted, "share_of_positives": share}
    return {name: np.round(one, 5).tolist() for name, one in curve.items()}, error


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
