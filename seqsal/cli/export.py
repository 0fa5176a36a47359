"""`seqsal export`: attributions in other programs' formats."""

from __future__ import annotations

from pathlib import Path

import click

from seqsal.cli.options import path_type, result_option, show_progress

__all__ = ["export_command"]


@click.command("export", epilog="Example: seqsal export A.h5 --format bedgraph --out A.bedgraph")
@click.argument("attributions", type=path_type)
@result_option
@click.option(
    "--format", "kind", type=click.Choice(["bigwig", "bedgraph", "bed"]), required=True,
    help="bigwig and bedgraph hold the per-base track; bed the windows with their predictions.",
)  # fmt: skip
@click.option("--out", type=path_type, required=True, help="File to write.")
@click.option("--quiet", is_flag=True, help="No progress bars, no summary.")
def export_command(attributions: Path, result: str | None, kind: str, out: Path, quiet: bool) -> None:
    """Write the track in genome coordinates: sorted, overlapping windows averaged, N left out."""
    from seqsal import api

    api.export_to_file(attributions, kind, out, result=result, progress=show_progress(quiet))
    if not quiet:
        click.echo(f"{out}: {kind} of {attributions}")
