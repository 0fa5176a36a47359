"""`seqsal peaks`: called elements of both signs, as narrowPeak and as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from seqsal.commands.arguments import PathArgument
from seqsal.errors import UsageError
from seqsal.io.atomic import check_writable
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_narrowpeak
from seqsal.io.store import read_attributions
from seqsal.peaks import call_peaks, write_peaks_tsv

__all__ = ["peaks_to_file"]


def peaks_to_file(
    attributions: PathArgument,
    out: PathArgument,
    *,
    result: str | None = None,
    seeds: str | None = None,
    progress: bool = False,
    **settings: Any,
) -> pd.DataFrame:
    """Do what `seqsal peaks` does: call peaks, write narrowPeak and the table beside it; returns the table.

    Parameters
    ----------
    attributions
        Attribution file.
    out
        narrowPeak file; the table goes beside it, as `.tsv`.
    result
        Which result of the attribution file; None is the first.
    seeds
        Grow peaks from the maxima of a coarse map: another result of the file, or another file, `B.h5` or `B.h5:NAME`.
    settings
        Those of :func:`seqsal.call_peaks`.
    """
    table_path = Path(out).with_suffix(".tsv")
    if table_path == Path(out):
        raise UsageError(f"{out}: ends in .tsv, which the table beside it is named; give a name ending in .narrowPeak")
    check_writable(out)
    attr = read_attributions(attributions, result, in_memory=False)
    coarse = None if seeds is None else _open_seeds(attr, seeds)
    peaks = call_peaks(attr, seeds=coarse, progress=progress, **settings)
    write_narrowpeak(peaks, out)
    write_peaks_tsv(peaks, table_path)
    return peaks


def _open_seeds(attr: Attributions, seeds: str) -> Attributions:
    """Open the coarse map that `--from` names: a result of the same file, or another file and perhaps its result."""
    if seeds in attr.results:
        return attr.result(seeds)
    path, _, name = (seeds, "", "") if Path(seeds).exists() else seeds.rpartition(":")
    if path and Path(path).exists():
        return read_attributions(path, name or None, in_memory=False)
    raise UsageError(
        f"--from: got {seeds!r}, expected another result of the file (it has {', '.join(attr.results)}) or an "
        "attribution file; to make one: `seqsal attribute … --method gradient_x_input --method grad_cam`"
    )
