"""From windows to the genome: one pass over the chromosomes in order, overlapping windows blended.

All chromosomes are laid end to end on one *axis*, so that a table of a million contigs is swept as fast as one
chromosome. Windows are read in the order of their places, a chunk at a time, turned to the
forward strand, and added up; a position is handed out once every window that covers it has been read. What is kept
between chunks is one window length, whatever the number of regions and however deep they overlap; windows that are not
in order in the file take 16 bytes each as well, for where they lie and which row they are.

A position has a value when at least one window has a known base there: N, padding and bases beyond the chromosome are
left out. The value is the weighted mean over those windows, summed in float64 in the order of the windows, so that it
does not depend on the chunks; under a single window it is that window's float32 value. A window's weight falls from
its middle to its first and last base (`blend_weights`), where the model sees least of what is around: a locus on the
border of two tiles is read from the window that has it inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import RegionError, StoreError
from seqsal.io.attributions import ROWS_AT_ONCE, Attributions
from seqsal.io.progress import bar as progress_bar
from seqsal.sequence.codes import N_CODE, one_hot, reverse_complement
from seqsal.sequence.kernels import MANY, compiled

__all__ = [
    "CHUNK_BP", "Axis", "Read", "Scale", "TrackBlock", "average_spans", "blend_weights", "chunk_rows", "forward_codes",
    "forward_layers", "read_forward", "rows_over", "sweep_track",
]  # fmt: skip

CHUNK_BP = 1 << 20  # values per chunk: about 60 MB of working memory
MOST_RUNS = 100  # of rows in order, and one for as many rows; of more of them, each row's place is kept in memory
Scale = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float64]]
Read = Callable[[NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.bool_]]]


class _Run(NamedTuple):
    """Adjacent rows of one chromosome whose windows are in order: from `first` on, `n` of them."""

    chrom: str
    first: int
    n: int
    start: int  # of the first and of the last window (bp)
    last: int


@dataclass(frozen=True)
class Axis:
    """Chromosomes laid end to end, with at least one free position between them.

    For each of the C chromosomes, in the order of the axis, its name, `base`, the axis position of its first covered
    base, and `origin`, that base's position on the chromosome (negative where a window hangs over the start). Where the
    windows lie stays with `attr`, and is read in the order of the axis by :meth:`in_order`; `runs` are rows in that
    order, None where windows are not in order by and large.
    """

    chroms: list[str]
    base: NDArray[np.int64]
    origin: NDArray[np.int64]
    attr: Attributions
    runs: NDArray[np.int64] | None  # (R, 3) first row, number of rows, chromosome

    @classmethod
    def of(cls, attr: Attributions, chroms: Sequence[str] | None = None) -> Axis:
        """Lay out the chromosomes of the windows, in the order of `chroms` (default: sorted by name).

        Raises RegionError for a window on a chromosome that `chroms` lacks, or one that is not `attr.length` bp long.
        """
        first, last, runs = _survey(attr)
        order = sorted(first) if chroms is None else [chrom for chrom in chroms if chrom in first]
        missing = sorted(set(first) - set(order))
        if missing:
            raise RegionError(
                f"regions: chromosome {missing[0]} (and {len(missing) - 1} more) is not among the chromosome sizes "
                f"given ({', '.join(list(chroms or ())[:4])}, …); use the sizes of the genome that the windows are from"
            )
        origin = np.array([first[chrom] for chrom in order], dtype=np.int64)
        width = np.array([last[chrom] for chrom in order], dtype=np.int64) + attr.length - origin
        base = np.concatenate([[0], np.cumsum(width + 1)[:-1]]) if order else np.zeros(0, dtype=np.int64)
        rank = {chrom: i for i, chrom in enumerate(order)}
        return cls(order, base, origin, attr, None if runs is None else _in_order(runs, rank))

    def _placed(self, start: NDArray[np.int64], chrom: NDArray[np.int64] | int) -> NDArray[np.int64]:
        return start - self.origin[chrom] + self.base[chrom]

    @cached_property
    def window_start(self) -> NDArray[np.int64]:
        """Axis position (N,) of every window's first base."""
        found = np.empty(len(self.attr), dtype=np.int64)
        for rows in self.attr.row_blocks():
            chrom = pd.Index(self.chroms).get_indexer(pd.Index(self.attr.column("chrom", rows)))
            found[rows] = self._placed(self.attr.column("start", rows), chrom)
        return found

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Rows (N,) of the windows along the axis."""
        if self.runs is None:
            return np.argsort(self.window_start, kind="stable")
        return self.rows_at(np.arange(len(self.attr)))

    def _at(self, ranks: NDArray[np.int64], runs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and chromosomes (n,) of the windows of some ranks (n,) along the axis."""
        before = np.cumsum(runs[:, 1]) - runs[:, 1]
        run = np.searchsorted(before, ranks, side="right") - 1
        return np.asarray(runs[run, 0] + ranks - before[run]), runs[run, 2]

    def rows_at(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the windows of some ranks (n,) along the axis."""
        return self.order[ranks] if self.runs is None else self._at(ranks, self.runs)[0]

    def in_order(self, step: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the windows along the axis, `step` at a time: their rows, and the axis positions of their first bases.

        Of windows that lie in order in the file, as tiles of a genome do, some `ROWS_AT_ONCE` are in memory.
        """
        n_at_once = max(ROWS_AT_ONCE // step, 1) * step
        for first in range(0, len(self.attr), n_at_once):
            if self.runs is None:
                rows = self.order[first : first + n_at_once]
                places = self.window_start[rows]
            else:
                rows, chrom = self._at(np.arange(first, min(first + n_at_once, len(self.attr))), self.runs)
                adjacent = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
                starts = [self.attr.column("start", slice(int(one[0]), int(one[-1]) + 1)) for one in adjacent]
                places = self._placed(np.concatenate(starts).astype(np.int64, copy=False), chrom)
            for i in range(0, len(rows), step):
                yield rows[i : i + step], places[i : i + step]

    def windows_over(self, spans: pd.DataFrame, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the window of `length` bp that holds each span (chrom, start, end) whole, nearest to its middle.

        Returns its row, -1 where there is none, and the offset (bp) of the span's start in it, on the forward strand.
        """
        of = pd.Index(self.chroms).get_indexer(pd.Index(spans["chrom"]))
        start, end = (self._placed(spans[name].to_numpy(np.int64), of) for name in ("start", "end"))
        target = (start + end - length) // 2
        found, offset = np.full(len(start), -1), np.zeros(len(start), dtype=np.int64)
        sought, n_done = np.argsort(target, kind="stable"), 0

        def settle(these: NDArray[np.int64]) -> None:
            after = np.searchsorted(starts, target[these])
            near = np.clip(np.stack([after - 1, after]), 0, len(starts) - 1)
            nearest = np.abs(2 * starts[near] - (start + end - length)[these]).argmin(axis=0)
            chosen = np.take_along_axis(near, nearest[None], axis=0)[0]
            is_there = np.searchsorted(self.base, starts[chosen], side="right") - 1 == of[these]
            found[these], offset[these] = np.where(is_there, rows[chosen], -1), start[these] - starts[chosen]

        rows = starts = np.zeros(0, dtype=np.int64)
        for here, places in self.in_order(ROWS_AT_ONCE):
            rows, starts = np.append(rows[-1:], here), np.append(starts[-1:], places)
            upto = int(np.searchsorted(target[sought], starts[-1], side="right"))
            settle(sought[n_done:upto])
            n_done = upto
        if len(rows):
            settle(sought[n_done:])
        return np.where((offset >= 0) & (offset + end - start <= length), found, -1), offset

    def locate(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the index of the chromosome, and the position on it, of axis positions."""
        chrom = np.searchsorted(self.base, positions, side="right") - 1
        return chrom, positions - self.base[chrom] + self.origin[chrom]


def _survey(attr: Attributions) -> tuple[dict[str, int], dict[str, int], list[_Run] | None]:
    """Return the first and the last start on each chromosome, and the runs of rows, unless there are many of these."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    runs: list[_Run] | None = []
    for rows in attr.row_blocks():
        start = np.asarray(attr.column("start", rows), dtype=np.int64)
        widths = np.asarray(attr.column("end", rows), dtype=np.int64) - start
        wrong = np.flatnonzero(widths != attr.length)
        if len(wrong):
            (name,) = attr.column("name", [rows.start + int(wrong[0])])
            raise RegionError(
                f"regions: {name} spans {widths[wrong[0]]} bp, expected the {attr.length} bp of the track's rows; pass "
                "the windows that were attributed"
            )
        of, names = pd.factorize(attr.column("chrom", rows))
        low, high = np.full(len(names), start.max()), np.full(len(names), start.min())
        np.minimum.at(low, of, start)
        np.maximum.at(high, of, start)
        for name, lowest, highest in zip(names, low.tolist(), high.tolist(), strict=True):
            first[name], last[name] = min(first.get(name, lowest), lowest), max(last.get(name, highest), highest)
        at = np.flatnonzero(np.append(True, (of[1:] != of[:-1]) | (start[1:] < start[:-1])))
        if runs is None or len(runs) + len(at) > MOST_RUNS + len(attr) // MOST_RUNS:
            runs = None
            continue
        for i, n in zip(at.tolist(), np.diff(at, append=len(start)).tolist(), strict=True):
            run = _Run(names[of[i]], rows.start + i, n, int(start[i]), int(start[i + n - 1]))
            if runs and runs[-1].chrom == run.chrom and runs[-1].last <= run.start:
                before = runs.pop()
                run = before._replace(n=before.n + n, last=run.last)
            runs.append(run)
    return first, last, runs


def _in_order(runs: list[_Run], rank: Mapping[str, int]) -> NDArray[np.int64] | None:
    """Put runs in the order of the axis, (R, 3); None where some lie within each other."""
    ordered = sorted(runs, key=lambda run: (rank[run.chrom], run.start, run.first))
    for one, after in pairwise(ordered):
        if one.chrom == after.chrom and (one.last, one.first) > (after.start, after.first):
            return None
    return np.array([(run.first, run.n, rank[run.chrom]) for run in ordered], dtype=np.int64).reshape(-1, 3)


@dataclass(frozen=True)
class TrackBlock:
    """A stretch of the blended track; blocks come in order and never overlap.

    Of the P axis positions that have a value, strictly increasing: `values`, the mean over the `n_windows` that know
    the base, whose weights sum to `weights`, and `scaled`, the same mean of each window's values over the window's
    scale.
    """

    positions: NDArray[np.int64]
    values: NDArray[np.float64]
    scaled: NDArray[np.float64]
    weights: NDArray[np.float64]
    n_windows: NDArray[np.int64]

    @classmethod
    def empty(cls) -> TrackBlock:
        """No position."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, np.zeros(0), np.zeros(0), np.zeros(0), none)

    def join(self, other: TrackBlock) -> TrackBlock:
        """Append a block that lies further along the axis."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return TrackBlock(*(np.concatenate(pair) for pair in pairs))

    def take(self, keep: slice | NDArray[np.bool_]) -> TrackBlock:
        """Keep some of the positions."""
        return TrackBlock(*(column[keep] for column in vars(self).values()))


def blend_weights(length: int) -> NDArray[np.float64]:
    """Weight (L,) of each base of a window where windows overlap: the square of its distance from the nearer end.

    In proportion to the distance, a motif of 10 bp that other windows cut would lose up to a tenth of its signal in
    tiles of 60 bp that overlap by half; so it loses 1 or 2 %.
    """
    offset = np.arange(length)
    return np.square(np.minimum(offset + 1, length - offset), dtype=np.float64)


def chunk_rows(length: int, chunk_bp: int = CHUNK_BP) -> int:
    """Windows of `length` bp that make a chunk."""
    return max(1, chunk_bp // max(length, 1))


def sweep_track(
    attr: Attributions,
    axis: Axis,
    *,
    scale: Scale | None = None,
    read: Read | None = None,
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> Iterator[TrackBlock]:
    """Yield the track along the axis, overlapping windows blended, in bounded memory.

    `scale` gives what a window's values are divided by for `TrackBlock.scaled`: from values and known bases, both (n,
    L), to (n,) above 0. `read` gives the values and known bases of some rows where they are others than the track's.
    `chunk_bp` values are read at a time; it changes the size of the blocks, not the values. Raises StoreError for a
    value that is not finite.
    """
    is_many = len(attr) * attr.length >= MANY
    open_sums, cover = TrackBlock.empty(), _Cover(attr.length, is_many)  # sums, not yet divided by their weights
    chunks = axis.in_order(chunk_rows(attr.length, chunk_bp))
    with progress_bar(total=len(attr), desc="track", unit="window", disable=not progress) as bar:
        for (rows, starts), after in pairwise(chain(chunks, [None])):  # type: ignore[misc]
            values, known = read_forward(attr, rows) if read is None else read(rows)
            scales = None if scale is None else scale(values, known)
            sums = _add_up(starts, values, scales, known, open_sums, cover)
            upcoming = np.iinfo(np.int64).max if after is None else after[1][0]
            n_done = int(np.searchsorted(sums.positions, upcoming))
            open_sums = sums.take(slice(n_done, None))
            bar.update(len(rows))
            done = sums.take(slice(n_done))
            is_known = done.n_windows > 0
            done = done if is_known.all() else done.take(is_known)
            mean = done.values / done.weights
            yield replace(done, values=mean, scaled=mean if scale is None else done.scaled / done.weights)


def read_forward(attr: Attributions, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Track and known bases (n, L) of some rows, turned to the chromosome's forward strand."""
    adjacent = rows[-1] - rows[0] == len(rows) - 1 and bool(np.all(np.diff(rows) == 1))
    index = slice(int(rows[0]), int(rows[-1]) + 1) if adjacent else rows
    values = np.asarray(attr.track[index], dtype=np.float32)
    known = np.asarray(attr.codes[index]) != N_CODE
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(values.sum())  # quicker; where the sum itself is too large, each is looked at
    if not is_finite and not np.isfinite(values).all():
        bad = attr.column("name", [int(rows[np.argmin(np.isfinite(values).all(axis=1))])])[0]
        raise StoreError(f"track: the window {bad} has values that are not finite; attribute it again")
    reverse = attr.is_reverse[index]
    if reverse.any():
        values = np.where(reverse[:, None], values[:, ::-1], values)  # the track itself stays as it is
        known[reverse] = known[reverse, ::-1]
    return values, known


def forward_codes(attr: Attributions, rows: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
    """Codes (n, L) of some rows, turned to the chromosome's forward strand."""
    codes = np.array(attr.codes[rows], dtype=np.uint8)
    reverse = attr.is_reverse[rows]
    codes[reverse] = reverse_complement(codes[reverse])
    return codes


def forward_layers(
    attr: Attributions, rows: slice | NDArray[np.int64], all_bases: bool = True
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Codes (n, L) of some rows on the forward strand, and their track and, with `all_bases`, scores of all four bases.

    The layers are (n, 1 or 5, L); X · track stands in for scores that were not kept.
    """
    codes, layers = forward_codes(attr, rows), np.array(attr.track[rows], dtype=np.float32)[:, None]
    reverse = attr.is_reverse[rows]
    layers[reverse] = layers[reverse, :, ::-1]
    if not all_bases:
        return codes, layers
    if attr.hypothetical is None:
        scores = one_hot(codes) * layers
    else:
        scores = np.array(attr.hypothetical[rows], dtype=np.float32)
        scores[reverse] = scores[reverse, ::-1, ::-1]  # A ↔ T and C ↔ G are opposite rows
    return codes, np.concatenate([layers, scores], axis=1)


def rows_over(attr: Attributions, spans: pd.DataFrame) -> NDArray[np.int64]:
    """Rows of the windows that share a base with any of some spans (chrom, start, end), ascending.

    The table of the windows is read in blocks.
    """
    chroms = pd.Index(pd.unique(spans["chrom"]))
    first, last = (spans[name].to_numpy(np.int64) + (chroms.get_indexer(pd.Index(spans["chrom"])) << 40)
                   for name in ("start", "end"))  # chromosomes far apart  # fmt: skip
    order = np.argsort(first, kind="stable")
    first, last = first[order], np.maximum.accumulate(last[order])
    found = [np.zeros(0, np.int64)]
    for rows in attr.row_blocks() if len(spans) else ():
        chrom = chroms.get_indexer(pd.Index(attr.column("chrom", rows)))
        start = np.asarray(attr.column("start", rows), np.int64) + (chrom.astype(np.int64) << 40)
        before = np.searchsorted(first, start + attr.length) - 1  # spans that begin before the window ends
        found.append(rows.start + np.flatnonzero((chrom >= 0) & (before >= 0) & (last[before] > start)))
    return np.concatenate(found)


def average_spans(
    attr: Attributions,
    rows: NDArray[np.int64],
    span: NDArray[np.int64],
    offset: NDArray[np.int64],
    shape: tuple[int, int],
    *,
    all_bases: bool = True,
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Blend windows over S spans of W bases, on the forward strand, where the windows know the base.

    Window `rows[i]` lies under span `span[i]`, whose first base is base `offset[i]` of the window; `shape` is (S, W).
    Returns codes (S, W) and means (S, 1 or 5, W): the track and, with `all_bases`, the scores of A, C, G and T, for
    which X · track stands in where there are none; NaN where no window knows the base.
    """
    n_layers = 5 if all_bases else 1
    total, weight = np.zeros((shape[0], n_layers, shape[1])), np.zeros(shape)
    weights = blend_weights(attr.length)
    codes = np.full(shape, N_CODE, dtype=np.uint8)
    step = max(1, chunk_rows(attr.length, chunk_bp) // n_layers)
    with progress_bar(total=len(rows), desc="windows", unit="window", disable=not progress) as bar:
        for part in (slice(i, i + step) for i in range(0, len(rows), step)):
            near = forward_layers(attr, rows[part], all_bases)
            for i, first, bases, layers in zip(span[part], offset[part], *near, strict=True):
                here = slice(max(0, -first), min(shape[1], attr.length - first))
                there = slice(here.start + first, here.stop + first)
                known = bases[there] != N_CODE
                codes[i, here][known] = bases[there][known]
                shares = np.where(known, weights[there], 0.0)
                total[i, :, here] += layers[:, there] * shares
                weight[i, here] += shares
            bar.update(len(rows[part]))
    divisor = weight[:, None]
    return codes, np.divide(total, divisor, out=np.full_like(total, np.nan), where=divisor > 0)


class _Cover:
    """Weights, and numbers of windows, of each position under windows that know all their bases.

    In a genome that is covered evenly they are the same in chunk after chunk, and are added up once. Of many windows
    (`is_many`) compiled loops add up.
    """

    def __init__(self, length: int, is_many: bool) -> None:
        self.shares, self.is_many = blend_weights(length), is_many
        self._given: tuple[NDArray[Any], ...] = ()
        self._sums = np.zeros(0), np.zeros(0, dtype=np.int64)

    def over(
        self, slot: NDArray[np.int64], at: NDArray[np.int64], carried: TrackBlock
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Of windows whose first bases lie at `slot`, after what earlier ones left at the positions `at`."""
        given = slot, at, carried.weights, carried.n_windows
        if not self._given or not all(map(np.array_equal, given, self._given)):
            rows = np.broadcast_to(self.shares, (len(slot), len(self.shares)))
            ones = np.broadcast_to(np.int64(1), rows.shape)
            self._sums = _laid(slot, rows, at, carried.weights), _laid(slot, ones, at, carried.n_windows)
            self._given = given
        return self._sums


def _add_up(
    starts: NDArray[np.int64],
    values: NDArray[np.float32],
    scales: NDArray[np.float64] | None,
    known: NDArray[np.bool_],
    carried: TrackBlock,
    cover: _Cover,
) -> TrackBlock:
    """Add windows sorted by start to what earlier windows left at the positions that they share."""
    length = values.shape[1]
    steps = np.diff(starts)
    slot = np.concatenate([[0], np.cumsum(np.minimum(steps, length))])  # stretches without a window take no memory
    size = int(slot[-1]) + length
    at = carried.positions - starts[0]
    all_known = bool(known.all())
    if cover.is_many and all_known and scales is None:
        total = np.zeros(size)
        total[at] = carried.values
        compiled(_add_known)(slot, np.ascontiguousarray(values), cover.shares, total)
        return TrackBlock(_positions(starts, slot, size), total, total, *cover.over(slot, at, carried))
    if cover.is_many:
        total, scaled, weights, count = _added_in_one_loop(slot, values, scales, known, at, carried, cover.shares)
        return TrackBlock(_positions(starts, slot, size), total, scaled, weights, count)
    shares = cover.shares if all_known else np.where(known, cover.shares, 0)
    weighted = values * shares
    total = _laid(slot, weighted, at, carried.values)
    scaled = total if scales is None else _laid(slot, weighted / scales[:, None], at, carried.scaled)
    if all_known:
        weights, count = cover.over(slot, at, carried)
    else:
        weights, count = _laid(slot, shares, at, carried.weights), _laid(slot, known, at, carried.n_windows)
    return TrackBlock(_positions(starts, slot, size), total, scaled, weights, count)


def _positions(starts: NDArray[np.int64], slot: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Axis positions (size,) of windows that start at `starts`, whose first bases lie at `slot`."""
    positions = np.arange(starts[0], starts[0] + size)
    after_gap = np.flatnonzero(np.diff(starts) != np.diff(slot)) + 1
    if len(after_gap):
        begin = slot[after_gap]
        positions[begin[0] :] += np.repeat(starts[after_gap] - starts[0] - begin, np.diff(begin, append=size))
    return positions


def _added_in_one_loop(
    slot: NDArray[np.int64], values: NDArray[np.float32], scales: NDArray[np.float64] | None, known: NDArray[np.bool_],
    at: NDArray[np.int64], carried: TrackBlock, shares: NDArray[np.float64],
) -> tuple[NDArray[Any], ...]:  # fmt: skip
    """Add up values, scaled values, weights and windows, in the order of the rows as numpy does."""
    size, values = int(slot[-1]) + values.shape[1], np.ascontiguousarray(values)
    total, weights, count = np.zeros(size), np.zeros(size), np.zeros(size, np.int64)
    total[at], weights[at], count[at] = carried.values, carried.weights, carried.n_windows
    scaled = total
    if scales is not None:
        scaled = np.zeros(size)
        scaled[at] = carried.scaled
        compiled(_add_scaled)(slot, values, known, shares, scales, scaled)
    compiled(_add)(slot, values, known, shares, total, weights, count)
    return total, scaled, weights, count


def _add_known(slot: Any, values: Any, shares: Any, total: Any) -> None:
    """Add up rows whose bases are all known, to be compiled."""
    length = len(shares)
    for i in range(len(slot)):
        row, sums = values[i], total[slot[i] : slot[i] + length]
        for j in range(length):
            sums[j] += row[j] * shares[j]


def _add(slot: Any, values: Any, known: Any, shares: Any, total: Any, weights: Any, count: Any) -> None:
    """Add rows up, to be compiled."""
    length = len(shares)
    for i in range(len(slot)):
        here = slice(slot[i], slot[i] + length)
        row, is_known, sums, of_weights, of_windows = values[i], known[i], total[here], weights[here], count[here]
        for j in range(length):
            share = shares[j] if is_known[j] else 0.0
            sums[j] += row[j] * share
            of_weights[j] += share
            of_windows[j] += is_known[j]


def _add_scaled(slot: Any, values: Any, known: Any, shares: Any, scales: Any, scaled: Any) -> None:
    """Add rows up, each divided by its scale, to be compiled."""
    length = len(shares)
    for i in range(len(slot)):
        row, is_known, sums = values[i], known[i], scaled[slot[i] : slot[i] + length]
        for j in range(length):
            sums[j] += (row[j] * shares[j] if is_known[j] else 0.0) / scales[i]


def _laid(slot: NDArray[np.int64], rows: NDArray[Any], at: Any = (), carried: Any = ()) -> NDArray[Any]:
    """Add rows up, row i from `slot[i]` on, after what earlier rows left at the positions `at`."""
    length = rows.shape[1]
    size = int(slot[-1]) + length
    total = np.zeros(size + length, np.int64 if rows.dtype == np.bool_ else rows.dtype)
    if len(at):
        total[at] = carried
    _add_rows(total, slot, rows)
    return total[:size]


def _add_rows(total: NDArray[Any], slot: NDArray[np.int64], rows: NDArray[Any]) -> None:
    """Add row i at `slot[i]`, for each position in the order of the rows; rows at equal steps together."""
    length, steps = rows.shape[1], np.diff(slot)
    first = 0
    for change in [*(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]:
        if change <= first < len(steps) or first > len(steps):
            continue
        n, step = change - first + 1, int(steps[first]) if change > first else length
        if step == 0:
            for row in rows[first : first + n]:
                total[slot[first] : slot[first] + length] += row
        for low in reversed(range(0, length, step)) if step else ():  # row i before row i + 1 at each position
            part = rows[first : first + n, low : low + step]
            begin = slot[first] + low
            total[begin : begin + n * step].reshape(n, step)[:, : part.shape[1]] += part
        first += n
