"""`seqsal pair`: two motifs at a time in neutral sequence."""

import click

from seqsal.cli.experiments import experiment, motifs_option

__all__ = ["pair_command"]

pair_command = experiment(
    "pair", "--motifs motifs.meme --gap 10",
    "Put two motifs at a time into neutral sequences: do they do more together than each alone?", motifs_option,
    click.option("--gap", type=click.IntRange(min=0), default=10, show_default=True, help="bp between the two."),
    draw="plot_cooperativity",
)  # fmt: skip
