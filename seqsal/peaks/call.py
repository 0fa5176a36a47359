"""Peaks of an attribution track, tested against shuffled controls.

Each window is divided by its own scale (:func:`seqsal.peaks.null.window_scale`), then the windows are averaged in
genome coordinates (:mod:`seqsal.io.sweep`), so that overlapping windows are merged before anything is called: a base
counts once and no peak is called twice. An average over windows varies less than the single windows of the controls, so
overlap makes the test conservative.

Candidates (:mod:`seqsal.peaks.candidates`) get p-values from the controls' candidates (:mod:`seqsal.peaks.null`) and
q-values by Benjamini and Hochberg (1995, doi:10.1111/j.2517-6161.1995.tb02031.x) over the candidates of both signs::

    q_(i) = min over j ≥ i of  m p_(j) / j

with m the number of all candidates; the share of true nulls is taken as 1. Candidates with p > fdr can neither be
called nor lower a q-value to the fdr, so they are counted and forgotten, and memory does not grow with the genome.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import StoreError, UsageError
from seqsal.io.atomic import atomic_path
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import CHUNK_BP, Axis, TrackBlock, sweep_track
from seqsal.peaks.candidates import SIGNS, CandidateRules, Candidates, find_candidates
from seqsal.peaks.null import NullDistribution, check_controls, fit_null, window_scale

__all__ = ["PEAK_COLUMNS", "benjamini_hochberg", "call_peaks", "write_peaks_tsv"]

PEAK_COLUMNS = {
    "chrom": str, "start": np.int64, "end": np.int64, "name": str, "score": np.int64, "strand": str,
    "signal": np.float64, "p_value": np.float64, "q_value": np.float64, "summit": np.int64, "sign": str,
    "n_windows": np.int64,
}  # fmt: skip
SCORE_PER_DECADE = 100  # score 1000 at q = 1e-10
logger = logging.getLogger(__name__)


def call_peaks(
    attr: Attributions,
    *,
    fdr: float = 0.05,
    min_width: int = 4,
    max_width: int = 50,
    smooth_bp: int = 15,
    sign: str = "both",
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> pd.DataFrame:
    """Call the bases that drive the prediction up (`pos`) and down (`neg`), at a false discovery rate.

    Parameters
    ----------
    attr
        Attributions with shuffled controls (`null_track`); read in chunks of rows.
    fdr
        Largest q-value reported, in (0, 1].
    min_width, max_width
        Limits of a peak's width (bp): narrower candidates are dropped, wider ones trimmed around the summit.
    smooth_bp
        Support of the triangular smoothing kernel (bp), odd.
    sign
        `both`, `pos` or `neg`: which candidates are tested.
    chunk_bp
        Values read at a time; does not change the result.
    progress
        Show a progress bar.

    Returns
    -------
    DataFrame
        Sorted by chrom and start, columns `PEAK_COLUMNS`: `score` is -100 log10 q, at most 1000; `signal` the signed
        sum of the track over the peak, in units of the attributed output; `summit` the offset from start (bp) of the
        highest smoothed value; `n_windows` the windows that cover the summit. Names count from the strongest of each
        sign: `pos_1`, `neg_1`, …. No peak at this fdr is a result: an empty table. `attrs` holds `best_q`, the
        smallest q-value of any candidate (an upper bound of it when above fdr), `n_candidates`,
        `n_null_candidates`, `n_controls`, `output_space` and `fdr`.

    Raises
    ------
    StoreError
        No controls; a track or controls without any variation; values that are not finite.
    UsageError
        An argument outside its range.
    """
    rules = CandidateRules(smooth_bp=smooth_bp, min_width=min_width, max_width=max_width)
    signs = _chosen_signs(sign)
    if not 0 < fdr <= 1:
        raise UsageError(f"fdr: got {fdr}, expected a rate above 0 and at most 1, for example 0.05")
    check_controls(attr)
    axis = Axis.of(attr)
    null = fit_null(attr, rules, chunk_bp=chunk_bp)
    pool = _Pool(fdr, {name: null[name] for name in signs})
    blocks = sweep_track(attr, axis, scale=window_scale, chunk_bp=chunk_bp, progress=progress)
    for block, due in _overlapping_pieces(blocks, rules.reach_bp):
        pool.add(block, due, find_candidates(block.positions, block.scaled, rules))
    pool.check_varies()
    peaks = _peak_table(pool, axis)
    peaks.attrs.update(
        best_q=pool.best_q(),
        fdr=fdr,
        n_candidates=pool.n_tested,
        n_null_candidates=sum(len(null[name].heights) for name in signs),
        n_controls=attr.n_controls,
        output_space=attr.output_space,
    )
    logger.info("%d peaks at q ≤ %g among %d candidates", len(peaks), fdr, pool.n_tested)
    return peaks


def benjamini_hochberg(p_values: NDArray[np.float64], n_tests: int) -> NDArray[np.float64]:
    """Q-values of the smallest p-values of `n_tests` tests.

    Parameters
    ----------
    p_values
        (k,) the k smallest, any order.
    n_tests
        Number of all tests, k or more.

    Returns
    -------
    ndarray
        (k,) q-values; an upper bound where one exceeds the largest p-value given.
    """
    order = np.argsort(p_values, kind="stable")
    raw = p_values[order] * n_tests / np.arange(1, len(order) + 1)
    q_values = np.empty(len(order))
    q_values[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return q_values


def write_peaks_tsv(peaks: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a peak table, all columns with a header line, as tab-separated text.

    A last column tells the `output_space` that `signal` is in, for a table of :func:`call_peaks`.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    space = peaks.attrs.get("output_space")
    peaks = peaks if space is None else peaks.assign(output_space=space)
    with atomic_path(path) as temporary:
        peaks.to_csv(temporary, sep="\t", index=False, float_format="%.6g", lineterminator="\n")


def _chosen_signs(sign: str) -> tuple[str, ...]:
    if sign == "both":
        return SIGNS
    if sign not in SIGNS:
        raise UsageError(f"sign: got {sign!r}, expected both, {' or '.join(SIGNS)}")
    return (sign,)


def _overlapping_pieces(
    blocks: Iterator[TrackBlock], reach_bp: int
) -> Iterator[tuple[TrackBlock, tuple[float, float]]]:
    """Yield pieces of track with the span of summits that are due in each.

    Pieces overlap by `reach_bp` on both sides of the due span, and the spans tile the axis, so that the candidates do
    not depend on where the track is cut.
    """
    held: TrackBlock | None = None
    due_from = -np.inf
    for block in blocks:
        held = block if held is None else held.join(block)
        if not len(held.positions):
            continue
        due_to = max(due_from, float(held.positions[-1] - reach_bp + 1))
        yield held, (due_from, due_to)
        first = int(np.searchsorted(held.positions, due_to - reach_bp))
        held = held.take(slice(first, None))
        due_from = due_to
    if held is not None and len(held.positions):
        yield held, (due_from, np.inf)


@dataclass
class _Pool:
    """Candidates that may still be called, and the count of all."""

    fdr: float
    null: dict[str, NullDistribution]
    n_tested: int = 0
    smallest_p: float = 1.0
    lowest: float = np.inf
    highest: float = -np.inf
    parts: list[pd.DataFrame] = field(default_factory=list)

    def add(self, block: TrackBlock, due: tuple[float, float], found: dict[str, Candidates]) -> None:
        """Test the candidates whose summits are due in this piece of track."""
        self.lowest = min(self.lowest, float(block.values.min()))
        self.highest = max(self.highest, float(block.values.max()))
        for sign, null in self.null.items():
            where = block.positions[found[sign].summit]
            candidates = found[sign].take((where >= due[0]) & (where < due[1]))
            if not len(candidates):
                continue
            p_values = null.p_values(candidates.height)
            self.n_tested += len(candidates)
            self.smallest_p = min(self.smallest_p, float(p_values.min()))
            keep = p_values <= self.fdr
            self.parts.append(_describe(block, candidates.take(keep), p_values[keep], sign))

    def check_varies(self) -> None:
        """Raise when the track has no values, or the same everywhere."""
        if not self.lowest < self.highest:
            what = "has no known base" if self.highest == -np.inf else f"is {self.highest:g} at every base"
            raise StoreError(
                f"track: the attributions cannot have peaks, the track {what}; check that the model depends on its "
                "input and that the windows are not all N, then attribute again"
            )

    def best_q(self) -> float:
        """Smallest q-value of any candidate, 1 when there is none."""
        kept = self.kept()
        if len(kept):
            return float(kept["q_value"].min())
        return min(1.0, self.smallest_p * max(self.n_tested, 1))

    def kept(self) -> pd.DataFrame:
        """Candidates with p ≤ fdr, with their q-values."""
        if not self.parts:
            return _describe(_EMPTY_BLOCK, _NO_CANDIDATES, np.zeros(0), SIGNS[0]).assign(q_value=np.zeros(0))
        table = pd.concat(self.parts, ignore_index=True)
        return table.assign(q_value=benjamini_hochberg(table["p_value"].to_numpy(), self.n_tested))


_EMPTY_BLOCK = TrackBlock(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
_NO_CANDIDATES = find_candidates(_EMPTY_BLOCK.positions, _EMPTY_BLOCK.values, CandidateRules())[SIGNS[0]]


def _describe(block: TrackBlock, candidates: Candidates, p_values: NDArray[np.float64], sign: str) -> pd.DataFrame:
    """Table of candidates in axis coordinates."""
    start = block.positions[candidates.start]
    bounds = np.stack([candidates.start, candidates.end], axis=1).ravel()
    signal = np.add.reduceat(np.append(block.values, 0.0), bounds)[::2] if len(bounds) else np.zeros(0)
    return pd.DataFrame(
        {
            "start": start,
            "width": candidates.end - candidates.start,
            "summit": candidates.summit - candidates.start,
            "height": candidates.height,
            "signal": signal,
            "p_value": p_values,
            "sign": np.full(len(start), sign, dtype=object),
            "n_windows": block.n_windows[candidates.summit],
        }
    )


def _peak_table(pool: _Pool, axis: Axis) -> pd.DataFrame:
    """Peaks at the pool's fdr, located, named and sorted."""
    kept = pool.kept()
    called = kept[kept["q_value"] <= pool.fdr]
    called = called.sort_values(["height", "start"], ascending=[False, True], kind="stable")
    rank = called.groupby("sign").cumcount() + 1
    chrom_idx, start = axis.locate(called["start"].to_numpy(dtype=np.int64))
    score = np.floor(-SCORE_PER_DECADE * np.log10(called["q_value"].to_numpy(dtype=np.float64)))
    table = called.assign(
        chrom=np.array(axis.chroms, dtype=object)[chrom_idx],
        start=start,
        end=start + called["width"].to_numpy(),
        name=[f"{sign}_{i}" for sign, i in zip(called["sign"], rank, strict=True)],
        score=np.clip(score, 0, 1000),
        strand=".",
    )
    table = table.sort_values(["chrom", "start", "end", "name"], kind="stable")
    return table[list(PEAK_COLUMNS)].astype(PEAK_COLUMNS).reset_index(drop=True)
