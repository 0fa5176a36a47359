"""How alike maps are before and after a change of the model, beyond what their positions alone make them.

Three measures, one value a region, over the known positions:

* ``similarity``: Spearman's ρ of |map|, the order of importance; ``signed_similarity``: Spearman's ρ of the map. Both
  are those of Adebayo et al. 2018 (arXiv:1810.03292).
* ``mass_similarity``: Pearson's r of |map|, which the few largest values make. It sees what ranks do not: a map that is
  the same at ten bases of 200 and noise elsewhere has a ρ of about 0.15, and an r near 1.

Maps may be alike because of where the network looks: at the middle only, or more there than at the edges. So the map
before is compared with the map after of a shuffle of its region too, which a network reads at the same places, and only
what goes beyond that counts, as a share of what could::

    excess = (s − b) / (1 − b),   s: mean over regions of s(aᵢ, bᵢ),   b: mean of s(aᵢ, b of the shuffle), at least 0

It is 1 for maps that are the same, and 0 for those of which only positions are. (Another region instead of a shuffle
would not do: where all regions have their motif in the middle, maps that paint motifs are alike in all of them.)
Positions at which no map of any region has a value are left out: nothing is compared there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqsal.agreement.measures import row_moments
from seqsal.auditing.context import AuditContext
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import mean_known, percentile_interval, rank_correlation, resample_means
from seqsal.models import SequenceModel

__all__ = ["MEASURES", "SAME", "Comparison", "attribute_afresh", "map_similarity"]

MEASURES = ("similarity", "signed_similarity", "mass_similarity")
SAME = 1e-9  # from 1: maps that are the same, up to rounding
Maps = NDArray[np.float32]
Known = NDArray[np.bool_]
Values = NDArray[np.float64]


def map_similarity(a: Maps, b: Maps, known: Known) -> dict[str, Values]:
    """Compare maps region by region.

    Parameters
    ----------
    a, b
        Maps (n, L).
    known
        (n, L), the positions that are compared.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        By `MEASURES`. NaN where a is flat; 0 where b alone is, for then nothing of a is left; 1 where both are the same
        and not 0.
    """
    sizes = np.abs(a), np.abs(b)
    values = {
        "similarity": rank_correlation(*sizes, known),
        "signed_similarity": rank_correlation(a, b, known),
        "mass_similarity": row_moments(*sizes, known).pearson(),
    }
    same = ((a == b) | ~known).all(axis=1) & ((a != 0) & known).any(axis=1)
    for name, value in values.items():
        flat = _is_flat(a if name == "signed_similarity" else sizes[0], known)
        values[name] = np.where(same, 1.0, np.where(np.isnan(value) & ~flat, 0.0, value))
    return values


def attribute_afresh(
    context: AuditContext, codes: NDArray[np.uint8], model: SequenceModel | None = None
) -> NDArray[np.float32]:
    """Attribute regions (n, L) with other draws than `context.attribute` makes: (n, L).

    Two maps that share their draws are alike because of them: expected gradients are 0 where the reference has the same
    base. An explainer of the user's own draws as it likes.
    """
    return context.attribute(codes, model=model, draw=1)


class Comparison:
    """Maps of n regions before, and after in D draws.

    Parameters
    ----------
    before
        Maps (n, L).
    after
        D arrays (n, L), at least one.
    of_shuffles
        D arrays (n, L): as `after`, of a shuffle of each region.
    known
        (n, L), the same for a region and its shuffle.

    Attributes
    ----------
    same, shuffled : dict of str to ndarray, shape (n,)
        Mean over draws, by measure, of the similarity with the map after of the same region, and of its shuffle. A draw
        whose signs are opposite as a whole counts as alike.
    """

    def __init__(self, before: Maps, after: Sequence[Maps], of_shuffles: Sequence[Maps], known: Known) -> None:
        known = known & _read_positions(before, after)
        self.same = {name: np.zeros(len(before)) for name in MEASURES}
        self.shuffled = {name: np.zeros(len(before)) for name in MEASURES}
        for maps, shuffles in zip(after, of_shuffles, strict=True):
            same, shuffled = (map_similarity(before, other, known) for other in (maps, shuffles))
            for name in MEASURES:
                sign = -1.0 if name == "signed_similarity" and (mean_known(same[name]) or 0.0) < 0 else 1.0
                self.same[name] += sign * same[name] / len(after)
                self.shuffled[name] += sign * shuffled[name] / len(after)

    @property
    def strongest(self) -> str:
        """The measure by which the maps are most alike."""
        return max(MEASURES, key=self._excess)

    def excess(self, measure: str) -> float | None:
        """Return how much more alike maps are than with those of shuffles; None where undefined."""
        value = self._excess(measure)
        return value if np.isfinite(value) else None

    def _excess(self, measure: str) -> float:
        s, b = mean_known(self.same[measure]), mean_known(self.shuffled[measure])
        return -np.inf if s is None else float(_beyond(np.array(s), np.array(b or 0.0)))

    def interval(self, measure: str, rng: np.random.Generator, settings: AuditSettings) -> list[float] | None:
        """Return a confidence interval of the excess; None with fewer than two regions that have a value."""
        both = np.stack([self.same[measure], self.shuffled[measure]], axis=1)  # (n, 2)
        both = both[np.isfinite(both).all(axis=1)]
        if len(both) < 2:
            return None
        resampled = _beyond(*resample_means(both, rng, settings.n_bootstrap).T)[:, None]
        return [float(end) for end in percentile_interval(resampled, len(both), settings.confidence)[:, 0]]


def _beyond(s: Values, b: Values) -> Values:
    b = np.maximum(b, 0.0)
    return np.where(s >= 1 - SAME, 1.0, (s - b) / np.maximum(1 - b, SAME))


def _is_flat(values: Maps, known: Known) -> Known:
    low = np.where(known, values, np.inf).min(axis=1)
    return low >= np.where(known, values, -np.inf).max(axis=1)


def _read_positions(before: Maps, after: Sequence[Maps]) -> Known:
    """Positions (L,) at which some map has a value."""
    return np.logical_or.reduce([(maps != 0).any(axis=0) for maps in (before, *after)])
