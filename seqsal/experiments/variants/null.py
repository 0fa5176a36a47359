"""How large is large: p-values of effects against matched variants in sequence that means nothing.

Control k of a variant is the same change, in the same neighbours, at the same distance from the window's centre: its
window is shuffled (dinucleotide counts kept), or another window is taken, and the reference allele with a base on
either side is put back where it was. So a control has the trinucleotide context of its variant, and the composition of
its surroundings, but none of the motifs.

Effects differ in scale by what is changed into what (a C of a CpG, a deletion of ten bases), so each is taken relative
to the mean magnitude of the controls of its kind, shrunk towards that of all by `PRIOR` of them; then they are pooled.
P-values of the pool: :class:`seqsal.peaks.null.NullDistribution`, counts in the bulk and a generalised
Pareto tail beyond what counts resolve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsal.experiments.variants.alleles import Allele
from seqsal.peaks.null import NullDistribution
from seqsal.sequence.codes import N_CODE
from seqsal.sequence.draws import count_repeats, dinucleotide_shuffle, draw_number, window_keys

__all__ = ["EffectNull", "control_windows", "default_n_controls", "kinds_of"]

PRIOR = 20  # controls that the mean of all counts for
FEWEST, MOST = 1_000, 20_000  # controls, where nobody says how many
N_SIZES = 6  # of insertions and deletions: 1, 2, 3 to 4, 5 to 8, 9 to 16 bases, and more
Codes = NDArray[np.uint8]


def default_n_controls(n_variants: int) -> int:
    """As many as there are variants, and from 1,000 to 20,000."""
    return min(max(n_variants, FEWEST), MOST)


def control_windows(
    around: Codes, alleles: Sequence[Allele], at: int, n_each: NDArray[np.int64], *, seed: int, pool: Codes | None
) -> tuple[Codes, NDArray[np.int64]]:
    """Make `n_each` (n,) controls of what is around variants (n, L'), whose alleles begin at index `at`.

    `pool` are windows (B, L') to put them into, each at random; None shuffles the variants' own. Returns windows
    (M, L') and the row (M,) of the variant of each.
    """
    rows = np.repeat(np.arange(len(around)), n_each)
    own = around[rows]
    draws = draw_number("controls", count_repeats(window_keys(own)))
    if pool is None:
        controls = dinucleotide_shuffle(own, seed=seed, draw=draws)
    else:
        picked = [np.random.default_rng([seed & (1 << 64) - 1, key, draw]).integers(len(pool))
                  for key, draw in zip(window_keys(own).tolist(), draws.tolist(), strict=True)]  # fmt: skip
        controls = pool[np.array(picked, dtype=np.int64)]
    for control, row in zip(controls, rows.tolist(), strict=True):
        span = slice(max(at - 1, 0), at + len(alleles[row].ref) + 1)
        control[span] = around[row, span]
    return controls, rows


def kinds_of(around: Codes, alleles: Sequence[Allele], at: int, both_strands: bool) -> NDArray[np.int64]:
    """Give the kind of each variant a number, (n,): neighbours and bases of a substitution, else the change of length.

    With `both_strands` a substitution is of the same kind as its reverse complement.
    """
    kinds = np.empty(len(alleles), dtype=np.int64)
    for row, allele in enumerate(alleles):
        if len(allele.ref) == len(allele.alt) == 1:
            before, ref, after = (int(code) for code in around[row, at - 1 : at + 2])
            word = [before, ref, after, int(allele.alt[0])]
            turned = [code if code == N_CODE else 3 - code for code in (after, ref, before, word[3])]
            word = min(word, turned) if both_strands else word
            kinds[row] = int(np.dot(word, (125, 25, 5, 1)))
        else:
            size = max(abs(allele.shift), 1) if allele.shift else len(allele.ref)
            step = min(int(np.ceil(np.log2(size))), N_SIZES - 1)
            kinds[row] = 625 + N_SIZES * (1 + int(np.sign(allele.shift))) + step
    return kinds


@dataclass(frozen=True)
class EffectNull:
    """Effects of controls on one target: the mean magnitude by kind, and the pooled distribution."""

    scale: dict[int, float]
    of_all: float
    pooled: NullDistribution

    @classmethod
    def fit(cls, effects: NDArray[np.float64], kinds: NDArray[np.int64], parents: NDArray[np.int64]) -> EffectNull:
        """Fit to effects (M,) of controls, their kinds and the variants that they are controls of."""
        size = np.abs(effects)
        of_all = float(size.mean()) or 1.0
        names, at = np.unique(kinds, return_inverse=True)
        totals, counts = np.bincount(at, size), np.bincount(at)
        scales = (totals + PRIOR * of_all) / (counts + PRIOR)
        _, number = np.unique(parents, return_inverse=True)
        pooled = NullDistribution.fit(size / scales[at], number, int(number.max()) + 1)
        return cls(dict(zip(names.tolist(), scales.tolist(), strict=True)), of_all, pooled)

    def p_values(self, effects: NDArray[np.float64], kinds: NDArray[np.int64]) -> NDArray[np.float64]:
        """Two-sided p-values (n,) of the effects of variants."""
        names, at = np.unique(kinds, return_inverse=True)
        scales = np.array([self.scale.get(kind, self.of_all) for kind in names.tolist()])
        return self.pooled.p_values(np.abs(effects) / scales[at])
