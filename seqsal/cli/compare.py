"""`seqsal compare`: how alike several attributions are."""

from __future__ import annotations

from pathlib import Path

import click

from seqsal.cli.options import check_ending, config_option, path_type, show_progress, talk_options, verb

__all__ = ["compare_command"]


@verb("compare", epilog="Example: seqsal compare A.h5 B.h5 C.h5:ism --out agreement.tsv --bigwig agreement.bw")
@click.argument("attributions", nargs=-1, required=True)
@click.option(
    "--out", type=path_type, required=True, help="Table of all regions to write (.tsv); means go to .overall.tsv."
)
@click.option("--bigwig", type=path_type, help="Also write the local agreement, from -1 to 1, as bigWig.")
@click.option("--top", type=click.IntRange(min=1), help="Positions of the top overlap [default: 5 % of the window].")
@click.option("--width", type=click.IntRange(min=3), default=21, show_default=True,
              help="Width (bp, odd) over which the local agreement around a base is computed.")  # fmt: skip
@config_option
@talk_options
def compare_command(
    attributions: tuple[str, ...], out: Path, bigwig: Path | None, top: int | None, width: int, quiet: bool
) -> None:
    """Compare attributions of the same regions by several methods, seeds, folds or strands.

    Each is a file, or NAME of a file's results as A.h5:NAME; one file alone stands for all its results. Rows are
    matched by region, and turned to the genome's direction.
    """
    from seqsal.agreement import compare_attributions
    from seqsal.io.atomic import all_or_nothing
    from seqsal.io.bed import write_tsv

    check_ending(out, ".tsv")
    with all_or_nothing():
        agreement = compare_attributions(
            attributions, bigwig=bigwig, top=top, width=width, progress=show_progress(quiet)
        )
        write_tsv(agreement.regions, out)
        write_tsv(agreement.overall, out.with_suffix(".overall.tsv"))
    if not quiet:
        click.echo(f"{out}: {agreement!r}" + f"\n{bigwig}: local agreement over {width} bp" * (bigwig is not None))
