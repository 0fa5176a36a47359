"""What the user may give as examples: BED files, FASTA files and region tables, told apart."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import TrainingError
from seqsal.io.bed import read_bed
from seqsal.io.content import is_stream
from seqsal.io.fasta import read_fasta_records

__all__ = ["Regions", "common_length", "find_contigs", "is_fasta", "read_table"]

Regions = str | os.PathLike[str] | pd.DataFrame


def is_fasta(regions: Regions) -> bool:
    """Whether a file starts, after blank lines, with ``>``; a table, or a file that cannot be read, is not FASTA.

    TrainingError: it is a pipe, which cannot be read twice.
    """
    if isinstance(regions, pd.DataFrame):
        return False
    if is_stream(regions):
        raise TrainingError(f"{regions}: is a pipe or a device, which cannot be read twice; give a file")
    try:
        with Path(regions).open("rb") as file:
            is_compressed = file.read(2) == b"\x1f\x8b"
        with gzip.open(regions) if is_compressed else Path(regions).open("rb") as file:
            return file.read(4096).lstrip().startswith(b">")
    except (OSError, EOFError):
        return False


def common_length(regions: Regions) -> int:
    """Return the length in bp that all regions share; TrainingError if they differ, so that one must be given."""
    if is_fasta(regions):
        lengths = {len(codes) for _, codes in read_fasta_records(regions)}  # type: ignore[arg-type]
    else:
        table = read_table(regions)
        lengths = set((table["end"] - table["start"]).tolist())
    if len(lengths) != 1:
        raise TrainingError(
            f"positives: have lengths from {min(lengths)} to {max(lengths)} bp; "
            "give the model's input length (input_length, --input-length)"
        )
    return int(lengths.pop())


def find_contigs(regions: Regions, windows: pd.DataFrame) -> NDArray[np.bool_]:
    """Find FASTA records that carry no genome coordinates: they are named as their own chromosome."""
    if not is_fasta(regions):
        return np.zeros(len(windows), dtype=bool)
    return (windows["chrom"] == windows["name"]).to_numpy()


def read_table(regions: Regions) -> pd.DataFrame:
    """Return a region table as it is, or read it from a BED file."""
    return regions if isinstance(regions, pd.DataFrame) else read_bed(regions)
