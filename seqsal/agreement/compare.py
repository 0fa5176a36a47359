"""Compare several attributions of the same regions, pair by pair, in a stream.

What is kept for every region and pair is some numbers, never a track, so that memory does not grow with the windows'
length. All overall values but one follow exactly from those. The exception is Spearman's ρ of all positions together,
whose ranks need all values at once: it is taken over a sample of about `SAMPLE_BP` positions at most, chosen by a hash
of region and position, and over all of them where there are fewer.

Where in the genome results agree is written as a bigWig of their local agreement (:mod:`seqsal.agreement.measures`).
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from seqsal.agreement.match import Comparable, Matched, match_regions, open_results
from seqsal.agreement.measures import (
    Moments,
    Values,
    divide,
    local_cosine,
    overlap,
    rank_rows,
    row_moments,
    top_weights,
)
from seqsal.errors import OutputError, UsageError, counted
from seqsal.io.atomic import check_writable
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import CHUNK_BP, chunk_rows
from seqsal.io.tracks import write_bigwig
from seqsal.io.views import view
from seqsal.sequence.codes import N_CODE
from seqsal.sequence.draws import GAMMA, splitmix64

__all__ = ["AGREEMENT_BP", "Agreement", "compare_attributions", "write_agreement_bigwig"]

SAMPLE_BP = 1_000_000
TOP_SHARE = 0.05  # of the window
AGREEMENT_BP = 21  # wider than most motifs' cores, narrower than the distance between sites
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

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> codes, track = np.uint8([[0, 1, 2, 3] * 2]), np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(make_regions(["chr1"], [100], [108]), codes, track, np.float32([1.5]))
    >>> agreement = seqsal.compare_attributions({"map": attr, "same": attr}, top=3)
    >>> agreement.overall[["a", "b", "n_bases", "top_overlap"]].to_dict("records")
    [{'a': 'map', 'b': 'same', 'n_bases': 8, 'top_overlap': 1.0}]
    """

    names: tuple[str, ...]
    top: int
    length: int
    regions: pd.DataFrame
    overall: pd.DataFrame
    unmatched: pd.DataFrame

    def __repr__(self) -> str:
        n_regions = int(self.overall["n_regions"].iloc[0])
        lines = [
            f"Agreement({counted(len(self.names), 'result')}, {counted(n_regions, 'region')} × {self.length:,} bp)"
        ]
        for row in self.overall.to_dict("records"):
            lines.append(
                f"  {row['a']} ~ {row['b']}: Pearson {row['pearson']:.3f}, Spearman {row['spearman']:.3f}, "
                f"top {self.top} overlap {_share(row['top_overlap'])} (chance {_share(row['top_expected'])}), "
                f"same sign {_share(row['sign_agreement'])}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return str(view("agreement_html")(self))


def _share(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.0%}"


def compare_attributions(
    attributions: Comparable | Sequence[str | os.PathLike[str]] | Mapping[str, Comparable],
    *,
    top: int | None = None,
    bigwig: str | os.PathLike[str] | None = None,
    width: int = AGREEMENT_BP,
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> Agreement:
    """Say how alike the attributions of several methods, seeds, folds or strands are, pair by pair.

    Rows are matched by region; those of strand "-" are turned to the genome's direction, so that the two strands of a
    region can be compared.

    Parameters
    ----------
    attributions
        Results or files by name, `{"seed 0": attr, "seed 1": "B.h5"}`; or a list of files; or one result or file that
        was made with others, which are then all compared. `A.h5:ism` is that result of a file.
    top
        How many positions of largest magnitude in a region the top overlap looks at; None is 5 % of the window,
        rounded up.
    bigwig
        Also write the local agreement of the tracks, from −1 to 1.
    width
        Bases around each base that its local agreement is computed over, odd.
    chunk_bp
        Values of a result read at a time; does not change the result.
    progress
        Show a progress bar.

    Returns
    -------
    Agreement
        `overall`, one row a pair; `regions`, one row a region and pair; `unmatched`, regions that not all results have.

    Raises
    ------
    UsageError
        Fewer than two results, windows of different lengths, `top` beyond them, or a width that is not odd.
    RegionError
        No region is in all results.
    StoreError
        A file that cannot be read, or a track that is not finite.
    OutputError
        The bigWig cannot be written.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> codes, track = np.uint8([[0, 1, 2, 3] * 2]), np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(make_regions(["chr1"], [100], [108]), codes, track, np.float32([1.5]))
    >>> opposite = seqsal.Attributions(attr.regions, codes, -track, attr.prediction)
    >>> seqsal.compare_attributions({"map": attr, "opposite": opposite})
    Agreement(2 results, 1 region × 8 bp)
      map ~ opposite: Pearson -1.000, Spearman -1.000, top 1 overlap 100% (chance 12%), same sign 0%
    """
    results = open_results(attributions)
    if bigwig is not None:
        _check_width(width)
        check_writable(bigwig)
    matched = match_regions(results)
    k = math.ceil(TOP_SHARE * matched.length) if top is None else top
    if not 1 <= k <= matched.length:
        raise UsageError(f"top: got {k}, expected 1 to {matched.length}, the window's length")
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
    for name, count in zip(matched.names, n_other, strict=True):
        if count:
            logger.warning(
                "%s: %d of %d regions have other bases than in %s; are they of the same genome?",
                name, count, len(matched.regions), matched.names[0],
            )  # fmt: skip
    if bigwig is not None:
        write_agreement_bigwig(results, bigwig, width=width, chunk_bp=chunk_bp, progress=progress)
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
            sign_agreement=divide(self.n_same, self.n_common),
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
            "sign_agreement": float(divide(self.n_same.sum(keepdims=True), self.n_common.sum(keepdims=True))[0]),
        }

    def _expected(self) -> Values:
        """Top overlap by chance, k / n and at most 1; NaN where nothing is known."""
        return np.minimum(divide(np.full(len(self.moments.n), float(self.top)), self.moments.n), 1.0)


def _chunks(matched: Matched, chunk_bp: int, progress: bool) -> Iterator[slice]:
    n, step = len(matched.regions), chunk_rows(matched.length, chunk_bp)
    with tqdm(total=n, desc="compare", unit="region", disable=not progress) as bar:
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            yield rows
            bar.update(rows.stop - rows.start)


def _sampled(rows: slice, length: int, n_regions: int) -> NDArray[np.bool_]:
    """Whether each position of some regions (n, L) is in the sample, by a hash of region and position."""
    every = -(-n_regions * length // SAMPLE_BP)
    shape = (rows.stop - rows.start, length)
    if every == 1:
        return np.ones(shape, dtype=bool)
    index = np.arange(rows.start * length, rows.stop * length, dtype=np.uint64)
    return (splitmix64((index + np.uint64(1)) * np.uint64(GAMMA)) % np.uint64(every) == 0).reshape(shape)


def _of_known(statistic: Callable[[Values], np.floating], values: Values) -> float:
    known = values[~np.isnan(values)]
    return float(statistic(known)) if len(known) else math.nan


def _check_width(width: int) -> None:
    """Raise unless a width (bp) is odd and 3 or more."""
    if width < 3 or width % 2 == 0:
        raise UsageError(f"width: got {width}, expected an odd number of bases, 3 or more")


def write_agreement_bigwig(
    results: Mapping[str, Attributions],
    path: str | os.PathLike[str],
    *,
    width: int = AGREEMENT_BP,
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> None:
    """Write the local agreement of attributions of windows of one length, from −1 to 1, as bigWig.

    At each base it is Σ a b / √(Σ a² Σ b²) over the `width` bases around it (see :mod:`seqsal.agreement.measures`), the
    mean over all pairs of results that have a value there. Where windows overlap it is the mean over the windows.
    """
    _check_width(width)
    matched = match_regions(results)
    first = matched.results[matched.names[0]]
    if not first.chrom_sizes:
        raise OutputError(f"{matched.names[0]}: holds no chromosome sizes, which tracks need; make it again")
    shape = (len(matched.regions), matched.length)
    regions = matched.regions.assign(strand=".")  # rows are in the genome's direction
    codes, track = np.broadcast_to(np.uint8(N_CODE), shape), np.broadcast_to(np.float32(0), shape)
    nothing = Attributions(regions, codes, track, prediction=track[:, 0])

    def read(rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        tracks, known = matched.read(rows)
        total, n_pairs = np.zeros(known.shape), np.zeros(known.shape)
        for a, b in itertools.combinations(tracks, 2):
            values = local_cosine(a, b, known, width)
            n_pairs += ~np.isnan(values)
            total += np.nan_to_num(values)
        return (total / np.maximum(n_pairs, 1)).astype(np.float32), n_pairs > 0

    write_bigwig(nothing, first.chrom_sizes, path, read=read, chunk_bp=chunk_bp, progress=progress)
