"""Joint evidence: what a candidate and its window show together, learned between windows and controls.

The height of a peak is one piece of evidence among several. Whole genomes have as many high peaks by chance as real
ones, and what tells them apart is how the peak looks and what the model predicts for its window. Each candidate is
described by numbers (`FEATURES`), and a score of them is learned and calibrated by competition with controls, as in
Percolator (Käll et al. 2007, doi:10.1038/nmeth1113), semi-supervised: the candidates that come out best so far are
the positives of a logistic regression, whose score chooses the next positives.

*Two nulls.* A candidate may be no element for two reasons, and the score has to beat both.

1. Its window holds nothing: then it looks like the candidates of shuffled windows, window and all.
2. Its window does hold an element, but elsewhere: then its own shape is one of the shuffles, but its window (what the
   model predicts for it, its level) is one of the data. Such *grafts* are made: a control's candidate in a window of
   the data, drawn at random among all of them, `MOST_GRAFTS_EACH` times where there are few: windows that hold an
   element are so rare in a genome that one draw for each candidate leaves the second null to the luck of a handful.

Without the second, windows of the data that differ from shuffles as a whole (all of them hold sites, say) would have
everything in them called: false discovery proportions of 0.3 to 0.8 on `benchmarks/calibration.py`.

*From both, one p-value.* False calls of the two kinds add up. Grafts go into windows of both kinds and give all false
calls, but for one thing: in a shuffled window the candidate and its window belong together (a chance match raises the
prediction), and a graft and its window do not. What that makes is the difference between the controls' candidates and
*their* grafts, into windows of other controls. So of C, G and G₀, the shares of the controls' candidates, of their
grafts into the data and of those into controls that score s or more,

    p(s) = r(s) G(s) + max(0, C(s) - G₀(s)),   at least C(s)

*Places* r(s). A graft stands for a candidate that is none in its window, but where an element takes the place of one,
there is one less: of windows that hold one, every second candidate or so. So a graft in window i counts only as many
places as i has candidates below s, n_i(s), relative to the mean of all windows n̄:

    r(s) = mean over grafts that score s or more of  n_i(s) / n̄ / (1 - G(s))

A place whose candidate is none lies below s with probability 1 - P_i(s), if P_i(s) is that of a graft there to score s,
so that Σ over places below s of P_i / (1 - P_i) has the expectation of Σ P_i over all places that are none; elements
below s make it larger. For 1 - P_i stands 1 - G, which is exact where windows are alike, and hardly different from 1
where few grafts score s.

The larger of C and G, as before, had 12.1 % false among 654 calls at q ≤ 0.1 in a planted genome of 10 Mb, their sum
4.8 % of 559, and this 7.9 % of 605; among the candidates of yeast with 80,000 controls, at q ≤ 0.2, they call 211, 86
and 196 at sites of Abf1.

*Cross-fitting.* Windows are dealt into folds by stretches of the genome, controls into the fold of the window that they
shuffle. The score of a fold is learned from the others, so that no candidate, real or shuffled, is scored by what has
seen it (Granholm et al. 2012, doi:10.1186/1471-2105-13-S16-S3), and real and shuffled candidates of a fold are scored
alike. Where the other folds have too few good candidates to learn from, the fold's score is the height's.

*No worse than its parts.* Learning begins with the best of the height, the prediction, the steady prediction and their
sums, and leaves it only for what makes clearly more candidates stand out. Positives are chosen at the strictest of
`RATES` that is not left to a handful of controls, whatever the q-value asked for: 0.3 for a yeast factor with 20,000 of
them, 0.05 where elements stand out clearly, and there their own evidence counts for more than that of their windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from seqsal.io.attributions import Attributions
from seqsal.io.sweep import Axis
from seqsal.peaks.candidates import UNMEASURED, Candidates, Ruler
from seqsal.peaks.null import MIN_COUNT, N_GROUPS, Evidence, NullDistribution, SignNull

__all__ = [
    "FEATURES",
    "MIN_CONTROLS",
    "MIN_WINDOWS",
    "JointNull",
    "Windows",
    "describe",
    "fit_joint",
    "joint_weights",
    "too_few",
]

N_FOLDS = 3
MOST_LEARNED = 300_000  # windows that a joint score is learned from
SAMPLED_BP = 100_000  # stretches that are sampled where there are more
BLOCK_WINDOWS = 1000  # of one unbroken stretch that stay in one fold
MIN_WINDOWS, MIN_CONTROLS, MIN_CANDIDATES = 100, 100, 10  # for anything to be learned; candidates of a fold
RATES, LEAST_FALSE = (0.05, 0.1, 0.2, 0.3), 10  # shares of false ones among positives; controls that tell one
ABOUT = (0.75, 1.0, 1.25, 1.5)  # times the rate, what yields are summed at
N_ROUNDS, BETTER = 5, 1.05
MIN_POSITIVES = 20
RIDGE = 1.0
MAX_Z = 8.0
CAPS = (0.5, 1.0, 1.5, 2.0)  # of heights, in 99th percentiles of the controls': beyond, higher is no better
SHARES = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)  # of the height to the prediction, to begin with
MAX_STEPS, SMALL_STEP = 30, 1e-6  # of Newton's method
BASE_BUDGET = 30
MUCH_SHARED = 0.05  # of the windows, from which on places in windows mean nothing
FEATURES = (
    "area",
    "agreement",
    "sharpness",
    "width",
    "bases",
    "others",
    "strand",
    "effect",
    "steady",
    "prediction",
    "level",
    "place",
)
BASES, OTHERS, STRAND, EFFECT, STEADY, PREDICTION = -8, -7, -6, -5, -4, -3  # columns
ANSWERS = (BASES, OTHERS, STRAND, EFFECT)  # that make up the strength, with the height
OF_WINDOW = 4  # the last so many
MOST_GRAFTS_EACH, MOST_GRAFTS = 8, 100_000  # of each candidate of the controls, and together


@dataclass(frozen=True)
class Windows:
    """What is known of the windows along the axis, to be looked up by position.

    Attributes
    ----------
    start
        (N,) axis positions of the windows, ascending.
    length
        Their length (bp).
    order
        (N,) their rows of the attributions.
    prediction
        (N,) their predictions, 0 where the controls have none to compare them with.
    fold
        (N,) fold of each.
    step
        Distance of windows that overlap (bp), their length where they do not: a summit lies within half of it from the
        middle of a window, and so do the controls' candidates that it is compared with.
    has_place
        Whether places in windows are compared: not where windows overlap.
    of_row
        (N,) fold of each row of the attributions.
    every
        Of so many stretches of `SAMPLED_BP` one is learned from.
    of_control
        (M,) number of the window that each control shuffles; None where they are no shuffles, or that is not known.
    """

    start: NDArray[np.int64]
    length: int
    order: NDArray[np.int64]
    prediction: NDArray[np.float64]
    fold: NDArray[np.int64]
    step: int
    has_place: bool
    of_row: NDArray[np.int64]
    every: int = 1
    of_control: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, attr: Attributions, axis: Axis) -> Windows:
        """Look at the windows."""
        order = axis.order
        start = axis.window_start[order]
        is_new = np.append(True, np.diff(start) >= attr.length)
        stretch = np.cumsum(is_new) - 1
        within = np.arange(len(start)) - np.flatnonzero(is_new)[stretch]
        cut = is_new | (within % BLOCK_WINDOWS == 0)
        fold = (np.cumsum(cut) - 1) % N_FOLDS
        of_row = np.empty(len(order), dtype=np.int64)
        of_row[order] = fold
        of_controls = None if attr.controls is None else attr.controls.prediction
        known = of_controls is not None and 2 * np.count_nonzero(of_controls) > len(of_controls)  # 0: grown long ago
        prediction = np.asarray(attr.prediction, dtype=np.float64)[order] if known else np.zeros(len(order))
        has_place = bool((~is_new).mean() <= MUCH_SHARED)
        step = attr.length if has_place else max(int(np.median(np.diff(start)[~is_new[1:]])), 1)
        every = -(-len(start) // MOST_LEARNED)
        of_control = None
        if attr.controls is not None and attr.controls.source is not None and attr.null == "shuffle":
            of_control = np.argsort(order)[np.asarray(attr.controls.source)]
        return cls(start, attr.length, order, prediction, fold, step, has_place, of_row, every, of_control)

    def population(self, direction: float) -> _Population:
        """Return the windows that candidates are learned from."""
        rows = np.flatnonzero((self.start + self.length // 2) // SAMPLED_BP % self.every == 0)
        return _Population(rows, self.fold[rows], direction * self.prediction[rows])

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the window whose middle is nearest to each axis position (n,)."""
        middle = self.start + self.length // 2
        after = np.clip(np.searchsorted(middle, positions), 1, max(len(middle) - 1, 1))
        after = np.minimum(after, len(middle) - 1)
        before = np.maximum(after - 1, 0)
        return np.where(positions - middle[before] <= middle[after] - positions, before, after)

    def is_compared(self, offset: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether offsets in a control lie as near to its middle as positions do to the middle of a window."""
        return np.abs(2 * offset + 1 - self.length) <= self.step

    def of_controls(self, attr: Attributions, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Prediction and fold (n,) of controls; that of the window which they shuffle."""
        assert attr.controls is not None
        source, prediction = attr.controls.source, attr.controls.prediction
        fold = rows % N_FOLDS if source is None else self.of_row[np.asarray(source)[rows]]
        known = prediction is not None and self.prediction.any()
        return np.asarray(prediction, dtype=np.float64)[rows] if known else np.zeros(len(rows)), fold

    def place(self, offset: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distance of offsets in a window from its middle, 0 to 1; 0 where places mean nothing."""
        return np.abs(2 * offset + 1 - self.length) / self.length * self.has_place


def too_few(attr: Attributions) -> str:
    """Say of what there is too little to learn from, or nothing."""
    for what, n, least in (("windows", len(attr), MIN_WINDOWS), ("controls", attr.n_controls, MIN_CONTROLS)):
        if n < least:
            return f"{n} {what} are too few (at least {least})"
    return ""


def describe(
    candidates: Candidates,
    sign: str,
    values: NDArray[np.floating],
    prediction: NDArray[np.float64],
    level: NDArray[np.float64],
    place: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Features (n, K + `FEATURES`) of candidates of a track (P,), heights first; the rest is of their windows, (n,)."""
    direction = 1.0 if sign == "pos" else -1.0
    bounds = np.stack([candidates.start, candidates.end], axis=1).ravel()
    padded = np.append(values, 0.0)
    area, size = (np.add.reduceat(one, bounds)[::2] if len(bounds) else np.zeros(0) for one in (padded, np.abs(padded)))
    largest = np.maximum.reduceat(np.abs(padded), bounds)[::2] if len(bounds) else np.zeros(0)
    size = np.maximum(size, np.finfo(float).tiny)
    own = [
        np.maximum(direction * area, 0) ** (2 / 3), direction * area / size, largest / size,
        np.log(candidates.end - candidates.start), *np.zeros((4, len(candidates))),
        direction * prediction, direction * prediction, np.log(level), place,
    ]  # fmt: skip
    return np.column_stack([candidates.profile, *own]).astype(np.float32)


@dataclass(frozen=True)
class _Population:
    """Windows of the data that grafts are made into: their numbers (n,), folds and predictions, up for the sign."""

    number: NDArray[np.int64]
    fold: NDArray[np.int64]
    prediction: NDArray[np.float64]

    def take(self, rows: NDArray[np.bool_]) -> _Population:
        """Return those of a mask."""
        return _Population(self.number[rows], self.fold[rows], self.prediction[rows])

    @classmethod
    def of_controls(cls, controls: Evidence) -> _Population:
        """Return the controls that have candidates."""
        number, row = np.unique(controls.unit, return_index=True)
        return cls(number, controls.fold[row], controls.features[row, PREDICTION].astype(np.float64))

    def graft(
        self, controls: Evidence, data: Evidence, seed: int, n_each: int = 1
    ) -> tuple[Evidence, NDArray[np.int64]]:
        """Give each of the controls' candidates `n_each` windows, drawn at random; also the numbers of these.

        A window that has no candidate among `data` gives its prediction only.
        """
        order = np.lexsort(controls.features.T)  # not by rows, so that the order of the controls does not matter
        order = np.repeat(order, n_each)
        made = controls.take(order)
        drawn = np.random.default_rng(seed).integers(len(self.number), size=len(made))
        made.features[:, [STEADY, PREDICTION]] = self.prediction[drawn, None]
        number, row = np.unique(data.unit, return_index=True)
        at = np.minimum(np.searchsorted(number, self.number[drawn]), len(number) - 1)
        has = number[at] == self.number[drawn]
        made.features[has, -OF_WINDOW:] = data.features[row[at[has]], -OF_WINDOW:]
        return made, self.number[drawn]


@dataclass(frozen=True)
class _Score:
    """A linear score of standardised features: 0 is the middle of the controls, 1 their 99th percentile.

    `n_positives` of the candidates that it was learned from stand out.
    """

    ruler: Ruler
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    weights: NDArray[np.float64]
    middle: float = 0.0
    high: float = 1.0
    n_positives: int = 0

    def standard(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Features (n, F) in standard units of the nulls, with the height before them as it is and capped."""
        heights = features[:, : len(self.ruler.reference)].astype(np.float64)
        height = self.ruler.strengths(heights, _answers(features))
        table = np.column_stack([height, *(np.minimum(height, cap) for cap in CAPS), features])
        return np.clip((table - self.centre) / self.spread, -MAX_Z, MAX_Z)

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score candidates (n, F)."""
        return (self.standard(features) @ self.weights - self.middle) / (self.high - self.middle)

    @classmethod
    def learn(cls, data: Evidence, controls: Evidence, grafts: Evidence, n_heights: int) -> _Score:
        """Learn to tell data from both nulls; the height alone where too few candidates stand out."""
        nulls = (controls, grafts)
        ruler = Ruler.of(controls.features[:, :n_heights].astype(np.float64), _answers(controls.features))
        plain = cls(ruler, np.zeros(1), np.ones(1), np.zeros(1))
        both = np.concatenate([plain.standard(one.features) for one in nulls])
        spread = both.std(axis=0)
        plain = replace(plain, centre=both.mean(axis=0), spread=np.where(spread > 0, spread, 1.0))
        x, *x0 = (plain.standard(one.features) for one in (data, *nulls))
        weights, mask = _search(x, x0)
        level = np.concatenate(x0) @ weights
        middle, high = np.quantile(level, [0.5, 0.99])
        high = high if high > middle else middle + 1
        return replace(plain, weights=weights, middle=float(middle), high=float(high), n_positives=int(mask.sum()))


def _search(x: NDArray[np.float64], nulls: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Weights (F,) by which most of the data (n, F) stand out from both nulls, and which of them do.

    Begins with the strength and the predictions, alone and in some proportions, and goes on by logistic regression as
    long as more stand out: no worse than the best of these, where they were learned.
    """
    eye = np.eye(x.shape[1])
    height, heights = eye[0], eye[: len(CAPS) + 1]
    predictions = eye[[STEADY, PREDICTION]]
    tried = [height, *predictions, *(p + share * one for p in predictions for one in heights for share in SHARES)]
    yields = np.array([_yields(x, nulls, w) for w in tried])
    for i, rate in enumerate(RATES):
        weights, most = tried[int(np.argmax(yields[:, i]))], yields[:, i].max()
        mask = now = _stand_out(x @ weights, [null @ weights for null in nulls], rate)
        if now.sum() * rate * len(nulls[0]) >= LEAST_FALSE * len(x):
            break
    if now.sum() < MIN_POSITIVES:
        return height, _stand_out(x @ height, [null @ height for null in nulls], rate)
    negatives = np.concatenate(nulls)
    start: NDArray[np.float64] | None = None
    for _ in range(N_ROUNDS):
        start = _logistic(x[now], negatives, weights, start)
        learned = start[:-1]
        now = _stand_out(x @ learned, [null @ learned for null in nulls], rate)
        found = _yields(x, nulls, learned)[i]
        if found > BETTER * most:
            weights, mask, most = learned, now, found
        if now.sum() < MIN_POSITIVES:
            break
    return weights, mask


def _yields(
    x: NDArray[np.float64], nulls: list[NDArray[np.float64]], weights: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Count how many stand out (R,) at each of `RATES`: at several about it together, for less luck in the choice."""
    _, share = _false_share(x @ weights, [null @ weights for null in nulls])
    counts = [[_n_passing(share, rate * about) for about in ABOUT] for rate in RATES]
    return np.sum(counts, axis=1)


def _stand_out(data: NDArray[np.float64], nulls: list[NDArray[np.float64]], rate: float) -> NDArray[np.bool_]:
    """Which of the data's scores (n,) stand out from those of both nulls, at an estimated share of false ones."""
    order, share = _false_share(data, nulls)
    chosen = np.zeros(len(data), dtype=bool)
    chosen[order[: _n_passing(share, rate)]] = True
    return chosen


def _false_share(
    data: NDArray[np.float64], nulls: list[NDArray[np.float64]]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order of the data's scores (n,), highest first, and the share of false ones from the first to each."""
    order = np.argsort(-data, kind="stable")
    falling = data[order]
    counts = [
        (len(null) - np.searchsorted(np.sort(null), falling[::-1], side="left")[::-1], len(null)) for null in nulls
    ]
    tail = np.max([(1 + count) / (1 + n) for count, n in counts], axis=0)
    return order, tail * len(data) / np.arange(1, len(data) + 1)


def _n_passing(share: NDArray[np.float64], rate: float) -> int:
    """Count those down to the last at which the share of false ones is no more than the rate."""
    passing = np.flatnonzero(share <= rate)
    return int(passing[-1]) + 1 if len(passing) else 0


def _logistic(
    positives: NDArray[np.float64],
    negatives: NDArray[np.float64],
    towards: NDArray[np.float64],
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Weights and intercept (F + 1,) of a ridge logistic regression in which both classes weigh the same.

    By Newton's method, from a solution for other positives where there is one.
    """
    x = np.concatenate([positives, negatives])
    x = np.column_stack([x, np.ones(len(x))])
    y = np.repeat([1.0, 0.0], [len(positives), len(negatives)])
    share = np.repeat([1.0, len(positives) / len(negatives)], [len(positives), len(negatives)])
    penalty = np.append(np.full(x.shape[1] - 1, RIDGE), 1e-9)
    prior = np.append(towards, 0.0)

    def loss(w: NDArray[np.float64]) -> float:
        return float(share @ np.logaddexp(0, np.where(y > 0, -1, 1) * (x @ w)) + penalty @ (w - prior) ** 2 / 2)

    w = prior if start is None else start
    now = loss(w)
    for _ in range(MAX_STEPS):
        p = special.expit(x @ w)
        gradient = x.T @ (share * (y - p)) - penalty * (w - prior)
        step = np.linalg.solve((x * (share * p * (1 - p))[:, None]).T @ x + np.diag(penalty), gradient)
        before = now
        while (now := loss(w + step)) > before and np.abs(step).max() > SMALL_STEP:
            step = step / 2
        w = w + step
        if np.abs(step).max() <= SMALL_STEP:
            break
    return w


@dataclass(frozen=True)
class _Places:
    """Candidates of the data by window, for how many places there are for a graft.

    Attributes
    ----------
    unit, score
        (m,) windows and scores of those that are measured.
    n_of
        Of each window, by number, how many candidates it has, measured or not, relative to the mean of all windows.
    mean
        The mean number.
    """

    unit: NDArray[np.int64]
    score: NDArray[np.float64]
    n_of: NDArray[np.float64]
    mean: float

    def share(self, window: NDArray[np.int64], score: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """Return r (k + 1,) at the scores of the j highest of k grafts into windows (k,), j = 0 to k; `n` is of all.

        No lower score has fewer false ones.
        """
        order = np.argsort(-score, kind="stable")
        falling, j = score[order], np.arange(1, len(score) + 1)
        by_window = np.argsort(self.unit, kind="stable")
        first, last = (np.searchsorted(self.unit[by_window], window, side=side) for side in ("left", "right"))
        of_graft = np.repeat(np.arange(len(window)), last - first)
        nth = np.arange(len(of_graft)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
        candidate = by_window[first[of_graft] + nth]
        both = np.sort(np.minimum(score[of_graft], self.score[candidate]))
        above = (len(both) - np.searchsorted(both, falling, side="left")) / self.mean
        places = np.maximum(np.cumsum(self.n_of[window][order]) - above, 0) / (1 - j / (n + 1))
        return np.append(1.0, (1 + np.maximum.accumulate(places)) / (1 + j))


@dataclass(frozen=True)
class JointNull:
    """Scores of one sign and what they are under either null; used as :class:`seqsal.peaks.null.SignNull` is.

    Attributes
    ----------
    learned
        The score of each fold.
    controls, grafts, control_grafts
        Scores of the controls' candidates, and of these in windows of the data and of other controls.
    places
        (k + 1,) r at the j-th highest of the k grafts of measured candidates.
    without
        Called, N_GROUPS times the same without another share of the controls.
    """

    learned: tuple[_Score, ...]
    controls: NullDistribution
    grafts: NullDistribution
    control_grafts: NullDistribution
    places: NDArray[np.float64]
    without: Callable[[], list[JointNull]]

    @classmethod
    def fit(
        cls, data: Evidence, controls: Evidence, windows: _Population, n_controls: int, n_heights: int
    ) -> JointNull:
        """Learn a score for each fold from the others, and score the controls and grafts of that fold.

        Candidates whose effect was not measured are the weakest.
        """
        n_of = np.bincount(data.unit, minlength=int(windows.number.max()) + 1)
        mean = max(len(data) / len(windows.number), np.finfo(float).tiny)
        shuffled = _Population.of_controls(controls)
        data, rest = data.take(_is_measured(data)), controls.take(~_is_measured(controls))
        controls = controls.take(_is_measured(controls))
        n_each = int(np.clip(MOST_GRAFTS // max(len(controls), 1), 1, MOST_GRAFTS_EACH))
        learned: list[_Score] = []
        scores: tuple[list[NDArray[np.float64]], ...] = ([], [], [])
        parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
        of_data_scores, into = np.empty(len(data)), []
        for k in range(N_FOLDS):
            of_data, of_controls = data.fold == k, controls.fold == k
            others, theirs = data.take(~of_data), controls.take(~of_controls)
            grafts, _ = windows.take(windows.fold != k).graft(theirs, others, k, n_each)
            score = _Score.learn(others, theirs, grafts, n_heights)
            learned.append(score)
            mine = controls.take(of_controls)
            grafts, window = windows.take(windows.fold == k).graft(mine, data.take(of_data), N_FOLDS + k, n_each)
            among, _ = shuffled.take(shuffled.fold == k).graft(mine, mine, 2 * N_FOLDS + k, n_each)
            for i, null in enumerate((mine, grafts, among)):
                scores[i].append(score.scores(null.features))
                parts[i].append(null.unit)
            into.append(window)
            of_data_scores[of_data] = score.scores(data.features[of_data])
        rests = [np.repeat(rest.unit, n) for n in (1, n_each, n_each)]  # as often as those that are measured
        nulls = [
            (np.concatenate([*one, np.full(len(units), -UNMEASURED)]), np.concatenate([*of, units]))
            for one, of, units in zip(scores, parts, rests, strict=True)
        ]
        of_grafts, of_units, grafted_into = (np.concatenate(one) for one in (scores[1], parts[1], into))
        places = _Places(data.unit, of_data_scores, n_of / mean, mean)

        def fitted(group: int = -1, every: int = 1) -> JointNull:
            kept = [unit * N_GROUPS // n_controls != group for _, unit in nulls]
            each = zip(nulls, kept, strict=True)
            found = [NullDistribution.fit(s[rows], unit[rows], n_controls, every) for (s, unit), rows in each]
            rows = of_units * N_GROUPS // n_controls != group
            r = places.share(grafted_into[rows], of_grafts[rows], len(found[1].heights))
            return cls(tuple(learned), found[0], found[1], found[2], r, list)

        def without() -> list[JointNull]:
            return [fitted(i, 4) for i in range(N_GROUPS)]

        return replace(fitted(), without=without)

    def __len__(self) -> int:
        return min(len(self.controls.heights), len(self.grafts.heights))

    def strengths(self, evidence: Evidence) -> NDArray[np.float64]:
        """Score candidates, each by what was learned without its fold."""
        found = np.full(len(evidence), -UNMEASURED)
        for k, score in enumerate(self.learned):
            rows = (evidence.fold == k) & _is_measured(evidence)
            found[rows] = score.scores(evidence.features[rows])
        return found

    def p_values(self, strengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """P-values (m,) of candidates of these scores (m,), of the module's formula."""
        of_each = (self.controls, self.grafts, self.control_grafts)
        by_controls, by_grafts, by_control_grafts = (one.p_values(strengths) for one in of_each)
        heights = self.grafts.heights
        n_higher = len(heights) - np.searchsorted(heights, strengths, side="left")
        share = self.places[np.clip(n_higher, min(MIN_COUNT, len(self.places) - 1), len(self.places) - 1)]
        together = share * by_grafts + np.maximum(by_controls - by_control_grafts, 0)
        return np.clip(together, by_controls, 1.0)


def _answers(features: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """Return the model's answers (n, A) about candidates; None where it was not asked."""
    answers = features[:, list(ANSWERS)].astype(np.float64)
    return answers if answers.any() else None


def _is_measured(evidence: Evidence) -> NDArray[np.bool_]:
    return ~np.isnan(evidence.features[:, EFFECT])


def fit_joint(
    data: Mapping[str, Evidence] | None,
    controls: Mapping[str, Evidence],
    windows: Windows,
    n_controls: int,
    n_heights: int,
) -> dict[str, JointNull | SignNull]:
    """Fit each sign; nothing is learned without data, or where a fold has too few candidates to learn from.

    Then candidates are judged by their heights, the first `n_heights` features, and the effects that were measured.
    """
    found: dict[str, JointNull | SignNull] = {}
    for sign, null in controls.items():
        if data is None or _fewest(data[sign], null) < MIN_CANDIDATES:
            heights = null.features[:, :n_heights].astype(np.float64)
            home = windows.of_control if data is None else None  # of few windows, or few controls
            home = None if home is None else home[:: -(-len(home) // n_controls)]  # as controls are read
            found[sign] = SignNull.fit(heights, null.unit, n_controls, _answers(null.features), ANSWERS, home)
        else:
            population = windows.population(-1.0 if sign == "neg" else 1.0)
            found[sign] = JointNull.fit(data[sign], null, population, n_controls, n_heights)
    return found


def _fewest(*evidence: Evidence) -> int:
    """Count the candidates with everything measured, of the data or controls, in the fold that has the fewest."""
    return min(int(((one.fold == k) & _is_measured(one)).sum()) for one in evidence for k in range(N_FOLDS))


def joint_weights(nulls: Mapping[str, JointNull | SignNull], data: Mapping[str, Evidence]) -> dict[str, float]:
    """Weights of the signs, as in :mod:`seqsal.peaks.pool`: a sign may err the more, the more stood out in learning."""
    learned = {sign: null.learned if isinstance(null, JointNull) else () for sign, null in nulls.items()}
    found = {sign: BASE_BUDGET + sum(score.n_positives for score in scores) for sign, scores in learned.items()}
    n = sum(map(len, data.values()))
    return {sign: one / sum(found.values()) * n / max(len(data[sign]), 1) for sign, one in found.items()}
