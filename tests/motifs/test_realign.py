"""Instances of planted motifs, some of them misplaced: they are put back, and those that are right stay."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from seqsal.motifs.realign import realign
from seqsal.motifs.seqlets import Alignment, Seqlets
from seqsal.sequence.codes import one_hot, reverse_complement

N, CONTEXT, FLANK = 80, 80, 6
# near palindromes with a shift (REB1's core holds CCGG), with a spacer (ABF1), and none (CTCF)
MOTIFS = {"REB1": "TTACCCGG", "ABF1": "CGTNNNNNRTGA", "CTCF": "CCACCAGGGGGC"}


def ppm_of(word: str, keep: float = 0.91) -> NDArray[np.float64]:
    """Probabilities (4, W): a base is the word's with probability `keep`, and any where the word has N."""
    columns = []
    for letter in word:
        known = {"N": "ACGT", "R": "AG"}.get(letter, letter)
        columns.append([keep / len(known) if base in known else (1 - keep) / (4 - len(known)) for base in "ACGT"]
                       if letter != "N" else [0.25] * 4)  # fmt: skip
    return np.array(columns).T


def planted(word: str, rng: np.random.Generator, sign: float = 1.0) -> tuple[Seqlets, Alignment]:
    """Seqlets with a site each, on either strand, and where these are, with `FLANK` bp on both sides."""
    ppm = ppm_of(word)
    width = ppm.shape[1]
    weight = sign * np.clip(ppm - 0.25, 0, None)  # (4, W) contributions of a base
    codes = rng.integers(0, 4, (N, CONTEXT), dtype=np.uint8)
    scores = rng.normal(0, 0.1, (N, 4, CONTEXT))
    start, reverse = rng.integers(24, CONTEXT - 24 - width, N), rng.random(N) < 0.5
    for i in range(N):
        site = np.array([rng.choice(4, p=column) for column in ppm.T], dtype=np.uint8)
        at = slice(start[i], start[i] + width)
        codes[i, at] = reverse_complement(site) if reverse[i] else site
        scores[i, :, at] += weight[::-1, ::-1] if reverse[i] else weight
    table = pd.DataFrame(
        {"chrom": "chr1", "start": np.arange(N) * 100, "name": "p", "sign": "pos" if sign > 0 else "neg"}
    )
    track = (scores * one_hot(codes)).sum(axis=1).astype(np.float32)
    seqlets = Seqlets(table, codes, scores.astype(np.float32), track, False)
    return seqlets, Alignment(np.arange(N), start - FLANK, reverse, width + 2 * FLANK)


def misplaced(found: Alignment, true: Alignment) -> NDArray[np.bool_]:
    return (found.start != true.start) | (found.reverse != true.reverse)


def information(alignment: Alignment, seqlets: Seqlets) -> float:
    counts = alignment.counts(seqlets) + 0.25
    ppm = counts / counts.sum(axis=0)
    return float((2 + (ppm * np.log2(ppm)).sum(axis=0)).sum())


@pytest.mark.parametrize("word", MOTIFS.values(), ids=MOTIFS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_misplaced_instances_are_put_back(word: str, sign: float, rng: np.random.Generator) -> None:
    for _ in range(3):
        seqlets, true = planted(word, rng, sign)
        off = rng.random(N) < 0.15
        shift = rng.choice([-4, -3, -2, -1, 1, 2, 3, 4], N)
        wrong = Alignment(
            true.rows, true.start + np.where(off, shift, 0), true.reverse ^ (off & (shift % 2 == 1)), true.width
        )
        found = realign(wrong, seqlets)
        assert misplaced(found, true).sum() <= 0.2 * off.sum() < misplaced(wrong, true).sum()
        assert information(found, seqlets) > information(wrong, seqlets)
        np.testing.assert_array_equal(found.rows, wrong.rows)


@pytest.mark.parametrize("word", MOTIFS.values(), ids=MOTIFS)
def test_what_is_right_stays(word: str, rng: np.random.Generator) -> None:
    n_moved = 0
    for _ in range(5):
        seqlets, true = planted(word, rng)
        n_moved += int(misplaced(realign(true, seqlets), true).sum())
    assert n_moved <= 0.01 * 5 * N


def test_instances_stay_inside_their_context(rng: np.random.Generator) -> None:
    """The site of an instance at the edge cannot be read with its flanks, and the instance stays where it is."""
    seqlets, true = planted(MOTIFS["REB1"], rng)
    codes = np.full_like(seqlets.codes, 4)
    shifted = seqlets.codes[0, true.start[0] + 3 :]  # its site begins 3 bp too far left for the flanks
    codes[0, : len(shifted)] = shifted
    edge = Seqlets(seqlets.table, np.where(np.arange(N)[:, None] == 0, codes, seqlets.codes), seqlets.hypothetical,
                   seqlets.contributions, False)  # fmt: skip
    start = true.start.copy()
    start[0] = 1
    found = realign(Alignment(true.rows, start, true.reverse, true.width), edge)
    assert found.start.min() >= 0 and (found.start + found.width).max() <= CONTEXT


def test_too_few_or_without_contributions_stay_as_they_are(rng: np.random.Generator) -> None:
    seqlets, true = planted(MOTIFS["REB1"], rng)
    assert realign(true.take(np.arange(2)), seqlets).start.tolist() == true.start[:2].tolist()
    silent = Seqlets(seqlets.table, seqlets.codes, 0 * seqlets.hypothetical, 0 * seqlets.contributions, False)
    assert realign(true, silent) is true
