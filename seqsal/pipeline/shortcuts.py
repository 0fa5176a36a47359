"""Shortcuts that an audit found, in the examples of a training: where they stand, and the same examples without them.

*Copies* of a word are looked for by alignment, on either strand and whole or in part, and are those that score as
chance does in one window of a thousand, or the whole word if that is shorter. Of simple repeats, unknown bases and the
edges of windows, the copies are the tracts themselves. A *composition* (G+C, CpG) has no copies: the negatives are
chosen anew, so that it is in both classes alike. That alone says nothing of compositions that neither class has then
(those of the negatives given, and G+C without the CpG that goes with it), so that a network may still tell them apart:
*neutral* sequences, shuffles of both classes as they were, are to have the same prediction on average.

*Clean* examples have, where a copy was, the bases that a negative without copies has there. Every choice is drawn from
the window's own bases, and examples never leave their part of the split.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.content import EDGE_SHARE, Codes, Flags, gc_content, repeat_mask
from seqsal.auditing.finding import Finding
from seqsal.auditing.parts.artifacts import ArtifactsResult
from seqsal.auditing.parts.artifacts.library import load_library
from seqsal.auditing.parts.artifacts.search import MAX_CHANCE_HITS, align, chance_scores
from seqsal.auditing.parts.composition import PROPERTIES
from seqsal.auditing.result import AuditResult
from seqsal.models.seen import record_seen
from seqsal.sequence.codes import N_CODE, encode
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number, mononucleotide_shuffle, random_words
from seqsal.training.examples import Examples
from seqsal.training.negatives import ClassWindows, match_values, sample_negatives
from seqsal.training.settings import TrainConfig
from seqsal.training.split import PARTS

__all__ = [
    "MEASURES", "Shortcut", "balance_composition", "clean_examples", "find_copies", "neutral_kinds", "read_shortcuts",
]  # fmt: skip

MOST_COPIES = 8  # of a word in one window
N_NEUTRAL = 1_000  # of each kind
MEASURES = dict(PROPERTIES.values())
TRACTS = {"low_complexity": repeat_mask, "padding": lambda codes: codes == N_CODE}


@dataclass(frozen=True)
class Shortcut:
    """What the audit found that the model uses and that is not biology; `word` (w,) is None for a property."""

    name: str
    kind: str
    word: Codes | None = None

    @property
    def is_composition(self) -> bool:
        """Whether it is a composition, which has no copies."""
        return self.name in MEASURES


def read_shortcuts(audit: AuditResult) -> list[Shortcut]:
    """List the shortcuts of an audit, words of the library at their full length."""
    result = audit.of(ArtifactsResult)
    found: Sequence[Finding] = () if result is None else result.findings
    library = {artifact.name: artifact.codes for artifact in load_library()}
    return [
        Shortcut(one.name, one.kind, library.get(one.name, encode(one.sequence) if one.sequence else None))
        for one in found
        if one.verdict == "shortcut"
    ]


def find_copies(shortcut: Shortcut, codes: Codes, flank: int) -> Flags:
    """Mark the copies of a shortcut in windows (N, L + 2 flank); the flanks count as the window's for its edges."""
    if shortcut.is_composition:
        return np.zeros(codes.shape, dtype=bool)
    if shortcut.word is None:
        if shortcut.kind in TRACTS:
            return np.asarray(TRACTS[shortcut.kind](codes))
        at, width = np.arange(codes.shape[1]), codes.shape[1] - 2 * flank
        return np.tile(np.minimum(at, at[::-1]) < flank + max(1, round(EDGE_SHARE * width)), (len(codes), 1))
    words = [shortcut.word]
    shuffled = align(dinucleotide_shuffle(codes[: int(2 / MAX_CHANCE_HITS)], seed=0), words)
    least = min(int(chance_scores(shuffled, words, codes.shape[1], MAX_CHANCE_HITS)[0]), len(shortcut.word))
    copies, left = np.zeros(codes.shape, dtype=bool), codes
    for _ in range(MOST_COPIES):
        hits = align(left, words).hits(0, least)
        if not len(hits):
            break
        copies |= hits.mask(np.arange(len(codes)), codes.shape[1])
        left = np.where(copies, np.uint8(N_CODE), codes)
    return copies


