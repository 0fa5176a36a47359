"""`seqsal logo`: the sequence logo of one region."""

from __future__ import annotations

from pathlib import Path

import click

from seqsal.cli.options import check_picture, config_option, path_type, result_option, talk_options, verb

__all__ = ["logo_command"]

ROW_BP = 100  # longer logos are wrapped


@verb("logo", epilog="Example: seqsal logo A.h5 --region chr11:190100-190160 --out locus.svg")
@click.argument("attributions", type=path_type)
@result_option
@click.option("--region", required=True, metavar="CHROM:START-END", help="What to draw, 0-based half-open.")
@click.option("--out", type=path_type, required=True, help="Picture to write: .svg, .png or .pdf.")
@config_option
@talk_options
def logo_command(attributions: Path, result: str | None, region: str, out: Path, quiet: bool) -> None:
    """Draw each base at the height of its attribution."""
    from seqsal.io.store import read_attributions
    from seqsal.plot import plot_logo, plot_region_rows, save_figure
    from seqsal.plot.style import own_style
    from seqsal.regions import parse_region

    check_picture(out)
    attr = read_attributions(attributions, result, in_memory=False)
    span = parse_region(region)
    title = f"{attr.method}, target {attr.target}"
    with own_style():
        if span.end - span.start > ROW_BP * 1.2:
            save_figure(plot_region_rows(attr, region, row_bp=ROW_BP, title=title)[0], out)
        else:
            save_figure(plot_logo(attr, region, title=title), out)
    if not quiet:
        click.echo(f"{out}: {region}")
