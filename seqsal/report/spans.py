"""Spans of chromosomes that do not overlap, and which of them a place lies in."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.regions import make_regions, merge_regions

__all__ = ["Spans", "choose_spans"]


@dataclass(frozen=True)
class Spans:
    """Spans that do not overlap.

    Attributes
    ----------
    table
        Region table, sorted by chromosome and start.
    """

    table: pd.DataFrame

    def find(self, places: pd.DataFrame) -> NDArray[np.int64]:
        """Return for each place (chrom, start, end) the row of the first span that it overlaps, -1 for none, (n,)."""
        found = np.full(len(places), -1)
        for chrom, spans in self.table.groupby("chrom", sort=False):
            rows = np.flatnonzero((places["chrom"] == chrom).to_numpy(dtype=bool))
            start, end = (places[key].to_numpy()[rows].astype(np.int64) for key in ("start", "end"))
            at = np.searchsorted(spans["end"].to_numpy(), start, side="right")
            inside = at < len(spans)
            inside[inside] = spans["start"].to_numpy()[at[inside]] < end[inside]
            found[rows[inside]] = spans.index.to_numpy()[at[inside]]
        return found


def choose_spans(wanted: pd.DataFrame, max_bp: int) -> Spans:
    """Join the first of the places that are wanted, as many as take `max_bp` bases together, but one at least."""

    def join(n: int) -> pd.DataFrame:
        return merge_regions(make_regions(*(wanted[key].to_numpy()[:n] for key in ("chrom", "start", "end"))))

    def size(n: int) -> int:
        joined = join(n)
        return int((joined["end"] - joined["start"]).sum())

    return Spans(join(max(1, bisect_right(range(1, len(wanted) + 1), max_bp, key=size))))
