"""`seqsal insert`: motifs put into neutral sequence."""

from seqsal.cli.experiments import experiment, motifs_option

__all__ = ["insert_command"]

insert_command = experiment(
    "insert", "--motifs jaspar:2026:vertebrates", "Put motifs into neutral sequences: does one suffice?", motifs_option
)
