"""Stability: whether the map stays as it is where it should, and agrees with itself.

A map that changes when nothing else does cannot be read base by base. What should leave it alone is tried: single
substitutions that do not change the prediction (Ghorbani, Abid and Zou 2019, doi:10.1609/aaai.v33i01.33013681; the
largest relative change is a local Lipschitz estimate in the sense of Alvarez-Melis and Jaakkola 2018,
arXiv:1806.08049), shifts of the window, the other strand, and the same model trained again.

A window moves within itself: bases that enter come from a dinucleotide shuffle of it, because what lies beside it is
not in the file. So a shift changes the sequence a little too, and a model that answers to it is not the explainer's
fault: with each shift goes how much the prediction changed, and windows whose prediction stayed are told by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsal.attribution import predict_windows
from seqsal.auditing.context import AuditContext
from seqsal.auditing.edits import count_edits
from seqsal.auditing.locality import ABOUT, probe_locality, region_columns
from seqsal.auditing.other_models import compare_models
from seqsal.auditing.section import AuditSection
from seqsal.auditing.stats import Similarity, compare_maps, mean_interval, mean_known, mean_rows, number
from seqsal.io.inputs import open_codes
from seqsal.regions import format_region
from seqsal.sequence.codes import N_CODE, reverse_complement

__all__ = ["audit_stability"]

SHIFTS_BP = (1, 3, 10)
LEFT_OUT_BP = 2  # on either side of a substitution
NO_RANGE = 1e-5  # of the largest prediction: differences below are rounding
WITHOUT_RANGE = "Locality and minimal edits: the model predicts the same for the regions and their shuffles."
PICTURES = {
    "single_effects": "Whether the map adds up: it has no signs, so sums of single effects were tried instead.",
    "scaled_track": "What the map says of the base that is put in place: it scores only the base that is there.",
}
Codes = NDArray[np.uint8]
Rows = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class _Part:
    """What one test found: for `audit.json`, columns of the region table (n,), and sentences."""

    values: dict[str, Any] | None
    columns: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()


def audit_stability(context: AuditContext) -> AuditSection:
    """Test how stable the maps of the `n_small` regions are, and how far from its sequence each holds.

    Takes, for each region, the shared in-silico mutagenesis; `n_substitutions` + 3 attributions, one more without
    averages over strands, and one for each other model; and the forward passes of :func:`probe_locality` and
    :func:`count_edits`, about 100 with the usual settings.

    Returns
    -------
    AuditSection
        `values`: `substitutions`, `shifts` (by distance in bp), `reverse_complement`, `models`, `locality` and
        `minimal_edits`; similarities are means over regions, changes of the prediction shares of the model's range.
        `tables`: `stability_regions`, `locality`, `locality_probes` and `minimal_edits`, where they could be had.
    """
    rows = context.rows(context.settings.n_small)
    has_range = context.model is not None and _has_range(context, rows)
    parts = {
        "substitutions": _test_substitutions(context, rows, has_range),
        "shifts": _test_shifts(context, rows, has_range),
        "reverse_complement": _test_strands(context, rows, has_range),
        "models": _test_models(context, rows),
    }
    columns = {name: column for part in parts.values() for name, column in part.columns.items()}
    tables = {"stability_regions": region_columns(context, rows).assign(**columns)}
    values: dict[str, Any] = {name: part.values for name, part in parts.items()}
    warnings = [text for part in parts.values() for text in part.warnings]
    untested = dict.fromkeys(text for part in parts.values() for text in part.untested)
    values |= {"locality": None, "minimal_edits": None}
    if has_range:
        locality, edits = probe_locality(context), count_edits(context)
        values |= {"locality": locality.values, "minimal_edits": edits.values}
        tables |= {"locality": locality.regions, "locality_probes": locality.probes, "minimal_edits": edits.regions}
        warnings.append(locality.warning)
        untested |= dict.fromkeys(text for kind, text in PICTURES.items() if kind == locality.values["picture"])
    else:
        warnings.append(f"{ABOUT}; how far it reaches was not tested.")
        if context.model is not None:
            untested["Locality and minimal edits: the model predicts the same for the regions and their shuffles."] = (
                None
            )
    if len(rows) == 1 and context.model is not None:
        untested["Confidence intervals of stability: there is only one region."] = None
    return AuditSection("stability", values, tables, tuple(warnings), tuple(untested))


def _has_range(context: AuditContext, rows: Rows) -> bool:
    """Whether the model's predictions differ by more than rounding."""
    return context.effect_scale > NO_RANGE * float(np.abs(context.predict(context.codes(rows))).max())


