"""Where known motifs lie: FIMO over the sequence of an attribution file.

FIMO (Grant et al. 2011, doi:10.1093/bioinformatics/btr064), as memelite implements it: a hit is a place where the log2
odds of a motif against a uniform background reach a score that random bases reach with probability `p_value`. Scores
are binned by `BIN_BITS` for the p-values. A hit has a positive score (a long motif reaches p = 1e-4 with scores that
speak against it) and never touches an unknown base.

Windows are put together to the stretches of chromosome that they cover, as in :mod:`seqsal.io.sweep`, so a hit under
several windows is one hit, and its attribution is the sum of the averaged track. Stretches are laid end to end with
an unknown base between them and scanned `SCAN_BP` bases at a time, so memory does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import Axis, forward_codes, sweep_track
from seqsal.motifs.match import announce_compilation, threads_kept
from seqsal.motifs.matrices import Motif
from seqsal.sequence.codes import N_CODE, one_hot

__all__ = [
    "BIN_BITS", "HIT_COLUMNS", "SCAN_BP", "iter_hits", "peak_of_spans", "peak_spans", "scan_codes", "scan_motifs",
]  # fmt: skip

BIN_BITS = 0.05
SCAN_BP = 1 << 21  # a call has a fixed cost of about 1 ms a motif; memory is 60 bytes a base
HIT_COLUMNS = {
    "chrom": str, "start": np.int64, "end": np.int64, "motif": str, "accession": str, "score": np.float64,
    "strand": str, "p_value": np.float64, "attribution": np.float64, "peak": str,
}  # fmt: skip
_AXIS_COLUMNS = {
    "motif_idx": np.int64, "start": np.int64, "end": np.int64, "strand": str, "score": np.float64,
    "p_value": np.float64,
}  # fmt: skip


def scan_motifs(
    attr: Attributions,
    motifs: Sequence[Motif],
    *,
    peaks: pd.DataFrame | None = None,
    p_value: float = 1e-4,
    chunk_bp: int = SCAN_BP,
    progress: bool = False,
) -> pd.DataFrame:
    """Scan the windows for known motifs, on both strands.

    Parameters
    ----------
    attr
        Attributions; codes and track are read in chunks of rows.
    motifs
        What to look for.
    peaks
        Peaks called from the same file (chrom, start, end, name), or None.
    p_value
        Largest p-value of a hit, in (0, 1).
    chunk_bp
        Bases scanned at a time; does not change the result.
    progress
        Show a progress bar over the windows.

    Returns
    -------
    DataFrame
        Columns `HIT_COLUMNS`, one row a hit of the chromosome, sorted by chrom, start, end, motif and strand. `score`
        is in bits, `attribution` the signed sum of the track over the hit, `peak` the name of a peak that shares a
        base with it, or empty.

    Raises
    ------
    UsageError
        No motifs, or a `p_value` outside its range.
    RegionError
        A peak on a chromosome without windows.
    StoreError
        A track with values that are not finite.

    Examples
    --------
    >>> from seqsal.motifs import Motif
    >>> from seqsal.sequence.codes import encode, one_hot
    >>> gata = Motif("GATA", "", 20 * one_hot(encode("AGATAAG")))
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> codes = encode("CCCCCTTATCTCCCCC")[None]
    >>> regions, track = make_regions(["chr1"], [100], [116]), np.ones((1, 16), np.float32)
    >>> attr = seqsal.Attributions(regions, codes, track, prediction=np.ones(1, np.float32))
    >>> hits = scan_motifs(attr, [gata])
    >>> hits[["chrom", "start", "end", "motif", "strand", "attribution"]].to_dict("records")
    [{'chrom': 'chr1', 'start': 104, 'end': 111, 'motif': 'GATA', 'strand': '-', 'attribution': 7.0}]
    """
    axis = Axis.of(attr)
    spans = peak_spans(axis, peaks)
    names = np.array(["", *([] if peaks is None else peaks["name"])], dtype=object)
    parts = []
    for hits in iter_hits(attr, axis, motifs, p_value=p_value, chunk_bp=chunk_bp, progress=progress):
        chrom_idx, start = axis.locate(hits["start"].to_numpy())
        peak = names[peak_of_spans(hits["start"].to_numpy(), hits["end"].to_numpy(), spans) + 1]
        parts.append(hits.assign(chrom_idx=chrom_idx, end=hits["end"] - hits["start"] + start, start=start, peak=peak))
    table = pd.concat(parts, ignore_index=True)
    table = table.sort_values(["chrom_idx", "start", "end", "motif_idx", "strand"], kind="stable")
    table = table.assign(
        chrom=np.array(axis.chroms, dtype=object)[table["chrom_idx"].to_numpy()],
        motif=np.array([motif.name for motif in motifs], dtype=object)[table["motif_idx"].to_numpy()],
        accession=np.array([motif.accession for motif in motifs], dtype=object)[table["motif_idx"].to_numpy()],
    )
    return table[list(HIT_COLUMNS)].astype(HIT_COLUMNS).reset_index(drop=True)


def iter_hits(
    attr: Attributions,
    axis: Axis,
    motifs: Sequence[Motif],
    *,
    p_value: float = 1e-4,
    least_score: float = 0.0,
    chunk_bp: int = SCAN_BP,
    progress: bool = False,
) -> Iterator[pd.DataFrame]:
    """Yield the hits along the axis, at least one table, each hit once and in the table where its last base lies.

    A hit scores more than `least_score` bits; columns motif_idx, start, end (on the axis), strand, score, p_value and
    attribution.
    """
    _check_scan(motifs, p_value)
    reach = max(motif.width for motif in motifs) - 1
    order = np.argsort(axis.window_start, kind="stable")
    positions, values, codes = np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.uint8)
    yield _no_hits().assign(attribution=np.zeros(0))
    for block in sweep_track(attr, axis, chunk_bp=chunk_bp, progress=progress):
        if not len(block.positions):
            continue
        positions = np.concatenate([positions, block.positions])
        values = np.concatenate([values, block.values])
        codes = np.concatenate([codes, _codes_at(attr, axis, order, block.positions)])
        hits = _scan_stretches(positions, values, codes, motifs, p_value, least_score)
        yield hits[hits["end"] > block.positions[0]].reset_index(drop=True)
        tail = slice(max(len(positions) - reach, 0), None)
        positions, values, codes = positions[tail], values[tail], codes[tail]


def scan_codes(codes: ArrayLike, motifs: Sequence[Motif], *, p_value: float = 1e-4) -> pd.DataFrame:
    """Scan sequences (N, L) of codes for motifs on both strands, hits of at most `p_value` in (0, 1).

    Returns columns row, motif_idx, start, end (offsets along the row), strand, score (bits) and p_value, sorted by row,
    start, motif and strand.
    """
    array = np.asarray(codes, dtype=np.uint8)
    _check_scan(motifs, p_value)
    if array.ndim != 2:
        raise UsageError(f"codes: got shape {array.shape}, expected (N, L); add an axis for a single sequence")
    n_rows, length = array.shape
    apart = np.full((n_rows, length + 1), N_CODE, dtype=np.uint8)
    apart[:, :length] = array
    hits = _fimo(apart.ravel(), motifs, p_value)
    row = hits["start"] // (length + 1)
    hits = hits.assign(row=row, start=hits["start"] - row * (length + 1), end=hits["end"] - row * (length + 1))
    hits = hits.sort_values(["row", "start", "motif_idx", "strand"], kind="stable").reset_index(drop=True)
    return hits[["row", *_AXIS_COLUMNS]]


def peak_of_spans(start: NDArray[np.int64], end: NDArray[np.int64], peaks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find a peak (2, P; starts and ends, any order) that shares a base with each span (n,): its number, or -1."""
    if not peaks.shape[1]:
        return np.full(len(start), -1, dtype=np.int64)
    order = np.argsort(peaks[0], kind="stable")
    ends = np.maximum.accumulate(peaks[1][order])
    reaching = np.maximum.accumulate(np.where(peaks[1][order] == ends, np.arange(len(order)), 0))
    last = np.searchsorted(peaks[0][order], end, side="left") - 1  # the last peak that starts before the end
    inside = (last >= 0) & (ends[np.maximum(last, 0)] > start)
    return np.where(inside, order[reaching[np.maximum(last, 0)]], -1)


