"""Whether a known binding motif explains an invariant word.

A motif explains a word if at least `COVERED` of its bases are under the motif, at some offset and strand, and either

- the motif's sites would be that word: the product of its probabilities there is at least `LIKELY`, or
- the word is no chance likeness of the motif: TOMTOM finds it with q ≤ `MATCH_Q` over the whole database.

The database is JASPAR with all its taxa, whichever motifs the user named: an adapter is none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.context import Codes
from seqsal.motifs import Motif, match_motifs, read_motifs
from seqsal.sequence.codes import decode

__all__ = ["all_motifs", "explaining_motif"]

JASPAR_RELEASE = "2026"
TAXA = ("vertebrates", "plants", "fungi", "insects", "nematodes", "urochordates", "diatoms")
COVERED = 0.75
LIKELY = 0.3
MATCH_Q = 0.01


def explaining_motif(word: Codes, motifs: Sequence[Motif] = ()) -> Motif | None:
    """Return a motif that explains a word (w,), of those given or of JASPAR; None where there is none."""
    database = [*motifs, *all_motifs()]
    least = int(np.ceil(COVERED * len(word)))
    likely = max(range(len(database)), key=lambda i: _likelihood(database[i], word, least))
    if _likelihood(database[likely], word, least) >= LIKELY:
        return database[likely]
    query = Motif(decode(word), "", np.eye(4)[word].T * 100, 100)
    matches = match_motifs([query], database, q_max=MATCH_Q)
    matches = matches[matches["overlap"] >= least]
    return database[int(matches["target_idx"].iloc[0])] if len(matches) else None


@cache
def all_motifs() -> tuple[Motif, ...]:
    """Every motif of JASPAR's CORE collection."""
    return tuple(motif for taxon in TAXA for motif in read_motifs(f"jaspar:{JASPAR_RELEASE}:{taxon}"))


def _likelihood(motif: Motif, word: Codes, least: int) -> float:
    """Largest probability of a word under a motif, over the offsets and strands where `least` of its bases overlap."""
    best = 0.0
    for ppm in (motif.ppm, motif.ppm[::-1, ::-1]):
        for first in range(least - len(word), motif.width - least + 1):  # of the word, along the motif
            inside = slice(max(-first, 0), min(len(word), motif.width - first))
            columns: NDArray[np.int64] = np.arange(len(word))[inside] + first
            if len(columns) >= least:
                best = max(best, float(ppm[word[inside], columns].prod()))
    return best
