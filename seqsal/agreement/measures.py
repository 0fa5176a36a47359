"""How alike two tracks are: array kernels, one value a window.

With a and b the tracks (n, L) of n windows, over the positions that are known:

* Pearson's r = S_ab / √(S_aa S_bb), S the centred sums of products. They are kept for each window, and the r of all
  windows together follows from them exactly: S = Σ S_i + Σ n_i (m_i − m)(m_i' − m').
* Spearman's ρ is Pearson's r of the ranks; equal values share their mean rank.
* *Top overlap*: the share of the k positions with the largest |a| that are also among those with the largest |b|. Were
  b unrelated to a, k / n of them would be, with n the known positions. Positions that tie for the last places share
  them, as if drawn by lot: a constant track overlaps by chance only.
* *Sign agreement*: the share of the common top positions where a and b have the same sign.
* *Local agreement* at a position: Σ a b / √(Σ a² Σ b²) over the positions at most half a width from it. It is 1 where
  both name the same bases with the same signs, −1 where they contradict each other, 0 where they are unrelated, and has
  no value where either track is 0 throughout or fewer than half the positions are known. Means are not subtracted: that
  the output rises or falls is part of what is compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments", "divide", "local_cosine", "overlap", "rank_rows", "row_moments", "top_weights"]

ROUNDING = 1e-10  # of the mean: a spread below that of float32 values, so that of a constant
Values = NDArray[np.float64]
Known = NDArray[np.bool_]


class Moments(NamedTuple):
    """Counts, means and centred sums of products of two tracks, each (n,)."""

    n: Values
    mean_a: Values
    mean_b: Values
    S_aa: Values
    S_bb: Values
    S_ab: Values

    def pearson(self) -> Values:
        """Return r of each window, (n,); NaN where a track is constant or fewer than two positions are known."""
        return _correlation(self.S_aa, self.S_bb, self.S_ab)

    def pooled_pearson(self) -> float:
        """Return r of all windows together; NaN where a track is constant."""
        total = max(self.n.sum(), 1)
        shift_a = self.mean_a - (self.n * self.mean_a).sum() / total
        shift_b = self.mean_b - (self.n * self.mean_b).sum() / total
        sums = (
            self.S_aa + self.n * shift_a**2, self.S_bb + self.n * shift_b**2, self.S_ab + self.n * shift_a * shift_b
        )  # fmt: skip
        return float(_correlation(*(values.sum(keepdims=True) for values in sums))[0])


def row_moments(a: NDArray[np.floating], b: NDArray[np.floating], known: Known) -> Moments:
    """Return the moments of two tracks over their known positions, all (n, L)."""
    n = known.sum(1).astype(np.float64)
    a_centred, mean_a = _centred(a, known, n)
    b_centred, mean_b = _centred(b, known, n)
    S_aa, S_bb = (a_centred * a_centred).sum(1), (b_centred * b_centred).sum(1)
    S_aa[n * (ROUNDING * mean_a) ** 2 >= S_aa] = 0
    S_bb[n * (ROUNDING * mean_b) ** 2 >= S_bb] = 0
    return Moments(n, mean_a, mean_b, S_aa, S_bb, (a_centred * b_centred).sum(1))


def rank_rows(values: NDArray[np.floating], known: Known) -> Values:
    """Ranks of the known positions within each row, from 1, ties sharing their mean; both (n, L)."""
    import scipy.stats  # here because it takes half a second, which other commands can do without

    return np.asarray(scipy.stats.rankdata(np.where(known, values, np.inf), axis=1), dtype=np.float64)


def top_weights(values: NDArray[np.floating], known: Known, k: int) -> Values:
    """How surely each position is among the k of largest magnitude in its row, (n, L); each row sums to k.

    1 above the k-th magnitude, 0 below it, and an equal share at it. With fewer than k known positions all are in.
    """
    size = np.where(known, np.abs(values), -1.0)
    threshold = -np.partition(-size, k - 1, axis=1)[:, k - 1 : k]  # the k-th largest
    above, at = size > threshold, (size == threshold) & known
    share = (k - above.sum(1)) / np.maximum(at.sum(1), 1)
    return above + at * share[:, None]


def overlap(
    a: NDArray[np.floating], b: NDArray[np.floating], top_a: Values, top_b: Values
) -> tuple[Values, Values, Values]:
    """Compare the top positions of two tracks (n, L), given their :func:`top_weights`: three arrays (n,).

    Share of the top positions that both have (NaN where nothing is known), their number, and how many of those have the
    same sign.
    """
    common = top_a * top_b
    n_common = common.sum(1)
    n_same = (common * (np.sign(a) == np.sign(b))).sum(1)
    size = top_a.sum(1)
    return divide(n_common, size), n_common, n_same


def local_cosine(a: NDArray[np.floating], b: NDArray[np.floating], known: Known, width: int) -> Values:
    """Local agreement over an odd `width` (bp) at every position, (n, L); NaN where it has no value."""
    a, b = (np.where(known, values, 0.0).astype(np.float64) for values in (a, b))
    n_known = _window_sum(known.astype(np.float64), width)
    scale = np.sqrt(_window_sum(a * a, width)) * np.sqrt(_window_sum(b * b, width))
    defined = known & (scale > 0) & (n_known >= width / 2)
    cosine = _window_sum(a * b, width) / np.where(defined, scale, 1.0)
    return np.where(defined, np.clip(cosine, -1, 1), np.nan)


def _window_sum(values: Values, width: int) -> Values:
    """Sum over the positions at most half a width away, one by one: a running sum would keep the rounding of peaks."""
    padded = np.pad(values, ((0, 0), (width // 2, width // 2)))
    total = np.zeros_like(values)
    for shift in range(width):
        total += padded[:, shift : shift + values.shape[1]]
    return total


def _centred(values: NDArray[np.floating], known: Known, n: Values) -> tuple[Values, Values]:
    """Values minus their row's mean, 0 where unknown, and the means."""
    kept = np.where(known, values, 0.0).astype(np.float64)
    mean = kept.sum(1) / np.maximum(n, 1)
    return np.where(known, kept - mean[:, None], 0.0), mean


def _correlation(S_aa: Values, S_bb: Values, S_ab: Values) -> Values:
    return np.clip(divide(S_ab, np.sqrt(S_aa) * np.sqrt(S_bb)), -1, 1)


def divide(top: Values, bottom: Values) -> Values:
    """Quotient, NaN where the divisor is not above 0."""
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
