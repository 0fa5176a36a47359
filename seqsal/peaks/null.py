"""What the shuffled controls say about a candidate: its p-value.

Every control is a dinucleotide shuffle of a window, attributed by the same model, and its candidates are found by the
same code, so that a candidate of the data and one of the controls are exchangeable when the data hold no signal. The
p-value is that of *a candidate*, not of a base: the choice of the local maximum is made on both sides and cancels. What
is called a height here is a candidate's strength (:mod:`seqsal.peaks.candidates`).

*Bulk.* For a height x that ten or more controls reach, p = (1 + #{controls ≥ x}) / (1 + n), exact under exchangeability
(Phipson and Smyth 2010, doi:10.2202/1544-6115.1585; conformal p-values, on which Benjamini–Hochberg keeps its rate:
Bates et al. 2023, doi:10.1214/22-AOS2244), but for the ruler of the strengths: it is read off the controls, and fits
them a little better than the data. In noise the largest of 10 controls of 300 bp is exceeded 1.4 times as often as it
should, that of 100 as often.

*Tail.* Counts cannot go below 1 / (1 + n), too much for the multiple testing of many windows with few controls. Beyond
u, the k largest control heights are modelled by a generalised Pareto distribution (below). The
probability of passing u, (k + 1) / (n + 1), is exact again. k is √n, at least 20, so that the threshold lies the deeper
in the tail the more controls there are.

*Scale.* Heights are taken as they are, or relative to the level of their window, whichever
:func:`seqsal.peaks.controls.choose_scale` finds fit.

*Windows.* Some compositions make stronger chance candidates than others (a window rich in G+C holds more chance matches
of SP1). Where few windows have many shuffles each, the strength of a candidate is therefore relative to what the
shuffles of its own window show. With t_w the mean of the strongest tenth of the candidates in the n_w shuffles of
window w, and t of all, it is divided by

    s_w = (n_w t_w / t + 20) / (n_w + 20)

so that a single shuffle moves it little. On 30 sets of `benchmarks/calibration.py` (seed 5000000), by joint evidence at
q ≤ 0.05, recall is 0.428 with 2.9 % false, next to 0.420 with 2.1 % without; in 60 shuffled sets (seed 6000000) nothing
is called either way.

*Clusters.* Windows differ in the scale of their gradients, so large control heights come in clusters, and k of them
carry less information than k independent ones. As in quasi-likelihood (McCullagh and Nelder 1989), the log likelihood
is divided by the dispersion of their counts c over the M controls, φ = Σ (c - c̄)² / (c̄ (M - 1)), where it exceeds 1.

*The tail's model*, averaged over what is not known of it. Exceedances Y of a high threshold are modelled as Pickands
(1975, doi:10.1214/aos/1176343003) has it, for permutation p-values Knijnenburg et al. (2009,
doi:10.1093/bioinformatics/btp211)::

    P(Y > y) = (1 + ξ y / σ)^(-1/ξ)

A plugged-in estimate of (ξ, σ) is too sure of itself: p-values from it are too small, the more so the fewer controls.
So the tail probability is averaged over the posterior of (ξ, σ). For a known ξ = 0 and a prior flat in log σ the
average is (1 + y / Σyᵢ)^-k for k exceedances, which is exactly uniform under the null (y k / Σyᵢ has an F
distribution): it is a correction, not only a caution.

*Choices, by measurement.* The prior of ξ is normal, 0.27 ± 0.17. For heights of the track as it is it was 0.4 ± 0.2;
strengths are their power γ = 2/3, which multiplies ξ by γ (a deviation of 0.13 would exclude bounded laws). It was
picked among ten combinations (k = √n or 2 √n; ξ flat, or centred at 0.2, 0.3 and 0.4) in autocorrelated t(3), t(4) and
Laplace noise, where a flat prior and a centre of 0.2 made calls at q < 0.05 in up to 10 % of signal-free data sets;
against the centre of 0.2 it costs a factor of about 2.5 in p at twice the largest control height. On other data (five
laws and four designs of `benchmarks/peaks.py`, 200 data sets each) the share is at most 5 % in t(3) noise and near 0
in light-tailed noise; for a single window against ten controls that differ in scale it is 6.6 % (of 1,500).

Both signs have their own distribution: activation and repression need not look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seqsal.peaks.candidates import UNMEASURED, Ruler

__all__ = ["MIN_P", "N_GROUPS", "Evidence", "NullDistribution", "ParetoTail", "SignNull", "dispersion", "fit_tail"]

TAIL_ROOTS, MIN_TAIL = 1.0, 20  # the tail is fitted to the √n largest of n candidates
MIN_COUNT = 10  # controls as high that make a count exact enough (Knijnenburg et al.)
MIN_P = 1e-300
STRONGEST, OF_ALL = 0.1, 20  # share of a window's candidates that its level is the mean of; shuffles that all count for
N_GROUPS = 8  # of controls, one of which is left out at a time
SHAPES = np.linspace(-1.0, 1.0, 41)  # ξ
SHAPE_MEAN, SHAPE_SD = 0.27, 0.17  # of the prior
LOG_SCALES = np.linspace(-2.5, 2.5, 61)  # log(σ / mean exceedance)
_FACTORS, _LEAST_FACTOR = 16, 1e-18  # at a time, within what a product in double precision can hold
REACH = np.concatenate([[0.0], np.geomspace(1e-2, 1e9, 240)])  # exceedances in means at which survival is tabulated


def dispersion(counts: NDArray[np.integer]) -> float:
    """Return the variance of counts (M,) over their mean: 1 when events are independent, more when they cluster.

    A single count, which says nothing about clustering, gives 1.
    """
    mean = counts.mean()
    return float(((counts - mean) ** 2).sum() / mean / (len(counts) - 1)) if len(counts) > 1 else 1.0


@dataclass(frozen=True)
class NullDistribution:
    """Heights of the control candidates of one sign.

    Attributes
    ----------
    heights
        (n,) ascending.
    threshold
        Height u above which the tail model holds; infinite without a tail.
    tail
        The model, or None when there are too few different heights for one.
    """

    heights: NDArray[np.float64]
    threshold: float
    tail: ParetoTail | None

    @classmethod
    def fit(
        cls, heights: NDArray[np.float64], window: NDArray[np.int64], n_windows: int, every: int = 1
    ) -> NullDistribution:
        """Fit to the heights (n,) of control candidates, each from one of the controls by its number (n,)."""
        order = np.argsort(heights, kind="stable")
        ranked, n = heights[order], len(heights)
        k = int(min(max(TAIL_ROOTS * np.sqrt(n), MIN_TAIL), n // 2))
        if k < 2:
            return cls(ranked, np.inf, None)
        threshold = float(ranked[n - k - 1])
        over = ranked > threshold
        if not over.any():
            return cls(ranked, np.inf, None)
        counts = np.bincount(window[order][over], minlength=n_windows)
        return cls(ranked, threshold, fit_tail(ranked[over] - threshold, 1 / max(1.0, dispersion(counts)), every))

    def p_values(self, heights: NDArray[np.float64]) -> NDArray[np.float64]:
        """P-values (m,) of candidates of these heights (m,); 1 when the controls have no candidate of this sign."""
        x = np.asarray(heights, dtype=np.float64)
        n = len(self.heights)
        count = n - np.searchsorted(self.heights, x, side="left")
        p = (1 + count) / (1 + n)
        if self.tail is not None:
            far = (x > self.threshold) & (count < MIN_COUNT)
            k = n - int(np.searchsorted(self.heights, self.threshold, side="right"))
            modelled = (k + 1) / (n + 1) * self.tail.survival(x[far] - self.threshold)
            p[far] = np.minimum(modelled, (1 + MIN_COUNT) / (1 + n))
        return np.maximum(p, MIN_P)


@dataclass(frozen=True)
class Evidence:
    """What candidates of one sign are judged by.

    Attributes
    ----------
    features
        (n, F) the profile, and more where the statistic is joint (:mod:`seqsal.peaks.joint`).
    unit
        (n,) number of the control, or of the window.
    fold
        (n,) whose learner has not seen it.
    place
        (n,) offset of the summit in the control, or in the window.
    """

    features: NDArray[np.floating]
    unit: NDArray[np.int64]
    fold: NDArray[np.int64]
    place: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.unit)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Evidence:
        """Return those of a mask or of row numbers."""
        return Evidence(self.features[rows], self.unit[rows], self.fold[rows], self.place[rows])

    @classmethod
    def join(cls, parts: Sequence[Evidence]) -> Evidence:
        """Put one after the other."""
        each = zip(*((p.features, p.unit, p.fold, p.place) for p in parts), strict=True)
        return cls(*(np.concatenate(one) for one in each))


@dataclass(frozen=True)
class SignNull:
    """What the control candidates of one sign look like.

    Attributes
    ----------
    ruler
        How strengths are measured.
    distribution
        Strengths of the control candidates.
    without
        N_GROUPS times the same, each time without another share of the controls, when it is called.
    columns
        Of the features, where the model's answers stand if it was asked.
    levels
        (N,) what the strengths of each window's candidates are divided by; None where they are taken as they are.
    """

    ruler: Ruler
    distribution: NullDistribution
    without: Callable[[], Sequence[NullDistribution]]
    columns: tuple[int, ...] = ()
    levels: NDArray[np.float64] | None = None

    @classmethod
    def fit(
        cls,
        profiles: NDArray[np.floating],
        window: NDArray[np.int64],
        n_windows: int,
        answers: NDArray[np.floating] | None = None,
        columns: tuple[int, ...] = (),
        home: NDArray[np.int64] | None = None,
    ) -> SignNull:
        """Fit to the profiles (n, K) and answers (n, A) of control candidates; see :meth:`NullDistribution.fit`.

        `columns` of the features of other candidates hold their answers. Strengths are relative to the windows where it
        is known which one each control shuffles, `home` (n_windows,), below 0 for none.
        """
        ruler = Ruler.of(profiles, answers)
        strengths, levels = ruler.strengths(profiles, answers), None
        if home is not None:
            levels = window_levels(strengths, window, home)
            strengths = _relative(strengths, levels, home[window])
        group = window * N_GROUPS // max(n_windows, 1)

        def without() -> list[NullDistribution]:
            others = (group != i for i in range(N_GROUPS))
            return [NullDistribution.fit(strengths[rows], window[rows], n_windows, every=4) for rows in others]

        return cls(ruler, NullDistribution.fit(strengths, window, n_windows), without, columns, levels)

    def __len__(self) -> int:
        return len(self.distribution.heights)

    def strengths(self, evidence: Evidence) -> NDArray[np.float64]:
        """Return the strengths (n,) of candidates of the windows."""
        features = evidence.features.astype(np.float64, copy=False)
        found = self.ruler.strengths(features[:, : len(self.ruler.reference)], features[:, list(self.columns)])
        return found if self.levels is None else _relative(found, self.levels, evidence.unit)

    def p_values(self, strengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the p-values (n,) of candidates of these strengths (n,)."""
        return self.distribution.p_values(strengths)


