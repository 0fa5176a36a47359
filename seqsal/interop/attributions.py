"""Public functions about attributions that other programs make: read them, and make the controls that they need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.interop.controls import write_controls as write_control_files
from seqsal.interop.importing import ImportedScores
from seqsal.io.atomic import check_writable
from seqsal.io.attributions import Attributions
from seqsal.io.inputs import open_input
from seqsal.io.store import read_attributions
from seqsal.io.store_writer import AttributionWriter
from seqsal.sequence.draws import control_parents, default_n_controls

__all__ = ["import_attributions", "write_controls"]

_PATH = str | os.PathLike[str]


def import_attributions(
    scores: _PATH | NDArray[Any],
    *,
    sequences: _PATH | NDArray[Any] | None = None,
    regions: _PATH | pd.DataFrame | None = None,
    genome: _PATH | None = None,
    length: int | None = None,
    stranded: bool = False,
    null: _PATH | NDArray[Any] | None = None,
    null_sequences: _PATH | NDArray[Any] | None = None,
    output_space: str = "unknown",
    out: _PATH | None = None,
    progress: bool = False,
) -> Attributions:
    """Take attributions that another program made, so that peaks, motifs, logos and the audit work on them.

    Parameters
    ----------
    scores
        chrombpnet's contribution scores (`*_scores.h5`); `.npz` or `.npy` of (N, 4, L), as modisco-lite reads them, or
        of a track (N, L); such an array; or a bigWig, which needs regions and genome.
    sequences
        One-hot (N, 4, L), an array, `.npz` or `.npy`, or FASTA, where the scores bring none.
    regions, genome
        Where the windows are, one region a row of the scores: the L bp around its summit or else midpoint. The
        sequences come from the genome where nothing else brings them, and else must agree with it.
    length
        L in bp, for a bigWig with regions of several lengths.
    stranded
        Rows of regions on "-" hold the reverse complement; by default every row is forward.
    null, null_sequences
        Scores, and sequences, of the controls of :func:`seqsal.write_controls`; without them there can be no peaks.
    output_space
        What the scores are about, such as `logit`.
    out
        Attribution file to write; the arrays of the result then stay on disk, and memory stays flat.
    progress
        Show a progress bar.

    Returns
    -------
    Attributions
        Of method `imported`; predictions are NaN, and hypothetical scores are kept if the file has them.

    Raises
    ------
    UsageError, StoreError, RegionError, FastaError, BedError, OutputError
        Something is missing, damaged or does not fit: shapes, sequences or places; see the message.
    """
    opened = ImportedScores(
        scores,
        sequences=sequences,
        regions=regions,
        genome=genome,
        length=length,
        stranded=stranded,
        null=null,
        null_sequences=null_sequences,
        output_space=output_space,
    )
    with opened:
        if out is None:
            return _in_memory(opened, progress)
        with AttributionWriter(out, opened.layout, opened.attrs, resume=False) as writer:
            opened.stream(writer, progress=progress)
            writer.finish()
    return read_attributions(out, in_memory=False)


def write_controls(
    out: _PATH,
    *,
    genome: _PATH | None = None,
    regions: _PATH | pd.DataFrame | None = None,
    fasta: _PATH | None = None,
    length: int | None = None,
    n_controls: int | None = None,
    seed: int = 0,
    stranded: bool = False,
) -> list[Path]:
    """Write dinucleotide-preserving shuffles of windows, to be attributed by another program and imported as `null`.

    Parameters
    ----------
    out
        FASTA, a record a control; `X.regions.bed`, narrowPeak with a line a record, goes beside it.
    genome, regions, fasta
        The windows that are attributed: genome and regions, or sequences alone.
    length
        Window in bp, where the regions differ from it.
    n_controls
        How many; None is one a window, 100 to 1,000 and at least 200 kb.
    seed
        Of the shuffles.
    stranded
        Read regions on "-" as reverse complements; by default all are forward, as in :func:`import_attributions`.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    UsageError, FastaError, BedError, RegionError, OutputError
        Input that cannot be used, or a file that cannot be written.
    """
    check_writable(out)
    forward = fasta is None and not stranded  # records are as they are written
    source = open_input(genome=genome, regions=regions, fasta=fasta, length=length, ignore_strand=forward)
    with source:
        n = default_n_controls(len(source), source.length) if n_controls is None else n_controls
        parents = control_parents(np.arange(n, dtype=np.int64), len(source), n)
        return write_control_files(source, parents, out, seed=seed)


def _in_memory(opened: ImportedScores, progress: bool) -> Attributions:
    from seqsal.attribution.passes import MemorySink

    sink, layout = MemorySink(opened.layout), opened.layout
    opened.stream(sink, progress=progress)
    return Attributions(
        regions=layout.regions,
        rejected=layout.rejected,
        chrom_sizes=dict(layout.chrom_sizes),
        attrs=opened.attrs,
        **sink.fields(None),
    )
