"""Spans of windows: the runs of a mask, the bases under spans, regions of chromosomes in windows, and room for more."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.regions import lift_span

__all__ = ["Spans", "free_starts", "mask_of", "runs_of", "spans_in_windows"]

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Spans(NamedTuple):
    """Half-open spans of windows, (S,) each."""

    row: Ints
    start: Ints
    end: Ints

    def take(self, index: Ints | Mask) -> Spans:
        """Return some of the spans."""
        return Spans(*(column[index] for column in self))


def runs_of(mask: Mask) -> Spans:
    """Return the runs of a mask (n, L), in order."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, start = np.nonzero(edges == 1)
    return Spans(row.astype(np.int64), start.astype(np.int64), np.nonzero(edges == -1)[1].astype(np.int64))


def mask_of(spans: Spans, shape: tuple[int, int]) -> Mask:
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


def free_starts(free: Mask, width: int) -> Ints:
    """Return the starts of the stretches of so many bases that are all free, (L,)."""
    n_free = np.concatenate([[0], np.cumsum(free)])
    return np.flatnonzero(n_free[width:] - n_free[: len(n_free) - width] == width)
