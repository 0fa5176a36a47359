"""Everything random about a window, drawn from (seed, the window's own bases, number of the draw).

A window therefore has the same references, noise and controls alone, in another order, in another batch, shard, thread
or file; the same bases on another chromosome have them too. The reverse complement of a window has other bases, and so
draws of its own.

*Numbers.* :func:`draw_number` gives each use (controls, a method's references, the audit, ...) numbers of its own, so
that a control is never one of the references of its window. Control k of a window is ``dinucleotide_shuffle(codes,
seed=seed, draw=k)``.

*Keys.* The bases of a window, eight at a time and keyed by their place, go through SplitMix64's finalizer and are added
up; (seed, that sum, number) is hashed once more. SplitMix64: Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195.
Two windows whose 64-bit sums are equal by chance (one pair in 2⁶⁴) would share draws, and nothing worse.

*Shuffles* keep every dinucleotide count. A sequence is a walk over the graph of its bases, one edge for each
dinucleotide. Every sequence with the same dinucleotide counts, first base and last base is another Eulerian walk over
the same edges. Such a walk is given by the order in which the edges of each base are used, and an order makes a full
walk if and only if the *last* edges of all bases other than the final one form a tree towards the final base (Altschul
and Erickson 1985, doi:10.1093/oxfordjournals.molbev.a040370; Kandel, Matias, Unger and Winkler 1996,
doi:10.1016/S0166-218X(97)81456-4). So a draw of such a tree, in proportion to the product of its edge counts, and of a
random order of the edges that remain is uniform. With four bases there are only 16 trees for each final base, so they
are listed and drawn from directly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import UsageError
from seqsal.sequence.codes import N_CODE

__all__ = [
    "GAMMA", "ShuffledControls", "control_numbers", "control_parents", "count_repeats", "default_n_controls",
    "dinucleotide_shuffle", "draw_number", "generators", "mononucleotide_shuffle", "random_words", "splitmix64",
    "window_keys",
]  # fmt: skip

MAX_DRAWS = 1 << 20  # of everything, and items of a use in each
CONTROL_BASES = 200_000
USES = ("controls", "references", "noise", "audit", "negatives", "background", "deletion", "tiles", "retrain")

_CHUNK_BP = 1 << 20  # bases shuffled at a time: bounds the memory, some 60 bytes for each
_SHORTEST_BP = 4  # a run of three bases or fewer has no other arrangement
_MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15
_NO_EDGE = 255


class _Source(Protocol):
    """Where windows come from; see :class:`seqsal.attribution.engine.WindowReader`."""

    length: int

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return codes of some windows, (n, L) uint8."""
        ...


def draw_number(use: str, item: ArrayLike, draw: int = 0) -> NDArray[np.int64]:
    """Give items (0 to `MAX_DRAWS` - 1, any shape) of a window for a use of `USES` numbers; control k has k.

    Items for different uses, or of another `draw` of all of them (0 to `MAX_DRAWS` - 1), are different.
    """
    return np.asarray(item, dtype=np.int64) + (USES.index(use) * MAX_DRAWS + draw) * MAX_DRAWS


