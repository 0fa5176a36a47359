"""What the files of a bundle say, before any browser's way of saying it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from seqsal.browser.assembly import Reference
from seqsal.browser.text import Links
from seqsal.browser.tracks import FeatureTrack, SignalTrack
from seqsal.io.attributions import Attributions

__all__ = ["Content", "Locus", "Track", "choose_locus"]

Track = SignalTrack | FeatureTrack

VIEW_BP = 120  # wide enough to see an element and its surroundings, narrow enough for letters


@dataclass(frozen=True)
class Locus:
    """A span of a chromosome, 0-based half-open."""

    chrom: str
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.chrom}:{self.start + 1}-{self.end}"  # browsers count from 1


@dataclass(frozen=True)
class Content:
    """All that a bundle shows.

    Attributes
    ----------
    title
        One line.
    signed
        Whether the attributions have a direction.
    reference
        The genome.
    signal, features
        The tracks, top to bottom.
    locus
        What to open at.
    links
        How to refer to files.
    email
        Whom a hub names for questions.
    """

    title: str
    signed: bool
    reference: Reference
    signal: SignalTrack
    features: list[FeatureTrack]
    locus: Locus
    links: Links
    email: str

    @property
    def tracks(self) -> list[Track]:
        """All tracks, top to bottom."""
        return [self.signal, *self.features]


def choose_locus(attr: Attributions, peaks: pd.DataFrame | None) -> Locus:
    """Choose what a browser opens at: around the best peak, else the middle of the first region."""
    if peaks is not None and len(peaks):
        order = np.lexsort((-peaks["signal"].abs().to_numpy(), peaks["q_value"].fillna(1.0).to_numpy()))
        best = peaks.iloc[int(order[0])]
        offset = best["summit"] if best["summit"] >= 0 else (best["end"] - best["start"]) // 2
        chrom, centre = str(best["chrom"]), int(best["start"] + offset)
    else:
        first = attr.regions.iloc[0]
        chrom, centre = str(first["chrom"]), int(first["start"] + first["end"]) // 2
    size = attr.chrom_sizes[chrom]
    start = min(max(centre - VIEW_BP // 2, 0), max(size - VIEW_BP, 0))
    return Locus(chrom, start, min(start + VIEW_BP, size))
