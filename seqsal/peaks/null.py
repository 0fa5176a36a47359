"""What the shuffled controls say about a candidate: its p-value.

Every control is a dinucleotide shuffle of a window, attributed by the same model, and its candidates are found by the
same code, so that a candidate of the data and one of the controls are exchangeable when the data hold no signal. The
p-value is that of *a candidate*, not of a base: the choice of the local maximum is made on both sides and cancels. What
is called a height here is a candidate's strength (:mod:`seqsal.peaks.strength`).

*Bulk.* For a height x that ten or more controls reach, p = (1 + #{controls ≥ x}) / (1 + n), exact under exchangeability
(Phipson and Smyth 2010, doi:10.2202/1544-6115.1585; conformal p-values, on which Benjamini–Hochberg keeps its rate:
Bates et al. 2023, doi:10.1214/22-AOS2244), but for the ruler of the strengths: it is read off the controls, and fits
them a little better than the data. In noise the largest of 10 controls of 300 bp is exceeded 1.4 times as often as it
should, that of 100 as often.

*Tail.* Counts cannot go below 1 / (1 + n), too much for the multiple testing of many windows with few controls. Beyond
u, the k largest control heights are modelled by a generalised Pareto distribution (:mod:`seqsal.peaks.tail`). The
probability of passing u, (k + 1) / (n + 1), is exact again. k is √n, at least 20, so that the threshold lies the deeper
in the tail the more controls there are.

*Scale.* Heights are taken as they are, or relative to the level of their window, whichever
:func:`seqsal.peaks.level.choose_scale` finds fit.

*Clusters.* Windows differ in the scale of their gradients, so large control heights come in clusters, and k of them
carry less information than k independent ones. As in quasi-likelihood (McCullagh and Nelder 1989), the log likelihood
is divided by the dispersion of their counts c over the M controls, φ = Σ (c - c̄)² / (c̄ (M - 1)), where it exceeds 1.

Both signs have their own distribution: activation and repression need not look alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import StoreError
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import CHUNK_BP, Scale, chunk_rows
from seqsal.peaks.candidates import SIGNS, CandidateRules, find_candidates
from seqsal.peaks.level import check_controls, read_controls, warn_if_one_sided, window_scale
from seqsal.peaks.seeds import under_seeds
from seqsal.peaks.strength import Ruler
from seqsal.peaks.tail import MIN_P, ParetoTail, fit_tail

__all__ = [
    "MAX_NULL_BP",
    "NullDistribution",
    "SignNull",
    "dispersion",
    "fit_null",
]

MAX_NULL_BP = 50_000_000  # control bases looked at; beyond that, evenly spaced controls
TAIL_ROOTS, MIN_TAIL = 1.0, 20  # the tail is fitted to the √n largest of n candidates
MIN_COUNT = 10  # controls as high that make a count exact enough (Knijnenburg et al.)


def dispersion(counts: NDArray[np.integer]) -> float:
    """Return the variance of counts (M,) over their mean: 1 when events are independent, more when they cluster.

    A single count, which says nothing about clustering, gives 1.
    """
    mean = counts.mean()
    return float(((counts - mean) ** 2).sum() / mean / (len(counts) - 1)) if len(counts) > 1 else 1.0


@dataclass(frozen=True)
class NullDistribution:
    """Heights of the control candidates of one sign.

    Attributes
    ----------
    heights
        (n,) ascending.
    threshold
        Height u above which the tail model holds; infinite without a tail.
    tail
        The model, or None when there are too few different heights for one.
    """

    heights: NDArray[np.float64]
    threshold: float
    tail: ParetoTail | None

    @classmethod
    def fit(cls, heights: NDArray[np.float64], window: NDArray[np.int64], n_windows: int) -> NullDistribution:
        """Fit to control candidates.

        Parameters
        ----------
        heights
            (n,) heights, any order.
        window
            (n,) number of the control that each is from, below `n_windows`.
        n_windows
            Number of controls.
        """
        order = np.argsort(heights, kind="stable")
        ranked, n = heights[order], len(heights)
        k = int(min(max(TAIL_ROOTS * np.sqrt(n), MIN_TAIL), n // 2))
        if k < 2:
            return cls(ranked, np.inf, None)
        threshold = float(ranked[n - k - 1])
        over = ranked > threshold
        if not over.any():
            return cls(ranked, np.inf, None)
        counts = np.bincount(window[order][over], minlength=n_windows)
        return cls(ranked, threshold, fit_tail(ranked[over] - threshold, 1 / max(1.0, dispersion(counts))))

    def p_values(self, heights: NDArray[np.float64]) -> NDArray[np.float64]:
        """P-values (m,) of candidates of these heights (m,); 1 when the controls have no candidate of this sign."""
        x = np.asarray(heights, dtype=np.float64)
        n = len(self.heights)
        count = n - np.searchsorted(self.heights, x, side="left")
        p = (1 + count) / (1 + n)
        if self.tail is not None:
            far = (x > self.threshold) & (count < MIN_COUNT)
            k = n - int(np.searchsorted(self.heights, self.threshold, side="right"))
            modelled = (k + 1) / (n + 1) * self.tail.survival(x[far] - self.threshold)
            p[far] = np.minimum(modelled, (1 + MIN_COUNT) / (1 + n))
        return np.maximum(p, MIN_P)


@dataclass(frozen=True)
class SignNull:
    """What the control candidates of one sign look like.

    Attributes
    ----------
    ruler
        How strengths are measured.
    distribution
        Strengths of the control candidates.
    """

    ruler: Ruler
    distribution: NullDistribution

    @classmethod
    def fit(cls, profiles: NDArray[np.float64], window: NDArray[np.int64], n_windows: int) -> SignNull:
        """Fit to the profiles (n, K) of control candidates; see :meth:`NullDistribution.fit`."""
        ruler = Ruler.of(profiles)
        return cls(ruler, NullDistribution.fit(ruler.strengths(profiles), window, n_windows))


def fit_null(
    attr: Attributions,
    rules: CandidateRules,
    *,
    scale: Scale | None = window_scale,
    seeds: Attributions | None = None,
    chunk_bp: int = CHUNK_BP,
) -> dict[str, SignNull]:
    """Find the candidates of the controls, a chunk of rows at a time, and fit their strengths.

    Parameters
    ----------
    attr
        Attributions with controls.
    rules
        What counts as a candidate, the same as for the data.
    scale
        What a control's values are divided by, the same as for the data; None for nothing.
    seeds
        A coarse map with the same controls: only candidates under its seeds count.
    chunk_bp
        Values read at a time.

    Returns
    -------
    dict
        `pos` and `neg`.

    Raises
    ------
    StoreError
        No controls; values that are not finite, or that are all equal.
    """
    check_controls(attr)
    profiles: dict[str, list[NDArray[np.float64]]] = {sign: [] for sign in SIGNS}
    windows: dict[str, list[NDArray[np.int64]]] = {sign: [] for sign in SIGNS}
    lowest, highest = np.inf, -np.inf
    n_negative = n_positive = 0
    rows = _chosen_controls(attr)
    for i, chunk in _chunks(rows, attr.length, chunk_bp):
        values, known = read_controls(attr, chunk)
        if not known.any():
            continue
        lowest, highest = min(lowest, float(values[known].min())), max(highest, float(values[known].max()))
        n_negative += int((values[known] < 0).sum())
        n_positive += int((values[known] > 0).sum())
        positions = (np.arange(len(chunk), dtype=np.int64)[:, None] * (attr.length + 1) + np.arange(attr.length))[known]
        scaled = values if scale is None else values / scale(values, known)[:, None]
        found = find_candidates(positions, scaled[known], rules)
        if seeds is not None:
            found = under_seeds(positions, read_controls(seeds, chunk)[0][known], found)
        for sign, candidates in found.items():
            profiles[sign].append(candidates.profile)
            windows[sign].append(i + positions[candidates.summit] // (attr.length + 1))
    if not lowest < highest:
        raise StoreError(
            "null_track: all values of the shuffled controls are equal, expected a track that varies; check that the "
            "model depends on its input, then attribute again"
        )
    warn_if_one_sided(attr, n_negative, n_positive)
    return {
        sign: SignNull.fit(np.concatenate(profiles[sign]), np.concatenate(windows[sign]), len(rows)) for sign in SIGNS
    }


def _chosen_controls(attr: Attributions) -> NDArray[np.int64]:
    """Rows of the controls to read: all, or evenly spaced ones where they are very many."""
    stride = -(-attr.n_controls * attr.length // MAX_NULL_BP)
    return np.arange(0, attr.n_controls, stride, dtype=np.int64)


def _chunks(rows: NDArray[np.int64], length: int, chunk_bp: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield row numbers a chunk at a time, with the place of the first."""
    step = chunk_rows(length, chunk_bp)
    return ((i, rows[i : i + step]) for i in range(0, len(rows), step))
