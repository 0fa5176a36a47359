"""Where a map is blind, by in-silico mutagenesis, and where mutagenesis itself is, by removing whole spans.

*Cold spots* are positions that the model relies on, and of which a map shows nothing.

With I the effect of losing a base (f of the sequence minus its mean over the three other bases) and A the
map, of one region:

* a position is *important* when |I| is among the largest of its region (`IMPORTANT_SHARE` of the known positions) and
  at least `MIN_POSITION_EFFECT` of the model's range;
* the map is *blind* there when |A| is not above the region's `BLIND_QUANTILE` of |A|, or when |A| / max |A| is below
  `BLIND_RATIO` times |I| / max |I|. Of a map without relation to the model, the first is true for a half of the
  positions when the quantile is the median.

*Removed spans* are evidence that neither a gradient nor single substitutions can give.

Each region is cut into tiles of `SPAN_BP`. A tile is *removed* by putting there what a dinucleotide-preserving shuffle
of the sequence has at the same place; its effect is f(X) minus the mean of f over several shuffles. A map that accounts
for the model adds up, over the tiles, to something that correlates with these effects.

*Redundancy.* Of two copies of a motif either may do, so that losing one changes nothing: mutagenesis sees neither, and
a gradient behind a saturated unit is 0 at both. Attributions that integrate from a reference (integrated gradients,
DeepLIFT) give credit to both. The tiles with most such credit, of one sign, in which no substitution matters are
therefore removed together, and as a control as many tiles with the least credit. The site is *hidden* from mutagenesis
when the joint effect is larger than that of the control, and than the sum of the single substitutions, by `min_effect`
of the model's range.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from seqsal.auditing.content import Codes, Flags, Ints, Values
from seqsal.auditing.context import AuditContext
from seqsal.regions import lift_span
from seqsal.sequence.codes import N_CODE

__all__ = [
    "MIN_POSITION_EFFECT", "Hidden", "Tiles", "blind_positions", "choose_tiles", "cold_spots", "find_hidden",
    "important_positions", "remove_tiles", "tile_sums",
]  # fmt: skip

IMPORTANT_SHARE = 0.05  # of the positions of a region, those with the largest effect of losing the base
MIN_POSITION_EFFECT = 0.05  # of the model's range
BLIND_QUANTILE = 0.5  # of the magnitudes of the map in the region
BLIND_RATIO = 0.1  # of what mutagenesis shows, either relative to its largest value in the region
MAX_GAP = 3  # bp between positions of one cold spot
SPAN_BP = 15  # width of the tiles
N_SPANS = 16  # removed from each region, at most
N_JOINT = 4  # with credit, though no substitution in them matters, that are removed together, at most
CHUNK_CODES = 1 << 25


def important_positions(ism: Values, known: Flags, scale: float) -> Flags:
    """Mark the positions (n, L) that a model of some range relies on, by the effect of losing each base."""
    size = np.where(known, np.abs(ism), -1.0)
    n_top = np.maximum(np.ceil(IMPORTANT_SHARE * known.sum(1)).astype(np.int64), 1)
    ordered = -np.sort(-size, axis=1)
    least = np.take_along_axis(ordered, n_top[:, None] - 1, axis=1)
    floor = MIN_POSITION_EFFECT * scale
    return known & (size >= np.maximum(least, floor)) & (size > 0) & (scale > 0)


def blind_positions(track: Values, ism: Values, known: Flags, important: Flags) -> Flags:
    """Mark the important positions (n, L) of which a map (n, L) shows nothing."""
    size, effect = (np.where(known, np.abs(values), 0.0).astype(np.float64) for values in (track, ism))
    n_below = np.floor(BLIND_QUANTILE * (known.sum(1) - 1)).clip(0).astype(np.int64)
    ordered = np.sort(np.where(known, size, np.inf), axis=1)
    middle = np.take_along_axis(ordered, n_below[:, None], axis=1)
    share = BLIND_RATIO * effect * size.max(1, keepdims=True)
    return important & ((size <= middle) | (size * effect.max(1, keepdims=True) < share))


def cold_spots(windows: pd.DataFrame, blind: Flags, ism: Values, maps: Mapping[str, Values]) -> pd.DataFrame:
    """List blind positions (n, L), those at most `MAX_GAP` bp apart together, the most important first.

    `ism_effect` is the largest of the spot, signed; each map has a column with its value at that position.
    """
    rows: list[list[object]] = []
    for i in np.flatnonzero(blind.any(1)):
        at, window = np.flatnonzero(blind[i]), windows.iloc[i]
        for spot in np.split(at, np.flatnonzero(np.diff(at) > MAX_GAP + 1) + 1):
            start, end = lift_span(window["start"], window["end"], window["strand"], spot[0], spot[-1] + 1)
            worst = int(spot[np.abs(ism[i, spot]).argmax()])
            where = [int(window["row"]), window["chrom"], int(start), int(end), window["name"]]
            values = [float(track[i, worst]) for track in maps.values()]
            rows.append([*where, len(spot), float(ism[i, worst]), *values])
    columns = ["row", "chrom", "start", "end", "name", "n_positions", "ism_effect", *maps]
    table = pd.DataFrame(rows, columns=columns)
    order = np.argsort(-np.abs(table["ism_effect"].to_numpy(np.float64)), kind="stable")
    return table.iloc[order].reset_index(drop=True)


class Tiles(NamedTuple):
    """Tiles of n regions of L bases, T for each.

    `edges`: (T + 1,) offsets; what is left over at the ends of a region belongs to no tile. `tested`: (n, T), which of
    them are removed.
    """

    edges: Ints
    tested: Flags

    def mask(self, chosen: Flags, length: int) -> Flags:
        """Bases (n, L) of chosen tiles (n, T)."""
        mask = np.zeros((len(chosen), length), dtype=bool)
        mask[:, self.edges[0] : self.edges[-1]] = np.repeat(chosen, np.diff(self.edges), axis=1)
        return mask


class Hidden(NamedTuple):
    """Joint removals; (n,) each, NaN where a region has no tile with credit in which no substitution matters.

    `n_tiles`: tiles removed together. `joint`, `control`, `singly`, `additive`: effects of removing them together, of
    removing as many with the least credit together, the sum of the effects of removing each alone, and the sum of the
    effects of losing each base. `hidden`: whether mutagenesis misses what they do.
    """

    n_tiles: Ints
    joint: Values
    control: Values
    singly: Values
    additive: Values
    hidden: Flags


def tile_sums(edges: Ints, values: Values) -> Values:
    """Σ values (n, L) over each tile, (n, T)."""
    running = np.pad(np.cumsum(values, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    return np.asarray(running[:, edges[1:]] - running[:, edges[:-1]])


def choose_tiles(context: AuditContext, codes: Codes, maps: Mapping[str, Values]) -> Tiles:
    """Cut regions into tiles and choose those to remove: all, or those that any map credits most and as many others."""
    n, length = codes.shape
    width = min(SPAN_BP, length)
    first = (length % width) // 2
    edges = first + width * np.arange(length // width + 1)
    n_tiles = len(edges) - 1
    if n_tiles <= N_SPANS:
        return Tiles(edges, np.ones((n, n_tiles), dtype=bool))
    sizes = [np.abs(tile_sums(edges, track)) for track in maps.values()]
    credit = sum(size / np.maximum(size.max(1, keepdims=True), np.finfo(float).tiny) for size in sizes)
    lot = context.rng("tiles").random((n, n_tiles))
    rank = np.argsort(np.argsort(-(credit + 1e-9 * lot), axis=1), axis=1)
    lot[rank < N_SPANS // 2] = -1.0
    return Tiles(edges, np.argsort(np.argsort(lot, axis=1), axis=1) < N_SPANS)


def remove_tiles(context: AuditContext, codes: Codes, tiles: Tiles, at: Ints | None = None) -> Values:
    """Effect of removing each tested tile, (n, T), NaN for others; `at` are the rows that the regions (n, L) are."""
    effects = np.full(tiles.tested.shape, np.nan)
    row, tile = np.nonzero(tiles.tested)
    chosen = np.zeros((len(row), tiles.tested.shape[1]), dtype=bool)
    chosen[np.arange(len(row)), tile] = True
    effects[row, tile] = _removal_effects(context, codes, row, tiles, chosen, at)
    return effects


def _removal_effects(
    context: AuditContext, codes: Codes, row: Ints, tiles: Tiles, chosen: Flags, at: Ints | None
) -> Values:
    """f(X) - mean f without the chosen tiles (K, T), for each of K choices, each of one row of the codes."""
    n_draws, length = context.settings.n_draws, codes.shape[1]
    shuffled = [context.shuffled(codes, draw) for draw in range(n_draws)]
    whole = context.predict(codes, rows=at)
    effects = np.empty(len(row))
    step = max(1, CHUNK_CODES // (n_draws * length))
    for first in range(0, len(row), step):
        rows, mask = row[first : first + step], tiles.mask(chosen[first : first + step], length)
        mutated = np.concatenate([np.where(mask, draw[rows], codes[rows]) for draw in shuffled])
        left = context.predict(mutated, rows=None if at is None else at[rows]).reshape(n_draws, len(rows)).mean(0)
        effects[first : first + step] = whole[rows] - left
    return effects


def find_hidden(
    context: AuditContext,
    codes: Codes,
    tiles: Tiles,
    effects: Values,
    ism: Values,
    witness: Values,
    at: Ints | None = None,
) -> Hidden:
    """Remove together what a map credits though no substitution matters.

    `effects` are of :func:`remove_tiles`, `ism` of losing each base, `witness` attributions in units of the output.
    """
    settings, scale = context.settings, context.effect_scale
    known = np.where(codes != N_CODE, np.abs(ism), 0.0)
    largest = np.stack([known[:, a:b].max(1) for a, b in zip(tiles.edges[:-1], tiles.edges[1:], strict=True)], axis=1)
    quiet = tiles.tested & (largest < MIN_POSITION_EFFECT * scale)
    credited, control = _pairs(quiet, tile_sums(tiles.edges, witness), settings.min_effect * scale, N_JOINT)
    tested = np.flatnonzero(credited.any(1) & (scale > 0))
    joint, other, singly, additive = np.full((4, len(codes)), np.nan)
    joint[tested] = _removal_effects(context, codes, tested, tiles, credited[tested], at)
    other[tested] = _removal_effects(context, codes, tested, tiles, control[tested], at)
    singly[tested] = np.where(credited, effects, 0.0).sum(1)[tested]
    additive[tested] = np.where(credited, tile_sums(tiles.edges, ism), 0.0).sum(1)[tested]
    with np.errstate(invalid="ignore"):
        gain = np.abs(joint) - np.maximum(np.abs(other), np.abs(additive))
        hidden = gain >= settings.min_effect * scale
    return Hidden(credited.sum(1), joint, other, singly, additive, hidden)


def _pairs(quiet: Flags, credit: Values, least: float, n_joint: int) -> tuple[Flags, Flags]:
    """Mark the quiet tiles (n, T) with the most credit, of the sign that the first has, and as many with the least."""
    size = np.where(quiet, np.abs(credit), -1.0)
    first = np.take_along_axis(credit, size.argmax(1)[:, None], axis=1)
    eligible = quiet & (size >= least) & (np.sign(credit) == np.sign(first))
    credited = eligible & (_ranks(np.where(eligible, -size, np.inf)) < n_joint)
    others = quiet & ~credited
    return credited, others & (_ranks(np.where(others, size, np.inf)) < credited.sum(1, keepdims=True))


def _ranks(values: Values) -> Ints:
    return np.argsort(np.argsort(values, axis=1, kind="stable"), axis=1, kind="stable")
