"""From tested candidates to a table of peaks: q-values, names, genome coordinates.

Q-values are those of Benjamini and Hochberg (1995, doi:10.1111/j.2517-6161.1995.tb02031.x) over the candidates of both
signs together, with weights w for the signs (Genovese, Roeder and Wasserman 2006, doi:10.1093/biomet/93.3.509) and an
estimate of the number of true nulls n₀ from the p-values above λ = 1/2 (Storey, Taylor and Siegmund 2004,
doi:10.1111/j.1467-9868.2004.00439.x; with weights Ignatiadis and Huber 2021, doi:10.1111/rssb.12411; for p-values from
shared controls Bates et al. 2023, doi:10.1214/22-AOS2244). With m_s candidates of sign s, m of both::

    π_s = (2 + #{p > λ in s}) / (m_s (1 - λ)),   at most 1
    w_s ∝ 1/5 + (1 - π_s),   Σ m_s w_s = m,   at most 2
    n₀ = (max w + Σ_s w_s #{p > λ in s}) / (1 - λ),   between m/2 and m
    q_(i) = min over j ≥ i of  n₀ (p/w)_(j) / j

*Weights*, since a model often has much to say with one sign and little with the other. Calls of each sign by itself
would be the extreme of this, at twice the chances of a call where there is nothing. On the 60 development data sets of
`benchmarks/calibration.py` recall at q ≤ 0.05 was 0.335 of activating and 0.254 of repressing elements without weights,
0.375 and 0.229 with them (0.358 and 0.242 with 1/2 in place of 1/5, 0.388 and 0.194 with 1/20), and 0.413 and 0.164 by
sign; calls on shuffles in 1 of 60, none, and 4.

The 2 in π_s, and the maximum in n₀, stand for the candidate that is asked about, as if it were null: among 6 to 40
uniform p-values something is called at q ≤ 0.05 in 5.4 to 5.7 % of 10,000 sets, with 1 in 5.5 to 6.1 %, and without
weights in 5.0 to 5.6 %.

The floor of n₀ is for few windows, whose p-values go up and down together. Candidates with p > 4 fdr can neither be
called nor lower a q-value to the fdr, so they are counted and forgotten. The others, a fifth of all at an fdr of
0.05 where nothing is to be found, are in nameless files of 45 bytes each until they are called. In memory are only the
different p-values and how many candidates have each, no more than the controls have candidates but for those in the
tail of the null.

*The luck of the draw.* Many sites of one factor have strengths that hardly differ, so that all or none of them pass the
fdr, by the few controls that are as strong. :class:`Spread` measures that, and :func:`seqsal.call_peaks` makes more
controls while it is large.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import StoreError
from seqsal.io.atomic import output_error
from seqsal.io.sweep import Axis, TrackBlock
from seqsal.peaks.candidates import SIGNS, Candidates
from seqsal.peaks.joint import JointNull
from seqsal.peaks.null import N_GROUPS, Evidence, NullDistribution, SignNull

__all__ = ["PEAK_COLUMNS", "Pool", "benjamini_hochberg", "by_height", "peak_table"]

PEAK_COLUMNS = {
    "chrom": str, "start": np.int64, "end": np.int64, "name": str, "score": np.int64, "strand": str,
    "signal": np.float64, "p_value": np.float64, "q_value": np.float64, "summit": np.int64, "sign": str,
    "n_windows": np.int64,
}  # fmt: skip
SCORE_PER_DECADE = 100  # score 1000 at q = 1e-10
LAMBDA, LEAST_NULL_SHARE = 0.5, 0.5
BASE_WEIGHT, MAX_WEIGHT = 0.2, 2.0
SETTLED = 0.1  # standard error of the number of calls, relative to it
FAR = 10.0  # times the fdr: no draw of the controls makes calls of such a q-value
KEPT = 1 / LEAST_NULL_SHARE  # times weight and fdr: p-values beyond it can neither be called nor change a call
IN_MEMORY = 1 << 22  # bytes of either file that stay there
PLACES = 1 << 16  # read at a time
COUNTED = 1 << 20  # p-values at a time
_JUDGED = np.dtype([("sign", "i1"), ("strength", "<f8"), ("p_value", "<f8")])
_PLACE = np.dtype([("start", "<i8"), ("width", "<i4"), ("summit", "<i4"), ("signal", "<f8"), ("n_windows", "<i4")])
Describe = Callable[[TrackBlock, dict[str, Candidates]], dict[str, Evidence]]  # of each sign


def benjamini_hochberg(p_values: NDArray[np.float64], n_tests: float) -> NDArray[np.float64]:
    """Q-values of the smallest p-values of `n_tests` tests.

    Parameters
    ----------
    p_values
        (k,) the k smallest, any order; divided by their weights where there are such.
    n_tests
        Number of all tests, or of true nulls among them where that is known.

    Returns
    -------
    ndarray
        (k,) q-values; an upper bound where one exceeds the largest p-value given.
    """
    order = np.argsort(p_values, kind="stable")
    raw = p_values[order]
    raw *= n_tests
    raw /= np.arange(1, len(order) + 1)
    np.minimum.accumulate(raw[::-1], out=raw[::-1])
    q_values = np.empty(len(order))
    q_values[order] = np.minimum(raw, 1.0, out=raw)
    return q_values


@dataclass(frozen=True)
class _Ranking:
    """Q-values of p-values that are counted, not held: controls are few, so that many candidates share theirs.

    Attributes
    ----------
    p_values
        (d,) the different ones, ascending, divided by their weights where there are such.
    n_below
        (d,) how many candidates have one up to each.
    n_tests
        As for :func:`benjamini_hochberg`.
    """

    p_values: NDArray[np.float64]
    n_below: NDArray[np.int64]
    n_tests: float

    @classmethod
    def of(cls, blocks: Iterable[NDArray[np.float64]], n_tests: float) -> _Ranking:
        """Count the p-values of blocks (n,)."""
        values, counts = np.zeros(0), np.zeros(0, np.int64)
        held: list[NDArray[np.float64]] = []
        for block in chain(blocks, [None]):
            if block is not None:
                held.append(block)
            if held and (block is None or sum(map(len, held)) > max(COUNTED, len(values))):
                values, counts = _tallied(
                    np.concatenate([values, *held]),
                    np.concatenate([counts, *(np.ones(len(x), np.int64) for x in held)]),
                )
                held = []
        return cls(values, np.cumsum(counts), n_tests)

    @property
    def _raw(self) -> NDArray[np.float64]:
        """(d,) the q-value of each, were there none larger."""
        return np.minimum(self.p_values * self.n_tests / self.n_below, 1.0)

    @property
    def smallest(self) -> float:
        """The smallest q-value; infinite where there is none."""
        return float(self._raw.min(initial=np.inf))

    def largest_p(self, rate: float) -> float:
        """Return the largest p-value whose q-value is up to a rate; below 0 where there is none."""
        called = np.flatnonzero(self._raw <= rate)
        return float(self.p_values[called[-1]]) if len(called) else -1.0

    def n_called(self, rate: float) -> int:
        """Count q-values up to a rate."""
        called = np.flatnonzero(self._raw <= rate)
        return int(self.n_below[called[-1]]) if len(called) else 0


def _tallied(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Add up the counts (n,) of equal values (n,); ascending."""
    order = np.argsort(values, kind="stable")
    values = values[order]
    first = np.flatnonzero(np.append(len(values) > 0, values[1:] != values[:-1]))
    return values[first], np.add.reduceat(counts[order], first) if len(first) else counts


