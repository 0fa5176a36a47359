"""Stability: whether the map stays as it is where it should, and agrees with itself.

A map that changes when nothing else does cannot be read base by base. What should leave it alone is tried: single
substitutions that do not change the prediction (Ghorbani, Abid and Zou 2019, doi:10.1609/aaai.v33i01.33013681; the
largest relative change is a local Lipschitz estimate in the sense of Alvarez-Melis and Jaakkola 2018,
arXiv:1806.08049), shifts of the window, the other strand, and the same model trained again.

A window moves within itself: bases that enter come from a dinucleotide shuffle of it, because what lies next to it is
not in the file. So a shift changes the sequence a little too, and a model that answers to it is not the explainer's
fault: how much the prediction changed goes with each shift, and windows whose prediction stayed are reported apart.

The same model trained again, from another seed or on another fold, tells which of the map is the data's and not
chance's, by the measures of :mod:`seqsal.agreement.measures` over all pairs of models.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from seqsal.agreement.measures import overlap, top_weights
from seqsal.attribution import predict_windows
from seqsal.auditing.content import Codes, Flags, Ints, Values
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import (
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
    of_regions,
)
from seqsal.auditing.parts.stability.edits import Edits, count_edits
from seqsal.auditing.parts.stability.locality import ABOUT, Locality, probe_locality
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import Similarity, compare_maps, mean_interval, mean_known, mean_rows, number, pearson
from seqsal.errors import counted
from seqsal.regions import format_region
from seqsal.sequence.codes import N_CODE

__all__ = ["PART", "StabilityResult", "audit_stability", "compare_models"]

SHIFTS_BP = (1, 3, 10)
N_SUBSTITUTIONS = 4  # that leave the prediction as it is, of each region
SAME_PREDICTION = 0.02  # of the model's range: a change below counts as none
MIN_STABILITY = 0.7  # mean correlation of a map with itself after a change that should leave it alone
MAX_FAILING_REGIONS = 0.5  # share of the regions in which the map may fail to add up near the sequence
LEFT_OUT_BP = 2  # on either side of a substitution
NO_RANGE = 1e-5  # of the largest prediction: differences below are rounding
PICTURES = {
    "single_effects": "Whether the map adds up: it has no signs, so sums of single effects were tried instead.",
    "scaled_track": "What the map says of the base that is put in place: it scores only the base that is there.",
}
NO_MODEL = "Stability, locality and minimal edits: no model was given."
NOT_KNOWN = "Stability of the map: how the attributions were made is not known, so no changed sequence has a map."
WITHOUT_RANGE = "Locality and minimal edits: the model predicts the same for the regions and their shuffles."
FLAT = "a map is the same at every base"
TOP_SHARE = 0.05  # of the window


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How alike the maps of models are; None where there is nothing to compare.

    `top_overlap`, `top_expected`: common share of the top 5 % of the positions, and what it would be by chance.
    `sign_agreement`, `peak_sign_agreement`: share of common top positions, and of the bases in peaks, with the same
    sign. `prediction_pearson`: Pearson's r of the predictions.
    """

    top_overlap: float | None
    top_expected: float | None
    sign_agreement: float | None
    peak_sign_agreement: float | None
    prediction_pearson: float | None


@dataclass(frozen=True, kw_only=True)
class ModelPair(Shares):
    """Two models, counted from 0, the one under audit: means over regions."""

    a: int
    b: int
    pearson: float | None
    spearman: float | None


@dataclass(frozen=True)
class ModelAgreement:
    """How alike the maps of several models are.

    `pearson`, `spearman`: mean over the pairs of models for each region, (n,); NaN where a map is constant. `shares`:
    means over the pairs. `pairs`: each pair.
    """

    pearson: Values
    spearman: Values
    shares: Shares
    pairs: tuple[ModelPair, ...]


