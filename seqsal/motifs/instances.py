"""Instances of patterns in seqlets that were not clustered: of which pattern each has a site, if any, and where.

The patterns and the background compete in the mixture model of :mod:`seqsal.motifs.kmers`, at most one site a seqlet.
With the position weight matrix p of a pattern's instances (its contributing columns and `FLANK` beside them, and a
pseudocount), the background q, the matrix's information I (nats), contributions c of the pattern's sign (0 elsewhere)
and the share λ of the clustered seqlets that have the pattern,

    odds(place) = λ · prior(place) · Π_j p_j(b_j) / q(b_j),    prior(place) ∝ Σ_j I_j c_j  (sums to 1 over places),

and a seqlet has the pattern, at the place of the highest odds, whose summed odds are the largest and more than half of
all, the background's 1 − Σ λ among them. Shares that sum to more than `MOST_SHARE` are scaled down to it. Matrices and
shares stay as the clustered seqlets have them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsal.motifs.patterns import core_columns
from seqsal.motifs.seqlets import SEQLET_BP, Alignment, Seqlets, join
from seqsal.sequence.codes import one_hot

__all__ = ["with_instances"]

FLANK = 2
REACH = SEQLET_BP // 2 - 5  # bases from the summit at which a site's middle may lie, as of aligned k-mers
_PSEUDOCOUNT = 1.0  # sites, shared out by the background
MOST_SHARE = 0.8  # of seqlets with any pattern: of peaks up to q = 0.2 a fifth may be false
_TINY = 1e-12


def with_instances(alignments: list[Alignment], seqlets: Seqlets, n_clustered: int) -> list[Alignment]:
    """Add to each alignment, made from `n_clustered` of the seqlets, its instances in those that none of them has.

    Examples
    --------
    Of 40 seqlets 12 were aligned; the others have the word too, but for the last, which is random:

    >>> import numpy as np, pandas as pd
    >>> from seqsal.motifs.seqlets import Alignment, Seqlets
    >>> from seqsal.sequence.codes import encode
    >>> codes = np.random.default_rng(0).integers(0, 4, (40, 61), dtype=np.uint8)
    >>> codes[:39, 26:34] = encode("GATTACAC")
    >>> track = np.zeros((40, 61), np.float32)
    >>> track[:, 26:34] = 1
    >>> table = pd.DataFrame({"sign": ["pos"] * 40})
    >>> seqlets = Seqlets(table, codes, track[:, None].repeat(4, axis=1), track, False)
    >>> aligned = Alignment(np.arange(12), np.full(12, 24), np.zeros(12, bool), 12)
    >>> found = with_instances([aligned], seqlets, 12)[0]
    >>> len(found), set(found.start.tolist())
    (39, {24})
    """
    taken = np.concatenate([np.zeros(0, np.int64), *(one.rows for one in alignments)])
    rows = np.setdiff1d(np.arange(len(seqlets)), taken)
    if not alignments or not len(rows):
        return alignments
    left = seqlets.take(rows)
    base = one_hot(seqlets.codes).mean(axis=(0, 2), dtype=np.float64) + _TINY
    base /= base.sum()
    share = np.array([len(one) for one in alignments]) / n_clustered
    share *= min(1.0, MOST_SHARE / share.sum())
    best = [_best_place(one, seqlets, left, base) for one in alignments]
    odds = share * np.stack([summed for summed, _, _ in best], axis=1)  # (n, K)
    owner = np.where(2 * odds.max(axis=1) > 1 - share.sum() + odds.sum(axis=1), odds.argmax(axis=1), -1)
    grown = []
    for number, (one, (_, start, reverse)) in enumerate(zip(alignments, best, strict=True)):
        mine = np.flatnonzero(owner == number)
        found = Alignment(rows[mine], start[mine], reverse[mine], one.width).within(seqlets.width)
        grown.append(join([one, found]))
    return grown


def _best_place(
    alignment: Alignment, seqlets: Seqlets, left: Seqlets, base: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Sum the odds (n,) of a pattern in each of the seqlets left, without its share; start and strand of the best."""
    cwm = alignment.cwm(seqlets)
    low, high = core_columns(cwm)
    low, high = max(low - FLANK, 0), min(high + FLANK, alignment.width)
    core = alignment.window(low, high - low)
    counts = core.within(seqlets.width).counts(seqlets) + _PSEUDOCOUNT * base[:, None]
    ppm = counts / counts.sum(axis=0)
    log_odds = np.log(ppm / base[:, None])  # (4, W)
    information = (ppm * log_odds).sum(axis=0)
    support = np.maximum(np.sign(cwm.sum()) * left.contributions.astype(np.float64), 0.0)
    reach = min(REACH, (seqlets.width - core.width) // 2)
    starts = (seqlets.width - core.width) // 2 + np.arange(-reach, reach + 1)
    fit, prior = np.zeros((2, len(left), len(starts), 2))
    for strand, (matrix, weight) in enumerate(((log_odds, information), (log_odds[::-1, ::-1], information[::-1]))):
        known = np.concatenate([matrix, np.zeros((1, core.width))])  # of N
        for j in range(core.width):
            fit[..., strand] += known[left.codes[:, starts + j], j]
            prior[..., strand] += weight[j] * support[:, starts + j]
    odds = (prior * np.exp(fit)).reshape(len(left), -1)
    best = odds.argmax(axis=1)
    at = Alignment(np.arange(len(left)), starts[best // 2], (best % 2).astype(bool), core.width)
    whole = at.window(-low, alignment.width)
    return odds.sum(axis=1) / (prior.sum(axis=(1, 2)) + _TINY), whole.start, whole.reverse
