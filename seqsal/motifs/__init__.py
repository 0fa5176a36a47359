"""Motifs: reading and writing matrices, finding patterns in attributions, naming them, and scanning for known ones."""

from seqsal.motifs.discover import discover_motifs
from seqsal.motifs.match import group_motifs, match_motifs
from seqsal.motifs.matrices import Motif, read_motifs, write_meme
from seqsal.motifs.patterns import MotifResult, Pattern, write_motifs
from seqsal.motifs.scan import scan_motifs

__all__ = [
    "Motif",
    "MotifResult",
    "Pattern",
    "discover_motifs",
    "group_motifs",
    "match_motifs",
    "read_motifs",
    "scan_motifs",
    "write_meme",
    "write_motifs",
]
