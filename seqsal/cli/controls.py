"""`seqsal controls`: shuffled sequences for another program to attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import config_option, path_type, talk_options, verb

__all__ = ["controls_command"]


@verb(
    "controls", epilog="Example: seqsal controls --genome hg38.fa --regions peaks.bed --length 2114 --out controls.fa"
)
@click.option("--genome", type=path_type, help="Genome FASTA, plain or bgzip; used with --regions.")
@click.option("--regions", type=path_type, help="BED or narrowPeak of the regions that are attributed.")
@click.option("--fasta", type=path_type, help="Sequences instead of genome and regions.")
@click.option("--stranded", is_flag=True, help="Read '-' regions as reverse complement [default: forward].")
@click.option("--length", type=click.IntRange(min=1), help="Window (bp) of the model [default: the regions' length].")
@click.option(
    "--controls", "n_controls", type=click.IntRange(min=1),
    help="Number of controls [default: one per region, 100 to 1,000, at least 200 kb].",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, (1 << 63) - 1), default=0, show_default="0", help="Seed of the shuffles."
)
@click.option("--out", type=path_type, required=True, help="FASTA to write; its regions go to .regions.bed.")
@config_option
@talk_options
def controls_command(out: Path, quiet: bool, **arguments: Any) -> None:
    """Write dinucleotide-preserving shuffles of regions, to be attributed by another program and imported as --null."""
    from seqsal.interop.attributions import write_controls

    paths = write_controls(out, **arguments)
    if not quiet:
        click.echo("\n".join(map(str, paths)))
