"""The text files of motif discovery.

===============  ====================================================================================================
motifs.meme      one PFM a pattern, identifier the pattern's name, alternate name its match or consensus
motifs.tsv       one row a pattern, best first within a sign (columns of `MotifResult.table`)
seqlets.bed      one row an instance: BED6 with the pattern as name, the motif's strand, and as score 1000 times its
                 |contribution| over the largest of its pattern; then contribution, peak and sequence
motif_usage.tsv  one row a motif of the database, when there was one (columns of `motif_usage`)
===============  ====================================================================================================

Without patterns, the files hold their headers.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from seqsal.io.atomic import atomic_path
from seqsal.motifs.matrices import Motif, write_meme
from seqsal.motifs.patterns import MotifResult, Pattern
from seqsal.motifs.usage import write_usage_tsv

__all__ = ["write_motifs"]

_BED_COLUMNS = ("chrom", "start", "end", "pattern", "bed_score", "strand", "score", "name", "sequence")
_BED_HEADER = ("#chrom", "start", "end", "name", "score", "strand", "contribution", "peak", "sequence")


def write_motifs(result: MotifResult, folder: str | os.PathLike[str]) -> list[Path]:
    """Write `motifs.meme`, `motifs.tsv`, `seqlets.bed` and, where there is one, `motif_usage.tsv`.

    Parameters
    ----------
    result
        Of :func:`seqsal.discover_motifs`; may be without patterns.
    folder
        Where to write; is there already.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    target = Path(folder)
    written = [target / name for name in ("motifs.meme", "motifs.tsv", "seqlets.bed")]
    write_meme([_for_meme(pattern) for pattern in result.patterns], written[0])
    _write_table(result.table, written[1])
    _write_table(_bed(result.seqlets), written[2])
    if result.usage is not None:
        written.append(target / "motif_usage.tsv")
        write_usage_tsv(result.usage, written[3])
    return written


def _for_meme(pattern: Pattern) -> Motif:
    name = pattern.match["match"] if pattern.match else pattern.motif.consensus
    return Motif(name, pattern.name, pattern.motif.counts, pattern.motif.n_sites)


def _bed(seqlets: pd.DataFrame) -> pd.DataFrame:
    strength = seqlets["score"].abs()
    largest = strength.groupby(seqlets["pattern"]).transform("max").to_numpy(np.float64)
    share = strength.to_numpy(np.float64) / np.where(largest > 0, largest, 1.0)
    table = seqlets.assign(bed_score=np.rint(1000 * share).astype(np.int64))[list(_BED_COLUMNS)]
    return table.set_axis(list(_BED_HEADER), axis=1)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as handle:
        table.to_csv(handle, sep="\t", index=False, na_rep="NA", float_format="%.6g", lineterminator="\n")
