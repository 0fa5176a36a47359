"""The statistics of the audit: means and their intervals, correlations, rank tests and multiple testing.

*Intervals of means* are expanded percentile intervals over resampled regions (Hesterberg 2015,
doi:10.1080/00031305.2015.1089789): the quantiles α' and 1 − α' of the resampled means, with α' = Φ(−√(n / (n − 1)) · t)
and t the 1 − α/2 quantile of Student's t with n − 1 degrees of freedom. The plain percentile interval (α' = α/2) is too
narrow for few regions, because resampled means vary by the variance with divisor n and the normal distribution has thin
tails; for many regions the two are the same. No resampled mean lies outside the data, so that the interval of n < 6
regions holds the mean of a symmetric distribution in 1 − 2^(1 − n) of all cases at most, whatever the confidence.

A statistic that is not defined is None (of one set of numbers) or NaN (in an array, one value a region). scipy.stats
takes half a second to import, so functions import it when they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from seqsal.agreement.measures import rank_rows, row_moments
from seqsal.auditing.content import Flags, Values
from seqsal.auditing.settings import AuditSettings
from seqsal.training import metrics

__all__ = [
    "Similarity", "auroc", "compare_maps", "fisher_p", "interval_of", "kruskal_wallis", "mann_whitney_p",
    "mean_interval", "mean_known", "mean_rows", "number", "pearson", "percentile_interval", "q_values_of",
    "rank_correlation", "ratio_interval", "resample_means", "share_interval", "signed_rank_p", "spearman",
]  # fmt: skip

CHUNK_WEIGHTS = 1 << 21
MIN_PAIRS = 6  # the fewest with which a signed-rank test can be significant at 0.05
MOST_EXACT = 50


def number(value: float | np.floating) -> float | None:
    """Return a number as Python's float, None where it is NaN or infinite."""
    return float(value) if np.isfinite(value) else None