def _cannot(context: AuditContext) -> str | None:
    """Say why sequences cannot be attributed again; None if they can."""
    if context.model is None:
        return "Stability, locality and minimal edits: no model was given."
    if not context.can_attribute:
        return "Stability of the map: how the attributions were made is not known, so no changed sequence has a map."
    return None


def _test_substitutions(context: AuditContext, rows: Rows, has_range: bool) -> _Part:
    """Compare maps before and after substitutions that leave the prediction as it is."""
    if reason := _cannot(context):
        return _Part(None, untested=(reason,))
    codes, track = context.codes(rows), context.track(rows)
    largest = context.settings.same_prediction * (context.effect_scale if has_range else 0.0)
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
    values = {
        "n_substitutions": int(np.isfinite(change).sum()),
        "largest_effect": float(largest),
        **_means(context, "substitutions", columns["substitution_pearson"], columns["substitution_spearman"]),
        "worst_pearson": number(np.min(pearson[np.isfinite(pearson)], initial=np.inf)),
        "relative_change": mean_known(columns["substitution_largest_change"]),
        "worst_relative_change": number(worst.max()) if worst.max() >= 0 else None,
        "worst_region": _name(context, rows[worst.argmax()]) if worst.max() > 0 else None,
    }
    return _Part(values, columns, _warn(context, values, "after substitutions that leave the prediction as it was"))


def _neutral_substitutions(
    context: AuditContext, codes: Codes, neutral: NDArray[np.bool_]
) -> list[tuple[NDArray[np.int64], Codes]]:
    """Draw one of the neutral substitutions (n, 4, L) in each of `n_substitutions` equal parts of the window.

    Returns positions (n,), −1 where a part has none, and bases (n,), for each part.
    """
    is_other = (np.arange(4)[:, None] != codes[:, None]) & (codes != N_CODE)[:, None]
    keys = np.where(neutral & is_other, context.rng("neutral substitutions").random(neutral.shape), 2.0)
    each, drawn = np.arange(len(codes)), []
    for part in np.array_split(np.arange(codes.shape[1]), context.settings.n_substitutions):
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


def _test_shifts(context: AuditContext, rows: Rows, has_range: bool) -> _Part:
    """Compare maps of moved windows over the bases that stay."""
    if reason := _cannot(context):
        return _Part(None, untested=(reason,))
    codes, track = context.codes(rows), context.track(rows)
    before, filling = context.predict(codes), context.shuffled(codes)
    values: dict[str, Any] = {}
    columns: dict[str, Values] = {}
    warnings: list[str] = []
    for distance in (bp for bp in SHIFTS_BP if 2 * bp < codes.shape[1]):
        by = distance * context.rng(f"shift by {distance}").choice([-1, 1], size=len(rows))
        moved = _moved(codes, filling, by)
        found = compare_maps(track, *_moved_back(context.attribute(moved), codes, by))
        change = np.abs(context.predict(moved) - before) / (context.effect_scale if has_range else np.inf)
        same = change <= context.settings.same_prediction
        name = f"shift_{distance}"
        columns |= {f"{name}_pearson": found.pearson, f"{name}_spearman": found.spearman, f"{name}_prediction": change}
        own = _means(context, name, found.pearson, found.spearman)
        kept = _means(context, f"{name} same", found.pearson[same], found.spearman[same])
        values[str(distance)] = {
            **own,
            "relative_change": mean_known(found.relative_change),
            "prediction_change": mean_known(change),
            "same_prediction": kept,
        }
        warnings += _warn(context, kept, f"after a shift by {distance} bp that leaves the prediction as it was")
    short = () if values else ("Shifts: the windows are too short.",)
    return _Part(values or None, columns, tuple(warnings), short)


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


