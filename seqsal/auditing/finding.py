"""What is found of a property of sequences that is no word, and whether that is a shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.stats import number, q_values_of, signed_rank_p

__all__ = ["Change", "Finding", "judge_findings", "signed_rank"]

EQUAL = 1e-6  # of the model's range: float32


@dataclass(frozen=True)
class Change:
    """Mean change of the prediction, in units of the attributed output, and its two-sided p-value."""

    mean: float
    p_value: float


@dataclass(frozen=True)
class Finding:
    """A property, how much of it there is, and what it does.

    Attributes
    ----------
    name, kind
        What it is called, and `composition`, `low_complexity`, `padding` or `position`.
    n_regions
        Audited regions that have it; None where it is no matter of having.
    attribution_share
        Share of the map's mass on the bases that have it; None without a map.
    enrichment
        How much more of it the positives have than the negatives, or the bases than expected; None where unknown.
    marginal, ablation
        Effect of bringing it into neutral sequence, and of what is there; None where that was not tested.
    presence_p
        P-value of its enrichment; 1 where there is nothing to compare with.
    is_present
        Whether there is any to speak of.
    can_be_shortcut
        Whether everything but the p-values speaks for a shortcut.
    text
        What it is, in a sentence.
    """

    name: str
    kind: str
    n_regions: int | None
    attribution_share: float | None
    enrichment: float | None
    marginal: Change | None
    ablation: Change | None
    presence_p: float
    is_present: bool
    can_be_shortcut: bool
    text: str

    @property
    def p_value(self) -> float | None:
        """The largest p-value that a shortcut would rest on; None where no effect was tested."""
        effects = [change.p_value for change in (self.marginal, self.ablation) if change is not None]
        return max(self.presence_p, *effects) if effects else None


def judge_findings(findings: Sequence[Finding], fdr: float) -> list[dict[str, Any]]:
    """Return the rows of `audit.json`, with q-values of Benjamini and Hochberg (1995) and verdicts."""
    p_values = [np.nan if finding.p_value is None else finding.p_value for finding in findings]
    return [_row(finding, number(q), fdr) for finding, q in zip(findings, q_values_of(p_values), strict=True)]


def signed_rank(differences: NDArray[np.float64], scale: float) -> Change | None:
    """Mean of paired differences (n,) and Wilcoxon's signed-rank test; None without any.

    Parameters
    ----------
    differences
        In units of the output.
    scale
        The model's range: differences of less than a millionth of it are none.
    """
    if not len(differences):
        return None
    return Change(float(differences.mean()), signed_rank_p(differences, EQUAL * scale))


def _row(finding: Finding, q_value: float | None, fdr: float) -> dict[str, Any]:
    is_shortcut = finding.can_be_shortcut and q_value is not None and q_value <= fdr
    return {
        "name": finding.name,
        "kind": finding.kind,
        "sequence": "",
        "n_regions": finding.n_regions,
        "attribution_share": finding.attribution_share,
        "enrichment": finding.enrichment,
        "marginal_effect": None if finding.marginal is None else finding.marginal.mean,
        "ablation_effect": None if finding.ablation is None else finding.ablation.mean,
        "q_value": q_value,
        "verdict": "shortcut" if is_shortcut else "present" if finding.is_present else "clean",
        "text": finding.text,
    }
