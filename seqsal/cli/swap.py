"""`seqsal swap`: a motif written over the copies of another."""

from seqsal.cli.experiments import a_option, experiment, mismatches_option, motifs_option

__all__ = ["swap_command"]

swap_command = experiment(
    "swap", "--a TGACTCA --motifs motifs.meme", "Write motifs over the copies of another: can one stand in?",
    a_option, motifs_option, mismatches_option,
)  # fmt: skip