def clean_examples(examples: Examples, copies: Flags, parts: Sequence[str], seed: int) -> Examples:
    """Write bases of negatives without copies over the copies (N, W) in some parts of the split."""
    codes, has = examples.codes.copy(), copies.any(axis=1)
    for part in parts:
        own = examples.parts == part
        rows = np.flatnonzero(own & has)
        fillers = np.flatnonzero(own & ~examples.is_positive & ~has)
        if not len(fillers):
            fillers = np.flatnonzero(own & ~examples.is_positive)
        drawn = random_words(examples.codes[rows], 1, seed=seed, draw=draw_number("retrain", 0))[:, 0]
        filler = fillers[(drawn % np.uint64(len(fillers))).astype(np.int64)]
        codes[rows] = np.where(copies[rows], examples.codes[filler], codes[rows])
    return replace(examples, codes=codes)


def balance_composition(
    examples: Examples,
    shortcuts: Sequence[Shortcut],
    training: TrainConfig,
    *,
    positives: Any,
    genome: str | os.PathLike[str] | None,
    seed: int,
) -> Examples:
    """Choose as many negatives in each part that have the positives' composition, as nearly as can be.

    From the negatives that are there, and from as many again: windows of the genome with the positives' G+C, or
    dinucleotide shuffles of the positives where there is no genome, or CpG is to be matched; from shuffles alone where
    both are.
    """
    measured = [MEASURES[one.name] for one in shortcuts if one.is_composition]
    if not measured:
        return examples
    measure = measured[0]
    of_genome = genome if measured == [gc_content] else None
    more = _more_negatives(examples, training, positives, of_genome, seed)
    is_negative = ~examples.is_positive
    n_there = int(is_negative.sum())
    pool = ClassWindows(
        pd.concat([examples.windows[is_negative], more.windows], ignore_index=True),
        np.concatenate([examples.codes[is_negative], more.codes]),
        np.concatenate([examples.parts[is_negative], more.parts]),
        {},
    )
    chosen = []
    top = max(float(measure(codes).max()) for codes in (pool.codes, examples.codes)) or 1.0
    for part in PARTS:
        wanted = measure(examples.codes[examples.is_positive & (examples.parts == part)]) / top
        own = np.flatnonzero(pool.parts[:n_there] == part)
        there = np.flatnonzero(pool.parts == part)
        if len(measured) > 1:  # shuffles alone have both
            there = there[there >= n_there]
        rng = np.random.default_rng([seed, PARTS.index(part)])
        wanted = np.resize(wanted, len(own))
        chosen.append(there[match_values(wanted, measure(pool.codes[there]) / top, rng)])
    return _with_negatives(examples, pool, np.concatenate(chosen), training.max_shift)


def neutral_kinds(examples: Examples, seed: int) -> Codes:
    """Shuffle the training part's positives, and its negatives, keeping pairs of bases or bases alone: (4, n, W)."""
    kinds = []
    for is_own in (examples.is_positive, ~examples.is_positive):
        codes = examples.codes[is_own & (examples.parts == "train")]
        turn, row = np.divmod(np.arange(N_NEUTRAL), len(codes))
        draw = draw_number("retrain", 10 + turn)
        kinds += [
            shuffle(codes[row], seed=seed, draw=draw) for shuffle in (dinucleotide_shuffle, mononucleotide_shuffle)
        ]
    return np.stack(kinds)


def _more_negatives(
    examples: Examples, training: TrainConfig, positives: Any, genome: str | os.PathLike[str] | None, seed: int
) -> ClassWindows:
    own = examples.is_positive
    of_class = ClassWindows(examples.windows[own].reset_index(drop=True), examples.codes[own], examples.parts[own], {})
    n_each = -(-int((~own).sum()) // max(int(own.sum()), 1))
    drawing = replace(
        training, negatives_per_positive=n_each, negative_sampling="shuffle" if genome is None else "gc"
    )  # fmt: skip
    return sample_negatives(of_class, positives, genome, drawing, seed, draw=1)


def _with_negatives(examples: Examples, pool: ClassWindows, chosen: NDArray[np.int64], flank: int) -> Examples:
    own = examples.is_positive
    windows = pd.concat([examples.windows[own], pool.windows.iloc[chosen]], ignore_index=True)
    codes = np.concatenate([examples.codes[own], pool.codes[chosen]])
    parts = np.concatenate([examples.parts[own], pool.parts[chosen]])
    n_positive = int(own.sum())
    targets = np.zeros((len(codes), examples.targets.shape[1]), np.float32)
    targets[:n_positive] = examples.targets[own]
    return replace(
        examples,
        codes=codes,
        targets=targets,
        parts=parts,
        is_positive=np.arange(len(codes)) < n_positive,
        chroms=windows["chrom"].to_numpy(dtype=str),
        windows=windows,
        seen=record_seen(windows, parts, codes[:, flank : codes.shape[1] - flank]),
    )