def peak_spans(axis: Axis, peaks: pd.DataFrame | None) -> NDArray[np.int64]:
    """Peaks (2, P) on the axis, in the order of the table."""
    if peaks is None or not len(peaks):
        return np.zeros((2, 0), dtype=np.int64)
    chrom_idx = pd.Index(axis.chroms).get_indexer(pd.Index(peaks["chrom"]))
    if (chrom_idx < 0).any():
        wrong = peaks["chrom"].iloc[int(np.argmax(chrom_idx < 0))]
        raise RegionError(
            f"peaks: chromosome {wrong} has no window among those attributed ({', '.join(axis.chroms[:4])}, …); pass "
            "the peaks that were called from this file"
        )
    shift = axis.base[chrom_idx] - axis.origin[chrom_idx]
    return np.stack([peaks[column].to_numpy(dtype=np.int64) + shift for column in ("start", "end")])


def _check_scan(motifs: Sequence[Motif], p_value: float) -> None:
    if not len(motifs):
        raise UsageError("motifs: got none, expected at least one to scan for; pass those of `read_motifs`")
    if not 0 < p_value < 1:
        raise UsageError(f"p_value: got {p_value}, expected a probability between 0 and 1, for example 1e-4")


def _codes_at(
    attr: Attributions, axis: Axis, order: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Forward-strand codes (P,) of axis positions, each from the last window that starts at or before it."""
    window = np.searchsorted(axis.window_start[order], positions, side="right") - 1
    codes = forward_codes(attr, order[window[0] : window[-1] + 1])
    return np.asarray(codes[window - window[0], positions - axis.window_start[order[window]]])


def _scan_stretches(
    positions: NDArray[np.int64],
    values: NDArray[np.float64],
    codes: NDArray[np.uint8],
    motifs: Sequence[Motif],
    p_value: float,
    least_score: float,
) -> pd.DataFrame:
    """Hits within runs of adjacent positions, on the axis, with their sums of values."""
    slot = np.arange(len(positions)) + np.concatenate([[0], np.cumsum(np.diff(positions) > 1)])
    n_slots = int(slot[-1]) + 1
    flat_codes = np.full(n_slots, N_CODE, dtype=np.uint8)
    flat_codes[slot] = codes
    flat_values, flat_positions = np.zeros(n_slots), np.zeros(n_slots, dtype=np.int64)
    flat_values[slot], flat_positions[slot] = values, positions
    hits = _fimo(flat_codes, motifs, p_value, least_score)
    start, end = hits["start"].to_numpy(), hits["end"].to_numpy()
    bounds = np.stack([start, end], axis=1).ravel()
    total = np.add.reduceat(np.append(flat_values, 0.0), bounds)[::2] if len(bounds) else np.zeros(0)
    return hits.assign(start=flat_positions[start], end=flat_positions[start] + end - start, attribution=total)


def _fimo(codes: NDArray[np.uint8], motifs: Sequence[Motif], p_value: float, least_score: float = 0.0) -> pd.DataFrame:
    """Hits on codes (P,) without an unknown base and above a score, in order of motif."""
    from memelite import fimo  # here because it loads numba, half a second that most commands can do without

    announce_compilation("memelite", "TOMTOM and FIMO", 90)
    codes = np.pad(codes, (0, max(motif.width for motif in motifs)), constant_values=N_CODE)
    letters = one_hot(codes[None]).astype(np.int8)
    matrices = {str(i): motif.ppm for i, motif in enumerate(motifs)}
    with threads_kept():
        tables = fimo(matrices, letters, bin_size=BIN_BITS, eps=0.0, threshold=p_value)
    tables = [table for table in tables if len(table)]
    if not tables:
        return _no_hits()
    hits = pd.concat(tables, ignore_index=True).rename(columns={"p-value": "p_value"})
    unknown = np.concatenate([[0], np.cumsum(codes == N_CODE)])
    keep = unknown[hits["end"].to_numpy()] == unknown[hits["start"].to_numpy()]
    keep &= hits["score"].to_numpy() > least_score
    # the best word of a motif may score above memelite's last bin, which makes its p-value 0: no word is rarer than one
    least = 4.0 ** -(hits["end"] - hits["start"]).to_numpy(np.float64)
    hits["p_value"] = np.maximum(hits["p_value"].to_numpy(np.float64), least)
    keep &= hits["p_value"].to_numpy() <= p_value
    return hits.loc[keep, list(_AXIS_COLUMNS)].astype(_AXIS_COLUMNS).reset_index(drop=True)


def _no_hits() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _AXIS_COLUMNS.items()})