class _Kept:
    """Candidates in the order in which they come, in nameless files: what they are judged by, and where they lie."""

    def __init__(self) -> None:
        self._files = {kind: tempfile.SpooledTemporaryFile(IN_MEMORY) for kind in (_JUDGED, _PLACE)}
        weakref.finalize(self, _close, list(self._files.values()))

    def add(self, judged: NDArray[Any], places: NDArray[Any]) -> None:
        """Add candidates (n,)."""
        try:
            for kind, rows in ((_JUDGED, judged), (_PLACE, places)):
                self._files[kind].write(rows.tobytes())
        except OSError as error:
            raise output_error(Path(tempfile.gettempdir()), error) from error

    def judged(self) -> Iterator[NDArray[Any]]:
        """Yield signs, by their numbers, strengths and p-values, some candidates at a time."""
        yield from self._blocks(_JUDGED)

    def places(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Where some candidates lie, by their numbers, ascending."""
        found, first = [np.zeros(0, _PLACE)], 0
        for some in self._blocks(_PLACE):
            found.append(some[rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(some))] - first])
            first += len(some)
        return np.concatenate(found)

    def _blocks(self, kind: np.dtype[Any]) -> Iterator[NDArray[Any]]:
        file = self._files[kind]
        file.seek(0)
        while data := file.read(PLACES * kind.itemsize):
            yield np.frombuffer(data, kind)


def _close(files: list[Any]) -> None:
    for file in files:
        file.close()


@dataclass
class SignCount:
    """What is known of all candidates of one sign.

    Attributes
    ----------
    n_tested
        Their number m_s.
    n_high
        Those whose p-value is above λ.
    smallest_p
        The smallest p-value.
    """

    n_tested: int = 0
    n_high: int = 0
    smallest_p: float = 1.0

    @property
    def non_null_share(self) -> float:
        """Estimated share 1 - π_s of candidates that are not null, in [0, 1]."""
        return max(0.0, 1 - (2 + self.n_high) / (max(self.n_tested, 1) * (1 - LAMBDA)))


def sign_weights(counts: Mapping[str, SignCount]) -> dict[str, float]:
    """Weights of the signs, which average to at most 1 over the candidates; see the module's formula."""
    raw = {sign: BASE_WEIGHT + count.non_null_share for sign, count in counts.items()}
    n_tested = sum(count.n_tested for count in counts.values())
    total = sum(raw[sign] * count.n_tested for sign, count in counts.items())
    if not n_tested:
        return dict.fromkeys(counts, 1.0)
    return {sign: min(weight * n_tested / total, MAX_WEIGHT) for sign, weight in raw.items()}


@dataclass(frozen=True)
class Spread:
    """How far calls depend on which controls were drawn.

    Attributes
    ----------
    fdr
        Largest q-value of a call.
    n_calls, n_calls_sd
        Number of calls, and its standard error over draws of the controls.
    best_q, best_q_factor
        Smallest q-value, and the factor that is one standard error of it.
    """

    fdr: float
    n_calls: int
    n_calls_sd: float
    best_q: float
    best_q_factor: float

    @property
    def best_q_range(self) -> tuple[float, float]:
        """Two standard errors about the smallest q-value."""
        factor = self.best_q_factor**2
        return self.best_q / factor, min(self.best_q * factor, 1.0)

    @property
    def is_settled(self) -> bool:
        """Whether other controls would give about as many calls."""
        low, high = self.best_q_range
        return not low <= self.fdr <= high and self.n_calls_sd <= max(1.0, SETTLED * self.n_calls)


def _jackknife(values: NDArray[Any]) -> float:
    """Return the standard error of a statistic from its values (G,), each without one of G groups."""
    return float(np.sqrt((len(values) - 1) * np.var(values)))


def by_height(block: TrackBlock, found: dict[str, Candidates]) -> dict[str, Evidence]:
    """Judge candidates by their profiles."""
    return {sign: Evidence(one.profile, *np.zeros((3, len(one)), dtype=np.int64)) for sign, one in found.items()}


@dataclass
class Pool:
    """Candidates that may still be called, or kept at a larger q-value than the fdr, and the counts of all."""

    fdr: float
    null: Mapping[str, SignNull | JointNull]
    describe: Describe = by_height
    given: Mapping[str, float] | None = None
    kept_fdr: float = 0.0
    counts: dict[str, SignCount] = field(init=False)
    lowest: float = np.inf
    highest: float = -np.inf
    _kept: _Kept = field(init=False, default_factory=_Kept)
    _ranking: _Ranking | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.counts = {sign: SignCount() for sign in self.null}

    @property
    def n_tested(self) -> int:
        """Number of candidates."""
        return sum(count.n_tested for count in self.counts.values())

    @property
    def weights(self) -> dict[str, float]:
        """Weights w of the signs, which average to at most 1 over the candidates."""
        return sign_weights(self.counts) if self.given is None else dict(self.given)

    @property
    def n_nulls(self) -> float:
        """Estimated number n₀ of true nulls, by their weights."""
        weights = self.weights
        high = sum(weights[sign] * count.n_high for sign, count in self.counts.items())
        estimate = (max(weights.values(), default=1.0) + high) / (1 - LAMBDA)
        return min(float(self.n_tested), max(estimate, LEAST_NULL_SHARE * self.n_tested))

    def add(self, block: TrackBlock, due: tuple[float, float], found: dict[str, Candidates]) -> None:
        """Test the candidates whose summits are due in this piece of track."""
        self.lowest = min(self.lowest, float(block.values.min()))
        self.highest = max(self.highest, float(block.values.max()))
        where = {sign: block.positions[found[sign].summit] for sign in self.null}
        mine = {sign: found[sign].take((at >= due[0]) & (at < due[1])) for sign, at in where.items()}
        described = self.describe(block, mine)
        for sign, null in self.null.items():
            candidates = mine[sign]
            if not len(candidates):
                continue
            strengths = null.strengths(described[sign])
            p_values = null.p_values(strengths)
            count = self.counts[sign]
            count.n_tested += len(candidates)
            count.n_high += int((p_values > LAMBDA).sum())
            count.smallest_p = min(count.smallest_p, float(p_values.min()))
            most = MAX_WEIGHT if self.given is None else self.given[sign]
            keep = p_values <= KEPT * most * max(self.fdr, self.kept_fdr)
            judged = np.empty(int(keep.sum()), _JUDGED)
            judged["sign"], judged["strength"], judged["p_value"] = SIGNS.index(sign), strengths[keep], p_values[keep]
            self._kept.add(judged, _places(block, candidates.take(keep)))
            self._ranking = None

    def check_varies(self) -> None:
        """Raise when the track has no values, or the same everywhere."""
        if not self.lowest < self.highest:
            what = "has no known base" if self.highest == -np.inf else f"is {self.highest:g} at every base"
            raise StoreError(
                f"track: the attributions cannot have peaks, the track {what}; check that the model depends on its "
                "input and that the windows are not all N, then attribute again"
            )

    def best_q(self) -> float:
        """Smallest q-value of any candidate, 1 when there is none; an upper bound of it where it is above the fdr."""
        weights = self.weights
        smallest = min((count.smallest_p / weights[sign] for sign, count in self.counts.items()), default=1.0)
        of_one = min(1.0, smallest * max(self.n_nulls, 1.0))
        return min(of_one, self.ranking().smallest)

    def n_needed(self) -> int:
        """Count the peaks, each stronger than every control, that q ≤ fdr takes with so few controls."""
        weights = self.weights
        of_one = min((self.n_nulls / ((1 + len(null)) * weights[sign]) for sign, null in self.null.items()), default=0)
        return int(np.ceil(of_one / self.fdr))

    def n_called(self, rate: float) -> int:
        """Count the candidates of a q-value up to a rate, as far as they are kept."""
        return self.ranking().n_called(rate)

    def ranking(self) -> _Ranking:
        """Return the q-values of the candidates that may be called."""
        if self._ranking is None:
            self._ranking = _Ranking.of(map(self._weighted, self._kept.judged()), self.n_nulls)
        return self._ranking

    def _weighted(self, judged: NDArray[Any], p_values: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """P-values (n,) of some candidates over the weights of their signs."""
        weights = np.array([self.weights.get(sign, np.nan) for sign in SIGNS])
        return np.asarray((judged["p_value"] if p_values is None else p_values) / weights[judged["sign"]])

    def called(self) -> pd.DataFrame:
        """Candidates of a q-value up to the larger rate, in axis coordinates."""
        most, first = self.ranking().largest_p(max(self.fdr, self.kept_fdr)), 0
        rows, kept = [np.zeros(0, np.int64)], [np.zeros(0, _JUDGED)]
        for judged in self._kept.judged():
            called = np.flatnonzero(self._weighted(judged) <= most)
            rows.append(first + called)
            kept.append(judged[called])
            first += len(judged)
        found = np.concatenate(kept)
        q_values = benjamini_hochberg(self._weighted(found), self.n_nulls)
        names = np.array(SIGNS, dtype=object)[found["sign"]]
        return pd.DataFrame(self._kept.places(np.concatenate(rows))).assign(
            strength=found["strength"], p_value=found["p_value"], sign=names, q_value=q_values
        )

    def spread(self) -> Spread:
        """Say how far the calls depend on which controls were drawn, by leaving out an eighth of them at a time."""
        n_calls, best = self.n_called(self.fdr), self.ranking().smallest
        if best > FAR * self.fdr:
            return Spread(self.fdr, n_calls, 0.0, self.best_q(), 1.0)
        without = {sign: null.without() for sign, null in self.null.items()}
        calls, log_q = np.empty(N_GROUPS), np.empty(N_GROUPS)
        for group in range(N_GROUPS):
            nulls = {sign: null[group] for sign, null in without.items()}
            ranking = _Ranking.of((self._weighted(x, _p_values(x, nulls)) for x in self._kept.judged()), self.n_nulls)
            calls[group], log_q[group] = ranking.n_called(self.fdr), np.log(ranking.smallest)
        return Spread(self.fdr, n_calls, _jackknife(calls), best, float(np.exp(_jackknife(log_q))))


def _p_values(judged: NDArray[Any], nulls: Mapping[str, NullDistribution | JointNull]) -> NDArray[np.float64]:
    """P-values (n,) of some candidates under other nulls."""
    found = np.empty(len(judged))
    for sign, null in nulls.items():
        rows = judged["sign"] == SIGNS.index(sign)
        found[rows] = null.p_values(judged["strength"][rows])
    return found


def _places(block: TrackBlock, candidates: Candidates) -> NDArray[Any]:
    """Where candidates (n,) lie, in axis coordinates, and what they sum to."""
    bounds = np.stack([candidates.start, candidates.end], axis=1).ravel()
    found = np.empty(len(candidates), _PLACE)
    found["start"] = block.positions[candidates.start]
    found["width"], found["summit"] = candidates.end - candidates.start, candidates.summit - candidates.start
    found["signal"] = np.add.reduceat(np.append(block.values, 0.0), bounds)[::2] if len(bounds) else 0
    found["n_windows"] = block.n_windows[candidates.summit]
    return found


def peak_table(pool: Pool, axis: Axis) -> pd.DataFrame:
    """Peaks at the pool's fdr, or what it keeps, located, named and sorted."""
    called = pool.called().sort_values(["strength", "start"], ascending=[False, True], kind="stable")
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
