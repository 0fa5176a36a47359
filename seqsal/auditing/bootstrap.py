"""Confidence intervals of means over regions, by resampling the regions.

The interval is the expanded percentile interval (Hesterberg 2015, doi:10.1080/00031305.2015.1089789): the quantiles α'
and 1 − α' of the resampled means, with α' = Φ(−√(n / (n − 1)) · t) and t the 1 − α/2 quantile of Student's t with n − 1
degrees of freedom. The plain percentile interval (α' = α/2) is too narrow for few regions, because resampled means vary
by the variance with divisor n and the normal distribution has thin tails; for many regions the two are the same. No
resampled mean lies outside the data, so that the interval of n < 6 regions holds the mean of a symmetric distribution
in 1 − 2^(1 − n) of all cases at most, whatever confidence is asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from seqsal.auditing.settings import AuditSettings

__all__ = ["mean_interval", "percentile_interval", "ratio_interval", "resample_means"]

CHUNK_WEIGHTS = 1 << 21
Values = NDArray[np.float64]


def resample_means(values: ArrayLike, rng: np.random.Generator, n_resamples: int) -> Values:
    """Return the means of resampled rows.

    Parameters
    ----------
    values
        (n, m), one row a region, n ≥ 1; the columns are resampled together, so that what is paired stays paired.
    rng
        Where the resamples come from.
    n_resamples
        B.

    Returns
    -------
    ndarray of float64, shape (B, m)
    """
    rows = np.asarray(values, dtype=np.float64)
    n = len(rows)
    centre = rows[:1]  # so that equal rows give their value to the bit
    step = max(1, CHUNK_WEIGHTS // n)
    sizes = [min(step, n_resamples - first) for first in range(0, n_resamples, step)]
    weights = (rng.multinomial(n, np.full(n, 1 / n), size=size) / n for size in sizes)
    return np.concatenate([part @ (rows - centre) for part in weights]) + centre


def percentile_interval(resampled: Values, n: int, confidence: float) -> Values:
    """Return the expanded percentile interval of means over n regions.

    Parameters
    ----------
    resampled
        (B, m) means of resamples, or smooth functions of them.
    n
        Regions, at least 2.
    confidence
        Of the interval, in (0, 1].

    Returns
    -------
    ndarray of float64, shape (2, m)
        Lower and upper ends.
    """
    t = stdtrit(n - 1, (1 + confidence) / 2)
    tail = float(ndtr(-np.sqrt(n / (n - 1)) * t))
    return np.asarray(np.quantile(resampled, [tail, 1 - tail], axis=0))


def mean_interval(values: ArrayLike, rng: np.random.Generator, settings: AuditSettings) -> list[float] | None:
    """Return the confidence interval [lower, upper] of the mean of n values; None for fewer than two.

    Parameters
    ----------
    values
        (n,) one a region.
    rng
        Where the resamples come from.
    settings
        `n_bootstrap` and `confidence`.
    """
    column = np.asarray(values, dtype=np.float64)[:, None]
    if len(column) < 2:
        return None
    resampled = resample_means(column, rng, settings.n_bootstrap)
    lower, upper = percentile_interval(resampled, len(column), settings.confidence)[:, 0]
    return [float(lower), float(upper)]


def ratio_interval(
    top: ArrayLike, bottom: ArrayLike, rng: np.random.Generator, settings: AuditSettings
) -> list[float] | None:
    """Return the confidence interval [lower, upper] of Σ top / Σ bottom.

    Parameters
    ----------
    top, bottom
        (n,) one a region, `bottom` ≥ 0; resampled together. None for fewer than two regions with any of the two, and
        where so few have a `bottom` that resamples without are within the interval's tails.
    rng
        Where the resamples come from.
    settings
        `n_bootstrap` and `confidence`.
    """
    pairs = np.stack([np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)], axis=1)
    counts = int((pairs != 0).any(axis=1).sum())
    if counts < 2:
        return None
    resampled = resample_means(pairs, rng, settings.n_bootstrap)
    defined = resampled[:, 1] > 0
    if 1 - defined.mean() > (1 - settings.confidence) / 2:
        return None
    ratios = resampled[defined, :1] / resampled[defined, 1:]
    lower, upper = percentile_interval(ratios, counts, settings.confidence)[:, 0]
    return [float(lower), float(upper)]
