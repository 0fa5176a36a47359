"""Aligned pieces of seqlets: where each instance of a pattern lies, and what their columns add up to.

Position j of an instance is base start + j of its context, or, on the reverse strand, the complement of base
start + width − 1 − j. All operations are on these three arrays; sequences and scores are looked up at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsal.motifs.seqlets import Seqlets
from seqsal.sequence.codes import N_CODE, one_hot, reverse_complement

__all__ = ["Alignment", "best_offset", "join"]


@dataclass(frozen=True)
class Alignment:
    """Instances of one pattern in the contexts of seqlets.

    Attributes
    ----------
    rows
        (k,) seqlet of each instance.
    start
        (k,) offset of its leftmost base in the context.
    reverse
        (k,) whether it reads the reverse strand.
    width
        Positions W of the pattern.
    """

    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    reverse: NDArray[np.bool_]
    width: int

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Alignment:
        """Keep some instances."""
        return Alignment(self.rows[keep], self.start[keep], self.reverse[keep], self.width)

    def window(self, first: int, width: int) -> Alignment:
        """Move and resize: position 0 of the result is position `first` (may be negative) of this."""
        start = np.where(self.reverse, self.start + self.width - first - width, self.start + first)
        return Alignment(self.rows, start, self.reverse, width)

    def flip(self) -> Alignment:
        """Read every instance on its other strand."""
        return Alignment(self.rows, self.start, ~self.reverse, self.width)

    def within(self, context_bp: int) -> Alignment:
        """Keep the instances that lie inside their context."""
        return self.take((self.start >= 0) & (self.start + self.width <= context_bp))

    def complete(self, seqlets: Seqlets) -> Alignment:
        """Keep the instances whose bases are all known."""
        inside = self.within(seqlets.width)
        return inside.take((inside.codes(seqlets) != N_CODE).all(axis=1))

    def columns(self) -> NDArray[np.int64]:
        """Offsets (k, W) in the context of each position."""
        along = np.arange(self.width)
        return np.where(
            self.reverse[:, None], (self.start + self.width - 1)[:, None] - along, self.start[:, None] + along
        )

    def codes(self, seqlets: Seqlets) -> NDArray[np.uint8]:
        """Codes (k, W) as each instance reads."""
        codes = seqlets.codes[self.rows[:, None], self.columns()]
        complement = reverse_complement(codes)[:, ::-1]
        return np.where(self.reverse[:, None], complement, codes)

    def contributions(self, seqlets: Seqlets) -> NDArray[np.float32]:
        """Attributions (k, W) of the bases that are there."""
        return seqlets.contributions[self.rows[:, None], self.columns()]

    def counts(self, seqlets: Seqlets) -> NDArray[np.float64]:
        """Bases at each position, (4, W)."""
        return one_hot(self.codes(seqlets)).sum(axis=0, dtype=np.float64)

    def cwm(self, seqlets: Seqlets) -> NDArray[np.float64]:
        """Mean contribution of each base at each position, (4, W): Σ X · track / k."""
        scored = one_hot(self.codes(seqlets)) * self.contributions(seqlets)[:, None]
        return scored.mean(axis=0, dtype=np.float64)


def join(parts: list[Alignment]) -> Alignment:
    """Put alignments of one width together."""
    return Alignment(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.reverse for part in parts]),
        parts[0].width,
    )


def best_offset(anchor: NDArray[np.float64], other: NDArray[np.float64], min_overlap: int = 4) -> tuple[int, bool]:
    """Where a matrix fits another best.

    Parameters
    ----------
    anchor, other
        (4, W) and (4, V), such as CWMs.
    min_overlap
        Least number of positions that they share.

    Returns
    -------
    offset : int
        Position of the anchor at which position 0 of the (turned) other lies.
    reverse : bool
        Whether the other is to be read as its reverse complement. Both maximise Σ anchor · other.
    """
    width, length = anchor.shape[1], other.shape[1]
    overlap = min(min_overlap, width, length)
    best = (-np.inf, 0, False)
    for reverse in (False, True):
        turned = other[::-1, ::-1] if reverse else other
        product = np.pad(anchor, ((0, 0), (length, length))).T @ turned  # (W + 2V, V)
        for offset in range(overlap - length, width - overlap + 1):
            score = float(np.trace(product[offset + length : offset + 2 * length]))
            if score > best[0]:
                best = (score, offset, reverse)
    return best[1], best[2]
