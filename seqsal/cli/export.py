"""`seqsal export`: attributions in other programs' formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import config_option, path_type, result_option, show_progress, talk_options

__all__ = ["export_command"]


def hub_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what only `--format hub` takes."""
    options = (
        click.option("--peaks", type=path_type, metavar="NARROWPEAK", help="hub: peaks to show."),
        click.option(
            "--motifs", "--seqlets", "motifs", type=path_type, metavar="DIR|BED",
            help="hub: motif instances to show, as the folder of `seqsal motifs` or a BED file.",
        ),
        click.option("--artifacts", type=path_type, metavar="BED", help="hub: artifact hits, such as shortcuts.bed."),
        click.option(
            "--genome-name", metavar="NAME", help="hub: assembly at UCSC, such as hg38 [default: recognised by sizes]."
        ),
        click.option(
            "--genome", type=path_type, metavar="FASTA",
            help="hub: genome that UCSC lacks, to go along as 2bit [default: the one attributed].",
        ),
        click.option("--url-base", metavar="URL", help="hub: address of the folder [default: relative references]."),
        click.option("--email", metavar="ADDRESS", help="hub: whom it names for questions."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command("export", epilog="Example: seqsal export A.h5 --format bedgraph --out A.bedgraph")
@click.argument("attributions", type=path_type)
@result_option
@click.option(
    "--format", "kind", required=True,
    type=click.Choice(["bigwig", "bedgraph", "bed", "chrombpnet-h5", "npz", "hub"]),
    help="bigwig and bedgraph hold the per-base track; bed the windows with their predictions; chrombpnet-h5 and npz "
    "the scores of all four bases with the sequences, for modisco and finemo; hub a folder for UCSC, IGV and WashU.",
)  # fmt: skip
@click.option(
    "--approximate", is_flag=True,
    help="chrombpnet-h5 and npz: write the track, 0 at the other bases, if scores of all four were not kept.",
)  # fmt: skip
@click.option("--out", type=path_type, required=True, help="File to write; npz: the stem X of X.ohe.npz, X.shap.npz.")
@hub_options
@config_option
@talk_options
def export_command(
    attributions: Path, result: str | None, kind: str, approximate: bool, out: Path, quiet: bool, **hub: Any
) -> None:
    """Write the track in genome coordinates, or the windows for TF-MoDISco and Fi-NeMo with their regions beside.

    Tracks are sorted, overlapping windows averaged, and N left out; windows are in order, and forward.
    """
    from seqsal.commands.export import export_to_file, export_to_hub

    progress = show_progress(quiet)
    given = {name: value for name, value in hub.items() if value is not None}
    if kind == "hub":
        bundle = export_to_hub(attributions, out, result=result, progress=progress, **given)
        if not quiet:
            click.echo(bundle.summary())
        return
    if given:
        name = next(iter(given)).replace("_", "-")
        raise click.UsageError(f"--{name} is for --format hub; choose that format, or leave the option away.")
    paths = export_to_file(attributions, kind, out, result=result, approximate=approximate, progress=progress)
    if not quiet:
        click.echo("\n".join(f"{path}: {kind} of {attributions}" for path in paths))
