"""What the audit says of a sequence, or of a property of sequences, that is not biology.

- `shortcut`: it differs where classes differ, and the model uses it.
- `present`: it is there, but unused, untested, or such that genomes have it as well.
- `clean`: it is not there more than by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.part import OMITTED_IF_NONE, Interval, Measured, NotTested, measured
from seqsal.auditing.stats import q_values_of, signed_rank_p

__all__ = ["VERDICTS", "Effect", "Finding", "Property", "judge_properties", "numbers_of", "signed_rank"]

VERDICTS = ("shortcut", "present", "clean")
MIN_REGION_SHARE = 0.02  # of the regions of a class must have what is a shortcut
N_NEUTRAL = 64  # neutral sequences that something is put into
N_REMOVED = 64  # regions that it is removed from, at most
EQUAL = 1e-6  # of the model's range: float32


@dataclass(frozen=True)
class Effect:
    """Mean paired difference of the prediction over n sequences, in units of the attributed output.

    `ci` is None with a single sequence, and where only the test matters; `p_value` is two-sided.
    """

    mean: float
    ci: Interval | None
    p_value: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A row of `artifacts` in `audit.json`.

    `name`, `kind`: what it is called, and what kind of thing it is. `sequence`: its letters; empty for a property.
    `n_regions`: audited regions that have it; None where it is no matter of having. `attribution_share`: share of
    Σ|track| on the bases that have it. `enrichment`: how much more of it one class has than the other, or the bases
    than expected. `marginal_effect`, `ablation_effect`: mean change of the prediction by bringing it into neutral
    sequence, and what it is worth where it stands. `q_value`: of the evidence that a shortcut would rest on. `verdict`:
    `shortcut`, `present` or `clean`. `text`: all of it in a sentence.
    """

    name: str
    kind: str
    sequence: str = ""
    n_regions: int | None
    attribution_share: Measured
    enrichment: Measured
    marginal_effect: Measured
    ablation_effect: Measured
    q_value: Measured
    verdict: str
    text: str | None = field(default=None, metadata=OMITTED_IF_NONE)


@dataclass(frozen=True, kw_only=True)
class Property:
    """A property of sequences that is no word: how much of it there is, what it does, and whether it may be a shortcut.

    `name`, `kind`, `n_regions`, `attribution_share`, `enrichment`, `text`: as in :class:`Finding`; kind is
    `composition`, `low_complexity`, `padding` or `position`. `marginal`, `ablation`: its effects. `presence_p`: P-value
    of its enrichment; 1 where there is nothing to compare with. `is_present`: whether there is any to speak of.
    `can_be_shortcut`: whether everything but the p-values speaks for a shortcut.
    """

    name: str
    kind: str
    n_regions: int | None
    attribution_share: float | None
    enrichment: float | None
    marginal: Effect | NotTested
    ablation: Effect | NotTested
    presence_p: float
    is_present: bool
    can_be_shortcut: bool
    text: str

    @property
    def p_value(self) -> float:
        """The largest p-value that a shortcut would rest on; NaN where no effect was tested."""
        effects = [one.p_value for one in (self.marginal, self.ablation) if isinstance(one, Effect)]
        return max(self.presence_p, *effects) if effects else np.nan

    def judged(self, q_value: float, fdr: float) -> Finding:
        """Return the row of `audit.json`."""
        is_shortcut = self.can_be_shortcut and q_value <= fdr
        return Finding(
            name=self.name,
            kind=self.kind,
            n_regions=self.n_regions,
            attribution_share=measured(self.attribution_share, "the map is 0"),
            enrichment=measured(self.enrichment, "there is nothing to compare with"),
            marginal_effect=numbers_of(self.marginal)[0],
            ablation_effect=numbers_of(self.ablation)[0],
            q_value=measured(q_value, "no effect was tested"),
            verdict="shortcut" if is_shortcut else "present" if self.is_present else "clean",
            text=self.text,
        )


def judge_properties(properties: Sequence[Property], fdr: float) -> tuple[Finding, ...]:
    """Judge properties, with q-values of Benjamini and Hochberg (1995) over those whose effect was tested."""
    q_values = q_values_of([one.p_value for one in properties])
    return tuple(one.judged(float(q_value), fdr) for one, q_value in zip(properties, q_values, strict=True))


def numbers_of(effect: Effect | NotTested) -> tuple[Measured, Interval | None, Measured]:
    """Return mean, interval and p-value of an effect, as far as it was tested."""
    return (effect.mean, effect.ci, effect.p_value) if isinstance(effect, Effect) else (effect, None, effect)


def signed_rank(differences: NDArray[np.float64], scale: float) -> Effect | NotTested:
    """Mean of paired differences (n,) and Wilcoxon's signed-rank test; less than `EQUAL` of the scale is none."""
    if not len(differences):
        return NotTested("no region has any")
    return Effect(float(differences.mean()), None, signed_rank_p(differences, EQUAL * scale), len(differences))
