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

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import CHUNK_BP, average_spans, rows_over
from seqsal.regions import format_region
from seqsal.sequence.codes import N_CODE, one_hot, reverse_complement

__all__ = ["CONTEXT_BP", "SEQLET_BP", "Alignment", "Seqlets", "best_offset", "cut_seqlets", "join", "peak_signs"]

SEQLET_BP = 41  # TF-MoDISco's default: 21 bp and 10 bp on each side
CONTEXT_BP = SEQLET_BP + 2 * 40  # room for an alignment to move and a pattern to grow
ROUND_BITS = 10  # scores that differ by 1e-8 are then the same; clusters hang on any difference
MAX_SEQLETS = 20_000  # of one sign: the strongest
_NEEDED = ("chrom", "start", "end", "summit")


@dataclass(frozen=True)
class Seqlets:
    """Contexts of n peaks, all on the forward strand."""

    table: pd.DataFrame  # chrom, start and end of the context (a start may be negative), `name` of the peak, `sign`
    codes: NDArray[np.uint8]  # (n, W), N where no window knows the base
    hypothetical: NDArray[np.float32]  # (n, 4, W) scores of all four bases; X · contributions when there were none
    contributions: NDArray[np.float32]  # (n, W) attributions of the bases that are there
    is_approximate: bool  # whether `hypothetical` is the stand-in

    def __len__(self) -> int:
        return len(self.table)

    @property
    def width(self) -> int:
        """Bases of a context."""
        return self.codes.shape[1]

    def take(self, rows: NDArray[np.int64]) -> Seqlets:
        """Keep some of the rows, in that order."""
        arrays = {key: getattr(self, key)[rows] for key in ("codes", "hypothetical", "contributions")}
        return replace(self, table=self.table.iloc[rows].reset_index(drop=True), **arrays)

    def rounded(self) -> Seqlets:
        """Round scores to `ROUND_BITS` bits of the largest contribution, so that their last digits decide nothing."""
        _, exponent = np.frexp(np.abs(self.contributions).max(initial=0.0))
        grid = np.float32(2.0 ** (int(exponent) - ROUND_BITS))
        scores = {key: np.rint(getattr(self, key) / grid) * grid for key in ("hypothetical", "contributions")}
        return replace(self, **scores)

    def of_sign(self, sign: str) -> Seqlets:
        """Keep the seqlets of one sign, `pos` or `neg`."""
        return self.take(np.flatnonzero((self.table["sign"] == sign).to_numpy()))


def peak_signs(peaks: pd.DataFrame) -> NDArray[np.object_]:
    """Sign of each peak, `pos` or `neg`: its column `sign`, else the sign of its `signal`."""
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
    """Cut out the context of every peak, the strongest (|signal|) first, both signs together.

    `peaks` is a table of :func:`seqsal.call_peaks` or a narrowPeak; a summit of -1 stands for the middle. Of each sign
    at most `max_seqlets` are kept; `context_bp` is odd. Only windows near peaks are read, `chunk_bp` values at a time.
    Raises `UsageError` for a missing column, `RegionError` for a peak that no window covers.
    """
    if missing := [key for key in _NEEDED if key not in peaks]:
        raise UsageError(f"peaks: no column {', '.join(missing)}, expected the table of call_peaks or a narrowPeak")
    from bioframe.core.arrops import overlap_intervals  # here because it loads matplotlib

    table = _contexts(peaks, context_bp, max_seqlets)
    over = rows_over(attr, table)
    near = attr.rows(over, ["chrom", "start"])
    chrom_idx = pd.factorize(pd.concat([table["chrom"], near["chrom"]]))[0]
    starts = np.concatenate([table["start"], near["start"]]) + (chrom_idx << 40)  # chromosomes far apart
    contexts, windows = starts[: len(table)], starts[len(table) :]
    which, rows = overlap_intervals(contexts, contexts + context_bp, windows, windows + attr.length)
    order, offsets = np.lexsort((which, rows)), contexts[which] - windows[rows]
    covered = np.zeros(len(table), bool)
    covered[which[(offsets + context_bp // 2 >= 0) & (offsets + context_bp // 2 < attr.length)]] = True
    if not covered.all():
        raise _not_covered(table, ~covered)
    codes, means = average_spans(
        attr,
        over[rows[order]],
        which[order],
        offsets[order],
        (len(table), context_bp),
        chunk_bp=chunk_bp,
        progress=progress,
    )
    layers = np.nan_to_num(means, nan=0.0).astype(np.float32)
    return Seqlets(table, codes, layers[:, 1:], layers[:, 0], attr.hypothetical is None)


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
    rank = np.round(strength / (strength.max(initial=0.0) or 1.0), 6)  # copies of a site are equally strong
    table = table.iloc[np.argsort(-rank, kind="stable")]
    return table[table.groupby("sign").cumcount() < max_seqlets].reset_index(drop=True)


def _not_covered(table: pd.DataFrame, wrong: NDArray[np.bool_]) -> RegionError:
    row = table.iloc[int(np.argmax(wrong))]
    middle = (row["start"] + row["end"]) // 2
    return RegionError(
        f"peaks: no window covers the summit of {row['name']} at {format_region(row['chrom'], middle, middle + 1)} and "
        f"{int(wrong.sum()) - 1} more; give the peaks that were called on these attributions"
    )


@dataclass(frozen=True)
class Alignment:
    """Instances of one pattern in the contexts of seqlets."""

    rows: NDArray[np.int64]  # (k,) seqlet of each instance
    start: NDArray[np.int64]  # (k,) offset of its leftmost base in the context
    reverse: NDArray[np.bool_]  # (k,) whether it reads the reverse strand
    width: int  # positions W

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
    """Where a matrix (4, V) fits another (4, W) best, sharing `min_overlap` positions or more.

    Returns the position of the anchor at which position 0 of the other lies, and whether the other is to be read as its
    reverse complement; both maximise Σ anchor · other.
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
