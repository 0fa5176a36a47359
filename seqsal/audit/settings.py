"""Every number that the audit works with, in one place: how much is tried, and what counts as passing.

Sizes bound the work, whatever the number of regions; thresholds decide the verdict. All can be changed:
``seqsal.audit(model, attr, settings=AuditSettings(n_regions=200))``, or `--setting n_regions=200` on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from seqsal.errors import UsageError

__all__ = ["AuditSettings"]


@dataclass(frozen=True)
class AuditSettings:
    """How much an audit tries, and the thresholds of its verdict.

    Attributes
    ----------
    n_regions
        Regions for deletion and insertion curves, plausibility and shortcuts; a random sample when there are more.
    n_ism_regions
        Regions of which every substitution is tried (in-silico mutagenesis).
    n_small
        Regions for the tests that attribute again and again: sanity, stability, saturation.
    n_steps
        Points of a deletion or insertion curve, after the first.
    n_draws
        Shuffles that deleted bases are taken from.
    n_bootstrap
        Resamples of regions for confidence intervals.
    confidence
        Of the intervals, between 0 and 1.
    n_permutations
        Random placements that annotations are compared with.
    n_neutral
        Shuffled sequences that an artifact is put into.
    n_examples
        Sequences of each class that are scanned for artifacts.
    fdr
        Largest q-value of an artifact that is called present or used, and of a difference between strata.
    min_region_share
        Least share of the regions of a class that an artifact must be in to be a shortcut.
    min_effect
        Least effect of an artifact on the prediction to be a shortcut, as a share of the model's range: the
        difference of the mean prediction of the regions and that of their shuffles, or the predictions' standard
        deviation where that is larger.
    min_ism_spearman
        Least mean correlation of map and in-silico mutagenesis of a faithful map.
    max_randomized_similarity
        Largest mean absolute correlation of the map with that of the model with random weights.
    max_completeness_error
        Largest median share of the difference from the reference that attributions may miss.
    saturated
        A probability is saturated within this distance from 0 or 1.
    max_blind_share
        Largest share of important positions (by in-silico mutagenesis) at which a faithful map shows nothing.
    """

    n_regions: int = 1_000
    n_ism_regions: int = 64
    n_small: int = 32
    n_steps: int = 20
    n_draws: int = 3
    n_bootstrap: int = 2_000
    confidence: float = 0.95
    n_permutations: int = 200
    n_neutral: int = 64
    n_examples: int = 5_000
    fdr: float = 0.01
    min_region_share: float = 0.02
    min_effect: float = 0.1
    min_ism_spearman: float = 0.3
    max_randomized_similarity: float = 0.5
    max_completeness_error: float = 0.05
    saturated: float = 0.01
    max_blind_share: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{field.name}: got {value!r}, expected a whole number of 1 or more")
            if field.type == "float" and not 0 < value <= 1:
                raise UsageError(f"{field.name}: got {value!r}, expected a number above 0 and at most 1")

    def changed(self, changes: Mapping[str, Any]) -> AuditSettings:
        """Return these settings with some of them changed.

        Raises
        ------
        UsageError
            There is no such setting, or a value is outside its range.
        """
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise UsageError(f"setting: got {name!r}, expected one of {', '.join(known)}")
        return replace(self, **changes)
