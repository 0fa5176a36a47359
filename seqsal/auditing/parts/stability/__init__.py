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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.agreement.measures import overlap, top_weights
from seqsal.attribution import predict_windows
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import (
    Fact,
    Interval,
    Measured,
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
from seqsal.io.inputs import open_codes
from seqsal.regions import format_region
from seqsal.sequence.codes import N_CODE, reverse_complement

__all__ = ["PART", "MapSimilarity", "ModelTest", "ShiftTest", "StabilityResult", "StrandTest", "SubstitutionTest",
           "audit_stability"]  # fmt: skip

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
NO_MODEL = NotTested("Stability, locality and minimal edits: no model was given.")
NOT_KNOWN = NotTested(
    "Stability of the map: how the attributions were made is not known, so no changed sequence has a map."
)
WITHOUT_RANGE = NotTested("Locality and minimal edits: the model predicts the same for the regions and their shuffles.")
FLAT = "a map is the same at every base"
Codes = NDArray[np.uint8]
Rows = NDArray[np.int64]
Values = NDArray[np.float64]
TOP_SHARE = 0.05  # of the window
Maps = NDArray[np.float32]


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


def compare_models(context: AuditContext, rows: Rows) -> ModelAgreement:
    """Compare the maps that the model under audit and the other models give for some windows.

    Takes one attribution and one prediction a window and other model.
    """
    codes = context.codes(rows)
    maps = [context.track(rows), *(context.attribute(codes, model=model) for model in context.other_models)]
    predictions = [context.predict(codes), *(context.predict(codes, model) for model in context.other_models)]
    known = codes != N_CODE
    in_peaks = context.in_peaks(rows) & known & context.signed
    pairs, found = [], []
    for a, b in itertools.combinations(range(len(maps)), 2):
        found.append(compare_maps(maps[a], maps[b], known))
        common, expected, signs = _top_agreement(maps[a], maps[b], known)
        pair = ModelPair(
            a=a,
            b=b,
            pearson=mean_known(found[-1].pearson),
            spearman=mean_known(found[-1].spearman),
            top_overlap=common,
            top_expected=expected,
            sign_agreement=signs,
            peak_sign_agreement=_same_sign(maps[a][in_peaks], maps[b][in_peaks]),
            prediction_pearson=pearson(predictions[a], predictions[b]),
        )
        pairs.append(pair)
    pearson_, spearman, _ = (mean_rows(np.stack(columns)) for columns in zip(*found, strict=True))
    shares = Shares(
        **{
            one.name: mean_known(np.array([getattr(pair, one.name) for pair in pairs], dtype=np.float64))
            for one in fields(Shares)
        }
    )
    return ModelAgreement(pearson_, spearman, shares, tuple(pairs))


def _top_agreement(a: Maps, b: Maps, known: NDArray[np.bool_]) -> tuple[float | None, float | None, float | None]:
    """Return the common share of the top positions, what it would be by chance, and the share of these of one sign."""
    k = max(1, round(TOP_SHARE * a.shape[1]))
    share, n_common, n_same = overlap(a, b, top_weights(a, known, k), top_weights(b, known, k))
    expected = np.minimum(k / np.maximum(known.sum(1), 1), 1.0)
    signs = float(n_same.sum() / n_common.sum()) if n_common.sum() > 0 else None
    return mean_known(share), mean_known(expected[np.isfinite(share)]), signs


def _same_sign(a: Maps, b: Maps) -> float | None:
    return float((np.sign(a) == np.sign(b)).mean()) if len(a) else None


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
    """The map after substitutions that leave the prediction as it is.

    `n_substitutions`, `largest_effect`: substitutions, and the effect on the prediction that they may have.
    `worst_pearson`, `relative_change`, `worst_relative_change`, `worst_region`: the lowest correlation, the mean over
    regions of the largest ‖change‖ / ‖map‖, and the largest of all and its region; None where none is known.
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
            what = "does not" if self.locality.picture != "single_effects" else "single effects do not"
            threshold = f"{MAX_FAILING_REGIONS:.0%} or less" if what == "does not" else ""
            yield Fact(f"{what} add up near the sequence in", of_regions(failing), threshold)
        if isinstance(self.minimal_edits, Edits) and self.minimal_edits.halve.map.median is not None:
            yield Fact("median number of edits that halve the prediction", f"{self.minimal_edits.halve.map.median:g}")

    def reasons(self, settings: AuditSettings) -> Iterator[Reason]:
        share: Measured = NotTested("no changed sequence was tried")
        found, said = self.locality, ""
        if isinstance(found, Locality) and found.picture != "single_effects":  # which are no promise of the map
            share = measured(found.substitutions.share_of_regions, "no base can be changed")
        if isinstance(share, float):
            said = f"what two or three substitutions do is not the sum of what it gives them in {of_regions(share)}"
        needed = f"failing in {MAX_FAILING_REGIONS:.0%} of the regions or less"
        more: dict[str, Any] = {"weight": Weight.LOWERS, "sentence": said}
        yield Reason.at_most("faithful", "additivity", share, MAX_FAILING_REGIONS, needed, **more)
        test, highest = self.substitutions, measured(None, "no substitution leaves the prediction as it is")
        if isinstance(test, MapSimilarity) and isinstance(test.pearson, float):
            highest = test.highest
            changed = f"change it (correlation {test.pearson:.2f})"
            more["sentence"] = f"substitutions that leave the prediction as it is {changed}"
        needed = f"an interval of the correlation that reaches {MIN_STABILITY:g}"
        yield Reason.at_least("faithful", "stability", highest, MIN_STABILITY, needed, **more)


T = TypeVar("T")


@dataclass(frozen=True)
class _Found(Generic[T]):
    """What one test found, with columns of the region table (n,), and sentences."""

    result: T | NotTested
    columns: Mapping[str, Values] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def audit_stability(context: AuditContext) -> StabilityResult:
    """Test how stable the maps of the `n_small` regions are, and how far from its sequence each holds.

    Takes, for each region, the shared in-silico mutagenesis; `N_SUBSTITUTIONS` + 3 attributions, one more without
    averages over strands, and one for each other model; and the forward passes of :func:`probe_locality` and
    :func:`count_edits`, about 100 with the usual settings.
    """
    rows = context.rows(context.settings.n_small)
    has_range = context.model is not None and _has_range(context, rows)
    substitutions = _test_substitutions(context, rows, has_range)
    shifts = _test_shifts(context, rows, has_range)
    strands = _test_strands(context, rows, has_range)
    models = _test_models(context, rows)
    found: tuple[_Found[object], ...] = (substitutions, shifts, strands, models)  # type: ignore[assignment]
    columns = {name: column for one in found for name, column in one.columns.items()}
    tables: dict[str, pd.DataFrame] = {"stability_regions": context.region_table(rows).assign(**columns)}
    warnings = [text for one in found for text in one.warnings]
    untested = [one.result.reason for one in found if isinstance(one.result, NotTested)]
    locality: Locality | NotTested = NO_MODEL if context.model is None else WITHOUT_RANGE
    edits: Edits | NotTested = NO_MODEL if context.model is None else WITHOUT_RANGE
    if has_range:
        locality, edits = probe_locality(context), count_edits(context)
        tables |= {"locality": locality.regions, "locality_probes": locality.probes, "minimal_edits": edits.regions}
        warnings.append(locality.warning)
        untested += [PICTURES[locality.picture]] if locality.picture in PICTURES else []
    else:
        warnings.append(f"{ABOUT}; how far it reaches was not tested.")
        untested += [WITHOUT_RANGE.reason] if context.model is not None else []
    if len(rows) == 1 and context.model is not None:
        untested.append("Confidence intervals of stability: there is only one region.")
    return StabilityResult(
        substitutions=substitutions.result,
        shifts=shifts.result,
        reverse_complement=strands.result,
        models=models.result,
        locality=locality,
        minimal_edits=edits,
        tables=tables,
        warnings=tuple(warnings),
        untested=tuple(dict.fromkeys(untested)),
    )


def _has_range(context: AuditContext, rows: Rows) -> bool:
    """Whether the model's predictions differ by more than rounding."""
    return context.effect_scale > NO_RANGE * float(np.abs(context.predict(context.codes(rows))).max())


def _cannot(context: AuditContext) -> NotTested | None:
    """Say why sequences cannot be attributed again; None if they can."""
    return NO_MODEL if context.model is None else None if context.can_attribute else NOT_KNOWN


def _test_substitutions(context: AuditContext, rows: Rows, has_range: bool) -> _Found[SubstitutionTest]:
    """Compare maps before and after substitutions that leave the prediction as it is."""
    if (reason := _cannot(context)) is not None:
        return _Found(reason)
    codes, track = context.codes(rows), context.track(rows)
    largest = SAME_PREDICTION * (context.effect_scale if has_range else 0.0)
    effects = np.abs(context.substitutions(context.settings.n_small))
    neutral = (effects <= largest) | (not has_range)
    found: list[Similarity] = []
    for positions, bases in _neutral_substitutions(context, codes, neutral):
        chosen = np.flatnonzero(positions >= 0)
        changed = codes.copy()
        changed[chosen, positions[chosen]] = bases[chosen]
        kept = (codes != N_CODE) & (np.abs(np.arange(codes.shape[1]) - positions[:, None]) > LEFT_OUT_BP)
        found.append(_compare_some(context, track, changed, kept, chosen))
    pearson, spearman, change = (np.stack(columns) for columns in zip(*found, strict=True))  # (n_substitutions, n)
    worst = np.where(np.isfinite(change), change, -1.0).max(0)
    columns = {
        "n_substitutions": np.isfinite(change).sum(0),
        "substitution_pearson": mean_rows(pearson),
        "substitution_spearman": mean_rows(spearman),
        "substitution_worst_pearson": _min_rows(pearson),
        "substitution_largest_change": np.where(worst >= 0, worst, np.nan),
    }
    alike = _means(context, "substitutions", columns["substitution_pearson"], columns["substitution_spearman"])
    result = SubstitutionTest(
        n_substitutions=int(np.isfinite(change).sum()),
        largest_effect=float(largest),
        **vars(alike),
        worst_pearson=number(np.min(pearson[np.isfinite(pearson)], initial=np.inf)),
        relative_change=mean_known(columns["substitution_largest_change"]),
        worst_relative_change=number(worst.max()) if worst.max() >= 0 else None,
        worst_region=_name(context, rows[worst.argmax()]) if worst.max() > 0 else None,
    )
    return _Found(result, columns, _warn(result, "after substitutions that leave the prediction as it was"))


def _neutral_substitutions(
    context: AuditContext, codes: Codes, neutral: NDArray[np.bool_]
) -> list[tuple[NDArray[np.int64], Codes]]:
    """Draw one of the neutral substitutions (n, 4, L) in each of `n_substitutions` equal parts of the window.

    Returns positions (n,), −1 where a part has none, and bases (n,), for each part.
    """
    is_other = (np.arange(4)[:, None] != codes[:, None]) & (codes != N_CODE)[:, None]
    keys = np.where(neutral & is_other, context.rng("neutral substitutions").random(neutral.shape), 2.0)
    each, drawn = np.arange(len(codes)), []
    for part in np.array_split(np.arange(codes.shape[1]), N_SUBSTITUTIONS):
        if not len(part):
            continue
        flat = keys[:, :, part].reshape(len(codes), -1)
        bases, offsets = np.divmod(flat.argmin(1), len(part))
        drawn.append((np.where(flat[each, flat.argmin(1)] < 1, part[offsets], -1), bases.astype(np.uint8)))
    return drawn


def _compare_some(
    context: AuditContext, track: NDArray[np.float32], changed: Codes, kept: NDArray[np.bool_], chosen: Rows
) -> Similarity:
    """Compare the maps of some of the windows with those of changed ones; NaN for the other windows."""
    result = Similarity(*(np.full(len(track), np.nan) for _ in Similarity._fields))
    if len(chosen):
        found = compare_maps(track[chosen], context.attribute(changed[chosen]), kept[chosen])
        for column, values in zip(result, found, strict=True):
            column[chosen] = values
    return result


def _test_shifts(context: AuditContext, rows: Rows, has_range: bool) -> _Found[dict[str, ShiftTest]]:
    """Compare maps of moved windows over the bases that stay."""
    if (reason := _cannot(context)) is not None:
        return _Found(reason)
    codes, track = context.codes(rows), context.track(rows)
    before, filling = context.predict(codes), context.shuffled(codes)
    results: dict[str, ShiftTest] = {}
    columns: dict[str, Values] = {}
    warnings: list[str] = []
    for distance in (bp for bp in SHIFTS_BP if 2 * bp < codes.shape[1]):
        by = distance * context.rng(f"shift by {distance}").choice([-1, 1], size=len(rows))
        moved = _moved(codes, filling, by)
        found = compare_maps(track, *_moved_back(context.attribute(moved), codes, by))
        change = np.abs(context.predict(moved) - before) / (context.effect_scale if has_range else np.inf)
        same = change <= SAME_PREDICTION
        name = f"shift_{distance}"
        columns |= {f"{name}_pearson": found.pearson, f"{name}_spearman": found.spearman, f"{name}_prediction": change}
        own = _means(context, name, found.pearson, found.spearman)
        kept = _means(context, f"{name} same", found.pearson[same], found.spearman[same])
        results[str(distance)] = ShiftTest(
            **vars(own),
            relative_change=mean_known(found.relative_change),
            prediction_change=mean_known(change),
            same_prediction=kept,
        )
        warnings += _warn(kept, f"after a shift by {distance} bp that leaves the prediction as it was")
    return _Found(results or NotTested("Shifts: the windows are too short."), columns, tuple(warnings))


def _moved(codes: Codes, filling: Codes, by: NDArray[np.int64]) -> Codes:
    """Move each window's bases to the right by some bp (n,); what is left free is taken from `filling` (n, L)."""
    source = np.arange(codes.shape[1]) - by[:, None]
    inside = (source >= 0) & (source < codes.shape[1])
    return np.where(inside, np.take_along_axis(codes, source % codes.shape[1], axis=1), filling)


def _moved_back(
    track: NDArray[np.float32], codes: Codes, by: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read the map of a moved window at the window's own positions; and where it has a value there."""
    source = np.arange(track.shape[1]) + by[:, None]
    inside = (source >= 0) & (source < track.shape[1])
    return np.take_along_axis(track, source % track.shape[1], axis=1), inside & (codes != N_CODE)


def _test_strands(context: AuditContext, rows: Rows, has_range: bool) -> _Found[StrandTest]:
    """Compare the map with that of the reverse complement, and the model's predictions for either strand.

    The predictions are those of each strand by itself, also where the attributions are averages over both.
    """
    if (reason := _cannot(context)) is not None:
        return _Found(reason)
    codes, track = context.codes(rows), context.track(rows)
    other = reverse_complement(codes)
    assert context.model is not None
    either = [predict_windows(context.model, open_codes(each), device=context.device) for each in (codes, other)]
    change = np.abs(either[0].astype(np.float64) - either[1]) / (context.effect_scale if has_range else np.inf)
    by_construction = context.rc_average and context.explainer is None
    turned = track if by_construction else context.attribute(other)[:, ::-1]
    found = compare_maps(track, turned, codes != N_CODE)
    result = StrandTest(
        by_construction=by_construction,
        **vars(_means(context, "strands", found.pearson, found.spearman)),
        relative_change=mean_known(found.relative_change),
        prediction_change=mean_known(change),
    )
    warnings: tuple[str, ...] = ()
    if result.is_low and isinstance(result.pearson, float) and result.prediction_change is not None:
        warnings = (
            f"The reverse complement of the same DNA has another map (correlation {result.pearson:.2f}) and another "
            f"prediction (by {result.prediction_change:.0%} of the model's range): average over both strands.",
        )
    columns = {"rc_pearson": found.pearson, "rc_spearman": found.spearman, "rc_prediction": change}
    return _Found(result, columns, warnings)


def _test_models(context: AuditContext, rows: Rows) -> _Found[ModelTest]:
    """Compare the maps that the other models give for the same regions."""
    if (reason := _cannot(context)) is not None:
        return _Found(reason)
    if not context.other_models:
        return _Found(NotTested("Agreement between seeds or folds: no other models were given."))
    found = compare_models(context, rows)
    result = ModelTest(
        n_models=1 + len(context.other_models),
        **vars(_means(context, "models", found.pearson, found.spearman)),
        **vars(found.shares),
        pairs=found.pairs,
    )
    columns = {"models_pearson": found.pearson, "models_spearman": found.spearman}
    return _Found(result, columns, _warn(result, "when the model is trained again"))


def _means(context: AuditContext, name: str, pearson: Values, spearman: Values) -> MapSimilarity:
    """Mean similarities over regions, and the interval of the first."""
    return MapSimilarity(
        n_regions=int(np.isfinite(pearson).sum()),
        pearson=measured(mean_known(pearson), FLAT),
        ci=mean_interval(pearson, context.rng(f"stability {name}"), context.settings),
        spearman=measured(mean_known(spearman), FLAT),
    )


def _warn(alike: MapSimilarity, when: str) -> tuple[str, ...]:
    if not alike.is_low or isinstance(alike.pearson, NotTested):
        return ()
    n = alike.n_regions
    return (
        f"The map is not stable: {when}, it correlates with itself at {alike.pearson:.2f} (mean of {n} "
        f"region{'s' if n > 1 else ''}; expected {MIN_STABILITY:g} or more).",
    )


def _name(context: AuditContext, row: int) -> str:
    region = context.attr.regions.iloc[int(row)]
    return format_region(region["chrom"], region["start"], region["end"])


def _min_rows(values: Values) -> Values:
    lowest = np.where(np.isfinite(values), values, np.inf).min(0)
    return np.where(np.isfinite(lowest), lowest, np.nan)


PART = Part(StabilityResult, lambda context, _: audit_stability(context))
