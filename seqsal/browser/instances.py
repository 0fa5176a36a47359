"""Motif instances and artifact hits from files, an empty file being a table without rows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from seqsal.errors import BedError
from seqsal.io.bed import read_bed
from seqsal.regions import make_regions

__all__ = ["read_instances", "read_motif_instances"]

_MORE_COLUMNS = {"contribution", "peak", "sequence"}  # of a seqlets.bed


def read_instances(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a BED file that may hold no line but comments, as artifacts that were not found leave it.

    Raises
    ------
    BedError
        There is no such file, or a line is malformed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            empty = all(not line.strip() or line.startswith(b"#") for line in file)
    except OSError as error:
        raise BedError(f"{path}: cannot be read ({error.strerror}); expected a BED file") from error
    return make_regions([], [], []) if empty else read_bed(path)


def read_motif_instances(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read instances of motifs: a folder of `seqsal motifs`, or any BED file.

    Parameters
    ----------
    path
        The folder, of which `seqlets.bed` and `motifs.tsv` are read, or a BED file.

    Returns
    -------
    DataFrame
        Region table. Where the file says so, `contribution` (float64) is the signed sum of the attributions under an
        instance; from a folder, `match` (str) is what the pattern was named by, empty where it was not.

    Raises
    ------
    BedError
        There is no such file, or a line is malformed.
    """
    path = Path(path)
    bed = path / "seqlets.bed" if path.is_dir() else path
    table = read_instances(bed)
    header = _header(bed)
    if len(table) and _MORE_COLUMNS <= set(header):
        values = pd.read_csv(bed, sep="\t", quoting=3, usecols=["contribution"])["contribution"]
        table["contribution"] = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    if path.is_dir() and (path / "motifs.tsv").is_file():
        patterns = pd.read_csv(path / "motifs.tsv", sep="\t", quoting=3, dtype=str, keep_default_na=False)
        if {"pattern", "match"} <= set(patterns):
            matches = dict(zip(patterns["pattern"], patterns["match"].replace("NA", ""), strict=True))
            table["match"] = table["name"].map(matches).fillna("")
    return table


def _header(path: Path) -> list[str]:
    """Names of the columns of an uncompressed BED file whose first line gives them."""
    with path.open("rb") as file:
        return file.readline().decode(errors="replace").lstrip("#").rstrip("\r\n").split("\t")
