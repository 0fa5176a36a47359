"""Cold spots: positions that the model relies on, by in-silico mutagenesis, and of which a map shows nothing.

With I the effect of losing a base (f of the sequence minus its mean over the three other bases) and A the
map, of one region:

* a position is *important* when |I| is among the largest of its region (`IMPORTANT_SHARE` of the known positions) and
  at least `MIN_POSITION_EFFECT` of the model's range;
* the map is *blind* there when |A| is not above the region's `BLIND_QUANTILE` of |A|, or when |A| / max |A| is below
  `BLIND_RATIO` times |I| / max |I|. Of a map without relation to the model, the first is true for a half of the
  positions when the quantile is the median.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.regions import lift_span

__all__ = ["MAX_GAP", "MIN_POSITION_EFFECT", "blind_positions", "cold_spots", "important_positions"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
IMPORTANT_SHARE = 0.05  # of the positions of a region, those with the largest effect of losing the base
MIN_POSITION_EFFECT = 0.05  # of the model's range
BLIND_QUANTILE = 0.5  # of the magnitudes of the map in the region
BLIND_RATIO = 0.1  # of what mutagenesis shows, either relative to its largest value in the region
MAX_GAP = 3  # bp between positions of one cold spot


def important_positions(ism: Floats, known: Flags, scale: float) -> Flags:
    """Mark the positions (n, L) that the model relies on.

    `ism`: (n, L) effect of losing each base. `known`: (n, L), where there is a base. `scale`: the model's range, in
    units of its output; nothing is important to a model that has none.
    """
    size = np.where(known, np.abs(ism), -1.0)
    n_top = np.maximum(np.ceil(IMPORTANT_SHARE * known.sum(1)).astype(np.int64), 1)
    ordered = -np.sort(-size, axis=1)
    least = np.take_along_axis(ordered, n_top[:, None] - 1, axis=1)
    floor = MIN_POSITION_EFFECT * scale
    return known & (size >= np.maximum(least, floor)) & (size > 0) & (scale > 0)


def blind_positions(track: Floats, ism: Floats, known: Flags, important: Flags) -> Flags:
    """Mark the important positions (n, L) of which a map (n, L) shows nothing."""
    size, effect = (np.where(known, np.abs(values), 0.0).astype(np.float64) for values in (track, ism))
    n_below = np.floor(BLIND_QUANTILE * (known.sum(1) - 1)).clip(0).astype(np.int64)
    ordered = np.sort(np.where(known, size, np.inf), axis=1)
    middle = np.take_along_axis(ordered, n_below[:, None], axis=1)
    share = BLIND_RATIO * effect * size.max(1, keepdims=True)
    return important & ((size <= middle) | (size * effect.max(1, keepdims=True) < share))


def cold_spots(windows: pd.DataFrame, blind: Flags, ism: Floats, maps: Mapping[str, Floats]) -> pd.DataFrame:
    """List blind positions, those at most `MAX_GAP` bp apart together, the most important first.

    `windows`: row, chrom, start, end, name, strand of the n regions. `blind`, `ism`: (n, L). `maps`: (n, L) by name: a
    column each. Returns DataFrame: row, chrom, start, end, name, n_positions, ism_effect (the largest of the spot,
    signed), and for each map its value at that position.
    """
    rows = [
        _spot(windows.iloc[i], span, i, ism, maps) for i in np.flatnonzero(blind.any(1)) for span in _groups(blind[i])
    ]
    columns = ["row", "chrom", "start", "end", "name", "n_positions", "ism_effect", *maps]
    table = pd.DataFrame(rows, columns=columns)
    order = np.argsort(-np.abs(table["ism_effect"].to_numpy(np.float64)), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _groups(blind: Flags) -> list[NDArray[np.int64]]:
    positions = np.flatnonzero(blind)
    return np.split(positions, np.flatnonzero(np.diff(positions) > MAX_GAP + 1) + 1)


def _spot(
    window: pd.Series, positions: NDArray[np.int64], i: np.integer, ism: Floats, maps: Mapping[str, Floats]
) -> list[object]:
    start, end = lift_span(window["start"], window["end"], window["strand"], positions[0], positions[-1] + 1)
    worst = int(positions[np.abs(ism[i, positions]).argmax()])
    values = [float(track[i, worst]) for track in maps.values()]
    where = [int(window["row"]), window["chrom"], int(start), int(end), window["name"]]
    return [*where, len(positions), float(ism[i, worst]), *values]
