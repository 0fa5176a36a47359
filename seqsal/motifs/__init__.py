"""Motifs: reading and writing matrices, finding patterns in attributions, naming them, and scanning for known ones."""

from seqsal.motifs.discover import discover_motifs
from seqsal.motifs.hits import call_hits, pattern_usage
from seqsal.motifs.match import group_motifs, match_motifs
from seqsal.motifs.matrices import Motif, read_motifs, write_meme
from seqsal.motifs.modisco_h5 import read_patterns, write_modisco_h5
from seqsal.motifs.patterns import MotifResult, Pattern, write_motifs
from seqsal.motifs.scan import scan_motifs

__all__ = [
    "Motif",
    "MotifResult",
    "Pattern",
    "call_hits",
    "discover_motifs",
    "group_motifs",
    "match_motifs",
    "pattern_usage",
    "read_motifs",
    "read_patterns",
    "scan_motifs",
    "write_meme",
    "write_modisco_h5",
    "write_motifs",
]
