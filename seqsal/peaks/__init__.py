"""Peaks: the bases that drive a prediction, both signs, with p- and q-values from shuffled controls."""

from seqsal.peaks.call import PEAK_COLUMNS, call_peaks, check_fdr, read_peaks, unsettled_text, write_peaks_tsv
from seqsal.peaks.candidates import CandidateRules, find_candidates

__all__ = [
    "PEAK_COLUMNS",
    "CandidateRules",
    "call_peaks",
    "check_fdr",
    "find_candidates",
    "read_peaks",
    "unsettled_text",
    "write_peaks_tsv",
]