def compare_models(context: AuditContext, rows: Ints) -> ModelAgreement:
    """Compare the maps that the model under audit and the other models give for some windows.

    Takes one attribution and one prediction a window and other model.
    """
    codes = context.codes(rows)
    maps = [context.track(rows), *(context.attribute(codes, model=model, rows=rows) for model in context.other_models)]
    predictions = [context.predict(codes, model, rows=rows) for model in (None, *context.other_models)]
    known = codes != N_CODE
    in_peaks = context.in_peaks(rows) & known & context.signed
    k = max(1, round(TOP_SHARE * codes.shape[1]))
    by_chance = np.minimum(k / np.maximum(known.sum(1), 1), 1.0)
    top = [top_weights(track, known, k) for track in maps]
    pairs, found = [], []
    for a, b in itertools.combinations(range(len(maps)), 2):
        found.append(compare_maps(maps[a], maps[b], known))
        common, n_common, n_same = overlap(maps[a], maps[b], top[a], top[b])
        same_sign = np.sign(maps[a]) == np.sign(maps[b])
        pair = ModelPair(
            a=a,
            b=b,
            pearson=mean_known(found[-1].pearson),
            spearman=mean_known(found[-1].spearman),
            top_overlap=mean_known(common),
            top_expected=mean_known(by_chance[np.isfinite(common)]),
            sign_agreement=float(n_same.sum() / n_common.sum()) if n_common.sum() > 0 else None,
            peak_sign_agreement=number(same_sign[in_peaks].mean()) if in_peaks.any() else None,
            prediction_pearson=pearson(predictions[a], predictions[b]),
        )
        pairs.append(pair)
    pearson_, spearman, _ = (mean_rows(np.stack(columns)) for columns in zip(*found, strict=True))
    columns = {one.name: np.array([getattr(pair, one.name) for pair in pairs], dtype=float) for one in fields(Shares)}
    shares = Shares(**{name: mean_known(column) for name, column in columns.items()})
    return ModelAgreement(pearson_, spearman, shares, tuple(pairs))


@dataclass(frozen=True, kw_only=True)
class MapSimilarity:
    """How alike two maps are: means over the regions where neither is constant; no interval for fewer than two."""

    n_regions: int
    pearson: Measured
    ci: Interval | None
    spearman: Measured

    @property
    def highest(self) -> Measured:
        """The mean correlation, or the upper end of its interval where there is one."""
        return self.pearson if self.ci is None else self.ci[1]

    @property
    def is_low(self) -> bool:
        """Whether the mean correlation, and all of its interval, is below what a stable map has."""
        return isinstance(self.highest, float) and self.highest < MIN_STABILITY


@dataclass(frozen=True, kw_only=True)
class SubstitutionTest(MapSimilarity):
    """The map after substitutions with at most `largest_effect` on the prediction.

    `relative_change`, `worst_relative_change`, `worst_region`: the mean over regions of the largest ‖change‖ / ‖map‖,
    and the largest of all and its region; None where none is known.
    """

    n_substitutions: int
    largest_effect: float
    worst_pearson: float | None
    relative_change: float | None
    worst_relative_change: float | None
    worst_region: str | None


@dataclass(frozen=True, kw_only=True)
class ShiftTest(MapSimilarity):
    """The map of a moved window; `same_prediction` is of the windows whose prediction stayed."""

    relative_change: float | None
    prediction_change: float | None
    same_prediction: MapSimilarity


@dataclass(frozen=True, kw_only=True)
class StrandTest(MapSimilarity):
    """The map of the reverse complement; the same `by_construction` where maps are averages over both strands."""

    by_construction: bool
    relative_change: float | None
    prediction_change: float | None


