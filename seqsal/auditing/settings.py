"""What a user may change of an audit: how much is tried, and what counts as passing.

Everything else that steers a part is a named constant of its module, next to what it steers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

from seqsal.errors import UsageError

__all__ = ["FORMER", "RUN_SIZES", "AuditSettings"]

# What `seqsal run` takes instead of the defaults, so that its audit lasts seconds; `seqsal audit` takes the defaults.
RUN_SIZES = {"n_steps": 10, "n_draws": 2, "n_ism_regions": 24, "n_small": 24}
MOST = 1_000_000_000


def _whole(default: int) -> int:
    """Declare a whole number of 1 or more."""
    return field(default=default, metadata={"check": _check_whole})


def _share(default: float) -> float:
    """Declare a number above 0 and at most 1."""
    return field(default=default, metadata={"check": _check_share})


def _switch(default: bool) -> bool:
    """Declare yes or no."""
    return field(default=default, metadata={"check": _check_switch})


def _check_whole(value: Any) -> str | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return None if is_whole and 1 <= value <= MOST else f"a whole number from 1 to {MOST:,}"


def _check_share(value: Any) -> str | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if is_number and 0 < value <= 1 else "a number above 0 and at most 1"


def _check_switch(value: Any) -> str | None:
    return None if isinstance(value, bool) else "True or False"


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

    n_regions: int = _whole(1_000)
    n_ism_regions: int = _whole(64)
    n_small: int = _whole(32)
    n_examples: int = _whole(5_000)
    n_steps: int = _whole(20)
    n_draws: int = _whole(3)
    n_bootstrap: int = _whole(2_000)
    confidence: float = _share(0.95)
    fdr: float = _share(0.01)
    min_effect: float = _share(0.1)
    min_ism_spearman: float = _share(0.3)
    max_randomized_similarity: float = _share(0.5)
    max_completeness_error: float = _share(0.05)
    max_blind_share: float = _share(0.5)
    min_gain: float = _share(0.05)
    retrain: bool = _switch(False)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            expected = one.metadata["check"](value)
            if expected is not None:
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


FORMER = {  # settings of earlier versions, by the constant in seqsal.auditing that each has become
    "n_perturbations": "parts.faithfulness.local.N_PERTURBATIONS",
    "perturbed_share": "parts.faithfulness.local.PERTURBED_SHARE",
    "n_worst": "parts.faithfulness.N_WORST",
    "n_randomizations": "parts.sanity.weights.N_RANDOMIZATIONS",
    "n_random_layers": "parts.sanity.weights.N_RANDOM_LAYERS",
    "max_random_passes": "parts.sanity.weights.MAX_RANDOM_PASSES",
    "n_retrain_examples": "parts.sanity.labels.N_EXAMPLES",
    "n_retrain_epochs": "parts.sanity.labels.N_EPOCHS",
    "min_reproduced": "parts.sanity.MIN_REPRODUCED",
    "n_substitutions": "parts.stability.N_SUBSTITUTIONS",
    "same_prediction": "parts.stability.SAME_PREDICTION",
    "min_stability": "parts.stability.MIN_STABILITY",
    "n_combinations": "parts.stability.locality.N_COMBINATIONS",
    "large_change": "parts.stability.locality.LARGE_CHANGE",
    "max_unexplained": "parts.stability.locality.MAX_UNEXPLAINED",
    "max_failing_share": "parts.stability.locality.MAX_FAILING_SHARE",
    "max_edits": "parts.stability.edits.MAX_EDITS",
    "saturated": "parts.saturation.SATURATED",
    "squashed_slope": "parts.saturation.SQUASHED_SLOPE",
    "max_dead_share": "parts.saturation.MAX_DEAD_SHARE",
    "min_method_gain": "parts.saturation.MIN_METHOD_GAIN",
    "important_share": "parts.saturation.blindness.IMPORTANT_SHARE",
    "min_position_effect": "parts.saturation.blindness.MIN_POSITION_EFFECT",
    "blind_quantile": "parts.saturation.blindness.BLIND_QUANTILE",
    "blind_ratio": "parts.saturation.blindness.BLIND_RATIO",
    "span_bp": "parts.saturation.removal.SPAN_BP",
    "n_spans": "parts.saturation.removal.N_SPANS",
    "n_joint": "parts.saturation.removal.N_JOINT",
    "n_permutations": "parts.plausibility.N_PERMUTATIONS",
    "n_scan_bp": "parts.plausibility.N_SCAN_BP",
    "hit_p_value": "parts.plausibility.HIT_P_VALUE",
    "max_hit_share": "parts.plausibility.MAX_HIT_SHARE",
    "gc_tolerance": "parts.plausibility.GC_TOLERANCE",
    "max_match_q": "parts.plausibility.MAX_MATCH_Q",
    "min_strand_hits": "parts.plausibility.MIN_STRAND_HITS",
    "n_neutral": "finding.N_NEUTRAL",
    "n_removed": "finding.N_REMOVED",
    "min_region_share": "finding.MIN_REGION_SHARE",
    "n_control_words": "parts.artifacts.effects.N_CONTROLS",
    "max_control_words": "parts.artifacts.effects.MAX_CONTROLS",
    "max_chance_hits": "parts.artifacts.search.MAX_CHANCE_HITS",
    "min_part_enrichment": "parts.artifacts.search.MIN_PART_ENRICHMENT",
    "min_part_share": "parts.artifacts.search.MIN_PART_SHARE",
    "part_p_value": "parts.artifacts.search.MAX_PART_P",
    "longest_site": "parts.artifacts.biology.LONGEST_SITE",
    "max_variation": "parts.artifacts.biology.MAX_VARIATION",
    "max_use_q": "parts.artifacts.MAX_USE_Q",
    "min_unknown_bp": "parts.artifacts.unknown.MIN_BP",
    "min_exact_share": "parts.artifacts.unknown.MIN_EXACTNESS",
    "min_composition_auroc": "parts.composition.MIN_AUROC",
    "min_composition_share": "parts.composition.MIN_RETAINED",
    "min_shuffle_correlation": "parts.composition.MIN_CORRELATION",
    "max_edge_share": "parts.composition.tracts.MAX_EDGE_SHARE",
    "max_bin_share": "parts.composition.tracts.MAX_BIN_SHARE",
    "min_stratum_effect": "parts.strata.MIN_EFFECT",
}
