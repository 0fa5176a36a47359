"""Agreement: how alike the attributions of several methods, seeds, folds or strands are."""

from seqsal.agreement.compare import Agreement, compare_attributions
from seqsal.agreement.inputs import Comparable, open_results
from seqsal.agreement.local import AGREEMENT_BP, check_width, write_agreement_bigwig

__all__ = [
    "AGREEMENT_BP",
    "Agreement",
    "Comparable",
    "check_width",
    "compare_attributions",
    "open_results",
    "write_agreement_bigwig",
]
