"""Whether a map says what the model does close to the sequence: single substitutions, and small random sets of them.

*In-silico mutagenesis.* The effect of losing the base at i is −⅓ Σ_b [f(x with b at i) − f(x)] over the other three
bases. Map and effects are correlated over the known bases of each region (Pearson's r and Spearman's ρ); of a map that
gives magnitudes only, the magnitudes are.

*Infidelity* (Yeh et al. 2019, arXiv:1901.09392) is the expected squared difference of the change that a map foretells,
Iᵀφ, and the real one, f(x) − f(x − I). Here x − I has a random set of bases replaced by a shuffle of the sequence, so
that it stays DNA, and the map foretells φ = Σ_i h[x_i, i] − h[x'_i, i] over them with h the hypothetical scores; where
only a track is kept, what replaced bases have by the track. Since maps are in units of their own, the scale is the best
that is not negative, and the error is a share of that of foretelling no change at all::

    infidelity = min over β ≥ 0 of Σ (Δf − β φ)² / Σ Δf²  =  1 − max(0, cos(φ, Δf))²

It is 0 for a map that foretells every change up to one factor, and 1 for one that foretells none. Every set has the
same number of bases, and a map with the same values at permuted positions is judged by the same sets, because an
infidelity means little by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsal.agreement.measures import row_moments
from seqsal.auditing.context import AuditContext
from seqsal.auditing.parts.faithfulness.replacement import first_in_order
from seqsal.auditing.stats import rank_correlation
from seqsal.sequence.codes import N_CODE

__all__ = ["LocalAgreement", "infidelity", "local_agreement", "mutagenesis_agreement"]

N_PERTURBATIONS = 32  # random sets of bases that are replaced in each region
PERTURBED_SHARE = 0.1  # of a region's bases in such a set
Codes = NDArray[np.uint8]
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LocalAgreement:
    """How well the map of each of n regions agrees with the model, (n,) each; NaN where that is not defined.

    `spearman`, `pearson`: with the effect of losing each base. `infidelity`, `permuted_infidelity`: of the map, and of
    the map with its positions permuted; NaN for maps without signs as well. `n_passes`: sequences that were predicted.
    """

    rows: NDArray[np.int64]
    spearman: Values
    pearson: Values
    infidelity: Values
    permuted_infidelity: Values
    n_passes: int


def local_agreement(context: AuditContext, *, signed: bool, rounding: float) -> LocalAgreement:
    """Compare the maps of `n_ism_regions` regions with in-silico mutagenesis and with sets of substitutions.

    `signed` says that the map tells which way a base changes the output; changes up to `rounding` count as none.
    """
    settings = context.settings
    rows = context.rows(settings.n_ism_regions)
    codes, track = context.codes(rows), context.track(rows).astype(np.float64)
    effects = context.losses(settings.n_ism_regions)
    effects[np.abs(effects) <= rounding] = 0
    spearman, pearson = mutagenesis_agreement(track, effects, codes != N_CODE, signed=signed)
    missing = np.full(len(rows), np.nan)
    n_passes = 3 * codes.size
    errors = (missing, missing)
    if signed:
        errors = infidelity(context, rows, codes, track, rounding)
        n_passes += len(rows) * (N_PERTURBATIONS + 1)
    return LocalAgreement(rows, spearman, pearson, *errors, n_passes)


def mutagenesis_agreement(
    track: Values, effects: Values, known: NDArray[np.bool_], *, signed: bool
) -> tuple[Values, Values]:
    """Correlate map and effects (n, L) over the known bases of each region, NaN where one is constant."""
    a, b = (track, effects) if signed else (np.abs(track), np.abs(effects))
    return rank_correlation(a, b, known), row_moments(a, b, known).pearson()


def infidelity(
    context: AuditContext, rows: NDArray[np.int64], codes: Codes, track: Values, rounding: float
) -> tuple[Values, Values]:
    """Return the normalised infidelity of maps, and of the same maps permuted, both (n,); NaN where nothing changes.

    By `N_PERTURBATIONS` sets of `PERTURBED_SHARE` of the known bases; changes up to `rounding` count as none.
    """
    rng = context.rng("infidelity")
    known = codes != N_CODE
    positions = np.argsort(first_in_order(np.zeros(codes.shape), known, rng), axis=1, kind="stable")
    place = np.where(
        known, np.take_along_axis(positions, np.cumsum(known, axis=1) - 1, axis=1), np.arange(len(codes[0]))
    )
    kept = context.attr.hypothetical
    scores = None if kept is None else np.asarray(kept[rows], dtype=np.float64)
    permuted = None if scores is None else np.take_along_axis(scores, place[:, None], axis=2)
    maps = [(track, scores), (np.take_along_axis(track, place, 1), permuted)]
    size = np.maximum(np.floor(PERTURBED_SHARE * known.sum(axis=1) + 0.5), 1)[:, None]
    prediction = context.predict(codes)
    real = np.zeros((N_PERTURBATIONS, len(codes)))
    foretold = np.zeros((2, N_PERTURBATIONS, len(codes)))
    for i in range(N_PERTURBATIONS):
        chosen = first_in_order(np.zeros(codes.shape), known, rng) < size
        perturbed = np.where(chosen, context.shuffled(codes, i), codes)
        real[i] = prediction - context.predict(perturbed)
        for which, (values, four) in enumerate(maps):
            foretold[which, i] = _foretold(values, four, codes, perturbed)
    real[np.abs(real) <= rounding] = 0
    return _error(foretold[0], real), _error(foretold[1], real)


def _foretold(track: Values, scores: Values | None, codes: Codes, perturbed: Codes) -> Values:
    """Sum what the map gives the replaced bases, less what it gives the new ones where it says so, (n,)."""
    changed = codes != perturbed
    if scores is None:
        return np.where(changed, track, 0).sum(axis=1)
    at = np.minimum(np.stack([codes, perturbed], axis=1), N_CODE - 1).astype(np.int64)
    before, after = np.take_along_axis(scores, at, axis=1).swapaxes(0, 1)
    return np.where(changed, before - after, 0).sum(axis=1)


def _error(foretold: Values, real: Values) -> Values:
    """1 − max(0, cos)² over the first axis; 1 where nothing is foretold, NaN where nothing happens."""
    norm = np.sqrt((foretold**2).sum(axis=0) * (real**2).sum(axis=0))
    cosine = np.divide((foretold * real).sum(axis=0), norm, out=np.zeros(real.shape[1]), where=norm > 0)
    return np.where((real != 0).any(axis=0), 1 - np.clip(cosine, 0, 1) ** 2, np.nan)
