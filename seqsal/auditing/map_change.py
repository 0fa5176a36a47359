"""How much one map of some windows differs from another, and numbers for `audit.json`: None where there is none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqsal.agreement.measures import rank_rows, row_moments
from seqsal.auditing import bootstrap
from seqsal.auditing.settings import AuditSettings

__all__ = [
    "Similarity",
    "compare_maps",
    "mean_interval",
    "mean_known",
    "mean_rows",
    "number",
    "pearson_of",
    "share_interval",
]

Values = NDArray[np.float64]


class Similarity(NamedTuple):
    """How alike two maps are, each (n,).

    Attributes
    ----------
    pearson, spearman
        NaN where a map is constant or fewer than two positions are compared.
    relative_change
        ‖b − a‖ / ‖a‖; 0 where both maps are 0 throughout, NaN where a alone is.
    """

    pearson: Values
    spearman: Values
    relative_change: Values


def compare_maps(a: NDArray[np.floating], b: NDArray[np.floating], known: NDArray[np.bool_]) -> Similarity:
    """Compare two maps (n, L) over the positions (n, L) that count."""
    a, b = (np.where(known, values, 0.0).astype(np.float64) for values in (a, b))
    pearson = row_moments(a, b, known).pearson()
    spearman = row_moments(rank_rows(a, known), rank_rows(b, known), known).pearson()
    size, change = np.linalg.norm(a, axis=1), np.linalg.norm(b - a, axis=1)
    relative = np.divide(change, size, out=np.where(change > 0, np.nan, 0.0), where=size > 0)
    return Similarity(pearson, spearman, relative)


def pearson_of(a: Values, b: Values) -> float | None:
    """Return Pearson's r of two sets of numbers (n,); None where one is constant or n < 2."""
    return number(row_moments(a[None], b[None], np.ones((1, len(a)), dtype=bool)).pearson()[0])


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


def mean_interval(values: Values, rng: np.random.Generator, settings: AuditSettings) -> list[float] | None:
    """Return the bootstrap interval of :func:`mean_known`; None for fewer than two numbers."""
    return bootstrap.mean_interval(values[np.isfinite(values)], rng, settings)


def share_interval(n_found: int, n: int, confidence: float) -> list[float] | None:
    """Return Wilson's score interval of a share; None for fewer than two (1927, doi:10.1080/01621459.1927.10502953)."""
    if n < 2:
        return None
    from scipy.stats import binomtest  # here because it takes half a second, which other commands can do without

    interval = binomtest(n_found, n).proportion_ci(confidence, method="wilson")
    return [float(interval.low), float(interval.high)]
