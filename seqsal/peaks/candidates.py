"""Candidate peaks of a signed track: prominent local maxima of the smoothed track, one sign at a time.

The same code finds the candidates of the data and of the shuffled controls, so that they are comparable.

*Smoothing.* A triangular kernel of `smooth_bp` bases with weights that sum to 1. Its width at half height, 10 bp for
the default of 19, is about one motif. Bases without a value (N, padding, beyond the window) end a *run*: the kernel
reads zeros there and never sees across. Tails at a run's end are thus damped, not inflated, and alike in data and
controls.

*Summits.* A base (or the middle of a plateau) higher than both neighbours. From it the peak is walked out on both sides
while the smoothed track stays at or above `flank_fraction` of the summit. A walk that climbs above the summit first
shows that this was a shoulder of a higher peak, and the candidate is dropped (topographic prominence).

*Width.* At most `max_width` bases on either side are looked at; a wider peak keeps the `max_width` bases around the
summit that hold most smoothed signal. Where two peaks of one sign on a plateau still overlap, they meet halfway. A
candidate narrower than `min_width` is dropped.

*Defaults, by measurement*, when the height of the smoothed track was the strength. On six trained networks with planted
JASPAR motifs (`benchmarks/calibration.py`, 60 development data sets) mean recall at q ≤ 0.05 was 0.19, 0.23, 0.245 and
0.24 with kernels of 11, 15, 19 and 23 bp. The sum over the peak, its product with the height, and the height times the
share of the peak's bases that agree in sign came out between 0.21 and 0.25. The smoothed maximum lay within 3 bp of the
planted centre for 97 % of the instances found (the median of the peak's mass 96 %, its centre of mass 95 %, its
midpoint 94 %). In simulated noise (Gaussian and t(4), motifs of 6 to 20 bp) the height did as well as or better than
area / √width, which depends on the peak's extent and thereby on two more parameters. `flank_fraction` 0.4 made the
median width 1.0 to 1.15 of the planted one, with about nine tenths of the planted bases covered, at a kernel of 15 bp.

All of it is symmetric under reversal to the last bit (mirrored terms are added first), and local: a candidate depends
on the `CandidateRules.reach_bp` bases around its summit only, which is what lets a chromosome be cut into pieces.

*Seeds.* A coarse map such as Grad-CAM knows the stretch that a decision rests on, to some tens of bases; the fine track
knows bases but is noisy far from that stretch. As weak labels are in image segmentation (Kolesnikov and Lampert 2016,
doi:10.1007/978-3-319-46493-0_42: seed, expand, constrain), the local maxima of the coarse map are *seeds*, each
reaching out to half of its height, and a seed grows to the segments of the fine track that have its sign and their
summits under it. The rest of the track is not tested, so fewer tests share the error rate.

The controls go the same way, with their own coarse map, so candidates under the seeds of the data are compared with
candidates under the seeds of the controls, by the same statistic.

How strong a candidate is: its track at several widths, compressed, each against the controls.

*Compressed.* A motif is a run of bases that agree; what shuffled sequence gives by chance is as often one base with a
large value. So the track enters as sign(v) |v|^γ with γ = 2/3: four bases of 1 outweigh one base of 4, and the unit of
the track does not matter.

*Several widths.* Motifs are 6 to 25 bp wide, and no one kernel suits them all. At the summit the compressed track is
smoothed by triangular kernels of 1/2, 2/3, 1 and 4/3 of `smooth_bp` (9, 13, 19 and 25 bp), as a scan statistic tries
several windows (Glaz, Naus and Wallenstein 2001, doi:10.1007/978-1-4757-3460-7). Each is divided by the 99th percentile
that the controls' candidates of that sign have at that width, and the largest ratio is the strength. It is taken of the
controls' candidates in the same way, so that the choice of the width is made on both sides.

*By measurement.* On the 60 development data sets of `benchmarks/calibration.py` recall at q ≤ 0.05 was 0.257 with the
height of the track at 19 bp. Four widths made it 0.278; compressed as well 0.288 (γ = 0.8), 0.298 (0.7), 0.307 (0.6)
and 0.296 (0.5), with 1.5 to 1.9 % false calls throughout. Dividing by the kernels' norms and not by what the controls
show gave 0.20 to 0.27, the mean of the ratios 0.26, three widths (9, 13, 19 bp) 0.28 to 0.30; the percentile (90th to
99.5th), subtracting the median first, or looking for the largest value within 2 to 6 bp of the summit changed 0.01.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import UsageError

__all__ = [
    "SEED_REACH_BP",
    "SEED_RULES",
    "SIGNS",
    "CandidateRules",
    "Candidates",
    "Ruler",
    "compressed",
    "find_candidates",
    "kernel_widths",
    "smooth_runs",
    "smoothed_at",
    "under_seeds",
]

SIGNS = ("pos", "neg")
COMPRESSION = 2 / 3  # γ
WIDTHS = (1 / 2, 2 / 3, 1, 4 / 3)  # of smooth_bp
REFERENCE = 0.99  # quantile of the controls' candidates
UNMEASURED = 1e6  # strength that a candidate lacks whose effect is not measured


@dataclass(frozen=True)
class CandidateRules:
    """What counts as a candidate.

    Attributes
    ----------
    smooth_bp
        Support of the triangular kernel (bp), odd.
    min_width, max_width
        Limits of a peak's width (bp).
    flank_fraction
        Share of the summit's height at which a peak ends, above 0 and at most 1.
    """

    smooth_bp: int = 19
    min_width: int = 4
    max_width: int = 50
    flank_fraction: float = 0.4

    def __post_init__(self) -> None:
        if self.smooth_bp < 1 or self.smooth_bp % 2 == 0:
            raise UsageError(f"smooth_bp: got {self.smooth_bp}, expected an odd number of bases, 1 or more")
        if not 1 <= self.min_width <= self.max_width:
            raise UsageError(
                f"min_width, max_width: got {self.min_width} and {self.max_width}, expected 1 ≤ min_width ≤ max_width"
            )
        if not 0 < self.flank_fraction <= 1:
            raise UsageError(f"flank_fraction: got {self.flank_fraction}, expected a share above 0 and at most 1")

    @property
    def widths(self) -> tuple[int, ...]:
        """Supports of the kernels (bp) that a candidate's strength is measured with."""
        return kernel_widths(self.smooth_bp)

    @property
    def reach_bp(self) -> int:
        """A candidate depends on no base further from its summit than this."""
        return (
            3 * self.max_width + max(self.widths) // 2 + 1
        )  # a neighbour that it meets halfway is at most 2 widths away


