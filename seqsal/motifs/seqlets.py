"""Seqlets: what the attributions say around each peak, on the forward strand; and alignments of them.

A peak's context is `CONTEXT_BP` bases around its summit. Every window that covers a base of it contributes, turned to
the forward strand, and overlapping windows are averaged, so that a context is the same piece of the same track that the
peak was called on and a site in two windows is one seqlet. A base that no window knows (N, padding, beyond the
chromosome or beyond the windows) has code N and zeros in both tracks.

Where the file has no hypothetical scores, X · track stands in for them: the contribution of the base that is there, and
zero for the other three. Alignments then compare contributions alone, and :attr:`Seqlets.is_approximate` says so.

An alignment says where each instance of a pattern lies: position j of an instance is base start + j of its context, or,
on the reverse strand, the complement of base start + width − 1 − j. All operations are on these arrays of coordinates;
sequences and scores are looked up at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import CHUNK_BP, Axis, chunk_rows
from seqsal.regions import format_region
from seqsal.sequence.codes import N_CODE, one_hot, reverse_complement

__all__ = ["CONTEXT_BP", "SEQLET_BP", "Alignment", "Seqlets", "best_offset", "cut_seqlets", "join", "peak_signs"]

SEQLET_BP = 41  # TF-MoDISco's default: 21 bp and 10 bp on each side
CONTEXT_BP = SEQLET_BP + 2 * 40  # room for an alignment to move and a pattern to grow
MAX_SEQLETS = 20_000  # of one sign: the strongest
_NEEDED = ("chrom", "start", "end", "summit")
Places = tuple[NDArray[np.int64], NDArray[np.int64]]
Windows = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Seqlets:
    """Contexts of n peaks, all on the forward strand.

    Attributes
    ----------
    table
        n rows: chrom, start and end of the context (a start may be negative), `name` of the peak and `sign`.
    codes
        (n, W) uint8, N where no window knows the base.
    hypothetical
        (n, 4, W) float32, scores of all four bases; X · contributions when there were none.
    contributions
        (n, W) float32, attributions of the bases that are there.
    is_approximate
        Whether `hypothetical` is the stand-in.
    """

    table: pd.DataFrame
    codes: NDArray[np.uint8]
    hypothetical: NDArray[np.float32]
    contributions: NDArray[np.float32]
    is_approximate: bool

    def __len__(self) -> int:
        return len(self.table)

    @property
    def width(self) -> int:
        """Bases of a context."""
        return self.codes.shape[1]

    def take(self, rows: NDArray[np.int64]) -> Seqlets:
        """Keep some of the rows, in that order."""
        return Seqlets(
            self.table.iloc[rows].reset_index(drop=True),
            self.codes[rows],
            self.hypothetical[rows],
            self.contributions[rows],
            self.is_approximate,
        )

    def of_sign(self, sign: str) -> Seqlets:
        """Keep the seqlets of one sign, `pos` or `neg`."""
        return self.take(np.flatnonzero((self.table["sign"] == sign).to_numpy()))


def peak_signs(peaks: pd.DataFrame) -> NDArray[np.object_]:
    """Sign of each peak, `pos` or `neg`: its column `sign`, else the sign of its `signal`.

    Raises
    ------
    UsageError
        The table has neither column.
    """
    if "sign" in peaks:
        return peaks["sign"].to_numpy(dtype=object)
    if "signal" not in peaks:
        raise UsageError("peaks: no column sign or signal, expected those of call_peaks; read them from a narrowPeak")
    return np.where(peaks["signal"].to_numpy(dtype=np.float64) < 0, "neg", "pos").astype(object)


def cut_seqlets(
    attr: Attributions,
    peaks: pd.DataFrame,
    *,
    context_bp: int = CONTEXT_BP,
    max_seqlets: int = MAX_SEQLETS,
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> Seqlets:
    """Cut out the context of every peak.

    Parameters
    ----------
    attr
        Attributions that the peaks were called on; only the windows near peaks are read, in chunks.
    peaks
        Table of :func:`seqsal.call_peaks`, or a narrowPeak as :func:`seqsal.io.bed.read_bed` reads it. A summit of -1
        stands for the middle.
    context_bp
        Bases around each summit, odd.
    max_seqlets
        Of each sign the strongest (|signal|) are kept, at most so many.
    chunk_bp
        Values read at a time; does not change the result.
    progress
        Show a progress bar.

    Returns
    -------
    Seqlets
        The strongest peak first, both signs together.

    Raises
    ------
    UsageError
        A column is missing.
    RegionError
        A peak that no window covers.
    """
    if missing := [key for key in _NEEDED if key not in peaks]:
        raise UsageError(f"peaks: no column {', '.join(missing)}, expected the table of call_peaks or a narrowPeak")
    table = _contexts(peaks, context_bp, max_seqlets)
    axis = Axis.of(attr)
    chrom_idx, starts = _axis_starts(table, axis)
    total = np.zeros((len(table), 4, context_bp), np.float64)
    actual = np.zeros((len(table), context_bp), np.float64)
    count = np.zeros((len(table), context_bp), np.int64)
    codes = np.full((len(table), context_bp), N_CODE, np.uint8)
    covered = np.zeros(len(table), bool)
    for rows, which, windows in _read_near(attr, axis, (chrom_idx, starts), context_bp, chunk_bp, progress):
        window_codes, track, scores = windows
        offset = starts[which] - axis.window_start[rows]
        columns = offset[:, None] + np.arange(context_bp)
        inside = (columns >= 0) & (columns < attr.length)
        covered[which[inside[:, context_bp // 2]]] = True
        columns = np.clip(columns, 0, attr.length - 1)
        near_codes = np.where(inside, np.take_along_axis(window_codes, columns, 1), N_CODE)
        known = near_codes != N_CODE
        for i, row in enumerate(which):  # a context may be in several of these windows, so one at a time
            here = known[i]
            codes[row, here] = near_codes[i, here]
            total[row][:, here] += scores[i][:, columns[i, here]]
            actual[row, here] += track[i, columns[i, here]]
            count[row] += here
    if not covered.all():
        raise _not_covered(table, ~covered)
    divisor = np.maximum(count, 1)
    return Seqlets(
        table,
        codes,
        (total / divisor[:, None]).astype(np.float32),
        (actual / divisor).astype(np.float32),
        attr.hypothetical is None,
    )


def _contexts(peaks: pd.DataFrame, context_bp: int, max_seqlets: int) -> pd.DataFrame:
    """Table of contexts, the strongest peaks first."""
    start, end, summit = (peaks[key].to_numpy(np.int64) for key in ("start", "end", "summit"))
    centre = start + np.where(summit >= 0, summit, (end - start) // 2)
    table = pd.DataFrame(
        {
            "chrom": peaks["chrom"].to_numpy(dtype=object),
            "start": centre - context_bp // 2,
            "end": centre - context_bp // 2 + context_bp,
            "name": peaks["name"].to_numpy(dtype=object) if "name" in peaks else ".",
            "sign": peak_signs(peaks),
        }
    )
    strength = np.abs(peaks["signal"].to_numpy(np.float64)) if "signal" in peaks else np.zeros(len(peaks))
    table = table.iloc[np.argsort(-strength, kind="stable")]
    return table[table.groupby("sign").cumcount() < max_seqlets].reset_index(drop=True)


def _axis_starts(table: pd.DataFrame, axis: Axis) -> Places:
    """Index of the chromosome, and axis position of the first base, of every context."""
    rank = {chrom: i for i, chrom in enumerate(axis.chroms)}
    unknown = ~table["chrom"].isin(rank.keys()).to_numpy()
    if unknown.any():
        raise _not_covered(table, unknown)
    of_row = np.array([rank[chrom] for chrom in table["chrom"]], dtype=np.int64)
    return of_row, table["start"].to_numpy(np.int64) - axis.origin[of_row] + axis.base[of_row]


def _read_near(
    attr: Attributions,
    axis: Axis,
    places: Places,
    context_bp: int,
    chunk_bp: int,
    progress: bool,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Windows]]:
    """Yield pairs of window row and context that overlap, with the windows on the forward strand, a chunk at a time."""
    rows, which = _overlaps(axis, places, context_bp, attr.length)
    step = max(1, chunk_rows(attr.length, chunk_bp) // 5)  # five layers a window
    with tqdm(total=len(rows), desc="seqlets", unit="window", disable=not progress) as bar:
        for i in range(0, len(rows), step):
            part = slice(i, i + step)
            yield rows[part], which[part], _forward_windows(attr, rows[part])
            bar.update(len(rows[part]))


def _overlaps(axis: Axis, places: Places, context_bp: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Window rows and contexts that share a base, in the order of the rows, and of one chromosome.

    Chromosomes lie one after another on the axis, so a context that extends past one's end may reach windows of the
    next: those do not count.
    """
    chrom_idx, starts = places
    order = np.argsort(axis.window_start, kind="stable")
    sorted_starts = axis.window_start[order]
    first = np.searchsorted(sorted_starts, starts - length, side="right")
    n_windows = np.maximum(np.searchsorted(sorted_starts, starts + context_bp, side="left") - first, 0)
    which = np.repeat(np.arange(len(starts)), n_windows)
    within = np.arange(len(which)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    rows = order[np.repeat(first, n_windows) + within]
    same = chrom_idx[which] == axis.locate(axis.window_start[rows])[0]
    rows, which = rows[same], which[same]
    by_row = np.lexsort((which, rows))
    return rows[by_row], which[by_row]


def _forward_windows(attr: Attributions, rows: NDArray[np.int64]) -> Windows:
    """Codes (n, L), track (n, L) and scores of all four bases (n, 4, L) of some rows on the forward strand."""
    codes, track = np.array(attr.codes[rows]), np.array(attr.track[rows], dtype=np.float32)
    if attr.hypothetical is None:
        scores = one_hot(codes) * track[:, None]
    else:
        scores = np.array(attr.hypothetical[rows], dtype=np.float32)
    reverse = attr.regions["strand"].to_numpy()[rows] == "-"
    codes[reverse] = reverse_complement(codes[reverse])
    track[reverse] = track[reverse, ::-1]
    scores[reverse] = scores[reverse, ::-1, ::-1]  # A ↔ T and C ↔ G are opposite rows
    return codes, track, scores


def _not_covered(table: pd.DataFrame, wrong: NDArray[np.bool_]) -> RegionError:
    row = table.iloc[int(np.argmax(wrong))]
    middle = (row["start"] + row["end"]) // 2
    return RegionError(
        f"peaks: no window covers the summit of {row['name']} at {format_region(row['chrom'], middle, middle + 1)} and "
        f"{int(wrong.sum()) - 1} more; give the peaks that were called on these attributions"
    )


@dataclass(frozen=True)
class Alignment:
    """Instances of one pattern in the contexts of seqlets.

    Attributes
    ----------
    rows
        (k,) seqlet of each instance.
    start
        (k,) offset of its leftmost base in the context.
    reverse
        (k,) whether it reads the reverse strand.
    width
        Positions W of the pattern.
    """

    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    reverse: NDArray[np.bool_]
    width: int

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Alignment:
        """Keep some instances."""
        return Alignment(self.rows[keep], self.start[keep], self.reverse[keep], self.width)

    def window(self, first: int, width: int) -> Alignment:
        """Move and resize: position 0 of the result is position `first` (may be negative) of this."""
        start = np.where(self.reverse, self.start + self.width - first - width, self.start + first)
        return Alignment(self.rows, start, self.reverse, width)

    def flip(self) -> Alignment:
        """Read every instance on its other strand."""
        return Alignment(self.rows, self.start, ~self.reverse, self.width)

    def within(self, context_bp: int) -> Alignment:
        """Keep the instances that lie inside their context."""
        return self.take((self.start >= 0) & (self.start + self.width <= context_bp))

    def complete(self, seqlets: Seqlets) -> Alignment:
        """Keep the instances whose bases are all known."""
        inside = self.within(seqlets.width)
        return inside.take((inside.codes(seqlets) != N_CODE).all(axis=1))

    def columns(self) -> NDArray[np.int64]:
        """Offsets (k, W) in the context of each position."""
        along = np.arange(self.width)
        return np.where(
            self.reverse[:, None], (self.start + self.width - 1)[:, None] - along, self.start[:, None] + along
        )

    def codes(self, seqlets: Seqlets) -> NDArray[np.uint8]:
        """Codes (k, W) as each instance reads."""
        codes = seqlets.codes[self.rows[:, None], self.columns()]
        complement = reverse_complement(codes)[:, ::-1]
        return np.where(self.reverse[:, None], complement, codes)

    def contributions(self, seqlets: Seqlets) -> NDArray[np.float32]:
        """Attributions (k, W) of the bases that are there."""
        return seqlets.contributions[self.rows[:, None], self.columns()]

    def counts(self, seqlets: Seqlets) -> NDArray[np.float64]:
        """Bases at each position, (4, W)."""
        return one_hot(self.codes(seqlets)).sum(axis=0, dtype=np.float64)

    def cwm(self, seqlets: Seqlets) -> NDArray[np.float64]:
        """Mean contribution of each base at each position, (4, W): Σ X · track / k."""
        scored = one_hot(self.codes(seqlets)) * self.contributions(seqlets)[:, None]
        return scored.mean(axis=0, dtype=np.float64)


def join(parts: list[Alignment]) -> Alignment:
    """Put alignments of one width together."""
    return Alignment(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.reverse for part in parts]),
        parts[0].width,
    )


def best_offset(anchor: NDArray[np.float64], other: NDArray[np.float64], min_overlap: int = 4) -> tuple[int, bool]:
    """Where a matrix fits another best.

    Parameters
    ----------
    anchor, other
        (4, W) and (4, V), such as CWMs.
    min_overlap
        Least number of positions that they share.

    Returns
    -------
    offset : int
        Position of the anchor at which position 0 of the (turned) other lies.
    reverse : bool
        Whether the other is to be read as its reverse complement. Both maximise Σ anchor · other.
    """
    width, length = anchor.shape[1], other.shape[1]
    overlap = min(min_overlap, width, length)
    best = (-np.inf, 0, False)
    for reverse in (False, True):
        turned = other[::-1, ::-1] if reverse else other
        product = np.pad(anchor, ((0, 0), (length, length))).T @ turned  # (W + 2V, V)
        for offset in range(overlap - length, width - overlap + 1):
            score = float(np.trace(product[offset + length : offset + 2 * length]))
            if score > best[0]:
                best = (score, offset, reverse)
    return best[1], best[2]
