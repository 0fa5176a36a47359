"""Agreement: how alike the attributions of several methods, seeds, folds or strands are."""

from seqsal.agreement.compare import (
    AGREEMENT_BP,
    Agreement,
    check_width,
    compare_attributions,
    write_agreement_bigwig,
)
from seqsal.agreement.match import Comparable, open_results

__all__ = [
    "AGREEMENT_BP",
    "Agreement",
    "Comparable",
    "check_width",
    "compare_attributions",
    "open_results",
    "write_agreement_bigwig",
]
