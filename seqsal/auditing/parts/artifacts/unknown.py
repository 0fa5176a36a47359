"""Shortcuts of no library: invariant words that no known motif explains and that the model uses.

Nothing has to be known of the word. Evidence is required in this order, and what fails is no finding:

1. *Frequent*: a word of 8 bp is in more regions than in their shuffles and than in the negatives, and its block in
   `MIN_REGION_SHARE` of the regions.
2. *Exact*: the block around it has `MIN_UNKNOWN_BP` bases at least, and inexact copies are missing: its `exactness`
   is `MIN_EXACT_SHARE` or more, no position varies more than copying errors do, and it ends as if cut
   (:mod:`seqsal.auditing.parts.artifacts.biology`). Adapters, barcodes and vectors are copied; binding sites vary.
3. *Unexplained*: no motif of JASPAR, nor of those that the user named, is that word
   (:mod:`seqsal.auditing.parts.artifacts.biology`), and the copies are not those of a known artifact.
4. *Enough*: a word as short as a binding site has `FEW_COPIES` copies or more; else it is at most `present`.
5. *Used*: put into neutral sequence it changes the prediction more than `min_effect`, beyond what words of the same
   bases do, and taking it out where it stands has an effect of the same sign.

A word that passes all is a `shortcut`, one that the model does not use is `present`. Sequences that are exact because
the genome repeats them (a young transposon, say) are reported as well: the user should know of a model that lives on
these.

Of 1,078 Reb1 and 724 Abf1 sites of yeast and 500 of human CTCF, no block of 10 bp or more has an exactness above 0.4.
Of the 3,179 motifs of JASPAR 2026 some thirty are so sharp that sites drawn from them pass the first two steps; these
are known. Words of 12 bp planted with 0, 2 and 5 % of errors have 1, 0.82 to 0.92 and 0.69 to 0.79.

Words that stand out in a set of sequences, and the invariant blocks that they are part of.

A word of `PART_BP` bases, on either strand, stands out when it is in more sequences than in dinucleotide shuffles and,
where there are negatives, than in these: the binomial tail of its count, at the rate of the background with one
sequence added, times the number of words. This only picks what to look at; evidence is the test of the whole block
(:func:`enrichment_p`). All copies of such a word are aligned, and the block grows from it to both sides as long as
`CONSERVED` of the copies agree on a base. Copies whose surroundings agree as well, because windows overlap or are
repeated in the genome, count once.

What tells an artifact from a binding site is whether inexact copies exist. With n₀ exact copies of a block of w bases
and x₁ copies with one mismatch in excess of the background, ``exactness = (n₀ / (n₀ + x₁)) ** (10 / w)``, about the
share of exact copies among those of ten of its bases: 1 for an adapter, 0.92 with 1 % of errors at each base, 0.69 with
5 %, and 0.46 where the least frequent base of every site is found in 10 % of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.content import Codes, Ints, repeat_mask
from seqsal.auditing.context import AuditContext
from seqsal.auditing.finding import MIN_REGION_SHARE, Effect, Finding, numbers_of
from seqsal.auditing.part import Measured, NotTested
from seqsal.auditing.parts.artifacts.biology import FEW_COPIES, explain_word, explaining_motif, is_too_few
from seqsal.auditing.parts.artifacts.effects import ablation_effect, attribution_share, marginal_effect
from seqsal.auditing.parts.artifacts.search import (
    PART_BP,
    Hits,
    exact_hits,
    masked,
    mismatches,
    windows_with,
    word_keys,
)
from seqsal.auditing.stats import fisher_p
from seqsal.sequence.codes import N_CODE, decode, reverse_complement

__all__ = ["WordFinding", "find_unknown"]

KIND = "unknown"
MIN_UNKNOWN_BP = 10  # least width of an invariant word
MIN_EXACT_SHARE = 0.55  # an artifact is copied, a binding site varies
MIN_COPIES = 8
MIN_SHUFFLES = 1_000
SHUFFLE_DRAW = 2_000  # away from the draws of other parts
FIXED_SHARE = 0.5  # of the copies at one offset make their position worth reporting
REPEAT_SHARE = 0.5  # of a block in a simple repeat make it low complexity, which is for the composition
REACH_BP = 40  # bases on either side of a word that a block may grow by
FLANK_BP = 8  # surroundings that tell copies of one locus
CONSERVED = 0.9
MAX_WORDS = 400
_N_WORDS = 4**PART_BP


@dataclass(frozen=True, kw_only=True)
class WordFinding(Finding):
    """An invariant word that no library knows.

    `share`: of the regions, that hold it. `position`: offset in the window that most copies share, or None.
    `exactness`: see above. `marginal_p_value`, `ablation_p_value`: of its effects.
    """

    share: float
    position: int | None
    exactness: float
    marginal_p_value: Measured
    ablation_p_value: Measured


def find_unknown(context: AuditContext, known_hits: Sequence[Hits] = ()) -> list[WordFinding]:
    """Find invariant words that no library knows, those in most regions first, and whether the model uses them.

    `known_hits` are copies of known artifacts, in rows of the attributions, which are not reported again. `q_value` is
    the p-value of :func:`enrichment_p`. Without a model the verdict is at most `present`.
    """
    rows = context.rows(context.settings.n_regions)
    codes = masked(context.codes(rows), rows, known_hits)
    whole = context.codes(rows)
    n_draws = -(-MIN_SHUFFLES // len(whole))
    backgrounds = [np.concatenate(context.shuffles(whole, SHUFFLE_DRAW, n_draws))]
    if context.negatives is not None and len(context.negatives):
        backgrounds.append(context.negatives[: context.settings.n_examples])
    track = np.abs(context.track(rows))
    return [_row(context, rows, codes, backgrounds, found) for found in _candidates(context, codes, backgrounds, track)]


class _Found(NamedTuple):
    """A block that is frequent, exact and unexplained."""

    word: Codes
    n_regions: int
    exactness: float
    p_value: float


def _candidates(
    context: AuditContext, codes: Codes, backgrounds: Sequence[Codes], weight: NDArray[np.floating]
) -> Iterator[_Found]:
    settings, left, every = context.settings, codes, np.arange(len(codes))
    least = max(MIN_COPIES, MIN_REGION_SHARE * len(codes))
    for block in find_blocks(codes, backgrounds, weight, settings.fdr):
        word = block.codes
        if len(word) < MIN_UNKNOWN_BP or block.n_copies < MIN_COPIES or repeat_mask(word[None]).mean() >= REPEAT_SHARE:
            continue
        if (n_regions := count_rows(left, word)) < least:
            continue
        exact = exactness(left, backgrounds, word)
        if exact < MIN_EXACT_SHARE or explain_word(word, 0, len(word), left, backgrounds[-1], ()) is not None:
            continue
        if explaining_motif(word, context.motifs or ()) is not None:
            continue
        p_value = enrichment_p(n_regions, left, backgrounds, word)
        if p_value <= settings.fdr:
            yield _Found(word, n_regions, exact, p_value)
            left = masked(left, every, [exact_hits(left, every, word)])


def _row(context: AuditContext, rows: Ints, codes: Codes, backgrounds: Sequence[Codes], found: _Found) -> WordFinding:
    word = found.word
    name = f"{KIND}_{decode(word)}"
    hits = exact_hits(codes, rows, word)
    marginal = marginal_effect(context, word, hits, name)
    ablation = ablation_effect(context, word, hits, name)
    share = found.n_regions / len(rows)
    position = _position(hits)
    too_few = is_too_few(found.n_regions, len(word))
    verdict = "shortcut" if not too_few and _is_used(context, marginal, ablation) else "present"
    background = backgrounds[-1]
    other = (count_rows(background, word) + 0.5) / (len(background) + 1)  # half a sequence added to either count
    return WordFinding(
        name=name,
        kind=KIND,
        sequence=decode(word),
        n_regions=found.n_regions,
        attribution_share=attribution_share(context, hits, context.settings.n_regions),
        enrichment=(found.n_regions + 0.5) / (len(rows) + 1) / other,
        marginal_effect=numbers_of(marginal)[0],
        ablation_effect=numbers_of(ablation)[0],
        q_value=found.p_value,
        verdict=verdict,
        text=_text(decode(word), share, position, marginal, verdict, too_few),
        share=share,
        position=position,
        exactness=found.exactness,
        marginal_p_value=numbers_of(marginal)[2],
        ablation_p_value=numbers_of(ablation)[2],
    )


def _is_used(context: AuditContext, marginal: Effect | NotTested, ablation: Effect | NotTested) -> bool:
    """Whether a word changes the prediction where it is put, and does not do the opposite where it stands."""
    settings = context.settings
    if not isinstance(marginal, Effect) or marginal.p_value > settings.fdr:
        return False
    if abs(marginal.mean) < settings.min_effect * context.effect_scale:
        return False
    return not isinstance(ablation, Effect) or ablation.mean * marginal.mean > 0


def _position(hits: Hits) -> int | None:
    """Offset that most copies share, or None."""
    start = hits.first_by_row().start
    offsets, counts = np.unique(start, return_counts=True)
    return int(offsets[counts.argmax()]) if counts.max() >= FIXED_SHARE * len(start) else None


def _text(
    word: str, share: float, position: int | None, marginal: Effect | NotTested, verdict: str, too_few: bool
) -> str:
    where = "" if position is None else f", mostly at position {position} of the window"
    found = f"The exact word {word} is in {share:.0%} of the regions{where}; neither the library nor JASPAR knows it"
    if too_few:
        return f"{found}. Copies in fewer than {FEW_COPIES} regions cannot be told from binding sites."
    if not isinstance(marginal, Effect):
        return f"{found}. Whether the model uses it could not be tested."
    effect = f"{'raises' if marginal.mean > 0 else 'lowers'} the prediction by {abs(marginal.mean):.3g}"
    if verdict == "shortcut":
        return f"{found}, and putting it into neutral sequence {effect}."
    return f"{found}, but the model hardly uses it."


class Block(NamedTuple):
    """An invariant stretch (w,) around an enriched word, which has so many copies, those of one locus counted once."""

    codes: Codes
    n_copies: int


def find_blocks(codes: Codes, backgrounds: Iterable[Codes], weight: NDArray[np.floating], alpha: float) -> list[Block]:
    """Find the invariant blocks around words that stand out in `codes` (n, L); those with most copies first.

    Each `background` (m, L) is compared on its own. Words with the largest sum of `weight` (n, L) come first; `alpha`
    is the largest corrected p-value.
    """
    keys, blocks = word_keys(codes), dict[bytes, Block]()
    for word in _standing_out(codes, keys, backgrounds, weight, alpha):
        block = _grow(codes, keys, word)
        key = min(block.codes.tobytes(), reverse_complement(block.codes).tobytes())
        if key not in blocks or blocks[key].n_copies < block.n_copies:
            blocks[key] = block
    return sorted(blocks.values(), key=lambda block: (-block.n_copies, block.codes.tobytes()))


def count_rows(codes: Codes, word: Codes, n_other: int = 0) -> int:
    """Count the sequences whose best copy of a word, on either strand, has exactly so many mismatches."""
    if not len(codes) or codes.shape[1] < len(word):
        return 0
    either = [mismatches(codes, bases).min(axis=1) for bases in (word, reverse_complement(word))]
    return int((np.minimum(*either) == n_other).sum())


def enrichment_p(n_rows: int, codes: Codes, backgrounds: Sequence[Codes], word: Codes) -> float:
    """P-value that a word is in no larger share of sequences than in the backgrounds.

    Fisher's exact test; against the first background, the shuffles, times the number of words of 8 bp that the word was
    picked from; the largest over the backgrounds.
    """
    largest = 0.0
    for i, other in enumerate(backgrounds):
        p_value = float(fisher_p(n_rows, len(codes), count_rows(other, word), len(other)))
        largest = max(largest, p_value * (_N_WORDS / 2) if i == 0 else p_value)
    return min(1.0, largest)


def exactness(codes: Codes, backgrounds: Iterable[Codes], word: Codes) -> float:
    """Share of exact copies of ten bases of a word, in 0 to 1; see the formula above."""
    n_exact, n_close = (count_rows(codes, word, n_other) for n_other in (0, 1))
    if not n_exact:
        return 0.0
    chance = [count_rows(other, word, 1) / len(other) for other in backgrounds if len(other)]
    free = len(codes) - n_exact  # sequences in which a close copy can be the best
    excess = max(0.0, n_close - free * max(chance, default=0.0))
    return float((n_exact / (n_exact + excess)) ** (10 / len(word)))


def _standing_out(
    codes: Codes, keys: Ints, backgrounds: Iterable[Codes], weight: NDArray[np.floating], alpha: float
) -> list[int]:
    """Words with corrected p-values of at most `alpha`, those that carry most first, at most `MAX_WORDS`."""
    from scipy.stats import binom  # here because it takes half a second to load

    n_rows, p_values = windows_with(codes), np.zeros(_N_WORDS)
    for other in backgrounds:
        rate = (windows_with(other) + 1.0) / (len(other) + 1)
        p_values = np.maximum(p_values, binom.sf(n_rows - 1, len(codes), rate))
    p_values = np.minimum(1.0, p_values * (_N_WORDS / 2))  # a word and its reverse complement are one
    row, start = np.nonzero(keys >= 0)
    sums = np.concatenate([np.zeros((len(codes), 1)), np.cumsum(weight, axis=1, dtype=np.float64)], axis=1)
    carried = np.bincount(keys[row, start], weights=sums[row, start + PART_BP] - sums[row, start], minlength=_N_WORDS)
    found = np.flatnonzero((p_values <= alpha) & (n_rows > 0))
    return [int(name) for name in found[np.argsort(-carried[found], kind="stable")][:MAX_WORDS]]


def _grow(codes: Codes, keys: Ints, word: int) -> Block:
    """Align the first copy of a word in each sequence, and lengthen the word to the block around it."""
    row = np.flatnonzero((keys == word).any(axis=1))
    start = (keys[row] == word).argmax(axis=1)
    bases = word >> 2 * np.arange(PART_BP)[::-1] & 3
    reverse = (codes[row[:, None], start[:, None] + np.arange(PART_BP)] != bases).any(axis=1)
    padded = np.pad(codes, ((0, 0), (REACH_BP, REACH_BP)), constant_values=N_CODE)
    width = PART_BP + 2 * REACH_BP
    around = padded[row[:, None], start[:, None] + np.arange(width)]  # (n, width), the word at REACH_BP
    around[reverse] = reverse_complement(around[reverse])
    counts = (around[:, :, None] == np.arange(4)).sum(axis=0)  # (width, 4)
    known = counts.sum(axis=1)
    agree = (counts.max(axis=1) >= CONSERVED * known) & (known >= len(row) / 2)
    agree[REACH_BP : REACH_BP + PART_BP] = True
    first = REACH_BP - int(np.argmin(agree[REACH_BP::-1])) + 1 if not agree[:REACH_BP].all() else 0
    beyond = agree[REACH_BP + PART_BP :]
    last = REACH_BP + PART_BP + (int(np.argmin(beyond)) if not beyond.all() else len(beyond))
    flanks = np.concatenate([around[:, max(first - FLANK_BP, 0) : first], around[:, last : last + FLANK_BP]], axis=1)
    n_loci = len(np.unique(flanks, axis=0))
    return Block(counts[first:last].argmax(axis=1).astype(np.uint8), n_loci)
