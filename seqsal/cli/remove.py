"""`seqsal remove`: motifs replaced where they stand."""

from seqsal.cli.experiments import experiment, mismatches_option, motifs_option

__all__ = ["remove_command"]

remove_command = experiment(
    "remove", "--motifs motifs.meme", "Replace motifs where they stand by control words: is one needed?",
    motifs_option, mismatches_option,
)  # fmt: skip
