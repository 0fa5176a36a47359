"""Compare several attributions of the same regions, pair by pair, in a stream.

What is kept for every region and pair is some numbers, never a track, so that memory does not grow with the windows'
length. All overall values but one follow exactly from those. The exception is Spearman's ρ of all positions together,
whose ranks need all values at once: it is taken over a sample of about `SAMPLE_BP` positions at most, chosen by a hash
of region and position, and over all of them where there are no more.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from seqsal.agreement.match import Matched, match_regions
from seqsal.agreement.measures import Moments, Values, overlap, rank_rows, row_moments, top_weights
from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import CHUNK_BP, chunk_rows
from seqsal.io.views import view

__all__ = ["Agreement", "compare_attributions"]

SAMPLE_BP = 1_000_000
TOP_SHARE = 0.05  # of the window
logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False, eq=False)
class Agreement:
    """How alike several attributions are.

    Attributes
    ----------
    names
        What was compared.
    top
        k of the top overlap.
    length
        Bases per window.
    regions
        One row a region and pair: chrom, start, end, name, strand, `a`, `b`, `n_bases` (known in all results),
        `pearson`, `spearman`, `top_overlap`, `top_expected` (by chance), `sign_agreement` (of common top positions).
    overall
        One row a pair: `a`, `b`, `n_regions`, `n_bases`, `pearson` and `spearman` of all positions together,
        `n_sampled` (positions behind that `spearman`), `median_pearson`, `median_spearman` and `mean_spearman` of the
        regions, `top_overlap` and `top_expected` (means of the regions), `sign_agreement` (of all common top
        positions).
    unmatched
        Regions that not all results have: `result`, chrom, start, end, strand.
    """

    names: tuple[str, ...]
    top: int
    length: int
    regions: pd.DataFrame
    overall: pd.DataFrame
    unmatched: pd.DataFrame

    def __repr__(self) -> str:
        n_regions = int(self.overall["n_regions"].iloc[0])
        lines = [f"Agreement({len(self.names)} results, {n_regions:,} regions × {self.length:,} bp)"]
        for row in self.overall.to_dict("records"):
            lines.append(
                f"  {row['a']} ~ {row['b']}: Pearson {row['pearson']:.3f}, Spearman {row['spearman']:.3f}, "
                f"top {self.top} overlap {row['top_overlap']:.0%} (chance {row['top_expected']:.0%}), "
                f"same sign {row['sign_agreement']:.0%}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return str(view("agreement_html")(self))


def compare_attributions(
    results: Mapping[str, Attributions],
    *,
    top: int | None = None,
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> Agreement:
    """Compare attributions of the same regions by several methods, seeds, folds or strands.

    Parameters
    ----------
    results
        Two or more by name, of windows of one length. Rows are matched by region; those of strand "-" are turned to the
        genome's direction, so that the two strands of a region can be compared.
    top
        k of the top overlap; None is 5 % of the window, rounded up.
    chunk_bp
        Values of a result read at a time.
    progress
        Show a progress bar.

    Raises
    ------
    UsageError
        Fewer than two results, windows of different lengths, or `top` beyond them.
    RegionError
        No region is in all results.
    StoreError
        A track that is not finite.
    """
    matched = match_regions(results)
    k = _top(top, matched.length)
    pairs = [_Pair(a, b, matched, k) for a, b in itertools.combinations(range(len(matched.names)), 2)]
    n_other = np.zeros(len(matched.names), dtype=np.int64)
    for rows in _chunks(matched, chunk_bp, progress):
        tracks, known = matched.read(rows)
        n_other += matched.n_other_bases(rows)
        ranks = [rank_rows(track, known) for track in tracks]
        tops = [top_weights(track, known, k) for track in tracks]
        sample = known & _sampled(rows, matched.length, len(matched.regions))
        for pair in pairs:
            pair.add(rows, tracks, known, ranks, tops, sample)
    _warn_of_other_bases(matched, n_other)
    regions = pd.concat([pair.regions() for pair in pairs], ignore_index=True)
    overall = pd.DataFrame([pair.overall() for pair in pairs])
    return Agreement(matched.names, k, matched.length, regions, overall, matched.unmatched)


class _Pair:
    """Two of the results: what is known of every region, filled chunk by chunk."""

    def __init__(self, a: int, b: int, matched: Matched, top: int) -> None:
        self.a, self.b, self.matched, self.top = a, b, matched, top
        n = len(matched.regions)
        self.moments = Moments(*(np.zeros(n) for _ in Moments._fields))
        self.spearman, self.top_overlap, self.n_common, self.n_same = (np.zeros(n) for _ in range(4))
        self.samples: list[NDArray[np.float32]] = []  # each (2, n_sampled)

    def add(
        self,
        rows: slice,
        tracks: NDArray[np.float32],
        known: NDArray[np.bool_],
        ranks: list[Values],
        tops: list[Values],
        sample: NDArray[np.bool_],
    ) -> None:
        a, b = tracks[self.a], tracks[self.b]
        for column, values in zip(self.moments, row_moments(a, b, known), strict=True):
            column[rows] = values
        self.spearman[rows] = row_moments(ranks[self.a], ranks[self.b], known).pearson()
        counts = overlap(a, b, tops[self.a], tops[self.b])
        self.top_overlap[rows], self.n_common[rows], self.n_same[rows] = counts
        self.samples.append(np.stack([a[sample], b[sample]]))

    def regions(self) -> pd.DataFrame:
        names = self.matched.names
        return self.matched.regions[["chrom", "start", "end", "name", "strand"]].assign(
            a=names[self.a],
            b=names[self.b],
            n_bases=self.moments.n.astype(np.int64),
            pearson=self.moments.pearson(),
            spearman=self.spearman,
            top_overlap=self.top_overlap,
            top_expected=self._expected(),
            sign_agreement=_ratio(self.n_same, self.n_common),
        )

    def overall(self) -> dict[str, str | int | float]:
        values = np.concatenate(self.samples, axis=1)
        every = np.ones((1, values.shape[1]), dtype=bool)
        pooled = row_moments(rank_rows(values[:1], every), rank_rows(values[1:], every), every).pearson()
        return {
            "a": self.matched.names[self.a],
            "b": self.matched.names[self.b],
            "n_regions": len(self.matched.regions),
            "n_bases": int(self.moments.n.sum()),
            "pearson": self.moments.pooled_pearson(),
            "spearman": float(pooled[0]),
            "n_sampled": values.shape[1],
            "median_pearson": _of_known(np.median, self.moments.pearson()),
            "median_spearman": _of_known(np.median, self.spearman),
            "mean_spearman": _of_known(np.mean, self.spearman),
            "top_overlap": _of_known(np.mean, self.top_overlap),
            "top_expected": _of_known(np.mean, self._expected()),
            "sign_agreement": float(_ratio(self.n_same.sum(keepdims=True), self.n_common.sum(keepdims=True))[0]),
        }

    def _expected(self) -> Values:
        """Top overlap by chance, k / n and at most 1; NaN where nothing is known."""
        return np.minimum(_ratio(np.full(len(self.moments.n), float(self.top)), self.moments.n), 1.0)


def _top(top: int | None, length: int) -> int:
    k = math.ceil(TOP_SHARE * length) if top is None else top
    if not 1 <= k <= length:
        raise UsageError(f"top: got {k}, expected 1 to {length}, the window's length")
    return k


def _chunks(matched: Matched, chunk_bp: int, progress: bool) -> Iterator[slice]:
    n, step = len(matched.regions), chunk_rows(matched.length, chunk_bp)
    with tqdm(total=n, desc="compare", unit="region", disable=not progress) as bar:
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            yield rows
            bar.update(rows.stop - rows.start)


def _sampled(rows: slice, length: int, n_regions: int) -> NDArray[np.bool_]:
    """Whether each position of some regions (n, L) is in the sample, by a hash of region and position.

    The hash is the finalizer of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195).
    """
    every = -(-n_regions * length // SAMPLE_BP)
    shape = (rows.stop - rows.start, length)
    if every == 1:
        return np.ones(shape, dtype=bool)
    index = np.arange(rows.start * length, rows.stop * length, dtype=np.uint64)
    mixed = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed % np.uint64(every) == 0).reshape(shape)


def _warn_of_other_bases(matched: Matched, n_other: NDArray[np.int64]) -> None:
    for name, count in zip(matched.names, n_other, strict=True):
        if count:
            logger.warning(
                "%s: %d of %d regions have other bases than in %s; are they of the same genome?",
                name, count, len(matched.regions), matched.names[0],
            )  # fmt: skip


def _ratio(top: Values, bottom: Values) -> Values:
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)


def _of_known(statistic: Callable[[Values], np.floating], values: Values) -> float:
    known = values[~np.isnan(values)]
    return float(statistic(known)) if len(known) else math.nan
