"""Where known motifs lie: FIMO over the sequence of an attribution file.

As FIMO does (Grant et al. 2011, doi:10.1093/bioinformatics/btr064): a hit is a place where the log2 odds of a motif
against a uniform background reach a score that random bases reach with probability `p_value`. Scores are binned by
`BIN_BITS` for the p-values. memelite's FIMO gives the same hits, but makes p-values anew for every matrix, strand and
call, and a table of pandas a motif, which takes most of the time where there are few bases. A hit has a positive score
(a long motif reaches p = 1e-4 with scores that speak against it) and never touches an unknown base.

Windows are put together to the stretches of chromosome that they cover, as in :mod:`seqsal.io.sweep`, so a hit under
several windows is one hit, and its attribution is the sum of the averaged track. Stretches are laid end to end with
an unknown base between them and scanned `SCAN_BP` bases at a time, so memory does not grow with the data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import Axis, forward_codes, sweep_track
from seqsal.motifs.matrices import Motif
from seqsal.sequence.codes import N_CODE
from seqsal.sequence.kernels import compiled

__all__ = [
    "BIN_BITS", "HIT_COLUMNS", "SCAN_BP", "best_hits", "iter_hits", "peak_of_spans", "peak_spans", "scan_codes",
    "scan_motifs",
]  # fmt: skip

BIN_BITS = 0.05
SCAN_BP = 1 << 21  # a call has a fixed cost of about 0.1 ms a motif; memory is 60 bytes a base
ROUNDING = 1e-9  # bits, of a sum of scores
WORD_BP = 7  # bases that are looked up at once
_LANES, _STRANDS, _ALLOWANCE = 16, 256, 0.01  # places, matrices at a time; bits for the rounding of float32
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
    orders: Sequence[NDArray[np.int64]] | None = None,
    chunk_bp: int = SCAN_BP,
    progress: bool = False,
) -> Iterator[pd.DataFrame]:
    """Yield the hits along the axis, at least one table, each hit once and in the table where its last base lies.

    A hit scores more than `least_score` bits; columns motif_idx, start, end (on the axis), strand, score, p_value and
    attribution. With `orders` (K, W) for each motif, copies of it with their columns in these orders are scanned, and
    motif_idx numbers the copies.
    """
    scanner = _Scanner(motifs, p_value, least_score, orders)
    order = axis.order
    positions, values, codes = np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.uint8)
    yield _no_hits().assign(attribution=np.zeros(0))
    for block in sweep_track(attr, axis, chunk_bp=chunk_bp, progress=progress):
        if not len(block.positions):
            continue
        positions = np.concatenate([positions, block.positions])
        values = np.concatenate([values, block.values])
        codes = np.concatenate([codes, _codes_at(attr, axis, order, block.positions)])
        hits = _scan_stretches(positions, values, codes, scanner)
        yield hits[hits["end"] > block.positions[0]].reset_index(drop=True)
        tail = slice(max(len(positions) - scanner.reach, 0), None)
        positions, values, codes = positions[tail], values[tail], codes[tail]


def scan_codes(codes: ArrayLike, motifs: Sequence[Motif], *, p_value: float = 1e-4) -> pd.DataFrame:
    """Scan sequences (N, L) of codes for motifs on both strands, hits of at most `p_value` in (0, 1).

    Returns columns row, motif_idx, start, end (offsets along the row), strand, score (bits) and p_value, sorted by row,
    start, motif and strand.
    """
    array = np.asarray(codes, dtype=np.uint8)
    scanner = _Scanner(motifs, p_value)
    if array.ndim != 2:
        raise UsageError(f"codes: got shape {array.shape}, expected (N, L); add an axis for a single sequence")
    n_rows, length = array.shape
    apart = np.full((n_rows, length + 1), N_CODE, dtype=np.uint8)
    apart[:, :length] = array
    hits = scanner.hits(apart.ravel())
    row = hits["start"] // (length + 1)
    hits = hits.assign(row=row, start=hits["start"] - row * (length + 1), end=hits["end"] - row * (length + 1))
    hits = hits.sort_values(["row", "start", "motif_idx", "strand"], kind="stable").reset_index(drop=True)
    return hits[["row", *_AXIS_COLUMNS]]


def best_hits(
    attr: Attributions, spans: pd.DataFrame, motifs: Sequence[Motif], *, p_value: float = 1e-4
) -> pd.DataFrame:
    """Name the motif inside each span: the hit of the smallest p-value of which half or more lies in the span.

    Parameters
    ----------
    attr
        Attributions, for the bases.
    spans
        chrom, start, end.
    motifs
        What to look for, on both strands.
    p_value
        Largest p-value of a hit.

    Returns
    -------
    DataFrame
        For each span `motif`, its name, or empty; `motif_score` (bits); and `motif_p`, the probability that random
        bases have so good a hit of any of the motifs anywhere in the span; NaN without a hit.

    Raises
    ------
    UsageError
        No motifs, or a `p_value` outside its range.

    Examples
    --------
    >>> import numpy as np, pandas as pd, seqsal
    >>> from seqsal.motifs import Motif
    >>> from seqsal.motifs.scan import best_hits
    >>> from seqsal.regions import make_regions
    >>> from seqsal.sequence.codes import encode, one_hot
    >>> gata, codes = Motif("GATA", "", 20 * one_hot(encode("AGATAAG"))), encode("CCCCCTTATCTCCCCC")[None]
    >>> windows = make_regions(["chr1"], [100], [116])
    >>> attr = seqsal.Attributions(windows, codes, np.ones((1, 16), np.float32), prediction=np.ones(1, np.float32))
    >>> best_hits(attr, windows.assign(start=[103], end=[110]), [gata])["motif"].tolist()
    ['GATA']
    """
    _check_scan(motifs, p_value)
    reach = max(motif.width for motif in motifs) // 2
    row, offset = Axis.of(attr).windows_over(spans, attr.length)
    width = (spans["end"] - spans["start"]).to_numpy(np.int64)
    column = offset[:, None] - reach + np.arange(width.max(initial=0) + 2 * reach)
    is_near = (column >= 0) & (column < np.minimum(offset + width + reach, attr.length)[:, None]) & (row >= 0)[:, None]
    codes = np.take_along_axis(forward_codes(attr, np.maximum(row, 0)), np.clip(column, 0, attr.length - 1), axis=1)
    hits = scan_codes(np.where(is_near, codes, N_CODE), motifs, p_value=p_value)
    end = np.minimum(hits["end"], reach + width[hits["row"]])
    hits = hits[2 * (end - np.maximum(hits["start"], reach)) >= hits["end"] - hits["start"]]
    hits = hits.sort_values(["p_value", "score"], ascending=[True, False], kind="stable").drop_duplicates("row")
    n_tests = 2 * len(motifs) * (width + 1)  # places of which half lies inside
    best = hits.set_index("row").reindex(np.arange(len(spans)))
    names = np.array([*(motif.name for motif in motifs), ""], dtype=object)
    p_any = -np.expm1(n_tests * np.log1p(-best["p_value"].to_numpy()))
    table = {"motif": names[best["motif_idx"].fillna(-1).astype(np.int64)], "motif_score": best["score"].to_numpy()}
    return pd.DataFrame({**table, "motif_p": p_any}, index=spans.index)


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
    positions: NDArray[np.int64], values: NDArray[np.float64], codes: NDArray[np.uint8], scanner: _Scanner
) -> pd.DataFrame:
    """Hits within runs of adjacent positions, on the axis, with their sums of values."""
    slot = np.arange(len(positions)) + np.concatenate([[0], np.cumsum(np.diff(positions) > 1)])
    n_slots = int(slot[-1]) + 1
    flat_codes = np.full(n_slots, N_CODE, dtype=np.uint8)
    flat_codes[slot] = codes
    flat_values, flat_positions = np.zeros(n_slots), np.zeros(n_slots, dtype=np.int64)
    flat_values[slot], flat_positions[slot] = values, positions
    hits = scanner.hits(flat_codes)
    start, end = hits["start"].to_numpy(), hits["end"].to_numpy()
    bounds = np.stack([start, end], axis=1).ravel()
    total = np.add.reduceat(np.append(flat_values, 0.0), bounds)[::2] if len(bounds) else np.zeros(0)
    return hits.assign(start=flat_positions[start], end=flat_positions[start] + end - start, attribution=total)


class _Scanner:
    """Motifs with their thresholds and p-values, made once and used for any number of stretches.

    The p-values of a matrix depend on the values in its columns, in whatever order these and the bases are, so a motif,
    its copies in other orders and their reverse complements share one table.
    """

    def __init__(
        self,
        motifs: Sequence[Motif],
        p_value: float,
        least_score: float = 0.0,
        orders: Sequence[NDArray[np.int64]] | None = None,
    ) -> None:
        _check_scan(motifs, p_value)
        self.p_value, self.least_score, self.reach = p_value, least_score, max(motif.width for motif in motifs) - 1
        if orders is None:
            orders = [np.arange(motif.width)[None] for motif in motifs]
        self._owner = np.repeat(np.arange(len(motifs)), [len(order) for order in orders])  # of each matrix
        self._tables = []
        least = np.full(len(motifs), np.inf)  # where no word is rare enough
        strands = []
        for i, motif in enumerate(motifs):
            matrix = np.log2(4 * motif.ppm)
            steps = np.sort(np.rint(matrix / BIN_BITS).astype(np.int64), axis=0)
            steps = steps[:, np.lexsort(steps)]
            lowest, tail = int(steps[0].sum()), compiled(_tail)(steps - steps[0])
            self._tables.append((lowest, tail))
            n_above = int((tail > p_value).sum())
            if n_above < len(tail):
                least[i] = max((lowest + n_above) * BIN_BITS - ROUNDING, least_score)
            ordered = matrix[:, orders[i]]  # (4, K, W)
            strands.append(np.stack([ordered, ordered[::-1, :, ::-1]], axis=2).reshape(4, -1))
        self._matrices = np.asfortranarray(np.concatenate(strands, axis=1))  # one order in memory: compiled once
        width = np.repeat([motifs[int(i)].width for i in self._owner], 2)
        self._strands = np.cumsum(width) - width, width, np.repeat(least[self._owner], 2)  # first column, width, cut

    def hits(self, codes: NDArray[np.uint8]) -> pd.DataFrame:
        """Hits on codes (P,) without an unknown base, in order of motif, strand and place."""
        n_places = -(-len(codes) // _LANES) * _LANES
        padded = np.full(n_places + self.reach + WORD_BP, N_CODE, dtype=np.uint8)
        padded[: len(codes)] = codes
        words = np.zeros(len(padded) - WORD_BP + 1, dtype=np.uint16)
        for i in range(WORD_BP):
            words = 4 * words + np.minimum(padded[i : i + len(words)], 3)
        parts = range(0, len(self._strands[0]), _STRANDS)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(lambda part: self._part(part, padded, words, n_places), parts))
        strand, start, score = (np.concatenate(column) for column in zip(*found, strict=True))
        motif = strand // 2
        hits = {
            "motif_idx": motif, "start": start, "end": start + self._strands[1][strand],
            "strand": np.where(strand % 2, "-", "+"), "score": score,
            "p_value": self._p_values(self._owner[motif], score),
        }  # fmt: skip
        table = pd.DataFrame(hits).astype(_AXIS_COLUMNS)
        return table[(table["score"] > self.least_score) & (table["p_value"] <= self.p_value)].reset_index(drop=True)

    def _part(
        self, first: int, codes: NDArray[np.uint8], words: NDArray[np.uint16], n_places: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Strand, start and score of the hits of some matrices."""
        begins, widths, cuts = (column[first : first + _STRANDS] for column in self._strands)
        strand, start, score = compiled(_scan)(codes, words, n_places, self._matrices, begins, widths, cuts)
        return strand + first, start, score

    def _p_values(self, motif: NDArray[np.int64], score: NDArray[np.float64]) -> NDArray[np.float64]:
        """P-value of each score (n,) of a motif, by its number; those above the highest bin are in it."""
        steps = np.floor((score + ROUNDING) / BIN_BITS).astype(np.int64)
        values = np.zeros(len(motif))
        order = np.argsort(motif, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(motif[order])) + 1) if len(order) else ():
            lowest, tail = self._tables[motif[rows[0]]]
            values[rows] = tail[np.clip(steps[rows] - lowest, 0, len(tail) - 1)]
        return values


