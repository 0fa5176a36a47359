"""What windows hold: GC, CpG, simple repeats, unknown bases; runs of a mask, regions of chromosomes, room for more.

*CpG* is the ratio of observed to expected CpG, n(CG) · n / (n(C) · n(G)) over the n known bases (Gardiner-Garden and
Frommer 1987, doi:10.1016/0022-2836(87)90689-9).

*Simple repeats* are exact tandem repeats of a unit of 1 to 6 bases, of three copies and 12 bases at least: in random
sequence a base in some 6,000 lies in one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.experiments.words import cpg_sites
from seqsal.regions import lift_span
from seqsal.sequence.codes import N_CODE

__all__ = [
    "EDGE_SHARE", "Codes", "Flags", "Ints", "Maps", "Spans", "Values", "cpg_ratio", "cpg_sites", "free_starts",
    "gc_content", "mask_of", "repeat_mask", "runs_of", "spans_in_windows", "unknown_share",
]  # fmt: skip

Codes = NDArray[np.uint8]  # bases (n, L), or (w,) of a word
Maps = NDArray[np.float32]  # (n, L)
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
EDGE_SHARE = 0.05  # of the window at either end is its edge
REPEAT_UNITS = range(1, 7)
REPEAT_COPIES, REPEAT_BP = 3, 12
_C, _G = 1, 2


def gc_content(codes: Codes) -> Values:
    """Share (n,) of G and C among the known bases of sequences (n, L); ½ where none is known."""
    known = (codes < N_CODE).sum(axis=1)
    n_gc = ((codes == _C) | (codes == _G)).sum(axis=1)
    return np.where(known > 0, n_gc / np.maximum(known, 1), 0.5)


def cpg_ratio(codes: Codes) -> Values:
    """Observed over expected CpG (n,) of sequences (n, L); 0 where there is no C or no G."""
    n_pairs = ((codes[:, :-1] == _C) & (codes[:, 1:] == _G)).sum(axis=1)
    chances = (codes == _C).sum(axis=1) * (codes == _G).sum(axis=1)
    known = (codes < N_CODE).sum(axis=1)
    return np.asarray(n_pairs * known / np.maximum(chances, 1), dtype=np.float64)


def unknown_share(codes: Codes) -> Values:
    """Share (n,) of unknown bases: runs of N and padding."""
    return np.asarray((codes == N_CODE).mean(axis=1))


def repeat_mask(codes: Codes) -> Flags:
    """Which bases (n, L) lie in a simple repeat."""
    mask = np.zeros(codes.shape, dtype=bool)
    for unit in REPEAT_UNITS:
        least = max(REPEAT_BP, REPEAT_COPIES * unit)
        if codes.shape[1] >= least:
            same = (codes[:, unit:] == codes[:, :-unit]) & (codes[:, unit:] < N_CODE)
            runs = runs_of(same)
            long = runs.take(runs.end - runs.start >= least - unit)
            mask |= mask_of(Spans(long.row, long.start, long.end + unit), codes.shape)
    return mask


class Spans(NamedTuple):
    """Half-open spans of windows, (S,) each."""

    row: Ints
    start: Ints
    end: Ints

    def take(self, index: Ints | Flags) -> Spans:
        """Return some of the spans."""
        return Spans(*(column[index] for column in self))


def runs_of(mask: Flags) -> Spans:
    """Return the runs of a mask (n, L), in order."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, start = np.nonzero(edges == 1)
    return Spans(row.astype(np.int64), start.astype(np.int64), np.nonzero(edges == -1)[1].astype(np.int64))


def mask_of(spans: Spans, shape: tuple[int, int]) -> Flags:
    """Mark the bases (n, L) under spans, which may reach beyond their windows."""
    steps = np.zeros((shape[0], shape[1] + 1), dtype=np.int32)
    for edge, step in ((spans.start, 1), (spans.end, -1)):
        np.add.at(steps, (spans.row, np.clip(edge, 0, shape[1])), step)
    return np.asarray(np.cumsum(steps[:, :-1], axis=1) > 0)


def spans_in_windows(windows: pd.DataFrame, spans: pd.DataFrame) -> tuple[Spans, Ints]:
    """Find the spans (chrom, start, end) that share a base with each window (chrom, start, end, strand).

    Returns them by window and in the order of the table, in offsets along the window as the model reads it, which may
    reach beyond it; and the row of the table that each is.
    """
    parts: list[tuple[Ints, Ints]] = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    by_chrom = spans.reset_index(drop=True).sort_values("start", kind="stable").groupby("chrom", sort=False)
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
    of_windows, of_spans = windows.iloc[rows], spans.iloc[which]
    start, end, strand = (of_windows[name].to_numpy() for name in ("start", "end", "strand"))
    low, high = of_spans["start"].to_numpy() - start, of_spans["end"].to_numpy() - start
    return Spans(rows, *lift_span(np.zeros_like(start), end - start, strand, low, high)), which


def free_starts(free: Flags, width: int) -> Ints:
    """Return the starts of the stretches of so many bases that are all free, (L,)."""
    n_free = np.concatenate([[0], np.cumsum(free)])
    return np.flatnonzero(n_free[width:] - n_free[: len(n_free) - width] == width)
