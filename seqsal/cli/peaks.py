"""`seqsal peaks`: candidate regulatory elements from an attribution file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import config_option, path_type, result_option, show_progress, talk_options

__all__ = ["peaks_command"]


@click.command("peaks", epilog="Example: seqsal peaks A.h5 --out P.narrowPeak --fdr 0.05")
@click.argument("attributions", type=path_type)
@result_option
@click.option("--out", type=path_type, required=True, help="narrowPeak to write; a .tsv table goes beside it.")
@click.option("--fdr", type=float, default=0.05, show_default=True, help="Largest q-value reported.")
@click.option(
    "--sign", type=click.Choice(["both", "pos", "neg"]), default="both", show_default=True, help="Which peaks."
)
@click.option("--min-width", type=click.IntRange(min=1), default=4, show_default=True, help="Narrowest peak (bp).")
@click.option("--max-width", type=click.IntRange(min=1), default=50, show_default=True, help="Widest peak (bp).")
@click.option(
    "--from", "seeds", metavar="RESULT|FILE",
    help="Grow peaks from the maxima of a coarse map of the same windows: another result of the file, such as "
    "grad_cam, or another file.",
)  # fmt: skip
@config_option
@talk_options
def peaks_command(attributions: Path, out: Path, quiet: bool, **arguments: Any) -> None:
    """Call peaks of both signs against the shuffled controls in the file; needs no model."""
    from seqsal.commands.peaks import peaks_to_file

    peaks = peaks_to_file(attributions, out, progress=show_progress(quiet), **arguments)
    if not quiet:
        n_negative = int((peaks["sign"] == "neg").sum())
        click.echo(
            f"{out}: {len(peaks):,} peaks at q ≤ {arguments['fdr']:g} ({n_negative:,} negative); "
            f"best q {peaks.attrs['best_q']:.2g} of {peaks.attrs['n_candidates']:,} candidates"
        )
