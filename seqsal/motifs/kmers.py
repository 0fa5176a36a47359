"""Patterns from a few seqlets: enriched k-mers aligned, then a mixture model for their surroundings.

TF-MoDISco clusters seqlets by their similarity and needs about a hundred. This fallback looks for one pattern at a
time, in well under a second:

1. **Seed.** Words of two triplets with a gap of 0 to `MAX_GAP` bases, on both strands, weighted by the share of their
   seqlet's contribution that their six bases carry. With n_w seqlets that hold word w where its bases carry at least
   their part of the contribution, W_w the summed shares and W⁰_w what they would be if w were as frequent as the
   product of its triplets in the background (the shuffled controls where there are any), the seed is the word with
   the largest G = W_w ln(W_w / W⁰_w) among those that stand out in number: binomial tail P(n ≥ n_w) below `ALPHA` over
   the number of words (Bonferroni), and n_w ≥ `MIN_SEQLETS`.
2. **Alignment.** At most one site a seqlet, on either strand (the ZOOPS model of Bailey and Elkan 1994, MEME), fitted
   by expectation–maximisation from the seed's instances: a PWM of `WIDTH` positions against background frequencies,
   with the prior of a place proportional to the contributions under the PWM's information.
3. Seqlets with a site (posterior ≥ ½) are set aside, and the rest are searched again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

from seqsal.motifs.seqlets import SEQLET_BP, Alignment, Seqlets
from seqsal.sequence.codes import N_CODE, one_hot, reverse_complement

__all__ = ["MIN_SEQLETS", "align_kmers"]

MIN_SEQLETS = 5
MAX_GAP = 10
MAX_PATTERNS = 10
ALPHA = 0.01
WIDTH = 21
N_ROUNDS = 30
_N_TRIPLETS = 64
_PSEUDOCOUNT = 1.0  # sites, shared out by the background
_N_STARTS = SEQLET_BP - WIDTH // 2  # places of a site, its middle around the summit


def align_kmers(
    seqlets: Seqlets, background_codes: NDArray[np.uint8], rows: NDArray[np.int64] | None = None
) -> list[Alignment]:
    """Find patterns among the seqlets of one sign (of `rows` alone, where given), the first found first.

    Word frequencies are those of `background_codes` (M, L). Each pattern has `MIN_SEQLETS` instances or more, one a
    seqlet.
    """
    sign = -1.0 if (seqlets.table["sign"] == "neg").all() else 1.0
    support = np.maximum(sign * seqlets.contributions.astype(np.float64), 0.0)
    triplets = _triplet_frequencies(background_codes)
    bases = triplets.reshape(4, 16).sum(axis=1)
    left = np.arange(len(seqlets)) if rows is None else rows
    found: list[Alignment] = []
    while len(left) >= MIN_SEQLETS and len(found) < MAX_PATTERNS:
        words = _count_words(seqlets.codes[left], support[left])
        seed = _best_seed(words, triplets, len(left))
        if seed is None:
            break
        mine, length = words.word == seed, 6 + seed // _N_TRIPLETS**2
        sites = Alignment(words.row[mine], words.start[mine], words.reverse[mine], length)
        sites = sites.window(-((WIDTH - length) // 2), WIDTH)  # with its surroundings
        sites = _refine(seqlets.codes[left], support[left], sites, bases)
        if len(sites) < MIN_SEQLETS:
            break
        found.append(Alignment(left[sites.rows], sites.start, sites.reverse, WIDTH))
        left = np.setdiff1d(left, found[-1].rows)
    return found


@dataclass(frozen=True)
class _Words:
    """Best occurrence of every word in every seqlet that has it; word = (gap · 64 + first) · 64 + second."""

    word: NDArray[np.int64]  # one entry an occurrence
    row: NDArray[np.int64]
    start: NDArray[np.int64]
    reverse: NDArray[np.bool_]
    share: NDArray[np.float64]  # of the seqlet's contribution, what the six bases carry
    total_share: NDArray[np.float64]  # sum of the shares of all places, both strands, by gap


def _count_words(codes: NDArray[np.uint8], support: NDArray[np.float64]) -> _Words:
    first_bp = (codes.shape[1] - SEQLET_BP) // 2
    core = slice(first_bp, first_bp + SEQLET_BP)
    part = support[:, core]
    share = part / np.maximum(part.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    parts, total = [], []
    for gap in range(MAX_GAP + 1):
        found = [_occurrences(codes[:, core], share, gap, reverse) for reverse in (False, True)]
        parts.extend(found)
        total.append(sum(float(f[4].sum()) for f in found))
    word, row, start, reverse, weight = (np.concatenate(values) for values in zip(*parts, strict=True))
    strong = weight >= 6 / SEQLET_BP  # six bases at least at the mean
    word, row, start, reverse, weight = (v[strong] for v in (word, row, start, reverse, weight))
    order = np.lexsort((start, reverse, -weight, row, word))
    word, row, start, reverse, weight = (v[order] for v in (word, row, start, reverse, weight))
    first = np.ones(len(word), dtype=bool)
    first[1:] = (word[1:] != word[:-1]) | (row[1:] != row[:-1])
    return _Words(word[first], row[first], start[first] + core.start, reverse[first], weight[first], np.array(total))


def _occurrences(
    codes: NDArray[np.uint8], share: NDArray[np.float64], gap: int, reverse: bool
) -> tuple[NDArray[np.int64], ...]:
    """Word, row, leftmost base, strand and share of every place of one gap on one strand."""
    if reverse:
        codes, share = reverse_complement(codes), share[:, ::-1]
    triplet, known = _triplets(codes)
    weight = np.lib.stride_tricks.sliding_window_view(share, 3, axis=1).sum(axis=2)
    step = gap + 3
    row, place = np.nonzero(known[:, :-step] & known[:, step:])
    word = (gap * _N_TRIPLETS + triplet[row, place]) * _N_TRIPLETS + triplet[row, place + step]
    start = codes.shape[1] - place - step - 3 if reverse else place
    return word, row, start, np.full(len(row), reverse), weight[row, place] + weight[row, place + step]


def _triplets(codes: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Index (n, L − 2) of the triplet at each place, and whether its bases are known."""
    values = codes.astype(np.int64)
    known = (codes[:, :-2] < N_CODE) & (codes[:, 1:-1] < N_CODE) & (codes[:, 2:] < N_CODE)
    return np.where(known, (values[:, :-2] * 4 + values[:, 1:-1]) * 4 + values[:, 2:], 0), known