@dataclass(frozen=True, kw_only=True)
class ModelTest(MapSimilarity, Shares):
    """The maps of the same model trained again."""

    n_models: int
    pairs: tuple[ModelPair, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class StabilityResult(PartResult):
    """How stable the map is, and how far from its sequence it holds.

    Changes of the prediction are shares of the model's range. Tables: `stability_regions`, `locality`,
    `locality_probes` and `minimal_edits`, where they could be had.

    `substitutions`, `shifts`, `reverse_complement`, `models`: how alike the map stays; shifts by distance in bp.
    `locality`: where it adds up to what the model does. `minimal_edits`: how few substitutions undo a prediction.
    """

    substitutions: SubstitutionTest | NotTested
    shifts: dict[str, ShiftTest] | NotTested
    reverse_complement: StrandTest | NotTested
    models: ModelTest | NotTested
    locality: Locality | NotTested
    minimal_edits: Edits | NotTested

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        tests = {
            "neutral substitutions": self.substitutions,
            "the other strand": self.reverse_complement,
            "models": self.models,
        }
        for name, test in tests.items():
            if isinstance(test, MapSimilarity) and isinstance(test.pearson, float):
                yield Fact(f"correlation over {name}", f"{test.pearson:.2f}", f"{MIN_STABILITY:g} or more")
        if isinstance(self.locality, Locality) and (failing := self.locality.substitutions.share_of_regions):
            is_judged = self.locality.picture != "single_effects"
            what = "local linearity fails" if is_judged else "single effects do not add up near the sequence"
            yield Fact(f"{what} in", of_regions(failing), f"{MAX_FAILING_REGIONS:.0%} or less" if is_judged else "")
        if isinstance(self.minimal_edits, Edits) and self.minimal_edits.halve.map.median is not None:
            yield Fact("median number of edits that halve the prediction", f"{self.minimal_edits.halve.map.median:g}")

    def reasons(self, settings: AuditSettings) -> Iterator[Reason]:
        share: Measured = NotTested("no changed sequence was tried")
        found, said = self.locality, ""
        if isinstance(found, Locality) and found.picture != "single_effects":  # which are no promise of the map
            share = measured(found.substitutions.share_of_regions, "no base can be changed")
        if isinstance(share, float):
            said = f"what two or three substitutions do is not the sum of what it gives them in {of_regions(share)}"
        needed = f"failing at two or three substitutions in {MAX_FAILING_REGIONS:.0%} of the regions or less"
        more: dict[str, Any] = {"weight": Weight.LOWERS, "sentence": said}
        yield Reason.at_most("faithful", "local linearity", share, MAX_FAILING_REGIONS, needed, **more)
        test, highest = self.substitutions, measured(None, "no substitution leaves the prediction as it is")
        if isinstance(test, MapSimilarity) and isinstance(test.pearson, float):
            highest = test.highest
            changed = f"change it (correlation {test.pearson:.2f})"
            more["sentence"] = f"substitutions that leave the prediction as it is {changed}"
        needed = f"an interval of the correlation not wholly below {MIN_STABILITY:g}"
        yield Reason.at_least("faithful", "stability", highest, MIN_STABILITY, needed, **more)


def audit_stability(context: AuditContext) -> StabilityResult:
    """Test how stable the maps of the `n_small` regions are, and how far from its sequence each holds.

    Takes, for each region, the shared in-silico mutagenesis; `N_SUBSTITUTIONS` + 3 attributions, one more without
    averages over strands, and one for each other model; and the forward passes of :func:`probe_locality` and
    :func:`count_edits`, about 100 with the usual settings.
    """
    rows, notes = context.rows(context.settings.n_small), Notes()
    predictions = None if context.model is None else context.predict(context.codes(rows), rows=rows)
    has_range = predictions is not None and context.effect_scale > NO_RANGE * float(np.abs(predictions).max())
    found: dict[str, Any]
    regions = context.region_table(rows)
    if context.can_attribute:
        tests = _Tests(context, rows, notes, context.effect_scale if has_range else 0.0)
        found = {
            "substitutions": tests.substitutions(),
            "shifts": tests.shifts(),
            "reverse_complement": tests.strands(),
            "models": tests.models(),
        }
        regions = regions.assign(**tests.columns)
    else:
        why = notes.not_tested(NO_MODEL if context.model is None else NOT_KNOWN)
        found = dict.fromkeys(("substitutions", "shifts", "reverse_complement", "models"), why)
    notes.tables["stability_regions"] = regions
    if has_range:
        locality, edits = probe_locality(context), count_edits(context)
        found |= {"locality": locality, "minimal_edits": edits}
        notes.tables |= {
            "locality": locality.regions, "locality_probes": locality.probes, "minimal_edits": edits.regions,
        }  # fmt: skip
        notes.warnings.append(locality.warning)
        notes.untested += [PICTURES[locality.picture]] if locality.picture in PICTURES else []
    else:
        notes.warnings.append(f"{ABOUT}; how far it reaches was not tested.")
        why = notes.not_tested(NO_MODEL if context.model is None else WITHOUT_RANGE)
        found |= {"locality": why, "minimal_edits": why}
    if len(rows) == 1 and context.model is not None:
        notes.untested.append("Confidence intervals of stability: there is only one region.")
    return StabilityResult(**found, **notes.fields())


class _Tests:
    """Tests of how stable the maps of some regions are; `columns` of their table come with them."""

    def __init__(self, context: AuditContext, rows: Ints, notes: Notes, scale: float) -> None:
        self.context, self.rows, self.notes, self.scale = context, rows, notes, scale
        self.codes, self.track = context.codes(rows), context.track(rows)
        self.known = self.codes != N_CODE
        self.columns: dict[str, Values] = {}

    def substitutions(self) -> SubstitutionTest:
        """Compare maps before and after substitutions that leave the prediction as it is."""
        largest = SAME_PREDICTION * self.scale
        effects = np.abs(self.context.substitutions(self.context.settings.n_small))
        found: list[Similarity] = []
        for positions, bases in self._neutral_substitutions((effects <= largest) | (self.scale == 0)):
            chosen = np.flatnonzero(positions >= 0)
            changed = self.codes.copy()
            changed[chosen, positions[chosen]] = bases[chosen]
            far = np.abs(np.arange(self.codes.shape[1]) - positions[:, None]) > LEFT_OUT_BP
            found.append(self._compare_some(changed, self.known & far, chosen))
        pearson, spearman, change = (np.stack(columns) for columns in zip(*found, strict=True))  # (n_substitutions, n)
        worst = np.where(np.isfinite(change), change, -1.0).max(0)
        lowest = np.where(np.isfinite(pearson), pearson, np.inf)
        columns = {
            "n_substitutions": np.isfinite(change).sum(0),
            "substitution_pearson": mean_rows(pearson),
            "substitution_spearman": mean_rows(spearman),
            "substitution_worst_pearson": np.where(np.isfinite(lowest.min(0)), lowest.min(0), np.nan),
            "substitution_largest_change": np.where(worst >= 0, worst, np.nan),
        }
        self.columns |= columns
        region = self.context.attr.rows(self.rows[[worst.argmax()]]).iloc[0]
        alike = self._means("substitutions", columns["substitution_pearson"], columns["substitution_spearman"])
        result = SubstitutionTest(
            n_substitutions=int(np.isfinite(change).sum()),
            largest_effect=float(largest),
            **vars(alike),
            worst_pearson=number(lowest.min()),
            relative_change=mean_known(columns["substitution_largest_change"]),
            worst_relative_change=number(worst.max()) if worst.max() >= 0 else None,
            worst_region=format_region(*region[["chrom", "start", "end"]]) if worst.max() > 0 else None,
        )
        self._warn(result, "after substitutions that leave the prediction as it was")
        return result

    def _neutral_substitutions(self, neutral: Flags) -> Iterator[tuple[Ints, Codes]]:
        """Draw one of the neutral substitutions (n, 4, L) in each of `N_SUBSTITUTIONS` equal parts of the window.

        Yields positions (n,), −1 where a part has none, and bases (n,), for each part.
        """
        is_other = (np.arange(4)[:, None] != self.codes[:, None]) & self.known[:, None]
        keys = np.where(neutral & is_other, self.context.rng("neutral substitutions").random(neutral.shape), 2.0)
        each = np.arange(len(self.codes))
        for part in np.array_split(np.arange(self.codes.shape[1]), N_SUBSTITUTIONS):
            if len(part):
                flat = keys[:, :, part].reshape(len(self.codes), -1)
                bases, offsets = np.divmod(flat.argmin(1), len(part))
                yield np.where(flat[each, flat.argmin(1)] < 1, part[offsets], -1), bases.astype(np.uint8)

    def _compare_some(self, changed: Codes, kept: Flags, chosen: Ints) -> Similarity:
        """Compare the maps of some of the windows with those of changed ones; NaN for the other windows."""
        result = Similarity(*(np.full(len(self.track), np.nan) for _ in Similarity._fields))
        if len(chosen):
            after = self.context.attribute(changed[chosen], rows=self.rows[chosen])
            found = compare_maps(self.track[chosen], after, kept[chosen])
            for column, values in zip(result, found, strict=True):
                column[chosen] = values
        return result

    def shifts(self) -> dict[str, ShiftTest] | NotTested:
        """Compare maps of moved windows over the bases that stay; what is left free is taken from a shuffle."""
        context, codes, length = self.context, self.codes, self.codes.shape[1]
        before, filling = context.predict(codes, rows=self.rows), context.shuffled(codes)
        results: dict[str, ShiftTest] = {}
        for distance in (bp for bp in SHIFTS_BP if 2 * bp < length):
            by = distance * context.rng(f"shift by {distance}").choice([-1, 1], size=len(codes))
            source, back = (np.arange(length) + sign * by[:, None] for sign in (-1, 1))
            moved = np.take_along_axis(codes, source % length, axis=1)
            moved = np.where((source >= 0) & (source < length), moved, filling)
            after = np.take_along_axis(context.attribute(moved, rows=self.rows), back % length, axis=1)
            found = compare_maps(self.track, after, (back >= 0) & (back < length) & self.known)
            change = np.abs(context.predict(moved, rows=self.rows) - before) / (self.scale or np.inf)
            same, name = change <= SAME_PREDICTION, f"shift_{distance}"
            self._add_columns(name, found, change)
            kept = self._means(f"{name} same", found.pearson[same], found.spearman[same])
            results[str(distance)] = ShiftTest(
                **vars(self._means(name, found.pearson, found.spearman)),
                relative_change=mean_known(found.relative_change),
                prediction_change=mean_known(change),
                same_prediction=kept,
            )
            self._warn(kept, f"after a shift by {distance} bp that leaves the prediction as it was")
        return results or self.notes.not_tested("Shifts: the windows are too short.")

    def strands(self) -> StrandTest:
        """Compare the map with that of the reverse complement, and the model's predictions for either strand.

        The predictions are those of each strand by itself, also where the attributions are averages over both.
        """
        context, model = self.context, self.context.model
        assert model is not None
        sources = (context.source(self.codes, self.rows, turned=turned) for turned in (False, True))
        either = [predict_windows(model, source, device=context.device) for source in sources]
        change = np.abs(either[0].astype(np.float64) - either[1]) / (self.scale or np.inf)
        by_construction = context.rc_average and context.explainer is None
        turned = self.track
        if not by_construction:
            turned = context.attribute(self.codes, rows=self.rows, turned=True)[:, ::-1]
        found = compare_maps(self.track, turned, self.known)
        result = StrandTest(
            by_construction=by_construction,
            **vars(self._means("strands", found.pearson, found.spearman)),
            relative_change=mean_known(found.relative_change),
            prediction_change=mean_known(change),
        )
        if result.is_low and isinstance(result.pearson, float) and result.prediction_change is not None:
            self.notes.warnings.append(
                f"The reverse complement of the same DNA has another map (correlation {result.pearson:.2f}) and "
                f"another prediction (by {result.prediction_change:.0%} of the model's range): average over both "
                "strands."
            )
        self._add_columns("rc", found, change)
        return result

    def models(self) -> ModelTest | NotTested:
        """Compare the maps that the other models give for the same regions."""
        context = self.context
        if not context.other_models:
            return self.notes.not_tested("Agreement between seeds or folds: no other models were given.")
        found = compare_models(context, self.rows)
        result = ModelTest(
            n_models=1 + len(context.other_models),
            **vars(self._means("models", found.pearson, found.spearman)),
            **vars(found.shares),
            pairs=found.pairs,
        )
        self.columns |= {"models_pearson": found.pearson, "models_spearman": found.spearman}
        self._warn(result, "when the model is trained again")
        return result

    def _add_columns(self, name: str, found: Similarity, change: Values) -> None:
        values = {"pearson": found.pearson, "spearman": found.spearman, "prediction": change}
        self.columns |= {f"{name}_{key}": column for key, column in values.items()}

    def _means(self, name: str, pearson: Values, spearman: Values) -> MapSimilarity:
        """Mean similarities over regions, and the interval of the first."""
        return MapSimilarity(
            n_regions=int(np.isfinite(pearson).sum()),
            pearson=measured(mean_known(pearson), FLAT),
            ci=mean_interval(pearson, self.context.rng(f"stability {name}"), self.context.settings),
            spearman=measured(mean_known(spearman), FLAT),
        )

    def _warn(self, alike: MapSimilarity, when: str) -> None:
        if alike.is_low and isinstance(alike.pearson, float):
            self.notes.warnings.append(
                f"The map is not stable: {when}, it correlates with itself at {alike.pearson:.2f} (mean of "
                f"{counted(alike.n_regions, 'region')}; expected {MIN_STABILITY:g} or more)."
            )


PART = Part(StabilityResult, lambda context, _: audit_stability(context))