def window_keys(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hash the bases of each window, (N, L) → (N,); windows of different length differ as well."""
    n_windows, length = codes.shape
    padded = np.zeros((n_windows, -(-length // 8) * 8), dtype=np.uint8)
    padded[:, :length] = codes
    words = padded.view("<u8").astype(np.uint64, copy=False)  # (N, L / 8)
    places = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * np.uint64(GAMMA)
    mixed: NDArray[np.uint64] = splitmix64(words + splitmix64(places)).sum(axis=1, dtype=np.uint64)
    return splitmix64(mixed + np.uint64(length))


def generators(codes: NDArray[np.uint8], *, seed: int, number: int) -> Iterator[np.random.Generator]:
    """Yield a generator for each window (N, L), which depends on (seed, bases, number) alone."""
    for key in window_keys(codes).tolist():
        yield np.random.default_rng([seed & _MASK, key, number])


def count_repeats(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Count, for each key (N,), how many equal ones stand before it.

    >>> count_repeats(np.array([7, 5, 7, 7], dtype=np.uint64)).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    first = np.flatnonzero(np.concatenate([[True], in_order[1:] != in_order[:-1]])) if len(keys) else order
    repeats = np.empty(len(keys), dtype=np.int64)
    repeats[order] = np.arange(len(keys)) - np.repeat(first, np.diff(np.append(first, len(keys))))
    return repeats


def default_n_controls(n_windows: int, length: int) -> int:
    """Choose the number of shuffled controls for N windows of L bases.

    One a window, but no fewer than hold 200 kb, which a tail of the null needs (100 windows of 2 kb, 1,000 of 200 bp),
    and between 100 and 1,000 in any case.
    """
    return min(max(n_windows, CONTROL_BASES // length, 100), 1000)


def control_parents(controls: NDArray[np.int64], n_windows: int, n_controls: int) -> NDArray[np.int64]:
    """Window that each control shuffles: spread evenly when controls are fewer than windows, else cycled."""
    if n_controls <= n_windows:
        return controls * n_windows // n_controls
    return controls % n_windows


def control_numbers(use: str, source: _Source, parents: NDArray[np.int64], draw: int) -> NDArray[np.int64]:
    """Return the number of the draw of each control (M,) of the windows `parents`; the same bases count together."""
    rows, of = np.unique(parents, return_inverse=True)
    step = max(1, _CHUNK_BP // max(1, source.length))
    chunks = [window_keys(source.read(rows[first : first + step])) for first in range(0, len(rows), step)]
    keys = np.concatenate(chunks) if chunks else np.empty(0, dtype=np.uint64)
    return draw_number(use, count_repeats(keys[of]), draw)


class ShuffledControls:
    """Controls of some windows: control k of a window is draw k of its own bases.

    Windows with the same bases count together, so that no two controls are the same draw. `parents` (M,) is the row of
    `source` that each control is a shuffle of; `draw` another draw of all of them.
    """

    def __init__(self, source: _Source, parents: NDArray[np.int64], *, seed: int, draw: int = 0) -> None:
        self.parents, self._source, self._seed = parents, source, seed
        self._numbers = control_numbers("controls", source, parents, draw)

    def read(self, rows: slice) -> NDArray[np.uint8]:
        """Return codes of some controls, (n, L) uint8."""
        codes = self._source.read(self.parents[rows])
        return dinucleotide_shuffle(codes, seed=self._seed, draw=self._numbers[rows])


def mononucleotide_shuffle(codes: NDArray[np.uint8], *, seed: int, draw: ArrayLike = 0) -> NDArray[np.uint8]:
    """Shuffle the known bases of each sequence (N, L) as `dinucleotide_shuffle` does, keeping GC and Ns alone."""
    random = random_words(codes, codes.shape[1], seed=seed, draw=draw) >> np.uint64(1)
    order = np.argsort(np.where(codes == N_CODE, np.uint64(_MASK), random), axis=1, kind="stable")
    slots = np.argsort(codes == N_CODE, axis=1, kind="stable")  # the known positions first, as in `order`
    shuffled = codes.copy()
    np.put_along_axis(shuffled, slots, np.take_along_axis(codes, order, axis=1), axis=1)
    return shuffled


def random_words(codes: NDArray[np.uint8], n_words: int, *, seed: int, draw: ArrayLike = 0) -> NDArray[np.uint64]:
    """Draw random 64-bit words (N, n_words) for windows (N, L), from (seed, bases, draw) alone."""
    return _hash(_draw_keys(codes, seed, draw)[:, None], np.arange(n_words))


def dinucleotide_shuffle(codes: NDArray[np.uint8], *, seed: int, draw: ArrayLike = 0) -> NDArray[np.uint8]:
    """Shuffle each sequence, uniformly over those with the same dinucleotide counts, first and last base.

    Codes (N, L), A C G T N = 0 1 2 3 4. N stays where it is, and each run of A, C, G, T between Ns is shuffled on its
    own. A shuffle depends on (seed, the sequence's bases, draw), and on nothing else in the batch; `draw`, one number
    or one for each (N,), counts the shuffles of a sequence.

    >>> from seqsal.sequence.codes import decode, encode
    >>> codes = np.stack([encode("GATTACAGATTACA")] * 2)
    >>> [decode(row) for row in dinucleotide_shuffle(codes, seed=0, draw=[0, 1])]
    ['GATACATTTACAGA', 'GACATTTAGATACA']
    """
    codes = np.ascontiguousarray(codes, dtype=np.uint8)
    if codes.ndim != 2 or (codes.size and codes.max() > N_CODE):
        raise UsageError(
            f"codes: got shape {codes.shape}, expected (N, L) with values 0 to 4; encode the sequences first"
        )
    keys = _draw_keys(codes, seed, draw)
    shuffled = codes.copy()
    step = max(1, _CHUNK_BP // max(1, codes.shape[1]))
    for first in range(0, len(codes), step):
        _shuffle_chunk(shuffled[first : first + step], keys[first : first + step])
    return shuffled


def _shuffle_chunk(codes: NDArray[np.uint8], keys: NDArray[np.uint64]) -> None:
    """Shuffle (n, L) in place: all runs of similar length, of whatever row, together."""
    row, start, length = _runs(codes)
    bucket = np.frexp(length)[1]  # lengths from 2^(k−1) to 2^k − 1 share a matrix, so that it is half full at least
    flat = codes.reshape(-1)
    for k in np.unique(bucket):
        runs = np.flatnonzero(bucket == k)
        runs = runs[np.argsort(-length[runs], kind="stable")]
        offset = np.arange(length[runs[0]])
        inside = offset < length[runs][:, None]  # (s, W)
        position = np.where(inside, start[runs][:, None] + offset, 0)
        cells = row[runs][:, None] * codes.shape[1] + position
        random = _hash(keys[row[runs]][:, None], position)
        walks = _shuffle_runs(flat[cells], length[runs], inside, random)
        flat[cells[inside]] = walks[inside]


def _runs(codes: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, start and length of every stretch of known bases that is long enough to be shuffled."""
    known = np.zeros((len(codes), codes.shape[1] + 2), dtype=np.int8)
    known[:, 1:-1] = codes < N_CODE
    change = np.diff(known, axis=1)
    row, start = np.nonzero(change == 1)
    length = np.nonzero(change == -1)[1] - start
    enough = length >= _SHORTEST_BP
    return row[enough], start[enough], length[enough]


def _shuffle_runs(
    bases: NDArray[np.uint8], length: NDArray[np.int64], inside: NDArray[np.bool_], random: NDArray[np.uint64]
) -> NDArray[np.uint8]:
    """Shuffle runs (s, W) of falling `length`; cells that are not `inside` a run are arbitrary, on both sides.

    `random` holds 64 bits for each base: for its edge to the next base, and in a run's last base for the tree.
    """
    n_runs, row = len(bases), np.arange(len(bases))
    source, target = bases[:, :-1], bases[:, 1:]
    edge = np.where(inside[:, 1:], 4 * source + target, _NO_EDGE)  # (s, W − 1)
    flat_edge = edge.astype(np.int64) + 256 * row[:, None]
    counts = np.bincount(flat_edge.ravel(), minlength=256 * n_runs).reshape(n_runs, 256)[:, :16].reshape(n_runs, 4, 4)
    tree = _draw_trees(counts, bases[row, length - 1], random[row, length - 1])
    order = _edge_order(edge, source, target, tree, random[:, :-1])
    out_degree = counts.sum(axis=2)
    return _walk(order, bases[:, 0], np.cumsum(out_degree, axis=1) - out_degree, length)


def _draw_trees(counts: NDArray[np.int64], final: NDArray[np.uint8], random: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Draw the last edges: for each run (s,) the target (s, 4) that each base leaves for last, −1 where it has none."""
    run = np.arange(len(counts))
    absent = counts.sum(axis=2) == 0  # bases with no edge hang on the final base, with weight 1
    weights = np.where(absent[:, :, None], np.arange(4) == final[:, None, None], counts)
    weights[run, final] = np.arange(4) == final[:, None]
    trees = _TREES[final]  # (s, 16, 4)
    product = weights[run[:, None, None], np.arange(4), trees].astype(np.float64).prod(axis=2)  # (s, 16)
    cumulative = product.cumsum(axis=1)
    threshold = (random >> np.uint64(11)) * 2.0**-53 * cumulative[:, -1]
    tree = trees[run, (cumulative <= threshold[:, None]).sum(axis=1)]
    return np.where(absent | (np.arange(4) == final[:, None]), -1, tree)


def _edge_order(
    edge: NDArray[np.uint8],
    source: NDArray[np.uint8],
    target: NDArray[np.uint8],
    tree: NDArray[np.int64],
    random: NDArray[np.uint64],
) -> NDArray[np.uint8]:
    """Targets (s, W − 1) in the order of use: by source base, its edges at random and that of the tree last.

    One sort of 64-bit words does it: source (2 bits), is last (1), random (59), target (2).
    """
    words = source.astype(np.uint64) << np.uint64(62)
    words |= (random >> np.uint64(3)) & np.uint64(_MASK - 3)
    words |= target
    words[edge == _NO_EDGE] = _MASK
    for base in range(4):
        # equal edges are the same, so the first of its kind can be the last one used
        runs = np.flatnonzero(tree[:, base] >= 0)
        first = (edge[runs] == (4 * base + tree[runs, base])[:, None]).argmax(axis=1)
        words[runs, first] |= np.uint64(1 << 61)
    words.sort(axis=1)
    return (words & np.uint64(3)).astype(np.uint8)


def _walk(
    order: NDArray[np.uint8], first: NDArray[np.uint8], offset: NDArray[np.int64], length: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Follow each base's targets, (s, W − 1) in order of use from column `offset` (s, 4), through all runs at once."""
    n_runs, width = len(order), order.shape[1] + 1
    targets = order.ravel()
    pointer = (offset + np.arange(n_runs)[:, None] * order.shape[1]).ravel()
    slot = np.arange(n_runs) * 4
    walks = np.empty((width, n_runs), dtype=np.uint8)  # transposed, so that each step writes one row
    walks[0] = first
    n_active = np.searchsorted(-length, -np.arange(width))  # runs longer than the step
    for step in range(1, width):
        n = n_active[step]
        current = slot[:n] + walks[step - 1, :n]
        edge = pointer[current]
        walks[step, :n] = targets[edge]
        pointer[current] = edge + 1
    return walks.T


def splitmix64(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer: every input bit changes every output bit with probability one half."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _draw_keys(codes: NDArray[np.uint8], seed: int, draw: ArrayLike) -> NDArray[np.uint64]:
    """Hash (seed, bases, draw) of each window, (N,)."""
    draws = np.asarray(draw, dtype=np.int64).view(np.uint64)
    if draws.shape not in ((), codes.shape[:1]):
        raise UsageError(f"draw: got shape {draws.shape} for {len(codes)} sequences; give one number, or one for each")
    keys = np.array([seed & _MASK], dtype=np.uint64)
    for part in (window_keys(codes), draws):
        keys = splitmix64(splitmix64(keys + np.uint64(GAMMA)) ^ part)
    return keys


def _hash(keys: NDArray[np.uint64], position: NDArray[np.int64]) -> NDArray[np.uint64]:
    return splitmix64(keys + (position.astype(np.uint64) + np.uint64(1)) * np.uint64(GAMMA))


def _trees() -> NDArray[np.int64]:
    """For each root its 16 trees over the four bases: the target of each base (4, 16, 4), the root's being itself."""
    trees: list[list[tuple[int, ...]]] = [[] for _ in range(4)]
    for root, targets in itertools.product(range(4), itertools.product(range(4), repeat=4)):
        ends = set(range(4))
        for _ in range(3):
            ends = {targets[base] for base in ends}
        if targets[root] == root and ends == {root}:
            trees[root].append(targets)
    return np.array(trees)


_TREES = _trees()
