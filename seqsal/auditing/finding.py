"""What the audit says of a sequence, or of a property of sequences, that is not biology.

- `shortcut`: it differs where classes differ, and the model uses it.
- `present`: it is there, but unused, untested, or such that genomes have it as well.
- `clean`: it is not there more than by chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from seqsal.auditing.part import OMITTED_IF_NONE, Interval, Measured, NotTested
from seqsal.experiments.words import EQUAL, Effect

__all__ = ["EQUAL", "VERDICTS", "Effect", "Finding", "numbers_of"]

VERDICTS = ("shortcut", "present", "clean")
MIN_REGION_SHARE = 0.02  # of the regions of a class must have what is a shortcut
N_NEUTRAL = 64  # neutral sequences that something is put into
N_REMOVED = 64  # regions that it is removed from, at most


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


def numbers_of(effect: Effect | NotTested) -> tuple[Measured, Interval | None, Measured]:
    """Return mean, interval and p-value of an effect, as far as it was tested."""
    return (effect.mean, effect.ci, effect.p_value) if isinstance(effect, Effect) else (effect, None, effect)
