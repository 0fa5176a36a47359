"""Where known biology lies in windows, and matched positions: where else in its own region it could lie.

*Circular shift.* All spans of a region are moved together, by the same number of known bases, around the end; each
shift is as likely as another. What they hold on average is the region's total times the share that they cover.

*Like GC.* Each span is moved on its own, to a start with at least half of its bases elsewhere, with probability in
proportion to exp(-½ ((g - c) / h)²): g the GC content there, h the tolerance, and c such that the mean GC content of
the placements is the span's own. Without the last, a span richer in GC than all others would be compared with poorer
ones, and every map that likes GC would seem to like such spans. A span of extreme GC content, which no choice of c can
reach, is compared with the nearest there are; one that leaves no room for another placement is compared with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from seqsal.auditing.content import Codes, Flags, Ints, Spans, Values
from seqsal.motifs import Motif
from seqsal.motifs.scan import scan_codes
from seqsal.sequence.codes import N_CODE

__all__ = ["Matched", "MotifHits", "find_hits", "match_gc", "shift_circularly", "span_positions"]

N_NEWTON = 8
ENOUGH = 1e-4  # of GC content
MAX_SHIFT = 1.0
ROUNDING = 1e-9


class Matched(NamedTuple):
    """What the spans of n regions hold, against their matched positions.

    `observed`, `expected`: (n,) sums over each region's spans: where they lie, and on average over the placements.
    `draws`: (D,) sums over all regions of random placements.
    """

    observed: Values
    expected: Values
    draws: Values

    @property
    def p_value(self) -> float:
        """P(as much or more, by random placement) = (1 + draws as large) / (1 + draws)."""
        total = self.observed.sum()
        return float((1 + (self.draws >= total - ROUNDING * abs(total)).sum()) / (1 + len(self.draws)))


def shift_circularly(mask: Flags, values: Values, codes: Codes, n_draws: int, rng: np.random.Generator) -> Matched:
    """Compare what lies under a mask with what lies under the mask shifted, (n, L) each.

    Unknown bases count neither as covered nor as positions to go to.
    """
    known = codes != N_CODE
    covered = mask & known
    observed = (values * covered).sum(1)
    expected = (values * known).sum(1) * covered.sum(1) / np.maximum(known.sum(1), 1)
    draws = np.zeros(n_draws)
    for i in np.flatnonzero(covered.any(1)):
        there, value = covered[i, known[i]], values[i, known[i]]
        spectrum = np.conj(np.fft.rfft(there)) * np.fft.rfft(value)
        draws += np.fft.irfft(spectrum, len(value))[rng.integers(len(value), size=n_draws)]
    return Matched(observed, expected, draws)


def match_gc(
    spans: Spans,
    values: Values,
    codes: Codes,
    tolerance: float,
    n_draws: int,
    rng: np.random.Generator,
    score: Callable[[Values, int], Values] = lambda sums, width: sums,
) -> list[Matched]:
    """Compare what spans within windows (n, L) hold with what they would hold where the GC content matches.

    `values` (K, n, L) are K things that a span can hold, all compared with the same placements; `score` makes of their
    (sums over each placement, width in bp) what is counted, by default the sums. `tolerance` is h, see above.
    """
    observed, expected = np.zeros((2, *values.shape[:2]))
    draws = np.zeros((len(values), n_draws))
    totals = np.pad(np.cumsum(values, axis=2, dtype=np.float64), ((0, 0), (0, 0), (1, 0)))
    gc = _running((codes == 1) | (codes == 2))
    unknown = _running(codes == N_CODE)
    for row, start, end in zip(*spans, strict=True):
        width = int(end - start)
        held = score(totals[:, row, width:] - totals[:, row, :-width], width)  # (K, L - width + 1)
        share = (gc[row, width:] - gc[row, :-width]) / width
        n_unknown = unknown[row, width:] - unknown[row, :-width]
        weights = np.zeros(len(share))  # probability of each start
        allowed = (2 * np.abs(np.arange(len(share)) - start) >= width) & (n_unknown <= n_unknown[start])
        if allowed.any():
            weights[allowed] = _kernel(share[allowed] - share[start], tolerance)
        else:
            weights[start] = 1.0
        observed[:, row] += held[:, start]
        expected[:, row] += held @ weights
        drawn = np.searchsorted(np.cumsum(weights), rng.random(n_draws), side="right")
        draws += held[:, np.minimum(drawn, len(weights) - 1)]
    return [Matched(*parts) for parts in zip(observed, expected, draws, strict=True)]


def _running(flags: Flags) -> Ints:
    return np.pad(np.cumsum(flags, axis=1, dtype=np.int64), ((0, 0), (1, 0)))


def _kernel(off: Values, tolerance: float) -> Values:
    """Gaussian weights of differences (P,), centred such that their weighted mean is 0 where that can be."""
    if off.min() >= 0 or off.max() <= 0:
        nearest = np.abs(off) <= np.abs(off).min() + ROUNDING
        return nearest / nearest.sum()
    centre = 0.0
    for _ in range(N_NEWTON):
        exponent = -0.5 * ((off - centre) / tolerance) ** 2
        weights = np.exp(exponent - exponent.max())
        weights /= weights.sum()
        mean = float(weights @ off)
        if abs(mean) < ENOUGH:
            break
        slope = float(weights @ (off - mean) ** 2) / tolerance**2
        step = mean / slope if slope > 0 else np.inf
        centre = float(np.clip(centre - np.clip(step, -tolerance, tolerance), -MAX_SHIFT, MAX_SHIFT))
    return np.asarray(weights)


class MotifHits(NamedTuple):
    """Hits of known motifs in n windows.

    `table`: row, motif_idx, start, end, strand, score, p_value. `mask`: (n, L), where there is a hit. `threshold`:
    largest p-value of a hit.
    """

    table: pd.DataFrame
    mask: Flags
    threshold: float


def find_hits(codes: Codes, motifs: Sequence[Motif], p_value: float, max_share: float) -> MotifHits:
    """Scan windows, at a p-value at which hits cover a bounded share of the known bases.

    A thousand motifs at p ≤ 1e-4 cover most of any sequence, and being inside a hit then says nothing. So the threshold
    becomes the largest at which hits cover no more; where equal p-values leave none, the smallest of any hit.
    """
    hits = scan_codes(codes, motifs, p_value=p_value)
    best = np.full(codes.shape, np.inf)
    positions, owner = span_positions(hits["row"], hits["start"], hits["end"], codes.shape[1])
    np.minimum.at(best.reshape(-1), positions, hits["p_value"].to_numpy()[owner])
    ranked = np.sort(best[codes != N_CODE])
    n_allowed, threshold = int(max_share * len(ranked)), p_value
    if n_allowed < len(ranked) and ranked[n_allowed] <= p_value:
        n_below = int(np.searchsorted(ranked, ranked[n_allowed], side="left"))
        threshold = float(ranked[n_below - 1] if n_below else ranked[0])
    return MotifHits(hits[hits["p_value"] <= threshold].reset_index(drop=True), best <= threshold, threshold)


def span_positions(row: pd.Series, start: pd.Series, end: pd.Series, length: int) -> tuple[Ints, Ints]:
    """List the bases of spans of windows (L bases each) as flat positions, and the span that each is of, by number."""
    first = row.to_numpy(np.int64) * length + start.to_numpy(np.int64)
    width = (end - start).to_numpy(np.int64)
    owner = np.repeat(np.arange(len(width)), width)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(width) - width, width)
    return first[owner] + within, owner
