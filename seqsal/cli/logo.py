"""`seqsal logo`: the sequence logo of one region."""

from __future__ import annotations

from pathlib import Path

import click

from seqsal.cli.options import config_option, path_type, result_option, talk_options

__all__ = ["logo_command"]


@click.command("logo", epilog="Example: seqsal logo A.h5 --region chr11:190100-190160 --out locus.svg")
@click.argument("attributions", type=path_type)
@result_option
@click.option("--region", required=True, metavar="CHROM:START-END", help="What to draw, 0-based half-open.")
@click.option("--out", type=path_type, required=True, help="Picture to write: .svg, .png or .pdf.")
@config_option
@talk_options
def logo_command(attributions: Path, result: str | None, region: str, out: Path, quiet: bool) -> None:
    """Draw each base at the height of its attribution."""
    from seqsal.commands.logo import logo_to_file

    logo_to_file(attributions, region, out, result=result)
    if not quiet:
        click.echo(f"{out}: {region}")
