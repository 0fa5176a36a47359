"""Where known biology lies in windows: hits of known motifs, and annotations lifted from the chromosome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.placements import Spans
from seqsal.motifs import Motif
from seqsal.motifs.scan import scan_codes
from seqsal.regions import lift_span
from seqsal.sequence.codes import N_CODE

__all__ = ["MotifHits", "find_hits", "mask_of", "span_positions", "spans_in_windows"]

Ints = NDArray[np.int64]


class MotifHits(NamedTuple):
    """Hits of known motifs in n windows.

    Attributes
    ----------
    table
        row, motif_idx, start, end, strand, score, p_value.
    mask
        (n, L), where there is a hit.
    threshold
        Largest p-value of a hit.
    """

    table: pd.DataFrame
    mask: NDArray[np.bool_]
    threshold: float


def find_hits(codes: NDArray[np.uint8], motifs: Sequence[Motif], p_value: float, max_share: float) -> MotifHits:
    """Scan windows, at a p-value at which hits cover a bounded share of the bases.

    A thousand motifs at p ≤ 1e-4 cover most of any sequence, and being inside a hit then says nothing.

    Parameters
    ----------
    codes
        (n, L) uint8.
    motifs
        At least one.
    p_value
        Largest p-value of a hit, to begin with.
    max_share
        Of the known bases. The threshold becomes the largest at which hits cover no more; where equal p-values leave
        none, the smallest p-value of any hit.
    """
    hits = scan_codes(codes, motifs, p_value=p_value)
    best = np.full(codes.shape, np.inf)
    positions, owner = span_positions(hits["row"], hits["start"], hits["end"], codes.shape[1])
    np.minimum.at(best.reshape(-1), positions, hits["p_value"].to_numpy()[owner])
    threshold = _threshold(np.sort(best[codes != N_CODE]), p_value, max_share)
    return MotifHits(hits[hits["p_value"] <= threshold].reset_index(drop=True), best <= threshold, threshold)


def _threshold(best: NDArray[np.float64], p_value: float, max_share: float) -> float:
    n_allowed = int(max_share * len(best))
    if n_allowed >= len(best) or best[n_allowed] > p_value:
        return p_value
    n_below = int(np.searchsorted(best, best[n_allowed], side="left"))
    return float(best[n_below - 1] if n_below else best[0])


def span_positions(row: pd.Series, start: pd.Series, end: pd.Series, length: int) -> tuple[Ints, Ints]:
    """List the bases of spans of windows (L bases each) as flat positions, and the span that each is of, by number."""
    first = row.to_numpy(np.int64) * length + start.to_numpy(np.int64)
    width = (end - start).to_numpy(np.int64)
    owner = np.repeat(np.arange(len(width)), width)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(width) - width, width)
    return first[owner] + within, owner


def spans_in_windows(windows: pd.DataFrame, places: pd.DataFrame) -> tuple[Spans, Ints]:
    """Find the spans of the chromosomes that share a base with each window.

    Parameters
    ----------
    windows
        chrom, start, end, strand, one row a window.
    places
        chrom, start, end.

    Returns
    -------
    Spans
        In offsets along the window as the model reads it, which may reach beyond the window.
    ndarray of int64
        Row of `places` that each is.
    """
    parts: list[tuple[Ints, Ints]] = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    by_chrom = places.reset_index(drop=True).sort_values("start", kind="stable").groupby("chrom", sort=False)
    known = {chrom: (group.index.to_numpy(), group["start"].to_numpy(), group["end"].to_numpy())
             for chrom, group in by_chrom}  # fmt: skip
    for row, (chrom, start, end) in enumerate(zip(windows["chrom"], windows["start"], windows["end"], strict=True)):
        if chrom in known:
            index, starts, ends = known[chrom]
            first = int(np.searchsorted(np.maximum.accumulate(ends), start, side="right"))
            last = int(np.searchsorted(starts, end, side="left"))
            found = index[first:last][ends[first:last] > start]
            parts.append((np.full(len(found), row, dtype=np.int64), np.sort(found)))
    rows, which = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Spans(rows, *_offsets(windows.iloc[rows], places.iloc[which])), which


def _offsets(windows: pd.DataFrame, places: pd.DataFrame) -> tuple[Ints, Ints]:
    """Spans of the chromosome, as offsets along their windows: the inverse of `lift_span`, which is its own."""
    start, end, strand = (windows[name].to_numpy() for name in ("start", "end", "strand"))
    low, high = places["start"].to_numpy() - start, places["end"].to_numpy() - start
    return lift_span(np.zeros_like(start), end - start, strand, low, high)


def mask_of(spans: Spans, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark the bases (n, L) under spans, which may reach beyond their windows."""
    mask = np.zeros(shape, dtype=bool)
    for row, start, end in zip(*spans, strict=True):
        mask[row, max(start, 0) : max(end, 0)] = True
    return mask
