"""Variants: what each does to a prediction, and how often chance does as much."""

from seqsal.experiments.variants.maps import VariantMaps, has_variants, read_variant_maps
from seqsal.experiments.variants.score import (
    VariantScorer,
    VariantSummary,
    open_scorer,
    score_variants,
    write_variant_scores,
)

__all__ = [
    "VariantMaps", "VariantScorer", "VariantSummary", "has_variants", "open_scorer", "read_variant_maps",
    "score_variants", "write_variant_scores",
]  # fmt: skip