def _test_strands(context: AuditContext, rows: Rows, has_range: bool) -> _Part:
    """Compare the map with that of the reverse complement, and the model's predictions for either strand.

    The predictions are those of each strand by itself, also where the attributions are averages over both.
    """
    if reason := _cannot(context):
        return _Part(None, untested=(reason,))
    codes, track = context.codes(rows), context.track(rows)
    other = reverse_complement(codes)
    assert context.model is not None
    either = [predict_windows(context.model, open_codes(each), device=context.device) for each in (codes, other)]
    change = np.abs(either[0].astype(np.float64) - either[1]) / (context.effect_scale if has_range else np.inf)
    by_construction = context.rc_average and context.explainer is None
    turned = track if by_construction else context.attribute(other)[:, ::-1]
    found = compare_maps(track, turned, codes != N_CODE)
    values = {
        "by_construction": by_construction,
        **_means(context, "strands", found.pearson, found.spearman),
        "relative_change": mean_known(found.relative_change),
        "prediction_change": mean_known(change),
    }
    columns = {"rc_pearson": found.pearson, "rc_spearman": found.spearman, "rc_prediction": change}
    return _Part(values, columns, _warn_of_strands(context, values))


def _test_models(context: AuditContext, rows: Rows) -> _Part:
    """Compare the maps that the other models give for the same regions."""
    if reason := _cannot(context):
        return _Part(None, untested=(reason,))
    if not context.other_models:
        return _Part(None, untested=("Agreement between seeds or folds: no other models were given.",))
    found = compare_models(context, rows)
    values = {
        "n_models": 1 + len(context.other_models),
        **_means(context, "models", found.pearson, found.spearman),
        **found.shares,
        "pairs": found.pairs,
    }
    columns = {"models_pearson": found.pearson, "models_spearman": found.spearman}
    return _Part(values, columns, _warn(context, values, "when the model is trained again"))


def _means(context: AuditContext, name: str, pearson: Values, spearman: Values) -> dict[str, Any]:
    """Mean similarities over regions, and the interval of the first."""
    interval = mean_interval(pearson, context.rng(f"stability {name}"), context.settings)
    return {
        "n_regions": int(np.isfinite(pearson).sum()),
        "pearson": mean_known(pearson),
        "ci": interval,
        "spearman": mean_known(spearman),
    }


def _warn(context: AuditContext, values: Mapping[str, Any], when: str) -> tuple[str, ...]:
    if not _is_low(context, values):
        return ()
    n = values["n_regions"]
    return (
        f"The map is not stable: {when}, it correlates with itself at {values['pearson']:.2f} (mean of {n} "
        f"region{'s' if n > 1 else ''}; expected {context.settings.min_stability:g} or more).",
    )


def _warn_of_strands(context: AuditContext, values: Mapping[str, Any]) -> tuple[str, ...]:
    if not _is_low(context, values):
        return ()
    return (
        f"The reverse complement of the same DNA has another map (correlation {values['pearson']:.2f}) and another "
        f"prediction (by {values['prediction_change']:.0%} of the model's range): average over both strands.",
    )


def _is_low(context: AuditContext, values: Mapping[str, Any]) -> bool:
    """Whether a mean correlation, and all of its interval, is below what a stable map has."""
    highest = values["pearson"] if values["ci"] is None else values["ci"][1]
    return highest is not None and highest < context.settings.min_stability


def _name(context: AuditContext, row: int) -> str:
    region = context.attr.regions.iloc[int(row)]
    return format_region(region["chrom"], region["start"], region["end"])


def _min_rows(values: Values) -> Values:
    lowest = np.where(np.isfinite(values), values, np.inf).min(0)
    return np.where(np.isfinite(lowest), lowest, np.nan)
