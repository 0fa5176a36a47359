"""`seqsal motifs`: patterns among the peaks of an attribution file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import config_option, motif_db_option, path_type, result_option, show_progress, talk_options

__all__ = ["motifs_command"]


@click.command(
    "motifs", epilog="Example: seqsal motifs A.h5 --peaks P.narrowPeak --motif-db jaspar:2026:vertebrates --out motifs/"
)
@click.argument("attributions", type=path_type)
@result_option
@click.option(
    "--peaks",
    type=path_type,
    required=True,
    help="narrowPeak of `seqsal peaks` on the same file; --fdr 0.2 there finds more.",
)
@motif_db_option
@click.option(
    "--algorithm",
    type=click.Choice(["auto", "modisco", "kmers"]),
    default="auto",
    show_default=True,
    help="auto takes TF-MoDISco from 100 peaks of a sign, and aligned k-mers below.",
)
@click.option("--out", type=path_type, required=True, help="Folder to write; made if it is not there.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the decoys in motif_usage.tsv.")
@config_option
@talk_options
def motifs_command(attributions: Path, out: Path, quiet: bool, **arguments: Any) -> None:
    """Find the motifs among the peaks of both signs, name them and list their places; needs no model."""
    from seqsal.commands.motifs import motifs_to_file

    motifs = motifs_to_file(attributions, out, progress=show_progress(quiet), **arguments)
    if not quiet:
        click.echo(f"{out}: {motifs.summary()}")