def _triplet_frequencies(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share (64,) of each triplet on both strands, one of each added."""
    counts = np.ones(_N_TRIPLETS)
    for strand in (codes, reverse_complement(codes)):
        triplet, known = _triplets(strand)
        counts += np.bincount(triplet[known], minlength=_N_TRIPLETS)
    return np.asarray(counts / counts.sum())


def _best_seed(words: _Words, triplets: NDArray[np.float64], n_seqlets: int) -> int | None:
    """Word with the largest G of those that stand out in number, or None."""
    if len(words.word) == 0:
        return None
    names, first, n_rows = np.unique(words.word, return_index=True, return_counts=True)
    weight = np.add.reduceat(words.share, first)
    gap, pair = np.divmod(names, _N_TRIPLETS**2)
    chance = triplets[pair // _N_TRIPLETS] * triplets[pair % _N_TRIPLETS]
    expected = chance * words.total_share[gap]
    in_seqlet = 1 - (1 - chance) ** (2 * (SEQLET_BP - 5 - gap))  # places of a word, both strands
    n_words = (MAX_GAP + 1) * _N_TRIPLETS**2 / 2  # a word and its reverse complement are one
    stands_out = (bdtrc(n_rows - 1, n_seqlets, in_seqlet) * n_words < ALPHA) & (n_rows >= MIN_SEQLETS)
    if not stands_out.any():
        return None
    score = np.where(stands_out, weight * np.log(np.maximum(weight / expected, 1.0)), -np.inf)
    return int(names[np.argmax(score)])


def _refine(
    codes: NDArray[np.uint8], support: NDArray[np.float64], sites: Alignment, background: NDArray[np.float64]
) -> Alignment:
    """Fit the mixture from the seed's sites; the result has the sites with posterior ≥ ½."""
    starts = np.arange(_N_STARTS) + (codes.shape[1] - WIDTH - _N_STARTS + 1) // 2
    letters = _windows(one_hot(codes), starts)  # (n, S, 4, WIDTH)
    letters = np.stack([letters, letters[:, :, ::-1, ::-1]], axis=2)  # (n, S, 2, 4, WIDTH)
    covered = _windows(support[:, None], starts)[:, :, 0]
    covered = np.stack([covered, covered[:, :, ::-1]], axis=2)  # (n, S, 2, WIDTH)
    posterior, place = np.zeros(letters.shape[:3]), sites.start - starts[0]
    ok = (place >= 0) & (place < len(starts))
    posterior[sites.rows[ok], place[ok], sites.reverse[ok].astype(int)] = 1.0
    best = np.full(len(codes), -1)
    for _ in range(N_ROUNDS):
        posterior = _round(letters, covered, posterior, background)
        flat = posterior.reshape(len(posterior), -1)
        # place · 2 + strand of each seqlet, −1 where no site is more likely than one
        previous, best = best, np.where(flat.sum(axis=1) >= 0.5, flat.argmax(axis=1), -1)
        if np.array_equal(previous, best):
            break
    rows = np.flatnonzero(best >= 0)
    return Alignment(rows, starts[best[rows] // 2], (best[rows] % 2).astype(bool), WIDTH)


def _windows(layers: NDArray[np.floating], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pieces (n, S, C, WIDTH) of layers (n, C, L)."""
    return np.moveaxis(layers[:, :, starts[:, None] + np.arange(WIDTH)], 1, 2).astype(np.float64)


def _round(
    letters: NDArray[np.float64],
    covered: NDArray[np.float64],
    posterior: NDArray[np.float64],
    background: NDArray[np.float64],
) -> NDArray[np.float64]:
    """One step of expectation–maximisation: posteriors (n, S, 2) to posteriors."""
    counts = np.einsum("nsr,nsrbw->bw", posterior, letters) + _PSEUDOCOUNT * background[:, None]
    ppm = counts / counts.sum(axis=0)
    log_odds = np.log(ppm / background[:, None])
    information = (ppm * log_odds).sum(axis=0)  # (WIDTH,) nats
    share_with = np.clip(posterior.sum(axis=(1, 2)).mean(), 0.05, 0.95)
    prior = covered @ information
    total = prior.sum(axis=(1, 2), keepdims=True)
    prior = np.where(total > 0, prior / np.where(total > 0, total, 1.0), 1 / prior[0].size)
    odds = share_with * prior * np.exp(np.einsum("nsrbw,bw->nsr", letters, log_odds))
    return np.asarray(odds / (1 - share_with + odds.sum(axis=(1, 2), keepdims=True)))