@dataclass(frozen=True)
class Candidates:
    """Candidates of one sign; all arrays are (n,), sorted by summit.

    Attributes
    ----------
    summit, start, end
        Indices into the values that were searched; the span is half-open.
    profile
        (n, K) compressed track at the summit, smoothed by each of the K kernels, times the sign.
    """

    summit: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    profile: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.summit)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Candidates:
        """Return the candidates of a mask or of row numbers."""
        return Candidates(self.summit[rows], self.start[rows], self.end[rows], self.profile[rows])


class _Spans(NamedTuple):
    """Candidates in the layout of :class:`SmoothedRuns`, while their bounds are found; all arrays are (n,)."""

    summit: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    height: NDArray[np.float64]

    def take(self, rows: NDArray[np.bool_]) -> _Spans:
        """Return those of a mask."""
        return _Spans(self.summit[rows], self.start[rows], self.end[rows], self.height[rows])


@dataclass(frozen=True)
class SmoothedRuns:
    """Runs of adjacent bases, smoothed and laid out with zeros between them.

    Attributes
    ----------
    smoothed, raw
        (B,) smoothed and original values; 0 in the gaps and at both ends.
    place
        (P,) index in the layout of every input value.
    """

    smoothed: NDArray[np.float64]
    raw: NDArray[np.float64]
    place: NDArray[np.int64]


def smooth_runs(
    positions: NDArray[np.int64], values: NDArray[np.floating], smooth_bp: int, *, widest: int = 0
) -> SmoothedRuns:
    """Smooth each run of adjacent positions by a triangular kernel, zeros beyond its ends."""
    half = smooth_bp // 2
    gap = max(smooth_bp, widest) // 2 + 1
    run = np.concatenate([[0], np.cumsum(np.diff(positions) != 1)]) if len(positions) else np.zeros(0, dtype=np.int64)
    place = np.arange(len(positions), dtype=np.int64) + gap * (run + 1)
    raw = np.zeros(len(positions) + gap * (int(run[-1]) + 2 if len(run) else 2))
    raw[place] = values
    total = raw * (half + 1)
    for offset in range(1, half + 1):
        total[offset:-offset] += (half + 1 - offset) * (raw[: -2 * offset] + raw[2 * offset :])
    smoothed = np.zeros_like(raw)
    smoothed[place] = total[place] / (half + 1) ** 2
    return SmoothedRuns(smoothed, raw, place)


