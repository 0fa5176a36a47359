"""`seqsal export`: attributions in other programs' formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqsal.cli.options import config_option, path_type, result_option, show_progress, stack, talk_options, verb

if TYPE_CHECKING:
    from seqsal.io.attributions import Attributions

__all__ = ["export_command"]


hub_options = stack(
    click.option("--peaks", type=path_type, metavar="NARROWPEAK", help="hub: peaks to show."),
    click.option(
        "--motifs", "--seqlets", "motifs", type=path_type, metavar="DIR|BED",
        help="hub: motif instances to show, as the folder of `seqsal motifs` or a BED file.",
    ),
    click.option("--artifacts", type=path_type, metavar="BED", help="hub: artifact hits, such as shortcuts.bed."),
    click.option("--variants", type=path_type, metavar="TSV", help="hub: variants, a table of `seqsal variants`."),
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


@verb("export", epilog="Example: seqsal export A.h5 --format bedgraph --out A.bedgraph")
@click.argument("attributions", type=path_type)
@result_option
@click.option(
    "--format", "kind", required=True,
    type=click.Choice(["bigwig", "bedgraph", "bed", "chrombpnet-h5", "npz", "parquet", "anndata", "hub"]),
    help="bigwig and bedgraph hold the per-base track; bed the windows with their predictions; chrombpnet-h5 and npz "
    "the scores of all four bases with the sequences, for modisco and finemo; parquet a row a base; anndata "
    "(.h5ad) windows as observations and results as layers; hub a folder for UCSC, IGV and WashU.",
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
    from seqsal.io.atomic import check_writable
    from seqsal.io.store import read_attributions

    given = {name: value for name, value in hub.items() if value is not None}
    if kind != "hub" and given:
        name = next(iter(given)).replace("_", "-")
        raise click.UsageError(f"--{name} is for --format hub; choose that format, or leave the option out.")
    if kind != "hub":
        check_writable(out)
    attr = read_attributions(attributions, result, in_memory=False)
    if kind == "hub":
        told = _write_hub(attr, out, given, show_progress(quiet))
    else:
        paths = _write(attr, attributions, kind, out, approximate, show_progress(quiet))
        told = "\n".join(f"{path}: {kind} of {attributions}" for path in paths)
    if not quiet:
        click.echo(told)


def _write(attr: Attributions, source: Path, kind: str, out: Path, approximate: bool, progress: bool) -> list[Path]:
    import numpy as np

    from seqsal.errors import OutputError
    from seqsal.interop.modisco import write_chrombpnet_h5, write_modisco_npz
    from seqsal.io.tracks import write_bedgraph, write_bigwig, write_scores

    if kind in ("chrombpnet-h5", "npz"):
        write = write_chrombpnet_h5 if kind == "chrombpnet-h5" else write_modisco_npz
        return write(attr, out, approximate=approximate, progress=progress)
    if kind in ("parquet", "anndata"):
        from seqsal.io.joins import write_anndata, write_parquet

        return [(write_parquet if kind == "parquet" else write_anndata)(attr, out)]
    if not attr.chrom_sizes:
        raise OutputError(f"{source}: holds no chromosome sizes, which tracks need; make it again")
    if kind == "bed":
        table = attr.regions.assign(prediction=np.asarray(attr.prediction, dtype=np.float64))
        write_scores(table, out, chrom_sizes=attr.chrom_sizes)
    else:
        write_track = write_bigwig if kind == "bigwig" else write_bedgraph
        write_track(attr, attr.chrom_sizes, out, progress=progress)
    return [out]


def _write_hub(attr: Attributions, out: Path, given: dict[str, Any], progress: bool) -> str:
    """Write a folder that genome browsers open, and say what is in it."""
    from seqsal.browser import read_instances, read_motif_instances, read_variants, write_bundle
    from seqsal.peaks import read_peaks

    readers: dict[str, Any] = {"peaks": read_peaks, "motifs": read_motif_instances, "artifacts": read_instances,
                               "variants": read_variants}  # fmt: skip
    tables = {name: read(given[name]) for name, read in readers.items() if name in given}
    return write_bundle(out, attr, progress=progress, **{**given, **tables}).summary()
