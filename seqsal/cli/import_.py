"""`seqsal import`: attributions that another program made, as an attribution file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import config_option, path_type, show_progress, talk_options, verb

__all__ = ["import_command"]


@verb(
    "import",
    epilog="Example: seqsal import counts_scores.h5 --regions interpreted_regions.bed --genome hg38.fa "
    "--null controls_scores.h5 --out A.h5",
)
@click.argument("scores", type=path_type)
@click.option("--sequences", type=path_type, help="One-hot .npz or .npy, or FASTA, where SCORES has no sequences.")
@click.option("--regions", type=path_type, help="BED or narrowPeak, one line per row of the scores.")
@click.option("--genome", type=path_type, help="Genome FASTA; sequences must agree with it, or come from it.")
@click.option("--length", type=click.IntRange(min=1), help="Window (bp) read from a bigWig [default: the regions'].")
@click.option("--stranded", is_flag=True, help="Rows of '-' regions hold the reverse complement [default: forward].")
@click.option("--null", type=path_type, help="Scores of the controls that `seqsal controls` wrote; peaks need them.")
@click.option("--null-sequences", type=path_type, help="One-hot or FASTA of the controls, as --sequences.")
@click.option(
    "--output-space", default="unknown", show_default=True, help="What the scores are about, if known.",
    type=click.Choice(["unknown", "logit", "log", "probability", "count", "linear"]),
)  # fmt: skip
@click.option("--out", type=path_type, required=True, help="Attribution file to write (.h5).")
@config_option
@talk_options
def import_command(scores: Path, out: Path, quiet: bool, **arguments: Any) -> None:
    """Read chrombpnet's *_scores.h5, modisco's .npz, or a bigWig, for peaks, motifs, logos and the audit."""
    from seqsal.interop.attributions import import_attributions
    from seqsal.io.atomic import check_writable

    check_writable(out)
    attr = import_attributions(scores, out=out, progress=show_progress(quiet), **arguments)
    if not quiet:
        hint = "" if attr.n_controls else "; peaks need shuffled controls too: see `seqsal controls`"
        click.echo(f"{out}: {attr!r}{hint}")