def find_candidates(
    positions: NDArray[np.int64], values: NDArray[np.floating], rules: CandidateRules
) -> dict[str, Candidates]:
    """Find the candidate peaks of both signs.

    Parameters
    ----------
    positions
        (P,) strictly increasing positions that have a value; peaks never reach over a missing one.
    values
        (P,) signed track at those positions.
    rules
        What counts as a candidate.

    Returns
    -------
    dict
        `pos` and `neg`, each with indices into `values`.
    """
    runs = smooth_runs(positions, values, rules.smooth_bp, widest=max(rules.widths))
    evened = compressed(runs.raw)
    to_index = np.full(len(runs.raw), -1, dtype=np.int64)
    to_index[runs.place] = np.arange(len(positions))
    found = {}
    for name, sign in zip(SIGNS, (1.0, -1.0), strict=True):
        heights, raw = sign * runs.smoothed, sign * runs.raw
        laid = _prominent(heights, _local_maxima(heights, raw), rules)
        found[name] = Candidates(
            to_index[laid.summit],
            to_index[laid.start],
            to_index[laid.end - 1] + 1,
            sign * smoothed_at(evened, laid.summit, rules.widths),
        )
    return found


def _local_maxima(heights: NDArray[np.float64], raw: NDArray[np.float64]) -> NDArray[np.int64]:
    """Find positive local maxima; of a plateau its middle, of two middles the one with the larger raw value."""
    first = np.flatnonzero(np.diff(heights, prepend=-np.inf) != 0)
    last = np.append(first[1:], len(heights)) - 1
    level = heights[first]
    is_top = np.zeros(len(first), dtype=bool)
    is_top[1:-1] = (level[1:-1] > level[:-2]) & (level[1:-1] > level[2:]) & (level[1:-1] > 0)
    lower, upper = (first[is_top] + last[is_top]) // 2, (first[is_top] + last[is_top] + 1) // 2
    return np.where(raw[upper] > raw[lower], upper, lower)


def _prominent(heights: NDArray[np.float64], summits: NDArray[np.int64], rules: CandidateRules) -> _Spans:
    """Walk both flanks of every summit; keep the summits that are prominent and wide enough."""
    left, left_shoulder = _walk(heights, summits, -1, rules)
    right, right_shoulder = _walk(heights, summits, 1, rules)
    everything = _Spans(summits, summits - left, summits + right + 1, heights[summits])
    peaks = _meet_halfway(_trim(heights, everything.take(~(left_shoulder | right_shoulder)), rules.max_width))
    return peaks.take(peaks.end - peaks.start >= rules.min_width)


