"""What is found of a property of sequences that is no word, and whether that is a shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Change", "Finding", "fisher_p", "judge_findings", "signed_rank"]

MIN_PAIRS = 6  # the fewest with which a signed-rank test can be significant at 0.05
MOST_EXACT = 50
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
    from scipy.stats import false_discovery_control  # here because it takes half a second to load

    tested = [i for i, finding in enumerate(findings) if finding.p_value is not None]
    q_values: list[float | None] = [None] * len(findings)
    if tested:
        found = false_discovery_control([findings[i].p_value or 0.0 for i in tested], method="bh")
        for i, q_value in zip(tested, found, strict=True):
            q_values[i] = float(q_value)
    return [_row(finding, q_value, fdr) for finding, q_value in zip(findings, q_values, strict=True)]


def signed_rank(differences: NDArray[np.float64], scale: float) -> Change | None:
    """Mean of paired differences (n,) and Wilcoxon's signed-rank test; None without any.

    Parameters
    ----------
    differences
        In units of the output.
    scale
        The model's range: differences of less than a millionth of it are none.
    """
    from scipy.stats import wilcoxon

    if not len(differences):
        return None
    kept = differences[np.abs(differences) > EQUAL * scale]
    if len(kept) < MIN_PAIRS:
        return Change(float(differences.mean()), 1.0)
    is_exact = len(kept) <= MOST_EXACT and len(np.unique(np.abs(kept))) == len(kept)  # scipy permutes where ties are
    p_value = float(wilcoxon(kept, method="exact" if is_exact else "asymptotic").pvalue)
    return Change(float(differences.mean()), p_value)


def fisher_p(n_held: int, n: int, other_held: int, other_n: int) -> float:
    """P-value that n_held of n is no larger a share than other_held of other_n; Fisher's exact test."""
    from scipy.stats import fisher_exact

    table = [[n_held, n - n_held], [other_held, other_n - other_held]]
    return float(fisher_exact(table, alternative="greater").pvalue)


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
