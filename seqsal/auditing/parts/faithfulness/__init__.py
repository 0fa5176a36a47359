"""Faithfulness: whether the bases that a map names are those that the model uses.

Five questions, each against what a map that knows nothing would give: do bases removed (deletion) and restored
(insertion) in the order of the map change the output faster than in random order, in the reverse order, and in the
order of their distance to the centre, which any model of centred regions favours; do whole peaks change it more than as
many bases elsewhere (both :mod:`~seqsal.auditing.parts.faithfulness.replacement`); does the map agree with the effect
of losing each base, and does it foretell what small sets of substitutions do; and do attributions sum to what their
method promises.

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

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from seqsal.agreement.measures import row_moments
from seqsal.auditing.content import Codes, Flags, Ints, Values
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import (
    NOT_IN_JSON,
    Fact,
    Interval,
    Measured,
    Notes,
    NotTested,
    Part,
    PartResult,
    Reason,
    Weight,
    measured,
    with_interval,
)
from seqsal.auditing.parts.faithfulness.replacement import (
    PeakEffects,
    PeakResult,
    ReplacementCurves,
    ReplacementResult,
    areas_by_region,
    first_in_order,
    peak_effects,
    replacement_curves,
    summarise_curves,
)
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import mean_interval, mean_known, rank_correlation
from seqsal.errors import counted
from seqsal.sequence.codes import N_CODE

__all__ = ["PART", "FaithfulnessResult", "audit_faithfulness"]

N_WORST = 20  # regions in the table of the worst ones
N_PERTURBATIONS = 32  # random sets of bases that are replaced in each region
PERTURBED_SHARE = 0.1  # of a region's bases in such a set
KINDS = ("deletion", "insertion")
SIGN_WORDS = {"pos": "positive", "neg": "negative"}
PEAKS = tuple(SIGN_WORDS.values())
NO_MODEL = NotTested("no model was given")
_FAILED = {
    "deletion": "taking away the bases that it ranks first changes the output no more than taking away random ones",
    "insertion": "putting back the bases that it ranks first restores the output no more than putting back random ones",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class FaithfulnessResult(PartResult):
    """Whether the bases that the map names are those that the model uses.

    Tables: `deletion` and `insertion` (order, share of the bases, mean, lo, hi), `faithfulness_regions`, and
    `ism_worst`, the regions of least agreement.

    `deletion`, `insertion`: areas under the curves by the map and by the baselines. `peaks`: for `positive` and
    `negative` ones, what replacing them does. `ism_spearman`, `ism_spearman_ci`, `ism_pearson`, `ism_pearson_ci`: mean
    correlation with the effect of losing each base; intervals are None for one region alone. `ism_share_below`: regions
    below `min_ism_spearman`. `ism_n_regions`, `ism_n_undefined`: regions compared, and those in which map or
    mutagenesis is the same at every base. `infidelity`, `infidelity_ci`, `permuted_infidelity`: from 0 to 1, see
    above. `completeness_error`: median share of the promised sum that the
    attributions miss. `order`: `attribution`, or `magnitude` for a map without signs, whose curves are of the size of
    the change. `n_untestable`: sampled regions that no shuffle changes. `n_passes`: sequences that were predicted.
    `is_mutagenesis`: whether the map is in-silico mutagenesis, which is not compared with itself.
    """

    deletion: ReplacementResult | NotTested = NO_MODEL
    insertion: ReplacementResult | NotTested = NO_MODEL
    peaks: dict[str, PeakResult | NotTested] = field(default_factory=lambda: dict.fromkeys(PEAKS, NO_MODEL))
    ism_spearman: Measured = NO_MODEL
    ism_spearman_ci: Interval | None = None
    ism_pearson: Measured = NO_MODEL
    ism_pearson_ci: Interval | None = None
    ism_share_below: Measured = NO_MODEL
    ism_n_regions: int = 0
    ism_n_undefined: int = 0
    infidelity: Measured = NO_MODEL
    infidelity_ci: Interval | None = None
    permuted_infidelity: Measured = NO_MODEL
    completeness_error: Measured
    order: str
    n_untestable: int = 0
    n_passes: int = 0
    is_mutagenesis: bool = field(default=False, metadata=NOT_IN_JSON)

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        for kind, curve in zip(KINDS, (self.deletion, self.insertion), strict=True):
            if isinstance(curve, ReplacementResult):
                gain = with_interval(curve.difference, curve.ci)
                yield Fact(kind, f"{gain} better than random order", "an interval above 0")
        if isinstance(self.ism_spearman, float):
            yield Fact("correlation with mutagenesis", f"{self.ism_spearman:.2f}", f"{settings.min_ism_spearman:g}")
        if isinstance(self.completeness_error, float):
            threshold = f"{settings.max_completeness_error:.0%}"
            yield Fact("misses", f"{self.completeness_error:.1%} of the promised sum", threshold)

    def reasons(self, settings: AuditSettings) -> Iterator[Reason]:
        above = f"an interval ({settings.confidence:.0%}) of the gain over random order above 0"
        for kind, curve in zip(KINDS, (self.deletion, self.insertion), strict=True):
            low: Measured = curve if isinstance(curve, NotTested) else NotTested("one region alone has no interval")
            if isinstance(curve, ReplacementResult) and curve.ci is not None:
                low = curve.ci[0] if curve.ci != (0, 0) else NotTested("nothing that was tried made any difference")
            more = {"sentence": _FAILED[kind], "is_decisive": True, "n": getattr(curve, "n_regions", None)}
            yield Reason.above("faithful", kind, low, 0.0, above, **more)
        spearman = NotTested("it is mutagenesis itself") if self.is_mutagenesis else self.ism_spearman
        said = "it hardly agrees with the effects of single substitutions (correlation {:.2f})"
        yield Reason.at_least(
            "faithful",
            "ism",
            spearman,
            settings.min_ism_spearman,
            sentence=_filled(said, spearman),
            is_decisive=True,
            n=self.ism_n_regions if isinstance(spearman, float) else None,
            one_fails=True,
        )
        missed, most = self.completeness_error, settings.max_completeness_error
        said = _filled("it misses {:.0%} of what it should add up to", missed)
        yield Reason.at_most("faithful", "completeness", missed, most, sentence=said)
        for sign, peaks in self.peaks.items():
            if isinstance(peaks, PeakResult) and peaks.ci is not None:
                said = f"replacing its {sign} peaks changes the output less than replacing as many bases elsewhere"
                needed = "an interval of the gain not wholly below 0"
                lowers = {"weight": Weight.LOWERS, "sentence": said}
                yield Reason.at_least("faithful", f"{sign} peaks", peaks.ci[1], 0.0, needed, **lowers)
        if self.order == "magnitude":
            said = "The map has no signs: it says which bases matter, and not whether they raise or lower the output."
            yield Reason.note("faithful", "signs", said)


def _filled(sentence: str, value: Measured) -> str:
    return "" if isinstance(value, NotTested) else sentence.format(value)


def audit_faithfulness(context: AuditContext) -> FaithfulnessResult:
    """Test whether the bases that the map names are those that the model uses.

    Without a model only the sums of the attributions are looked at.
    """
    audit, found = _Audit(context), dict[str, Any]()
    if context.model is not None:
        found = audit.with_model()
    else:
        audit.untested("Without the model, deletion, insertion, peaks and in-silico mutagenesis could not be tested.")
    return FaithfulnessResult(
        **found,
        completeness_error=audit.completeness(),
        order="attribution" if context.signed else "magnitude",
        is_mutagenesis=context.attr.method == "ism",
        **audit.notes.fields(),
    )


class _Audit:
    """One audit, with what its tests share."""

    def __init__(self, context: AuditContext) -> None:
        self.context, self.settings, self.signed, self.notes = context, context.settings, context.signed, Notes()
        self.warn, self.untested = self.notes.warnings.append, self.notes.untested.append

    def with_model(self) -> dict[str, Any]:
        context, settings = self.context, self.settings
        sampled = context.rows(settings.n_regions)
        rows = self._testable(sampled)
        curves = self._curves(rows) if len(rows) else None
        rounding = 0.0 if curves is None else curves.rounding
        effects = {} if curves is None else peak_effects(context, rows, context.codes(rows), curves.prediction)
        local = local_agreement(context, signed=self.signed, rounding=rounding)
        tests = [test for test in (curves, *effects.values(), local) if test is not None]
        self.notes.tables["faithfulness_regions"] = self._region_table(rows, curves, effects, local)
        return {
            **self._summarised(curves),
            "peaks": self._peaks(effects, rounding),
            **self._local(local),
            "n_untestable": len(sampled) - len(rows),
            "n_passes": int(sum(test.n_passes for test in tests)),
        }

    def _testable(self, rows: Ints) -> Ints:
        """Leave out regions that no shuffle changes: all N, of one base only, or of a few bases."""
        codes = self.context.codes(rows)
        changes = np.zeros(len(rows), dtype=bool)
        for draw in range(self.settings.n_draws):
            changes |= (self.context.shuffled(codes, draw) != codes).any(axis=1)
        n_left_out = int((~changes).sum())
        if n_left_out:
            self.untested(
                f"{n_left_out} of {len(rows)} regions could not be tested by deletion and insertion, because "
                "shuffling does not change them (unknown bases, or a single repeat)."
            )
        return rows[changes]

    def _curves(self, rows: Ints) -> ReplacementCurves:
        context, settings = self.context, self.settings
        codes, track = context.codes(rows), context.track(rows).astype(np.float64)
        curves = replacement_curves(
            lambda codes, index: context.predict(codes, rows=rows[index]),
            codes,
            track if self.signed else np.abs(track),
            (context.shuffled(codes, draw) for draw in range(settings.n_draws)),
            context.rng("faithfulness orders"),
            settings.n_steps,
            signed=self.signed,
            progress=context.progress,
        )
        if not curves.is_flat:
            return curves
        self.warn(
            "The prediction does not change when every base is replaced: the model ignores its input here, and no "
            "map of it can be right or wrong."
        )
        return curves.flattened()

    def _summarised(self, curves: ReplacementCurves | None) -> dict[str, ReplacementResult | NotTested]:
        if curves is None:
            return dict.fromkeys(KINDS, NotTested("no region can be tested by shuffling"))
        if len(curves.prediction) == 1:
            self.untested("With one region alone there are no confidence intervals.")
        found = {}
        for kind in KINDS:
            rng = self.context.rng(f"faithfulness {kind} bootstrap")
            found[kind], self.notes.tables[kind] = summarise_curves(curves, kind, self.settings, rng)
        if all(isinstance(one.normalised, NotTested) for one in found.values()):
            self.untested(
                "How large the differences are on the model's own scale is not known, because on average it predicts "
                "the same for the regions and their shuffles."
            )
        self._warn_of_curves(found)
        return dict(found)

    def _warn_of_curves(self, found: dict[str, ReplacementResult]) -> None:
        verbs = ("lower", "raise") if self.signed else ("change", "change")
        starts = [
            f"{word} bases in the order of the map does not {verb} the prediction faster than"
            for word, verb in zip(("Replacing", "Restoring"), verbs, strict=True)
        ]
        baselines = {"random": "random order", "centre": "going from the centre outwards"}
        for start, curve in zip(starts, found.values(), strict=True):
            for order, name in baselines.items():
                gain = curve.against[order]
                if gain.ci is not None and gain.ci[0] <= 0:
                    low, high = gain.ci
                    self.warn(
                        f"{start} {name} (difference {gain.difference:.3g}, confidence interval {low:.3g} to "
                        f"{high:.3g})."
                    )

    def _peaks(self, effects: dict[str, PeakEffects], rounding: float) -> dict[str, PeakResult | NotTested]:
        results: dict[str, PeakResult | NotTested] = {}
        for sign, word in SIGN_WORDS.items():
            if sign not in effects:
                results[word] = NotTested("no region can be tested by shuffling")
                continue
            found = results[word] = effects[sign].summarise(self.context, self.signed, rounding)
            if sign == "neg" and not self.signed:
                continue
            if not found.n_regions:
                self.untested(f"No {word} peaks could be replaced: none lies within a tested region.")
            elif found.ci is not None and found.ci[0] <= 0:
                verb = "change" if not self.signed else "lower" if sign == "pos" else "raise"
                self.warn(
                    f"Replacing whole {word} peaks does not {verb} the prediction more than replacing as many bases "
                    f"elsewhere in the same {counted(found.n_regions, 'region')}."
                )
        return results

    def _local(self, local: LocalAgreement) -> dict[str, Any]:
        columns = {"ism_spearman": local.spearman, "ism_pearson": local.pearson, "infidelity": local.infidelity}
        found: dict[str, Any] = {}
        for key, column in columns.items():
            found[key] = _mean(column)
            found[f"{key}_ci"] = mean_interval(column, self.context.rng(f"{key} bootstrap"), self.settings)
        spearman = _defined(local.spearman)
        found["permuted_infidelity"] = _mean(local.permuted_infidelity)
        found["ism_share_below"] = _mean((spearman < self.settings.min_ism_spearman).astype(np.float64))
        found |= {"ism_n_regions": len(spearman), "ism_n_undefined": len(local.rows) - len(spearman)}
        self._comment_on_local(local, found["ism_spearman"], found["ism_share_below"], found["ism_n_undefined"])
        table = self.context.region_table(local.rows).assign(ism_spearman=local.spearman, ism_pearson=local.pearson)
        table = table[np.isfinite(local.spearman)].sort_values("ism_spearman", kind="stable")
        self.notes.tables["ism_worst"] = table.head(N_WORST).reset_index(drop=True)
        return found

    def _comment_on_local(self, local: LocalAgreement, rho: Measured, below: Measured, n_undefined: int) -> None:
        if n_undefined:
            self.untested(
                f"In {n_undefined} of {len(local.rows)} regions map or in-silico mutagenesis is the same at every "
                "base, so that they cannot be correlated."
            )
        if self.context.attr.method == "ism":
            self.untested("The map is in-silico mutagenesis itself, so that agreeing with it proves nothing.")
        if isinstance(rho, float) and isinstance(below, float) and rho < self.settings.min_ism_spearman:
            self.warn(
                f"The map hardly agrees with what single substitutions do (mean rank correlation {rho:.2f}, below "
                f"{self.settings.min_ism_spearman:g} in {below:.0%} of the regions)."
            )
        if not self.signed:
            self.untested("The map has no signs, so it predicts no changes: infidelity is not defined.")

    def completeness(self) -> Measured:
        stored = self.context.attr.completeness_error
        errors = np.zeros(0) if stored is None else _defined(np.asarray(stored, dtype=np.float64))
        if not len(errors):
            return NotTested("the method promises no sum")
        median = float(np.median(errors))
        if median > self.settings.max_completeness_error:
            self.warn(
                f"The attributions miss {median:.1%} of the sum that their method promises, in the median region."
            )
        return median

    def _region_table(
        self, rows: Ints, curves: ReplacementCurves | None, effects: dict[str, PeakEffects], local: LocalAgreement
    ) -> pd.DataFrame:
        every = np.union1d(self.context.rows(self.settings.n_regions), local.rows)
        table = self.context.region_table(every)
        columns = {"ism_spearman": local.spearman, "ism_pearson": local.pearson, "infidelity": local.infidelity}
        placed = {name: (local.rows, column) for name, column in columns.items()}
        if curves is not None:
            placed = {name: (rows, values) for name, values in areas_by_region(curves).items()} | placed
        for sign, found in effects.items():
            placed[f"{SIGN_WORDS[sign]}_peaks_change"] = rows[found.index], found.change
            placed[f"{SIGN_WORDS[sign]}_peaks_random_change"] = rows[found.index], found.random_change
        for name, (where, values) in placed.items():
            table[name] = pd.Series(values, index=where, dtype=np.float64).reindex(every).to_numpy()
        return table


def _defined(values: Values) -> Values:
    return values[np.isfinite(values)]


def _mean(values: Values) -> Measured:
    return measured(mean_known(values), "it is defined in no region")


@dataclass(frozen=True, eq=False)
class LocalAgreement:
    """How well the map of each of n regions agrees with the model, (n,) each; NaN where that is not defined.

    `spearman`, `pearson`: with the effect of losing each base. `infidelity`, `permuted_infidelity`: of the map, and of
    the map with its positions permuted; NaN for maps without signs as well. `n_passes`: sequences that were predicted.
    """

    rows: Ints
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


def mutagenesis_agreement(track: Values, effects: Values, known: Flags, *, signed: bool) -> tuple[Values, Values]:
    """Correlate map and effects (n, L) over the known bases of each region, NaN where one is constant."""
    a, b = (track, effects) if signed else (np.abs(track), np.abs(effects))
    return rank_correlation(a, b, known), row_moments(a, b, known).pearson()


def infidelity(
    context: AuditContext, rows: Ints, codes: Codes, track: Values, rounding: float
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
    prediction = context.predict(codes, rows=rows)
    real = np.zeros((N_PERTURBATIONS, len(codes)))
    foretold = np.zeros((2, N_PERTURBATIONS, len(codes)))
    for i in range(N_PERTURBATIONS):
        chosen = first_in_order(np.zeros(codes.shape), known, rng) < size
        perturbed = np.where(chosen, context.shuffled(codes, i), codes)
        real[i] = prediction - context.predict(perturbed, rows=rows)
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


PART = Part(FaithfulnessResult, lambda context, _: audit_faithfulness(context))
