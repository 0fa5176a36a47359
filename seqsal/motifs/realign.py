"""Move instances of a pattern that lie on the wrong strand or a few bases off to where the others say that they belong.

Where a motif resembles its own reverse complement, as TTACCCGG does in CCGG, TF-MoDISco aligns some instances on the
other strand, shifted by what the two halves are apart, which blurs the matrix. So each instance is compared, at the
places up to `MAX_SHIFT` bp away on both strands, with all others: with their position weight matrix p (and a
pseudocount) against the background q, and its own contributions c (0 where they are of the other sign) under that
matrix's information I (nats), as the mixture model of :mod:`seqsal.motifs.kmers` has them,

    score(place) = Σ_j ln(p_j(b_j) / q(b_j)) + ln Σ_j I_j c_j.

It moves to the place with the highest score if it gains `MIN_GAIN` there and keeps `MIN_LIKENESS` or more of how it
contributes like the others, Σ_j c_j C_j(b_j), with the others' mean contribution C. All are looked at again until none
moves. What that mends, and what it moves that was right, is measured by ``benchmarks/realign.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsal.motifs.patterns import core_columns
from seqsal.motifs.seqlets import Alignment, Seqlets
from seqsal.sequence.codes import one_hot

__all__ = ["MAX_SHIFT", "MIN_GAIN", "MIN_LIKENESS", "realign"]

MAX_SHIFT = 8
MIN_GAIN = float(np.log(30))  # as many times as likely there
MIN_LIKENESS = 0.5
FLANK = 2  # columns beside the core that count too
N_ROUNDS = 20
_PSEUDOCOUNT = 1.0  # sites, shared out by the background
_TINY = 1e-12


def realign(alignment: Alignment, seqlets: Seqlets) -> Alignment:
    """Return the alignment with instances moved to a place, inside their context, that fits the others clearly better.

    Examples
    --------
    A motif that is nearly its own reverse complement, and an instance of it on the wrong strand:

    >>> import numpy as np, pandas as pd
    >>> from seqsal.motifs.seqlets import Alignment, Seqlets
    >>> from seqsal.sequence.codes import encode
    >>> codes = np.random.default_rng(0).integers(0, 4, (20, 60), dtype=np.uint8)
    >>> codes[:, 20:28] = encode("TTACCCGG")
    >>> track = np.zeros((20, 60), np.float32)
    >>> track[:, 20:28] = 1
    >>> seqlets = Seqlets(pd.DataFrame({"sign": ["pos"] * 20}), codes, track[:, None].repeat(4, axis=1), track, False)
    >>> start, reverse = np.full(20, 18), np.zeros(20, bool)
    >>> start[3], reverse[3] = 22, True
    >>> moved = realign(Alignment(np.arange(20), start, reverse, 12), seqlets)
    >>> int(moved.start[3]), bool(moved.reverse[3])
    (18, False)
    """
    cwm = alignment.cwm(seqlets)
    if len(alignment) < 3 or not cwm.any():
        return alignment
    low, high = core_columns(cwm)
    low, high = max(low - FLANK, 0), min(high + FLANK, alignment.width)
    core = alignment.window(low, high - low)
    places = [(shift, turn) for turn in (False, True) for shift in range(-MAX_SHIFT, MAX_SHIFT + 1)]
    there = [Alignment(core.rows, core.start + shift, core.reverse ^ turn, core.width) for shift, turn in places]
    whole = [place.window(-low, alignment.width) for place in there]
    inside = np.stack([(one.start >= 0) & (one.start + one.width <= seqlets.width) for one in whole], axis=1)
    sign = np.sign(cwm.sum())
    base = one_hot(seqlets.codes[core.rows]).mean(axis=(0, 2), dtype=np.float64) + _TINY
    base /= base.sum()
    chosen = np.full(len(core), places.index((0, False)))
    rows = np.arange(len(core))
    letters, support = _pieces(there, seqlets, inside, sign)
    for _ in range(N_ROUNDS):
        score, likeness = _fit(letters, support, chosen, base)
        score[~inside] = -np.inf
        best = score.argmax(axis=1)
        moves = score[rows, best] > score[rows, chosen] + MIN_GAIN
        moves &= likeness[rows, best] >= MIN_LIKENESS * likeness[rows, chosen]
        if not moves.any():
            break
        chosen = np.where(moves, best, chosen)
    start = np.stack([one.start for one in whole], axis=1)[rows, chosen]
    reverse = np.stack([one.reverse for one in whole], axis=1)[rows, chosen]
    return Alignment(alignment.rows, start, reverse, alignment.width)


def _pieces(
    there: list[Alignment], seqlets: Seqlets, inside: NDArray[np.bool_], sign: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bases (n, P, 4, W) at each place, and contributions (n, P, W) of the pattern's sign; 0 at those outside."""
    n, width = len(there[0]), there[0].width
    letters, support = np.zeros((n, len(there), 4, width), np.float32), np.zeros((n, len(there), width), np.float32)
    for i, place in enumerate(there):
        kept = place.take(inside[:, i])
        letters[inside[:, i], i] = one_hot(kept.codes(seqlets))
        support[inside[:, i], i] = np.maximum(sign * kept.contributions(seqlets), 0)
    return letters, support


def _fit(
    letters: NDArray[np.float32], support: NDArray[np.float32], chosen: NDArray[np.int64], base: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score, and likeness of contributions, (n, P) each, of every place with all others where they are now."""
    at = np.arange(len(letters)), chosen
    counts = _others(letters[at]) + _PSEUDOCOUNT * base[:, None]  # (n, 4, W)
    ppm = counts / counts.sum(axis=1, keepdims=True)
    log_odds = np.log(ppm / base[:, None])
    prior = np.einsum("npw,nw->np", support, (ppm * log_odds).sum(axis=1))
    score = np.einsum("npbw,nbw->np", letters, log_odds, optimize=True) + np.log(prior + _TINY)
    others = _others(letters[at] * support[at][:, None])
    return score, np.einsum("npbw,npw,nbw->np", letters, support, others, optimize=True)


def _others(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum over all instances but each one, (n, …)."""
    return np.asarray(values.sum(axis=0, dtype=np.float64)[None] - values)