def _scan(codes: Any, words: Any, n_places: int, matrices: Any, first: Any, width: Any, least: Any) -> Any:
    """Find where matrices score `least` or more: which, where, and the score; compiled by numba.

    The `WORD_BP` columns that say most come first: a table has every word that, with the best bases in the other
    columns, could be part of a hit. Few places are left to be scored in full.
    """
    n, size = 0, 1024
    which, start, score = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size)
    most, begun_most, alive = np.empty(4**WORD_BP), np.empty(4**WORD_BP), np.empty(4**WORD_BP, np.bool_)
    word, begun = np.empty(4**WORD_BP, np.int64), np.empty(4**WORD_BP, np.int64)
    for m in range(len(width)):
        if least[m] == np.inf:
            continue
        n_columns = min(width[m], WORD_BP)
        best, at = -1.0, 0
        for j in range(width[m] - n_columns + 1):
            gain = 0.0
            for c in range(first[m] + j, first[m] + j + n_columns):
                gain += matrices[:, c].max() - matrices[:, c].mean()
            if gain > best:
                best, at = gain, j
        most[0] = _ALLOWANCE - least[m]
        for j in range(width[m]):
            most[0] += matrices[:, first[m] + j].max()
        word[0], n_words = 0, 1
        for i in range(WORD_BP):  # one base more of the words that may still be part of a hit, from the first on
            n_begun, n_words = n_words, 0
            for t in range(n_begun):
                begun[t], begun_most[t] = word[t], most[t]
            column = first[m] + at + i
            top = matrices[:, column].max() if i < n_columns else 0.0
            for t in range(n_begun):
                for a in range(4):
                    left = begun_most[t] - top + matrices[a, column] if i < n_columns else begun_most[t]
                    if left >= 0:
                        word[n_words], most[n_words] = 4 * begun[t] + a, left
                        n_words += 1
        alive[:] = False
        for t in range(n_words):
            alive[word[t]] = True
        for x in range(0, n_places, _LANES):
            any_alive = False
            for i in range(_LANES):
                any_alive |= alive[words[x + at + i]]
            if not any_alive:
                continue
            for y in range(x, x + _LANES):
                if not alive[words[y + at]]:
                    continue
                total = 0.0
                for j in range(width[m]):
                    if codes[y + j] >= N_CODE:
                        total = -np.inf
                        break
                    total += matrices[codes[y + j], first[m] + j]
                if total >= least[m]:
                    if n == size:
                        which, start = np.append(which, which), np.append(start, start)
                        score, size = np.append(score, score), 2 * size
                    which[n], start[n], score[n] = m, y, total
                    n += 1
    return which[:n], start[:n], score[:n]


def _tail(steps: Any) -> Any:
    """P(sum ≥ s), s = 0, 1, …, of random bases, each of which adds one of four steps ≥ 0 at every position (4, W)."""
    mass, n = np.ones(1), 1
    for j in range(steps.shape[1]):
        grown = np.zeros(n + steps[:, j].max())
        for a in range(4):
            for s in range(n):
                grown[steps[a, j] + s] += mass[s] / 4
        mass, n = grown, len(grown)
    return np.cumsum(mass[::-1])[::-1]


def _no_hits() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _AXIS_COLUMNS.items()})
