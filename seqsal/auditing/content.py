"""What windows hold: GC, CpG, simple repeats, unknown bases; runs of a mask, regions of chromosomes, room for more.

*CpG* is the ratio of observed to expected CpG, n(CG) · n / (n(C) · n(G)) over the n known bases (Gardiner-Garden and
Frommer 1987, doi:10.1016/0022-2836(87)90689-9).

*Simple repeats* are exact tandem repeats of a unit of 1 to 6 bases, of three copies and 12 bases at least: in random
sequence a base in some 6,000 lies in one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsal.experiments.words import cpg_sites
from seqsal.regions import Spans, mask_of, runs_of, spans_in_windows
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


def free_starts(free: Flags, width: int) -> Ints:
    """Return the starts of the stretches of so many bases that are all free, (L,)."""
    n_free = np.concatenate([[0], np.cumsum(free)])
    return np.flatnonzero(n_free[width:] - n_free[: len(n_free) - width] == width)
