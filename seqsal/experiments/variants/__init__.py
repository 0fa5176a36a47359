"""Variants: what each does to a prediction, and how often chance does as much."""

from seqsal.experiments.variants.score import (
    VariantScorer,
    VariantSummary,
    open_scorer,
    score_variants,
    write_variant_scores,
)

__all__ = ["VariantScorer", "VariantSummary", "open_scorer", "score_variants", "write_variant_scores"]
