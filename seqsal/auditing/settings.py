"""Every number that the audit works with, in one place: how much is tried, and what counts as passing.

Sizes bound the work, whatever the number of regions; thresholds decide the verdict. All can be changed:
``seqsal.audit(model, attr, settings=AuditSettings(n_regions=200))``, or `--setting n_regions=200` on the command line.
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

LARGEST = 1_000_000_000
LEAST: dict[str, int] = {}  # of whole numbers that have to be more than 1
FORMER = {  # settings of earlier versions, by the constant that each has become
    "n_substitutions": "parts.stability.N_SUBSTITUTIONS",
    "same_prediction": "parts.stability.SAME_PREDICTION",
    "min_stability": "parts.stability.MIN_STABILITY",
    "n_combinations": "parts.stability.locality.N_COMBINATIONS",
    "large_change": "parts.stability.locality.LARGE_CHANGE",
    "max_unexplained": "parts.stability.locality.MAX_UNEXPLAINED",
    "max_failing_share": "parts.stability.locality.MAX_FAILING_SHARE",
    "max_edits": "parts.stability.edits.MAX_EDITS",
    "n_randomizations": "parts.sanity.weights.N_RANDOMIZATIONS",
    "n_random_layers": "parts.sanity.weights.N_RANDOM_LAYERS",
    "max_random_passes": "parts.sanity.weights.MAX_RANDOM_PASSES",
    "n_retrain_examples": "parts.sanity.labels.N_EXAMPLES",
    "n_retrain_epochs": "parts.sanity.labels.N_EPOCHS",
    "min_reproduced": "parts.sanity.MIN_REPRODUCED",
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
}


@dataclass(frozen=True)
class AuditSettings:
    """How much an audit tries, and the thresholds of its verdict.

    Attributes
    ----------
    n_regions
        Regions for deletion and insertion curves, plausibility and shortcuts; a random sample when there are more.
    n_ism_regions
        Regions of which every substitution is tried (in-silico mutagenesis).
    n_perturbations
        Random sets of bases that are replaced in each of those regions, for the infidelity of the map.
    perturbed_share
        Share of a region's bases in such a set.
    n_worst
        Regions in tables of the worst ones.
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
    n_control_words
        Words of the same bases in another order that the effect of an artifact is compared with, 2 or more.
    max_control_words
        How many it is compared with where those leave it open whether the effect is one of the artifact.
    n_removed
        Regions that an artifact is removed from.
    max_chance_hits
        Share of shuffled regions in which an artifact may be found by chance.
    min_part_enrichment
        How many times as frequent a part of an artifact that is too short to be told from chance must be in one class.
    min_part_share
        Least share of the sequences of a class that such a part must be in.
    part_p_value
        Largest p-value of the excess of such a part.
    longest_site
        Longest stretch of an artifact, in bp, that the site of a protein may match by chance.
    max_variation
        How frequent other bases may be at a position of a short word, as a share of the word itself, before it is
        taken for the site of a protein and not for a copied sequence.
    n_examples
        Sequences of each class that are scanned for artifacts.
    fdr
        Largest q-value of an artifact that is called present, of a word of no library that is called used, and of a
        difference between strata.
    max_use_q
        Largest q-value of the effect of a known artifact that is called used.
    min_region_share
        Least share of the regions of a class that an artifact must be in to be a shortcut.
    min_effect
        Least effect of an artifact on the prediction to be a shortcut, as a share of the model's range: the
        difference of the mean prediction of the regions and that of their shuffles, or the predictions' standard
        deviation where that is larger.
    min_ism_spearman
        Least mean correlation of map and in-silico mutagenesis of a faithful map.
    max_randomized_similarity
        Largest similarity of the map with that of the model with random weights, beyond that with the random model's
        map of shuffles: a map that is more alike hardly depends on the model.
    retrain
        Whether to train the built-in network anew on permuted labels.
    max_completeness_error
        Largest median share of the difference from the reference that attributions may miss.
    min_stratum_effect
        Least effect size (ε², the share of the variation in ranks) of a difference between strata that is told.
    min_composition_auroc
        How well GC or CpG alone must tell positives from negatives to be a shortcut.
    min_composition_share
        Share of the difference between the classes' mean predictions that must be left in shuffles, which keep
        nothing but composition, for composition to be a shortcut.
    min_shuffle_correlation
        Least rank correlation of GC or CpG with the predictions of shuffled regions that is told without classes.
    max_edge_share
        Largest share of the attribution that the outer tenth of the window may have.
    max_bin_share
        Largest share of the attribution of shuffled sequence that any tenth of the window may have.
    min_unknown_bp
        Least width of an invariant word that no library knows to be a shortcut.
    min_exact_share
        Least share of a word's copies, those with a mismatch counted, that are exact: an artifact is copied, a binding
        site varies.
    max_blind_share
        Largest share of important positions (by in-silico mutagenesis) at which a faithful map shows nothing.
    min_gain
        Least share of a plausible map in known motifs beyond that of matched positions.
    n_scan_bp
        Bases of regions that are scanned for known motifs, at most.
    hit_p_value
        Largest p-value of a hit of a known motif, to begin with.
    max_hit_share
        Share of the bases that hits of known motifs may cover: more, and the p-value is made smaller.
    gc_tolerance
        Difference of GC content between a span and its matched positions (standard deviation).
    max_match_q
        Largest q-value of a database match that names a pattern.
    min_strand_hits
        Hits of a motif on either strand from which strands are compared.
    """

    n_regions: int = 1_000
    n_ism_regions: int = 64
    n_perturbations: int = 32
    perturbed_share: float = 0.1
    n_worst: int = 20
    n_small: int = 32
    n_steps: int = 20
    n_draws: int = 3
    n_bootstrap: int = 2_000
    confidence: float = 0.95
    n_permutations: int = 200
    n_neutral: int = 64
    n_control_words: int = 16
    max_control_words: int = 64
    n_removed: int = 64
    max_chance_hits: float = 0.001
    min_part_enrichment: int = 10
    min_part_share: float = 0.1
    part_p_value: float = 1e-4
    longest_site: int = 13
    max_variation: float = 0.25
    n_examples: int = 5_000
    fdr: float = 0.01
    max_use_q: float = 0.05
    min_region_share: float = 0.02
    min_effect: float = 0.1
    min_ism_spearman: float = 0.3
    max_randomized_similarity: float = 0.5
    retrain: bool = False
    max_completeness_error: float = 0.05
    min_stratum_effect: float = 0.06
    min_composition_auroc: float = 0.7
    min_composition_share: float = 0.3
    min_shuffle_correlation: float = 0.3
    max_edge_share: float = 0.2
    max_bin_share: float = 0.3
    min_unknown_bp: int = 10
    min_exact_share: float = 0.55
    max_blind_share: float = 0.5
    min_gain: float = 0.05
    n_scan_bp: int = 2_000_000
    hit_p_value: float = 1e-4
    max_hit_share: float = 0.25
    gc_tolerance: float = 0.05
    max_match_q: float = 0.05
    min_strand_hits: int = 5

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one.name, str(one.type), getattr(self, one.name))

    def changed(self, changes: Mapping[str, Any]) -> AuditSettings:
        """Return these settings with some of them changed.

        Raises
        ------
        UsageError
            There is no such setting, or a value is outside its range.
        """
        known = [one.name for one in fields(self)]
        for name in changes:
            if name in FORMER:
                raise UsageError(f"setting: {name} is no longer one, it is fixed in seqsal.auditing ({FORMER[name]})")
            if name not in known:
                near = get_close_matches(str(name), known, 1)
                hint = f", perhaps {near[0]}" if near else ""
                raise UsageError(f"setting: got {name!r}{hint}, expected one of {', '.join(known)}")
        return replace(self, **changes)


def _check(name: str, kind: str, value: Any) -> None:
    if kind == "bool":
        if not isinstance(value, bool):
            raise UsageError(f"{name}: got {value!r}, expected True or False")
    elif kind == "int":
        least = LEAST.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
            raise UsageError(f"{name}: got {value!r}, expected a whole number from {least} to {LARGEST:,}")
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise UsageError(f"{name}: got {value!r}, expected a number above 0 and at most 1")