def window_levels(
    strengths: NDArray[np.float64], control: NDArray[np.int64], home: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return what the strengths of each window's candidates are divided by (N,), 1 on average; s_w of the module.

    Of the controls' candidates (n,), each from one of M controls by its number (n,); `home` (M,) is the window that
    each control shuffles.
    """
    levels = np.ones(int(home.max(initial=-1)) + 1)
    of, asked = home[control], strengths > -UNMEASURED / 2
    level = _strongest(strengths[asked])
    for window in np.unique(of[asked & (of >= 0)]) if level > 0 else ():
        n = np.count_nonzero(home == window)
        own = max(_strongest(strengths[asked & (of == window)]), 0.0)
        levels[window] = (n * own / level + OF_ALL) / (n + OF_ALL)
    return levels


def _strongest(strengths: NDArray[np.float64]) -> float:
    """Mean of the strongest tenth, 0 of none."""
    n = int(np.ceil(STRONGEST * len(strengths)))
    return float(np.sort(strengths)[-n:].mean()) if n else 0.0


def _relative(
    strengths: NDArray[np.float64], levels: NDArray[np.float64], window: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Divide strengths (n,) by the levels of their windows (n,), 1 where that is not known; those below 0 stay."""
    known = (window >= 0) & (window < len(levels)) & (strengths > 0)
    return np.where(known, strengths / np.where(known, levels[np.where(known, window, 0)], 1.0), strengths)


@dataclass(frozen=True)
class ParetoTail:
    """Posterior predictive survival of exceedances under a generalised Pareto model.

    Attributes
    ----------
    scale
        Mean exceedance, in units of height.
    weights
        (n,) posterior of the pairs of shape and sigma that have any.
    shape, sigma
        (n,) the pairs, sigma in units of `scale`.
    every
        Every how many of `REACH` are tabulated.
    log_survival
        log P(exceedance > y) at y = `REACH` · `scale`; NaN where no exceedance has been near yet.
    """

    scale: float
    weights: NDArray[np.float64]
    shape: NDArray[np.float64]
    sigma: NDArray[np.float64]
    every: int = 1
    log_survival: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_survival", np.full(len(REACH[:: self.every]), np.nan))

    def survival(self, exceedance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return P(exceedance > y) for y ≥ 0, by interpolation of its logarithm."""
        reach = np.log1p(np.asarray(exceedance, dtype=np.float64) / self.scale)
        nodes, y = np.log1p(REACH[:: self.every]), REACH[:: self.every]
        after = np.minimum(np.searchsorted(nodes, reach, side="right"), len(nodes) - 1)
        used = np.unique(np.concatenate([after - 1, after]))
        for i in used[np.isnan(self.log_survival[used])]:
            share = float(self.weights @ np.exp(_log_survival(y[i], self.shape, self.sigma)))
            self.log_survival[i] = np.log(max(share, MIN_P))
        return np.exp(np.interp(reach, nodes[used], self.log_survival[used])) if len(used) else reach


def fit_tail(exceedances: NDArray[np.float64], information: float = 1.0, every: int = 1) -> ParetoTail:
    """Fit the tail to exceedances (k,) above 0; `information` in (0, 1] is the power of their likelihood."""
    scale = float(np.mean(exceedances))
    shape = SHAPES[:, None]
    sigma = np.exp(LOG_SCALES)[None, :]
    log_prior = -((shape - SHAPE_MEAN) ** 2) / (2 * SHAPE_SD**2)
    log_posterior = log_prior + information * _log_likelihood(np.asarray(exceedances) / scale, shape, sigma)
    weights = np.exp(log_posterior - log_posterior.max())
    weights /= weights.sum()
    used = weights > 1e-10
    a, b = np.broadcast_to(shape, used.shape)[used], np.broadcast_to(sigma, used.shape)[used]
    return ParetoTail(scale, weights[used], a, b, every)


def _log_survival(y: float, shape: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Generalised Pareto log P(Y > y); the limit -y/σ at shape 0; -inf beyond the end point of a negative shape."""
    z = y / sigma
    flat = np.abs(shape) < 1e-9
    safe = np.where(flat, 1.0, shape)
    inside = 1 + safe * z
    with np.errstate(divide="ignore"):
        curved = -np.log(np.maximum(inside, 0.0)) / safe
    return np.where(flat, -z, np.where(inside > 0, curved, -np.inf))


def _log_likelihood(
    y: NDArray[np.float64], shape: NDArray[np.float64], sigma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum the generalised Pareto log density of y (k,) at every (shape, sigma), broadcast."""
    flat = np.abs(shape) < 1e-9
    safe = np.where(flat, 1.0, shape)
    inside_support = 1 + safe * y.max() / sigma > 0
    log_terms = np.zeros(np.broadcast(shape, sigma).shape)
    for values in np.array_split(y, -(-len(y) // _FACTORS)):  # whose product has one logarithm
        product = np.ones(log_terms.shape)
        for value in values:
            product *= np.maximum(1 + safe / sigma * value, _LEAST_FACTOR)
        log_terms += np.log(product)
    curved = np.where(inside_support, -(1 / safe + 1) * log_terms, -np.inf)
    return np.where(flat, -y.sum() / sigma, curved) - len(y) * np.log(sigma)