def mean_known(values: Values) -> float | None:
    """Return the mean of those that are numbers; None where there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def mean_rows(values: Values) -> Values:
    """Return the mean of the numbers in each column of (k, n), NaN where there are none; (n,)."""
    known = np.isfinite(values)
    n = known.sum(0)
    return np.where(n > 0, np.where(known, values, 0.0).sum(0) / np.maximum(n, 1), np.nan)


def resample_means(values: ArrayLike, rng: np.random.Generator, n_resamples: int) -> Values:
    """Return the means (B, m) of resampled rows of values (n, m), one a region; what is paired stays paired."""
    rows = np.asarray(values, dtype=np.float64)
    n = len(rows)
    centre = rows[:1]  # so that equal rows give their value to the bit
    step = max(1, CHUNK_WEIGHTS // n)
    sizes = [min(step, n_resamples - first) for first in range(0, n_resamples, step)]
    weights = (rng.multinomial(n, np.full(n, 1 / n), size=size) / n for size in sizes)
    return np.concatenate([part @ (rows - centre) for part in weights]) + centre


def percentile_interval(resampled: Values, n: int, confidence: float) -> Values:
    """Return the expanded percentile interval (2, m) of means over n ≥ 2 regions, from those of resamples (B, m)."""
    t = stdtrit(n - 1, (1 + confidence) / 2)
    tail = float(ndtr(-np.sqrt(n / (n - 1)) * t))
    return np.asarray(np.quantile(resampled, [tail, 1 - tail], axis=0))


def mean_interval(values: ArrayLike, rng: np.random.Generator, settings: AuditSettings) -> tuple[float, float] | None:
    """Return the confidence interval of the mean of the numbers among values (n,); None for fewer than two."""
    column = np.asarray(values, dtype=np.float64)[:, None]
    column = column[np.isfinite(column[:, 0])]
    if len(column) < 2:
        return None
    resampled = resample_means(column, rng, settings.n_bootstrap)
    return interval_of(resampled, len(column), settings.confidence)


def interval_of(resampled: Values, n: int, confidence: float) -> tuple[float, float]:
    """Return the interval of one resampled number (B, 1), see :func:`percentile_interval`."""
    low, high = percentile_interval(resampled, n, confidence)[:, 0]
    return float(low), float(high)


def ratio_interval(
    top: ArrayLike, bottom: ArrayLike, rng: np.random.Generator, settings: AuditSettings
) -> tuple[float, float] | None:
    """Return the confidence interval of Σ top / Σ bottom, (n,) each, `bottom` ≥ 0; resampled together.

    None for fewer than two regions with any of the two, and where so few have a `bottom` that resamples without are
    within the interval's tails.
    """
    pairs = np.stack([np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)], axis=1)
    counts = int((pairs != 0).any(axis=1).sum())
    if counts < 2:
        return None
    resampled = resample_means(pairs, rng, settings.n_bootstrap)
    defined = resampled[:, 1] > 0
    if 1 - defined.mean() > (1 - settings.confidence) / 2:
        return None
    return interval_of(resampled[defined, :1] / resampled[defined, 1:], counts, settings.confidence)


def share_interval(n_found: int, n: int, confidence: float) -> tuple[float, float] | None:
    """Return Wilson's score interval of a share; None for fewer than two (1927, doi:10.1080/01621459.1927.10502953)."""
    if n < 2:
        return None
    from scipy.stats import binomtest

    interval = binomtest(n_found, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def pearson(a: Values, b: Values | None, *, min_spread: float = 0.0) -> float | None:
    """Return Pearson's r of two sets of numbers (n,).

    None where one is constant, holds anything but numbers or is None, where n < 3 (two points are always on a line),
    and where one varies by less than `min_spread` of its largest magnitude.
    """
    if b is None or len(a) < 3 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    if any(np.ptp(values) <= min_spread * max(np.abs(values).max(), 1e-12) for values in (a, b)):
        return None
    return number(row_moments(a[None], b[None], np.ones((1, len(a)), dtype=bool)).pearson()[0])


def spearman(a: Values, b: Values | None) -> float | None:
    """Return Spearman's ρ of two sets of numbers (n,); None as for :func:`pearson`."""
    if b is None or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    known = np.ones((1, len(a)), dtype=bool)
    return pearson(rank_rows(a[None], known)[0], rank_rows(b[None], known)[0])


def rank_correlation(a: NDArray[np.floating], b: NDArray[np.floating], known: Flags) -> Values:
    """Return Spearman's ρ (n,) of the rows of two maps (n, L) over their known positions; NaN where one is constant."""
    return row_moments(rank_rows(a, known), rank_rows(b, known), known).pearson()


class Similarity(NamedTuple):
    """How alike two maps are, each (n,).

    `pearson`, `spearman`: NaN where a map is constant or fewer than two positions are compared. `relative_change`: ‖b −
    a‖ / ‖a‖; 0 where both maps are 0 throughout, NaN where a alone is.
    """

    pearson: Values
    spearman: Values
    relative_change: Values


def compare_maps(a: NDArray[np.floating], b: NDArray[np.floating], known: Flags) -> Similarity:
    """Compare two maps (n, L) over the positions (n, L) that count."""
    a, b = (np.where(known, values, 0.0).astype(np.float64) for values in (a, b))
    size, change = np.linalg.norm(a, axis=1), np.linalg.norm(b - a, axis=1)
    relative = np.divide(change, size, out=np.where(change > 0, np.nan, 0.0), where=size > 0)
    return Similarity(row_moments(a, b, known).pearson(), rank_correlation(a, b, known), relative)


def auroc(positives: Values, negatives: Values) -> float | None:
    """P(positive > negative) + ½ P(equal); None where either is empty."""
    labels = np.repeat([1.0, 0.0], [len(positives), len(negatives)])
    return number(metrics.auroc(labels, np.concatenate([positives, negatives])))


def mann_whitney_p(a: Values, b: Values, *, method: str = "auto") -> float:
    """Two-sided p-value of the Mann–Whitney test that neither set of numbers tends to be larger; 1 where all equal."""
    from scipy.stats import mannwhitneyu

    if np.ptp(np.concatenate([a, b])) == 0:
        return 1.0
    return float(mannwhitneyu(a, b, alternative="two-sided", method=method).pvalue)


def signed_rank_p(differences: Values, rounding: float) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test that paired differences (n,) are none.

    Differences up to `rounding` are none; with fewer than `MIN_PAIRS` others it is 1.
    """
    from scipy.stats import wilcoxon

    kept = differences[np.abs(differences) > rounding]
    if len(kept) < MIN_PAIRS:
        return 1.0
    is_exact = len(kept) <= MOST_EXACT and len(np.unique(np.abs(kept))) == len(kept)  # scipy permutes where ties are
    return float(wilcoxon(kept, method="exact" if is_exact else "asymptotic").pvalue)


def kruskal_wallis(groups: Sequence[Values]) -> tuple[float, float]:
    """Effect size ε² = H / (n − 1) and p-value of the Kruskal–Wallis test; 0 and 1 where all values are equal."""
    from scipy.stats import kruskal

    pooled = np.concatenate(groups)
    if np.ptp(pooled) == 0:
        return 0.0, 1.0
    result = kruskal(*groups)
    return float(result.statistic / (len(pooled) - 1)), float(result.pvalue)


def fisher_p(n_with: ArrayLike, n: int, m_with: ArrayLike, m: int) -> Values:
    """P-value that `n_with` of n is no larger a share than `m_with` of m others: Fisher's exact test, one-sided.

    The counts may be arrays of one shape, which is that of the result; 1 where `n_with` is 0.
    """
    from scipy.stats import hypergeom

    a, b = np.asarray(n_with, dtype=np.int64), np.asarray(m_with, dtype=np.int64)
    p_values = np.where(a > 0, hypergeom.sf(a - 1, n + m, a + b, n), 1.0)
    return np.clip(np.nan_to_num(p_values, nan=1.0), 0.0, 1.0)


def q_values_of(p_values: Sequence[float] | Values) -> Values:
    """Q-values of Benjamini and Hochberg (1995, doi:10.1111/j.2517-6161.1995.tb02031.x), (n,); NaN for NaN."""
    from scipy.stats import false_discovery_control

    found = np.array(p_values, dtype=np.float64)
    tested = np.isfinite(found)
    if tested.any():
        found[tested] = false_discovery_control(found[tested], method="bh")
    return found