def _walk(
    heights: NDArray[np.float64], summits: NDArray[np.int64], step: int, rules: CandidateRules
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Bases that a peak reaches on one side, and whether the walk met a higher point first."""
    top = heights[summits]
    reach = np.zeros(len(summits), dtype=np.int64)
    shoulder = np.zeros(len(summits), dtype=bool)
    walking = np.arange(len(summits))
    for distance in range(1, rules.max_width + 1):
        here = heights[summits[walking] + step * distance]  # a gap of zeros ends every walk inside the layout
        shoulder[walking[here > top[walking]]] = True
        walking = walking[(here >= rules.flank_fraction * top[walking]) & (here <= top[walking])]
        reach[walking] = distance
        if not len(walking):
            break
    return reach, shoulder


def _trim(heights: NDArray[np.float64], peaks: _Spans, max_width: int) -> _Spans:
    """Cut peaks wider than `max_width` to the stretch of that width around the summit with the largest sum."""
    wide = np.flatnonzero(peaks.end - peaks.start > max_width)
    if not len(wide):
        return peaks
    summit = peaks.summit[wide]
    around = np.clip(summit[:, None] + np.arange(-max_width, max_width), 0, len(heights) - 1)  # (n, 2 max_width)
    total = np.concatenate([np.zeros((len(wide), 1)), np.cumsum(heights[around], axis=1)], axis=1)
    lead = _centre_out(max_width)  # bases of the stretch left of the summit, the most central stretch first
    starts = summit[:, None] - lead
    inside = (starts >= peaks.start[wide, None]) & (starts + max_width <= peaks.end[wide, None])
    sums = np.where(inside, total[:, 2 * max_width - lead] - total[:, max_width - lead], -np.inf)
    start = starts[np.arange(len(wide)), np.argmax(sums, axis=1)]
    new_start, new_end = peaks.start.copy(), peaks.end.copy()
    new_start[wide], new_end[wide] = start, start + max_width
    return peaks._replace(start=new_start, end=new_end)


def _meet_halfway(peaks: _Spans) -> _Spans:
    """Separate overlapping neighbours midway between their summits; a base in the very middle goes to the higher."""
    if len(peaks.summit) < 2:
        return peaks
    overlap = peaks.end[:-1] > peaks.start[1:]
    middle = peaks.summit[:-1] + peaks.summit[1:]
    cut = middle // 2 + ((middle % 2 == 1) | (peaks.height[:-1] >= peaks.height[1:]))
    start, end = peaks.start.copy(), peaks.end.copy()
    start[1:] = np.where(overlap, np.maximum(start[1:], cut), start[1:])
    end[:-1] = np.where(overlap, np.minimum(end[:-1], cut), end[:-1])
    return peaks._replace(start=start, end=end)


def _centre_out(width: int) -> NDArray[np.int64]:
    """Offsets 0 … width-1, the middle ones first."""
    offsets = np.arange(width, dtype=np.int64)
    return offsets[np.argsort(np.abs(2 * offsets - (width - 1)), kind="stable")]


def kernel_widths(smooth_bp: int) -> tuple[int, ...]:
    """Odd supports (bp) of the kernels, ascending."""
    return tuple(sorted({2 * int(smooth_bp * share / 2) + 1 for share in WIDTHS}))


def compressed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sign(v) |v|^γ."""
    return np.sign(values) * np.abs(values) ** COMPRESSION


def smoothed_at(values: NDArray[np.float64], places: NDArray[np.int64], widths: Sequence[int]) -> NDArray[np.float64]:
    """Smooth values at some places only, by several triangular kernels whose weights sum to 1.

    Parameters
    ----------
    values
        (B,) with zeros where there is nothing.
    places
        (n,) indices, at least half of the widest kernel from both ends.
    widths
        (K,) odd supports (bp).

    Returns
    -------
    ndarray, shape (n, K)
        The same to the last bit for mirrored values.
    """
    halves = [width // 2 for width in widths]
    sums = [values[places] * (half + 1) for half in halves]
    for offset in range(1, max(halves) + 1):
        pair = values[places - offset] + values[places + offset]
        for total, half in zip(sums, halves, strict=True):
            if offset <= half:
                total += (half + 1 - offset) * pair
    return np.stack([total / (half + 1) ** 2 for total, half in zip(sums, halves, strict=True)], axis=1)


@dataclass(frozen=True)
class Ruler:
    """What the controls of one sign show at each width, and by asking the model where that was done."""

    reference: NDArray[np.float64]  # (K,) above 0
    asked: NDArray[np.float64] | None = None  # (A,) above 0

    @classmethod
    def of(cls, profiles: NDArray[np.floating], answers: NDArray[np.floating] | None = None) -> Ruler:
        """Measure the profiles (n, K) of the controls' candidates, and the answers (n, A); ones where there is none."""
        if not len(profiles):
            return cls(np.ones(profiles.shape[1]), None if answers is None else np.ones(answers.shape[1]))
        high = np.quantile(profiles, REFERENCE, axis=0)
        reference = np.where(high > 0, high, 1.0)
        if answers is None:
            return cls(reference)
        rank = max(1, int((1 - REFERENCE) * len(answers)))
        high = np.sort(np.nan_to_num(answers, nan=-np.inf), axis=0)[-rank]
        return cls(reference, np.where(high > 0, high, 1.0))

    def strengths(
        self, profiles: NDArray[np.floating], answers: NDArray[np.floating] | None = None
    ) -> NDArray[np.float64]:
        """Strengths (n,) of candidates with these profiles (n, K) and answers (n, A), NaN where not asked about.

        A height, or the sum of it and the answers; what was not asked about is weaker than all that was.
        """
        heights: NDArray[np.float64] = (profiles / self.reference).max(axis=1)
        if self.asked is None or answers is None:
            return heights
        is_asked = ~np.isnan(answers).any(axis=1)
        return np.where(is_asked, heights + (answers / self.asked).sum(axis=1), heights - UNMEASURED)


SEED_RULES = CandidateRules(smooth_bp=1, min_width=1, max_width=200, flank_fraction=0.5)
SEED_REACH_BP = SEED_RULES.reach_bp + SEED_RULES.max_width  # a candidate may lie that far from what its seed rests on


def under_seeds(
    positions: NDArray[np.int64], coarse: NDArray[np.floating], found: dict[str, Candidates]
) -> dict[str, Candidates]:
    """Keep the candidates whose summits lie under a seed of their sign."""
    seeds = find_candidates(positions, coarse, SEED_RULES)
    return {sign: candidates.take(_is_under(candidates, seeds[sign])) for sign, candidates in found.items()}


def _is_under(candidates: Candidates, seeds: Candidates) -> NDArray[np.bool_]:
    """Whether each summit (n,) lies in one of the spans, which are sorted and apart."""
    if not len(seeds):
        return np.zeros(len(candidates), dtype=bool)
    of = np.searchsorted(seeds.start, candidates.summit, side="right") - 1
    return (of >= 0) & (candidates.summit < seeds.end[np.maximum(of, 0)])
