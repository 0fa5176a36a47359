"""`seqsal motifs`: patterns among peaks into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqsal.commands.arguments import PathArgument
from seqsal.io.folder import make_folder
from seqsal.io.store import read_attributions
from seqsal.motifs import MotifResult, discover_motifs, write_motifs
from seqsal.peaks import read_peaks

__all__ = ["motifs_to_file", "write_motif_files"]


def motifs_to_file(
    attributions: PathArgument,
    out: PathArgument,
    *,
    peaks: PathArgument,
    result: str | None = None,
    progress: bool = False,
    **settings: Any,
) -> MotifResult:
    """Do what `seqsal motifs` does: find patterns among peaks and write them into a folder; returns them.

    Parameters
    ----------
    attributions
        Attribution file.
    out
        Folder; made if it is not there.
    peaks
        narrowPeak file of peaks called on them; an empty one is a result too.
    result
        Which result of the attribution file; None is the first.
    settings
        `motif_db`, `algorithm` and `seed` of :func:`seqsal.discover_motifs`.
    """
    attr = read_attributions(attributions, result, in_memory=False)
    table = read_peaks(peaks)
    with make_folder(out) as folder:
        motifs = discover_motifs(attr, table, progress=progress, **settings)
        write_motif_files(motifs, folder, unit=attr.unit)
    return motifs


def write_motif_files(motifs: MotifResult, folder: PathArgument, *, unit: str) -> None:
    """Write the tables, matrices and logos of motif discovery into a folder that is there.

    Parameters
    ----------
    motifs
        Of :func:`seqsal.discover_motifs`.
    folder
        Gets `motifs.meme`, `motifs.tsv`, `seqlets.bed`, `logos/NAME.svg` and perhaps `motif_usage.tsv`.
    unit
        Of the contributions, for the axes of the logos.
    """
    from seqsal.plot import write_logos

    write_motifs(motifs, folder)
    with make_folder(Path(folder) / "logos") as logos:
        write_logos(motifs, logos, unit=unit)
