"""`seqsal export`: attributions in the formats of other programs, and as a folder for genome browsers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seqsal.browser import Bundle, read_instances, read_motif_instances, write_bundle
from seqsal.commands.arguments import PathArgument
from seqsal.errors import OutputError, UsageError
from seqsal.interop.modisco import write_chrombpnet_h5, write_modisco_npz
from seqsal.io.atomic import check_writable
from seqsal.io.store import read_attributions
from seqsal.io.tracks import load_bigwig_writer, write_bedgraph, write_bigwig, write_scores
from seqsal.peaks import read_peaks

__all__ = ["export_to_file", "export_to_hub"]

EXPORTS = ("bigwig", "bedgraph", "bed", "chrombpnet-h5", "npz")


def export_to_file(
    attributions: PathArgument,
    kind: str,
    out: PathArgument,
    *,
    result: str | None = None,
    approximate: bool = False,
    progress: bool = False,
) -> list[Path]:
    """Do what `seqsal export` does: write attributions in another format; returns the files.

    Parameters
    ----------
    attributions
        Attribution file.
    kind
        One of `EXPORTS`.
    out
        File to write; of `npz`, the stem of three.
    result
        Which result of the attribution file; None is the first.
    approximate
        Write X · track where there are no hypothetical scores and the format needs them.
    progress
        Show a progress bar.
    """
    check_writable(out)
    attr = read_attributions(attributions, result, in_memory=False)
    if kind == "chrombpnet-h5":
        return write_chrombpnet_h5(attr, out, approximate=approximate, progress=progress)
    if kind == "npz":
        return write_modisco_npz(attr, out, approximate=approximate, progress=progress)
    if not attr.chrom_sizes:
        raise OutputError(f"{attributions}: holds no chromosome sizes, which tracks need; make it again")
    if kind == "bigwig":
        write_bigwig(attr, attr.chrom_sizes, out, progress=progress)
    elif kind == "bedgraph":
        write_bedgraph(attr, attr.chrom_sizes, out, progress=progress)
    elif kind == "bed":
        table = attr.regions.assign(prediction=np.asarray(attr.prediction, dtype=np.float64))
        write_scores(table, out, chrom_sizes=attr.chrom_sizes)
    else:
        raise UsageError(f"format: got {kind!r}, expected one of {', '.join(EXPORTS)}")
    return [Path(out)]


def export_to_hub(
    attributions: PathArgument,
    out: PathArgument,
    *,
    result: str | None = None,
    peaks: PathArgument | None = None,
    motifs: PathArgument | None = None,
    artifacts: PathArgument | None = None,
    progress: bool = False,
    **settings: Any,
) -> Bundle:
    """Do what `seqsal export --format hub` does: write a folder that genome browsers open.

    Parameters
    ----------
    attributions
        Attribution file.
    out
        Folder; made if it is not there.
    result
        Which result of the attribution file; None is the first.
    peaks
        narrowPeak file.
    motifs
        Folder of `seqsal motifs`, or a BED file of instances.
    artifacts
        BED file, such as `shortcuts.bed` of `seqsal run`.
    progress
        Show a progress bar.
    settings
        `genome_name`, `genome`, `url_base` and `email` of :func:`seqsal.browser.write_bundle`.
    """
    load_bigwig_writer()
    attr = read_attributions(attributions, result, in_memory=False)
    tables: dict[str, Any] = {
        "peaks": None if peaks is None else read_peaks(peaks),
        "motifs": None if motifs is None else read_motif_instances(motifs),
        "artifacts": None if artifacts is None else read_instances(artifacts),
    }
    return write_bundle(out, attr, **tables, progress=progress, **settings)
