"""`seqsal export`: attributions in other programs' formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import config_option, path_type, result_option, show_progress, talk_options, verb

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
            help="hub: genome that UCSC does not have, to be included as 2bit [default: the one attributed].",
        ),
        click.option("--url-base", metavar="URL", help="hub: URL of the folder [default: relative references]."),
        click.option("--email", metavar="ADDRESS", help="hub: contact address."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@verb("export", epilog="Example: seqsal export A.h5 --format bedgraph --out A.bedgraph")
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
    """Write the track in genome coordinates, or the windows for TF-MoDISco and Fi-NeMo with a BED of their regions.

    Tracks are sorted, overlapping windows averaged, and N left out; windows are in order, and forward.
    """
    given = {name: value for name, value in hub.items() if value is not None}
    if kind != "hub" and given:
        name = next(iter(given)).replace("_", "-")
        raise click.UsageError(f"--{name} is for --format hub; choose that format, or leave the option out.")
    if kind == "hub":
        told = _write_hub(attributions, result, out, show_progress(quiet), **given)
    else:
        paths = _write(attributions, result, kind, out, approximate, show_progress(quiet))
        told = "\n".join(f"{path}: {kind} of {attributions}" for path in paths)
    if not quiet:
        click.echo(told)


def _write(
    attributions: Path, result: str | None, kind: str, out: Path, approximate: bool, progress: bool
) -> list[Path]:
    import numpy as np

    from seqsal.errors import OutputError
    from seqsal.interop.modisco import write_chrombpnet_h5, write_modisco_npz
    from seqsal.io.atomic import check_writable
    from seqsal.io.store import read_attributions
    from seqsal.io.tracks import write_bedgraph, write_bigwig, write_scores

    check_writable(out)
    attr = read_attributions(attributions, result, in_memory=False)
    if kind in ("chrombpnet-h5", "npz"):
        write = write_chrombpnet_h5 if kind == "chrombpnet-h5" else write_modisco_npz
        return write(attr, out, approximate=approximate, progress=progress)
    if not attr.chrom_sizes:
        raise OutputError(f"{attributions}: holds no chromosome sizes, which tracks need; make it again")
    if kind == "bed":
        table = attr.regions.assign(prediction=np.asarray(attr.prediction, dtype=np.float64))
        write_scores(table, out, chrom_sizes=attr.chrom_sizes)
    else:
        write_track = write_bigwig if kind == "bigwig" else write_bedgraph
        write_track(attr, attr.chrom_sizes, out, progress=progress)
    return [out]


def _write_hub(
    attributions: Path,
    result: str | None,
    out: Path,
    progress: bool,
    *,
    peaks: Path | None = None,
    motifs: Path | None = None,
    artifacts: Path | None = None,
    **settings: Any,
) -> str:
    """Write a folder that genome browsers open, and say what is in it."""
    from seqsal.browser import read_instances, read_motif_instances, write_bundle
    from seqsal.io.store import read_attributions
    from seqsal.peaks import read_peaks

    attr = read_attributions(attributions, result, in_memory=False)
    bundle = write_bundle(
        out,
        attr,
        peaks=None if peaks is None else read_peaks(peaks),
        motifs=None if motifs is None else read_motif_instances(motifs),
        artifacts=None if artifacts is None else read_instances(artifacts),
        progress=progress,
        **settings,
    )
    return bundle.summary()
