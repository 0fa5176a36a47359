"""Whole chromosomes as regions: their names, what is excluded, and runs of N that no window need read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import BedError, RegionError, did_you_mean
from seqsal.io.background import allowed_starts
from seqsal.io.bed import parse_bed
from seqsal.io.content import read_content
from seqsal.io.fasta import Genome
from seqsal.regions import check_chroms, make_regions, mark_edges

__all__ = ["GENOME", "chroms_named", "drop_unknown", "read_stretches"]

GENOME = "genome"  # what stands for all chromosomes
_CHUNK_BP = 1 << 24


def chroms_named(regions: Any, chrom_sizes: Mapping[str, int], genome_name: str) -> list[str] | None:
    """Read `genome`, or names of chromosomes separated by commas; None for regions of another kind.

    A file of that name goes first; text that looks like no path is the name of a chromosome, even if a misspelled one.
    RegionError: a chromosome that the genome lacks.
    """
    if not isinstance(regions, (str, os.PathLike)) or os.path.isfile(text := os.fspath(regions)):
        return None
    if text == GENOME:
        return list(chrom_sizes)
    names = list(dict.fromkeys(name.strip() for name in str(text).split(",")))
    unknown = [name for name in names if name not in chrom_sizes]
    if len(unknown) == len(names) and any(mark in str(text) for mark in (os.sep, ".", ":")):
        return None
    if unknown:
        some = ", ".join(list(chrom_sizes)[:4])
        hint = did_you_mean(unknown[0], chrom_sizes) or f"; it has {some} and so on"
        raise RegionError(
            f"regions: {unknown[0]!r} is neither a file nor a chromosome of {genome_name}, expected a file, names of "
            f"chromosomes separated by commas, or genome{hint}"
        )
    return names


def read_stretches(
    chroms: list[str], chrom_sizes: Mapping[str, int], exclude: str | os.PathLike[str] | None, genome_name: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return what is left of some chromosomes without the regions of a BED file, and what describes both.

    RegionError: nothing is left.
    """
    described: dict[str, Any] = {"file": None, "chroms": len(chroms)}
    excluded = make_regions([], [], [])
    if exclude is not None:
        content = read_content(exclude, "BED file", BedError)
        excluded, described["exclude"] = parse_bed(content), content.provenance
        check_chroms(excluded, chrom_sizes, regions_name=str(exclude), genome_name=genome_name)
    left = allowed_starts(chrom_sizes, excluded, chroms, 1, 0)
    if left.empty:
        raise RegionError(
            f"exclude: {exclude} covers all of {', '.join(chroms[:4])}{', …' * (len(chroms) > 4)}, expected some bases "
            "to be left; give other regions to exclude"
        )
    chrom, start, end = (left[key].to_numpy() for key in ("chrom", "first", "last"))
    whole = (start == 0) & (end == np.array([chrom_sizes[one] for one in chrom]))
    names = [c if all_of_it else f"{c}:{a}-{b}" for c, a, b, all_of_it in zip(chrom, start, end, whole, strict=True)]
    return make_regions(chrom, start, end, name=names), described


def drop_unknown(tiles: pd.DataFrame, genome: Genome, kept: int, offset: int) -> pd.DataFrame:
    """Leave out windows whose kept span, `kept` bases from `offset` on, holds no known base; flag those at edges.

    RegionError: none is left.
    """
    start, chrom = tiles["start"].to_numpy(np.int64) + offset, tiles["chrom"].to_numpy()
    known = np.ones(len(tiles), np.bool_)
    for name in dict.fromkeys(chrom):
        rows = np.flatnonzero(chrom == name)
        first, last = _runs_of_n(genome, name)
        run = np.searchsorted(first, np.maximum(start[rows], 0), side="right") - 1
        end = np.minimum(start[rows] + kept, genome.chrom_sizes[name])
        known[rows] = (run < 0) | (last[np.maximum(run, 0)] < end) if len(first) else True
    if not known.any():
        raise RegionError(f"regions: {genome.path} holds nothing but N there, expected known bases; give other regions")
    return mark_edges(tiles[known])


def _runs_of_n(genome: Genome, chrom: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First base and end of every run of N of a chromosome."""
    firsts, ends = [], []
    size = genome.chrom_sizes[chrom]
    for start in range(0, size, _CHUNK_BP):
        is_n = genome.read(chrom, start, min(start + _CHUNK_BP, size)) > 3
        change = np.diff(np.concatenate([[False], is_n, [False]]).astype(np.int8))
        firsts.append(np.flatnonzero(change == 1) + start)
        ends.append(np.flatnonzero(change == -1) + start)
    first, end = np.concatenate(firsts), np.concatenate(ends)
    parted = first[1:] != end[:-1]  # a run that was read in two chunks is one
    return first[np.append(True, parted)] if len(first) else first, end[np.append(parted, True)] if len(end) else end
