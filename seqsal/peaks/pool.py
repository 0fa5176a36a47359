"""From tested candidates to a table of peaks: q-values, names, genome coordinates.

Q-values are those of Benjamini and Hochberg (1995, doi:10.1111/j.2517-6161.1995.tb02031.x) over the candidates of both
signs, with the share of true nulls estimated from the p-values above λ = 1/2 (Storey, Taylor and Siegmund 2004,
doi:10.1111/j.1467-9868.2004.00439.x; for p-values from shared controls Bates et al. 2023, doi:10.1214/22-AOS2244)::

    π = (1 + #{p > λ}) / (m (1 - λ)),   between 1/2 and 1
    q_(i) = min over j ≥ i of  π m p_(j) / j

with m the number of all candidates. The floor of 1/2 is for few windows, whose p-values go up and down together.
Candidates with p > 2 fdr can neither be called nor lower a q-value to the fdr, so they are counted and forgotten, and
memory does not grow with the genome.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import StoreError
from seqsal.io.sweep import Axis, TrackBlock
from seqsal.peaks.candidates import SIGNS, CandidateRules, Candidates, find_candidates
from seqsal.peaks.null import SignNull

__all__ = ["PEAK_COLUMNS", "Pool", "benjamini_hochberg", "peak_table"]

PEAK_COLUMNS = {
    "chrom": str, "start": np.int64, "end": np.int64, "name": str, "score": np.int64, "strand": str,
    "signal": np.float64, "p_value": np.float64, "q_value": np.float64, "summit": np.int64, "sign": str,
    "n_windows": np.int64,
}  # fmt: skip
SCORE_PER_DECADE = 100  # score 1000 at q = 1e-10
LAMBDA, LEAST_NULL_SHARE = 0.5, 0.5


def benjamini_hochberg(p_values: NDArray[np.float64], n_tests: float) -> NDArray[np.float64]:
    """Q-values of the smallest p-values of `n_tests` tests.

    Parameters
    ----------
    p_values
        (k,) the k smallest, any order.
    n_tests
        Number of all tests, or of true nulls among them where that is known.

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


@dataclass
class Pool:
    """Candidates that may still be called, and the count of all."""

    fdr: float
    null: dict[str, SignNull]
    n_tested: int = 0
    n_high: int = 0  # p-values above λ
    smallest_p: float = 1.0
    lowest: float = np.inf
    highest: float = -np.inf
    parts: list[pd.DataFrame] = field(default_factory=list)

    @property
    def n_nulls(self) -> float:
        """Estimated number of true nulls among the candidates."""
        share = (1 + self.n_high) / (max(self.n_tested, 1) * (1 - LAMBDA))
        return self.n_tested * min(1.0, max(share, LEAST_NULL_SHARE))

    def add(self, block: TrackBlock, due: tuple[float, float], found: dict[str, Candidates]) -> None:
        """Test the candidates whose summits are due in this piece of track."""
        self.lowest = min(self.lowest, float(block.values.min()))
        self.highest = max(self.highest, float(block.values.max()))
        for sign, null in self.null.items():
            where = block.positions[found[sign].summit]
            candidates = found[sign].take((where >= due[0]) & (where < due[1]))
            if not len(candidates):
                continue
            strengths = null.ruler.strengths(candidates.profile)
            p_values = null.distribution.p_values(strengths)
            self.n_tested += len(candidates)
            self.n_high += int((p_values > LAMBDA).sum())
            self.smallest_p = min(self.smallest_p, float(p_values.min()))
            keep = p_values * LEAST_NULL_SHARE <= self.fdr
            self.parts.append(_describe(block, candidates.take(keep), strengths[keep], p_values[keep], sign))

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
        return min(1.0, self.smallest_p * max(self.n_nulls, 1.0))

    def kept(self) -> pd.DataFrame:
        """Candidates that may be called, with their q-values."""
        if not self.parts:
            return _describe(_EMPTY_BLOCK, _NO_CANDIDATES, np.zeros(0), np.zeros(0), SIGNS[0]).assign(
                q_value=np.zeros(0)
            )
        table = pd.concat(self.parts, ignore_index=True)
        return table.assign(q_value=benjamini_hochberg(table["p_value"].to_numpy(), self.n_nulls))


_EMPTY_BLOCK = TrackBlock(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
_NO_CANDIDATES = find_candidates(_EMPTY_BLOCK.positions, _EMPTY_BLOCK.values, CandidateRules())[SIGNS[0]]


def _describe(
    block: TrackBlock, candidates: Candidates, strengths: NDArray[np.float64], p_values: NDArray[np.float64], sign: str
) -> pd.DataFrame:
    """Table of candidates in axis coordinates."""
    start = block.positions[candidates.start]
    bounds = np.stack([candidates.start, candidates.end], axis=1).ravel()
    signal = np.add.reduceat(np.append(block.values, 0.0), bounds)[::2] if len(bounds) else np.zeros(0)
    return pd.DataFrame(
        {
            "start": start,
            "width": candidates.end - candidates.start,
            "summit": candidates.summit - candidates.start,
            "strength": strengths,
            "signal": signal,
            "p_value": p_values,
            "sign": np.full(len(start), sign, dtype=object),
            "n_windows": block.n_windows[candidates.summit],
        }
    )


def peak_table(pool: Pool, axis: Axis) -> pd.DataFrame:
    """Peaks at the pool's fdr, located, named and sorted."""
    kept = pool.kept()
    called = kept[kept["q_value"] <= pool.fdr]
    called = called.sort_values(["strength", "start"], ascending=[False, True], kind="stable")
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
