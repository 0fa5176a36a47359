"""Agreement: how alike the attributions of several methods, seeds, folds or strands are."""

from seqsal.agreement.compare import Agreement, compare_attributions

__all__ = ["Agreement", "compare_attributions"]
