"""What replacing whole peaks does to the output, compared with replacing as much elsewhere in the same window.

All peaks of one sign that lie in a window are replaced together by what a dinucleotide-preserving shuffle of the window
has there. The control replaces, by the same shuffle, spans of the same widths at random places of the same window that
are in no peak of either sign and hold no N. What supports the prediction should lower it when replaced, what represses
it should raise it, both by more than the control does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Interval, Measured, NotTested
from seqsal.auditing.spans import free_starts, mask_of, runs_of, spans_in_windows
from seqsal.auditing.stats import mean_interval
from seqsal.sequence.codes import N_CODE

__all__ = ["PeakEffects", "PeakResult", "peak_effects"]

Codes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]
_EXPECTED = {"pos": -1.0, "neg": 1.0}  # sign of the change of the output when peaks of this sign are replaced


@dataclass(frozen=True, eq=False)
class PeakEffects:
    """What replacing the peaks of one sign does, for the n regions that have such peaks.

    `sign`: `pos` or `neg`. `index`: (n,) which of the regions. `n_peaks`: stretches replaced, in all regions; peaks
    that touch are one stretch. `change`: (n,) f(replaced) − f(x), averaged over shuffles. `random_change`: (n,) the
    same for the spans elsewhere. `n_unmatched`: regions left out because the rest of the window has no room for the
    control. `n_passes`: sequences that were predicted.
    """

    sign: str
    index: NDArray[np.int64]
    n_peaks: int
    change: Values
    random_change: Values
    n_unmatched: int
    n_passes: int

    def difference(self, signed: bool) -> Values:
        """Return by how much the peaks change the output more than the control does, (n,), the right way.

        `signed`: whether the map says which way; otherwise sizes of changes are compared.
        """
        if not signed:
            return np.abs(self.change) - np.abs(self.random_change)
        return _EXPECTED[self.sign] * (self.change - self.random_change)

    def summarise(self, context: AuditContext, signed: bool, rounding: float) -> PeakResult:
        """Return means over regions."""
        difference = self.difference(signed)
        n_peaks, n_unmatched = self.n_peaks, self.n_unmatched
        if not len(difference):
            none = NotTested("none lies within a tested region")
            return PeakResult(none, none, none, None, none, 0, n_peaks, n_unmatched)
        interval = mean_interval(difference, context.rng(f"faithfulness {self.sign} peaks bootstrap"), context.settings)
        return PeakResult(
            float(self.change.mean()),
            float(self.random_change.mean()),
            float(difference.mean()),
            interval,
            float((difference > rounding).mean()),
            len(difference),
            n_peaks,
            n_unmatched,
        )


@dataclass(frozen=True)
class PeakResult:
    """What replacing the peaks of one sign does, on average over regions, in units of the output.

    `change`, `random_change`: of the output when the peaks are replaced, and when as much elsewhere is. `difference`,
    `ci`, `share_better`: by how much more the peaks change it, positive for a faithful map; its interval, None for one
    region alone; and the share of the regions in which they do. `n_regions`, `n_peaks`, `n_unmatched`: regions with
    such peaks, their peaks, and regions without room for the control.
    """

    change: Measured
    random_change: Measured
    difference: Measured
    ci: Interval | None
    share_better: Measured
    n_regions: int
    n_peaks: int
    n_unmatched: int


def peak_effects(
    context: AuditContext, rows: NDArray[np.int64], codes: Codes, prediction: Values
) -> dict[str, PeakEffects]:
    """Replace the peaks of each sign, `pos` and `neg`, that lie wholly in some windows, and as much elsewhere."""
    masks = peak_masks(context.attr.regions.iloc[rows], context.peaks, codes.shape[1])
    free = ~masks["pos"] & ~masks["neg"] & (codes != N_CODE)
    return {sign: _effects_of(context, sign, codes, prediction, mask, free) for sign, mask in masks.items()}


def peak_masks(regions: pd.DataFrame, peaks: pd.DataFrame, length: int) -> dict[str, Mask]:
    """Mark the bases (n, L) of the peaks of each sign that lie wholly within a window, as the window was read."""
    masks = {}
    for sign in _EXPECTED:
        spans, _ = spans_in_windows(regions, peaks[peaks["sign"] == sign])
        inside = (spans.start >= 0) & (spans.end <= length)
        masks[sign] = mask_of(spans.take(inside), (len(regions), length))
    return masks


def place_spans(free: Mask, widths: NDArray[np.int64], rng: np.random.Generator) -> Mask | None:
    """Mark (L,) spans of some widths at random free places, the widest first; None where one finds no room.

    Spans do not overlap, but may touch.
    """
    left, placed = free.copy(), np.zeros_like(free)
    for width in np.sort(widths)[::-1]:
        starts = free_starts(left, int(width))
        if not len(starts):
            return None
        start = int(rng.choice(starts))
        placed[start : start + width] = True
        left[start : start + width] = False
    return placed


def _effects_of(
    context: AuditContext, sign: str, codes: Codes, prediction: Values, mask: Mask, free: Mask
) -> PeakEffects:
    n_draws = context.settings.n_draws
    has_peaks = np.flatnonzero((mask & (codes != N_CODE)).any(axis=1))
    rng = context.rng(f"faithfulness {sign} peaks")
    placed = {int(i): list(_controls(free[i], mask[i], rng, n_draws)) for i in has_peaks}
    index = np.array([i for i, controls in placed.items() if len(controls) == n_draws], dtype=np.int64)
    n_peaks = len(runs_of(mask[index]).row)
    change, random_change = np.zeros(len(index)), np.zeros(len(index))
    for draw in range(n_draws if len(index) else 0):
        shuffled = context.shuffled(codes, draw)[index]
        elsewhere = np.stack([placed[int(i)][draw] for i in index])
        both = np.concatenate([np.where(where, shuffled, codes[index]) for where in (mask[index], elsewhere)])
        outputs = context.predict(both).reshape(2, -1) - prediction[index]
        change += outputs[0] / n_draws
        random_change += outputs[1] / n_draws
    n_unmatched = len(has_peaks) - len(index)
    return PeakEffects(sign, index, n_peaks, change, random_change, n_unmatched, 2 * n_draws * len(index))


def _controls(free: Mask, mask: Mask, rng: np.random.Generator, n_draws: int) -> Iterator[Mask]:
    """Yield a placement for each draw, as long as there is room."""
    spans = runs_of(mask[None])
    for _ in range(n_draws):
        placed = place_spans(free, spans.end - spans.start, rng)
        if placed is None:
            return
        yield placed
