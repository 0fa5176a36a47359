"""Peaks from a file."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from seqsal.errors import BedError
from seqsal.io.bed import read_bed
from seqsal.peaks.call import PEAK_COLUMNS

__all__ = ["read_peaks"]


def read_peaks(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a narrowPeak file; an empty one, as `seqsal peaks` writes when none is called, is a table without rows.

    Raises
    ------
    BedError
        There is no such file, or it has no summits.
    """
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        return pd.DataFrame({key: pd.Series(dtype=kind) for key, kind in PEAK_COLUMNS.items()})
    table = read_bed(path)
    if "signal" not in table:
        raise BedError(f"{path}: has no summits, expected a narrowPeak file of 10 columns as `seqsal peaks` writes it")
    return table
