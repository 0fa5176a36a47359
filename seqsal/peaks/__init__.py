"""Peaks: the bases that drive a prediction, both signs, with p- and q-values from shuffled controls."""

from seqsal.peaks.call import (
    PEAK_COLUMNS,
    call_peaks,
    check_fdr,
    check_statistic,
    null_text,
    read_peaks,
    statistic_text,
    unsettled_text,
    write_peaks_tsv,
)
from seqsal.peaks.candidates import CandidateRules, find_candidates
from seqsal.peaks.elements import ELEMENT_COLUMNS, deletion_effects, merge_peaks, rank_elements

__all__ = [
    "ELEMENT_COLUMNS",
    "PEAK_COLUMNS",
    "CandidateRules",
    "call_peaks",
    "check_fdr",
    "check_statistic",
    "deletion_effects",
    "find_candidates",
    "merge_peaks",
    "null_text",
    "rank_elements",
    "read_peaks",
    "statistic_text",
    "unsettled_text",
    "write_peaks_tsv",
]
