"""`seqsal motifs`: patterns among the peaks of an attribution file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    config_option,
    motif_db_option,
    path_type,
    result_option,
    show_progress,
    talk_options,
    verb,
)

__all__ = ["motifs_command"]


@verb(
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
@click.option(
    "--max-clustered",
    type=click.IntRange(min=100),
    default=2_000,
    show_default=True,
    help="Peaks of a sign that TF-MoDISco clusters, at even steps down their order of strength; instances are then "
    "looked for in all others. Time grows with its square.",
)
@click.option("--out", type=path_type, required=True, help="Folder to write; made if it is not there.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the decoys in motif_usage.tsv.")
@config_option
@talk_options
def motifs_command(
    attributions: Path, result: str | None, peaks: Path, out: Path, quiet: bool, **arguments: Any
) -> None:
    """Find the motifs among the peaks of both signs, name them and list their instances; needs no model."""
    from seqsal.io.atomic import all_or_nothing, make_folder
    from seqsal.io.store import read_attributions
    from seqsal.motifs import discover_motifs, write_motifs
    from seqsal.motifs.modisco_h5 import MODISCO_FILE, write_modisco_h5
    from seqsal.peaks import read_peaks
    from seqsal.plot import write_logos

    attr = read_attributions(attributions, result, in_memory=False)
    table = read_peaks(peaks)
    with make_folder(out) as folder:
        motifs = discover_motifs(attr, table, progress=show_progress(quiet), **arguments)
        with make_folder(folder / "logos") as logos, all_or_nothing(stale=[folder / "motif_usage.tsv"]):
            write_motifs(motifs, folder)
            write_modisco_h5(motifs.patterns, folder / MODISCO_FILE, attr)
            write_logos(motifs, logos, unit=attr.unit)
    if not quiet:
        click.echo(f"{out}: {motifs.summary()}")
