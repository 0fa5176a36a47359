"""What a sequence holds apart from the order of its bases: GC, CpG, simple repeats, unknown bases.

*CpG* is the ratio of observed to expected CpG, n(CG) · n / (n(C) · n(G)) over the n known bases (Gardiner-Garden and
Frommer 1987, doi:10.1016/0022-2836(87)90689-9).

*Simple repeats* are exact tandem repeats of a unit of 1 to 6 bases, of three copies and 12 bases at least: in random
sequence a base in some 6,000 lies in one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.spans import Spans, mask_of, runs_of
from seqsal.sequence.codes import N_CODE

__all__ = ["EDGE_SHARE", "cpg_ratio", "cpg_sites", "gc_content", "repeat_mask", "unknown_share"]

EDGE_SHARE = 0.05  # of the window at either end is its edge
REPEAT_UNITS = range(1, 7)
REPEAT_COPIES, REPEAT_BP = 3, 12
_C, _G = 1, 2


def gc_content(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share (n,) of G and C among the known bases of sequences (n, L); ½ where none is known."""
    known = (codes < N_CODE).sum(axis=1)
    n_gc = ((codes == _C) | (codes == _G)).sum(axis=1)
    return np.where(known > 0, n_gc / np.maximum(known, 1), 0.5)


def cpg_sites(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which bases (n, L) are part of a CpG."""
    pair = (codes[:, :-1] == _C) & (codes[:, 1:] == _G)
    mask = np.zeros(codes.shape, dtype=bool)
    mask[:, :-1] |= pair
    mask[:, 1:] |= pair
    return mask


def cpg_ratio(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Observed over expected CpG (n,) of sequences (n, L); 0 where there is no C or no G."""
    n_pairs = ((codes[:, :-1] == _C) & (codes[:, 1:] == _G)).sum(axis=1)
    chances = (codes == _C).sum(axis=1) * (codes == _G).sum(axis=1)
    known = (codes < N_CODE).sum(axis=1)
    return np.asarray(n_pairs * known / np.maximum(chances, 1), dtype=np.float64)


def unknown_share(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share (n,) of unknown bases: runs of N and padding."""
    return np.asarray((codes == N_CODE).mean(axis=1))


def repeat_mask(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
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
