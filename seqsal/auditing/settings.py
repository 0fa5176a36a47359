"""What a user may change of an audit: how much is tried, and what counts as passing.

Everything else that steers a part is a named constant of its module, next to what it steers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from seqsal.errors import UsageError

__all__ = ["FORMER", "RUN_SIZES", "AuditSettings"]

# What `seqsal run` takes instead of the defaults, so that its audit lasts seconds; `seqsal audit` takes the defaults.
RUN_SIZES = {"n_steps": 10, "n_draws": 2, "n_ism_regions": 24, "n_small": 24}
MOST = 1_000_000_000


def _expected(default: Any, value: Any) -> str | None:
    """Say what a setting with such a default has to be, where the value is not that."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "True or False"
    if isinstance(default, int):
        is_whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST
        return None if is_whole else f"a whole number from 1 to {MOST:,}"
    is_share = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1
    return None if is_share else "a number above 0 and at most 1"


@dataclass(frozen=True)
class AuditSettings:
    """How much an audit tries, and the thresholds of its verdict.

    Sizes bound the work, whatever the number of regions. On the command line: ``--setting n_regions=200``.

    Attributes
    ----------
    n_regions
        Regions for deletion and insertion curves, plausibility and shortcuts; a random sample when there are more.
    n_ism_regions
        Regions of which every substitution is tried (in-silico mutagenesis).
    n_small
        Regions for the tests that attribute again and again: sanity, stability, saturation.
    n_examples
        Sequences of each class that are scanned for artifacts.
    n_steps
        Points of a deletion or insertion curve, after the first.
    n_draws
        Shuffles that deleted bases are taken from.
    n_bootstrap
        Resamples of regions for confidence intervals.
    confidence
        Of the intervals, above 0 and at most 1.
    fdr
        Largest q-value of an artifact that is called present, of an unknown word that is called used, and of a
        difference between strata.
    min_effect
        Least effect of an artifact on the prediction to be a shortcut, as a share of the model's range: the
        difference of the mean prediction of the regions and that of their shuffles, or the predictions' standard
        deviation where that is larger.
    min_ism_spearman
        Least mean correlation of map and in-silico mutagenesis of a faithful map.
    max_randomized_similarity
        Largest similarity of the map with that of the model with random weights, beyond that with the random model's
        map of shuffles: a map that is more alike hardly depends on the model.
    max_completeness_error
        Largest median share of the difference from the reference that attributions may miss.
    max_blind_share
        Largest share of the bases that matter (by in-silico mutagenesis) at which a faithful map shows nothing.
    min_gain
        Least share of a plausible map in known motifs beyond that of matched positions.
    retrain
        Whether to train the built-in network again on permuted labels.

    Raises
    ------
    UsageError
        A value of another type or outside its range.

    Examples
    --------
    >>> from seqsal import AuditSettings
    >>> AuditSettings(n_regions=200).n_regions
    200
    >>> AuditSettings(confidence=2)
    Traceback (most recent call last):
    seqsal.errors.UsageError: confidence: got 2, expected a number above 0 and at most 1
    """

    n_regions: int = 1_000
    n_ism_regions: int = 64
    n_small: int = 32
    n_examples: int = 5_000
    n_steps: int = 20
    n_draws: int = 3
    n_bootstrap: int = 2_000
    confidence: float = 0.95
    fdr: float = 0.01
    min_effect: float = 0.1
    min_ism_spearman: float = 0.3
    max_randomized_similarity: float = 0.5
    max_completeness_error: float = 0.05
    max_blind_share: float = 0.5
    min_gain: float = 0.05
    retrain: bool = False

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if (expected := _expected(one.default, value)) is not None:
                raise UsageError(f"{one.name}: got {value!r:.60}, expected {expected}")

    def changed(self, changes: Mapping[str, Any]) -> AuditSettings:
        """Return these settings with some of them changed.

        Raises
        ------
        UsageError
            There is no such setting, or a value is outside its range.

        Examples
        --------
        >>> from seqsal import AuditSettings
        >>> AuditSettings().changed({"n_steps": 5}).n_steps
        5
        """
        known = [one.name for one in fields(self)]
        for name in changes:
            if name in FORMER:
                raise UsageError(f"setting: {name} is no longer one; it is the constant seqsal.auditing.{FORMER[name]}")
            if name not in known:
                near = get_close_matches(str(name), known, 1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise UsageError(f"setting: got {name!r}{hint}, expected one of {', '.join(known)}")
        return replace(self, **changes)


_FORMER = {
    "finding": "n_neutral n_removed min_region_share",
    "parts.faithfulness": "n_worst n_perturbations perturbed_share",
    "parts.sanity": "min_reproduced n_retrain_examples n_retrain_epochs",
    "parts.sanity.weights": "n_randomizations n_random_layers max_random_passes",
    "parts.stability": "n_substitutions same_prediction min_stability",
    "parts.stability.locality": "n_combinations large_change max_unexplained max_failing_share",
    "parts.stability.edits": "max_edits",
    "parts.saturation": "saturated squashed_slope max_dead_share min_method_gain",
    "parts.saturation.blindness": (
        "important_share min_position_effect blind_quantile blind_ratio span_bp n_spans n_joint"
    ),
    "parts.plausibility": "n_permutations n_scan_bp hit_p_value max_hit_share gc_tolerance max_match_q min_strand_hits",
    "parts.composition": (
        "min_composition_auroc min_composition_share min_shuffle_correlation max_edge_share max_bin_share"
    ),
    "parts.artifacts": "max_use_q",
    "parts.artifacts.biology": "longest_site max_variation",
    "parts.artifacts.effects": "n_control_words max_control_words",
    "parts.artifacts.search": "max_chance_hits min_part_enrichment min_part_share part_p_value",
    "parts.artifacts.unknown": "min_unknown_bp min_exact_share",
    "parts.strata": "min_stratum_effect",
}
# settings of earlier versions, by the constant in seqsal.auditing that each has become
FORMER = {name: f"{module}.{name.upper()}" for module, names in _FORMER.items() for name in names.split()}
