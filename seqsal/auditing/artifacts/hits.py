"""Where copies of a word stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Hits", "covered", "sampled"]


@dataclass(frozen=True)
class Hits:
    """Where copies of a word stand, in offsets along windows as the model reads them.

    Attributes
    ----------
    row
        (n,) row of the codes that were searched; for `ablation_effect` and `attribution_share` of the attributions.
    start, end
        (n,) half-open span of the copy, which may be of a part of the word.
    strand
        (n,) int8: 1 where the window has the word, -1 where it has its reverse complement.
    offset
        (n,) the copy is of `word[offset : offset + end - start]`.
    """

    row: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    strand: NDArray[np.int8]
    offset: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Hits:
        """Return some of the hits."""
        return Hits(*(getattr(self, name)[index] for name in ("row", "start", "end", "strand", "offset")))

    def first_by_row(self) -> Hits:
        """Return the first hit of each row, by row."""
        return self.take(np.unique(self.row, return_index=True)[1])

    def of_part(self, start: int) -> Hits:
        """Return the hits as copies of `word[start:]`, whose places they keep; offsets may be negative."""
        return Hits(self.row, self.start, self.end, self.strand, self.offset - start)

    def word_starts(self, width: int) -> NDArray[np.int64]:
        """Window offset (n,) of the leftmost base of the whole word of `width` bases, as the copies stand."""
        return np.where(self.strand > 0, self.start - self.offset, self.end + self.offset - width)


def covered(hits: Hits, rows: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """Mask (n, L) of the bases of `rows` (ascending) that are under a hit."""
    change = np.zeros((len(rows), length + 1), dtype=np.int32)
    index = np.searchsorted(rows, hits.row)
    np.add.at(change, (index, hits.start), 1)
    np.add.at(change, (index, hits.end), -1)
    return np.cumsum(change[:, :-1], axis=1) > 0


def sampled(hits: Hits, n: int, rng: np.random.Generator) -> Hits:
    """At most n of the hits, in their order."""
    if len(hits) <= n:
        return hits
    return hits.take(np.sort(rng.permutation(len(hits))[:n]))
