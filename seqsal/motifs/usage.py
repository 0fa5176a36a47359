"""Which known motifs a model uses and which it ignores.

*What to compare with.* Chance matches of a motif in the shuffled controls are no baseline: a model that uses the motif
attributes those as well, so a model that is the motif itself would seem to ignore it. The share of bases under peaks
is none either: a motif rich in G and C lies more often in the peaks of a model that likes G and C. So every motif is
compared with *decoys*, copies of it with their positions in another order: they have its base composition, width and
information, and their hits lie in the same windows, under the same track and the same peaks. Of `N_ORDERS` random
orders the half that is more like the motif is left out, for half a motif in a decoy would be found at its sites. A
motif that looks like its decoys (a run of A) cannot be distinguished from a preference for its bases. There are as
many decoys as give about `DECOY_HITS` chance hits, within `DECOY_RANGE`; in data too small for that, decoy hits may
also have up to `DECOY_LENIENCE` times the p-value. Their score may be anything.

*What decoys do not catch.* A new order breaks runs. In random sequence with peaks wherever 20 bases are over 70 % G and
C, 0 of 24 GC-rich motifs of JASPAR fungi had q < 0.05 at p < 1e-3 (1 of 10 with hits at 1e-4); with peaks at every run
of 6 bases G or C it was 13 of 24 (6 of 10), enriched up to 2.1-fold (2.7). An enrichment of 2 or 3 may be a taste for
runs.

*Sites.* Hits of one motif that overlap, on either strand, directly or through others, are one site, at the hit with
the lowest p-value: a palindrome is not two sites, nor a repeat a hundred, and tests see them as one observation.

*Tests*, each with q-values of Benjamini and Hochberg (1995) over the motifs:

- Do hits lie in peaks more often than decoy hits? Fisher's exact test, one-sided. `enrichment` is the ratio of the two
  shares, a / n of the hits and b / m of the decoy hits, each drawn towards that of both, s = (a + b) / (n + m), by one
  hit: ((a + s) / (n + 1)) / ((b + s) / (m + 1)). So few hits do not look enriched; without any in peaks it is NaN.
- Are their attributions shifted against those of decoy hits, up or down? Mann–Whitney, two-sided, with the normal
  approximation, corrected for ties and continuity; needs no peaks. `auc` is P(hit > decoy hit) + ½ P(equal). The sums
  are counted in bins of 3.7 % relative width, within which they are ties, so that memory does not grow with the hits.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import Axis
from seqsal.motifs.matrices import Motif
from seqsal.motifs.scan import SCAN_BP, iter_hits, peak_of_spans, peak_spans

__all__ = ["USAGE_COLUMNS", "make_decoys", "motif_usage"]

USAGE_COLUMNS = {
    "motif": str, "accession": str, "n_hits": np.int64, "n_hits_in_peaks": np.int64, "mean_attribution": np.float64,
    "enrichment": np.float64, "p_value": np.float64, "q_value": np.float64, "auc": np.float64,
    "attribution_p_value": np.float64, "attribution_q_value": np.float64, "n_decoy_hits": np.int64,
    "n_decoy_hits_in_peaks": np.int64, "mean_decoy_attribution": np.float64,
}  # fmt: skip
DECOY_HITS, DECOY_LENIENCE, DECOY_RANGE, N_ORDERS = 300, 10, (3, 16), 64
BINS_PER_DECADE, N_DECADES, SMALLEST = 64, 20, 1e-12
_N_SIDE = BINS_PER_DECADE * N_DECADES
_N_BINS = 2 * _N_SIDE + 1


def motif_usage(
    attr: Attributions,
    peaks: pd.DataFrame,
    motifs: Sequence[Motif],
    *,
    p_value: float = 1e-4,
    n_decoys: int | None = None,
    seed: int = 0,
    chunk_bp: int = SCAN_BP,
    progress: bool = False,
) -> pd.DataFrame:
    """Measure how much a model uses each known motif, one row a motif (`USAGE_COLUMNS`), the most significant first.

    `p_value` is the largest of a hit, `n_decoys` the decoys of each motif (None for as many as the data need), `seed`
    that of the decoys. `mean_attribution` is the mean over hits of the signed sum of the track under the hit, in units
    of the attributed output; it, `enrichment` and `auc` are NaN without hits, `enrichment` also without peaks. Raises
    `UsageError` for arguments, `RegionError` for a peak on a chromosome without windows, `StoreError` for values that
    are not finite.
    """
    places = max(2 * len(attr) * attr.length, 1)
    wanted = int(np.clip(np.ceil(DECOY_HITS / (places * p_value)), *DECOY_RANGE))
    decoy_p = float(np.clip(DECOY_HITS / (places * wanted), p_value, min(DECOY_LENIENCE * p_value, 0.5)))
    n_decoys = wanted if n_decoys is None else n_decoys
    if not 1 <= n_decoys <= N_ORDERS // 2:
        raise UsageError(f"n_decoys: got {n_decoys}, expected 1 to {N_ORDERS // 2} copies to compare each motif with")
    axis = Axis.of(attr)
    spans = peak_spans(axis, peaks)
    orders = [_decoy_orders(motif, n_decoys, seed) for motif in motifs]
    tallies, reach = [], max((motif.width for motif in motifs), default=1) - 1
    for given, copies, limit, least in ((None, 1, p_value, 0.0), (orders, n_decoys, decoy_p, -np.inf)):
        hits = iter_hits(
            attr, axis, motifs, p_value=limit, least_score=least, orders=given, chunk_bp=chunk_bp, progress=progress
        )
        tallies.append(_count(hits, np.repeat(np.arange(len(motifs)), copies), spans, reach))
    return _usage_table(tallies[0], tallies[1], motifs)


def make_decoys(motif: Motif, n_decoys: int, seed: int = 0) -> list[Motif]:
    """Copy a motif with its positions in orders that resemble it little, at most half of `N_ORDERS` copies.

    They are the first orders whose likeness is below the median: Σ (f - ¼) (g - ¼) over aligned positions, at the
    offset and strand where it is largest. The orders depend on `seed` and the motif's label alone.
    """
    orders = _decoy_orders(motif, n_decoys, seed)
    return [Motif(motif.name, motif.accession, motif.counts[:, order], motif.n_sites) for order in orders]


def _decoy_orders(motif: Motif, n_decoys: int, seed: int) -> NDArray[np.int64]:
    """Orders (K, W) of a motif's positions that make its decoys."""
    rng = np.random.default_rng([seed % 2**32, zlib.crc32(motif.label.encode())])
    orders = np.argsort(rng.random((N_ORDERS, motif.width)), axis=1)
    likeness = _likeness(motif.frequencies - 0.25, orders)
    unlike = np.sort(np.argsort(likeness, kind="stable")[: N_ORDERS // 2])
    return np.asarray(orders[unlike[:n_decoys]])


def _likeness(f: NDArray[np.float64], orders: NDArray[np.int64]) -> NDArray[np.float64]:
    """Largest product, over offsets and strands, of a matrix (4, W) with itself in other orders (K, W): (K,)."""
    width = f.shape[1]
    reordered = f[:, orders].transpose(1, 0, 2).reshape(len(orders), -1)
    likeness = []
    for strand in (f, f[::-1, ::-1]):
        padded = np.pad(strand, ((0, 0), (width - 1, width - 1)))
        shifted = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)  # (4, 2 W - 1, W)
        likeness.append((shifted.transpose(1, 0, 2).reshape(2 * width - 1, -1) @ reordered.T).max(axis=0))
    return np.maximum(*likeness)


def _count(tables: Iterator[pd.DataFrame], owner: NDArray[np.int64], peaks: NDArray[np.int64], reach: int) -> _Tally:
    """Count the places among hits by the motif (G,) that owns each scanned matrix."""
    n_groups = int(owner.max(initial=-1)) + 1
    n_hits, n_in_peaks = (np.zeros(n_groups, dtype=np.int64) for _ in range(2))
    tally = _Tally(n_hits, n_in_peaks, np.zeros(n_groups), np.zeros((n_groups, _N_BINS), dtype=np.int64))
    held: pd.DataFrame | None = None
    for hits in tables:
        held, places = _places(hits if held is None else pd.concat([held, hits], ignore_index=True), reach)
        tally.add(places, owner, peaks)
    if held is not None:
        tally.add(_best_of_clusters(held), owner, peaks)
    return tally


def _places(hits: pd.DataFrame, reach: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split hits into those of clusters that later ones may still join, and the best of each other cluster.

    A later hit ends beyond all of these, so it starts at most `reach` before the last end.
    """
    if not len(hits):
        return hits, hits
    clustered = _cluster(hits)
    end, first = clustered["end"].to_numpy(), np.flatnonzero(np.diff(clustered["cluster"].to_numpy(), prepend=0))
    last = np.repeat(np.maximum.reduceat(end, first), np.diff(first, append=len(end)))
    is_open = last > end.max() - reach
    return clustered[is_open], _best_of_clusters(clustered[~is_open])


def _cluster(hits: pd.DataFrame) -> pd.DataFrame:
    """Give every run of overlapping hits of one motif a number; all hits of a motif are equally wide."""
    ordered = hits.iloc[np.lexsort((hits["strand"] == "-", hits["start"], hits["motif_idx"]))]
    motif, start, end = (ordered[name].to_numpy() for name in ("motif_idx", "start", "end"))
    begins = np.ones(len(ordered), dtype=bool)
    begins[1:] = (motif[1:] != motif[:-1]) | (start[1:] >= end[:-1])
    return ordered.assign(cluster=np.cumsum(begins))


def _best_of_clusters(hits: pd.DataFrame) -> pd.DataFrame:
    """Keep the hit with the lowest p-value of each cluster, the first of equals."""
    ranked = _cluster(hits)
    ranked = ranked.iloc[np.lexsort((ranked["strand"] == "-", ranked["start"], ranked["p_value"], ranked["cluster"]))]
    return ranked[np.diff(ranked["cluster"].to_numpy(), prepend=0) > 0]


@dataclass(frozen=True)
class _Tally:
    """Counts of places of G motifs, or of the decoys of each."""

    n_hits: NDArray[np.int64]  # (G,)
    n_in_peaks: NDArray[np.int64]
    total: NDArray[np.float64]  # summed attribution
    bins: NDArray[np.int64]  # (G, `_N_BINS`) places by attribution

    def add(self, places: pd.DataFrame, owner: NDArray[np.int64], peaks: NDArray[np.int64]) -> None:
        group = owner[places["motif_idx"].to_numpy()]
        attribution = places["attribution"].to_numpy()
        in_peak = peak_of_spans(places["start"].to_numpy(), places["end"].to_numpy(), peaks) >= 0
        np.add.at(self.n_hits, group, 1)
        np.add.at(self.n_in_peaks, group, in_peak)
        np.add.at(self.total, group, attribution)
        np.add.at(self.bins, (group, _bin_of(attribution)), 1)


def _bin_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bin of each value: ordered by value, logarithmic on both sides of 0."""
    steps = np.floor(np.log10(np.maximum(np.abs(values), SMALLEST) / SMALLEST) * BINS_PER_DECADE)
    return _N_SIDE + (np.sign(values) * np.minimum(steps, _N_SIDE)).astype(np.int64)


def _usage_table(hits: _Tally, decoys: _Tally, motifs: Sequence[Motif]) -> pd.DataFrame:
    from scipy.stats import false_discovery_control  # here because it takes half a second to load

    n, a, m, b = hits.n_hits, hits.n_in_peaks, decoys.n_hits, decoys.n_in_peaks
    p_values = _fisher(a, n, b, m)
    auc, shift_p = _mann_whitney(hits.bins, decoys.bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (a + b) / (n + m)
        table = pd.DataFrame(
            {
                "motif": [motif.name for motif in motifs],
                "accession": [motif.accession for motif in motifs],
                "n_hits": n,
                "n_hits_in_peaks": a,
                "mean_attribution": hits.total / n,
                "enrichment": np.where(n > 0, ((a + share) / (n + 1)) / ((b + share) / (m + 1)), np.nan),
                "p_value": p_values,
                "q_value": false_discovery_control(p_values, method="bh"),
                "auc": auc,
                "attribution_p_value": shift_p,
                "attribution_q_value": false_discovery_control(shift_p, method="bh"),
                "n_decoy_hits": m,
                "n_decoy_hits_in_peaks": b,
                "mean_decoy_attribution": decoys.total / m,
            }
        )
    table = table.sort_values(["p_value", "attribution_p_value", "motif", "accession"], kind="stable")
    return table.astype(USAGE_COLUMNS).reset_index(drop=True)


def _fisher(
    a: NDArray[np.int64], n: NDArray[np.int64], b: NDArray[np.int64], m: NDArray[np.int64]
) -> NDArray[np.float64]:
    """P(at least a of the n hits are in peaks | a + b of all n + m are): Fisher's exact test, 1 without hits."""
    from scipy.stats import hypergeom

    p_values = np.where(n > 0, hypergeom.sf(a - 1, n + m, a + b, n), 1.0)
    return np.clip(np.nan_to_num(p_values, nan=1.0), 0.0, 1.0)


def _mann_whitney(
    hits: NDArray[np.int64], decoys: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUC and two-sided p-value of binned values, both (G, `_N_BINS`); NaN and 1 where either has none.

    U = Σ_bins hits (decoys below + decoys / 2), with mean n m / 2 and variance n m (N + 1 - Σ (t³ - t) / (N (N - 1)))
    / 12, t the values of a bin and N = n + m.
    """
    from scipy.special import ndtr

    n, m = hits.sum(axis=1).astype(np.float64), decoys.sum(axis=1).astype(np.float64)
    total = n + m
    below = np.cumsum(decoys, axis=1) - decoys
    u = (hits * (below + decoys / 2)).sum(axis=1)
    tied = (hits + decoys).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        ties = (tied**3 - tied).sum(axis=1) / (total * (total - 1))
        spread = np.sqrt(n * m * (total + 1 - ties) / 12)
        z = np.maximum(np.abs(u - n * m / 2) - 0.5, 0.0) / spread
        p_values = np.where(spread > 0, 2 * ndtr(-z), 1.0)
        return u / (n * m), np.clip(np.nan_to_num(p_values, nan=1.0), 0.0, 1.0)
