"""Whether the model is saturated where it is asked, and whether the map, or the gradient, goes blind there.

* *Probability.* Near 0 and 1 the gradient of a probability is that of the logit times p (1 - p), at most 1/4: the
  surer the prediction, the fainter the map.
* *ReLU.* A unit below 0 passes no gradient (:mod:`seqsal.auditing.activity`).
* *Cold spots.* Positions that mutagenesis shows to matter and the map does not (:mod:`seqsal.auditing.blindness`),
  for the
  map, gradient × input and integrated gradients.
* *Redundancy.* Where mutagenesis itself is blind (:mod:`seqsal.auditing.removal`).
* *Method.* Each map's sum over spans is correlated, within each region, with what the model loses when the span is
  removed; and each map with mutagenesis. Another method is recommended when it does better by either, by at least
  `min_method_gain` and with a confidence interval of the paired difference above 0, and not worse by the other; of
  those about as good as the best, the one that needs the fewest passes through the model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.agreement.measures import row_moments
from seqsal.attribution import METHODS, make_method
from seqsal.auditing.activity import Activity, relu_activity
from seqsal.auditing.blindness import blind_positions, cold_spots, important_positions
from seqsal.auditing.context import AuditContext
from seqsal.auditing.probability import Probability, probabilities
from seqsal.auditing.removal import Hidden, Tiles, choose_tiles, find_hidden, remove_tiles, tile_sums
from seqsal.auditing.section import AuditSection
from seqsal.auditing.stats import mean_interval, rank_correlation, ratio_interval
from seqsal.errors import SeqsalError
from seqsal.sequence.codes import N_CODE

__all__ = ["audit_saturation"]

COMPARED = ("gradient_x_input", "integrated_gradients", "deeplift_shap")
WITNESSES = ("deeplift_shap", "integrated_gradients")
AUDITED = "map"
ROUNDING = 1e-6  # of predictions that should be equal
Values = dict[str, Any]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class _Maps(NamedTuple):
    """The regions looked at, and every map of them.

    Attributes
    ----------
    rows
        (n,) rows of the attributions.
    codes
        (n, L).
    known
        (n, L), where there is a base.
    ism
        (n, L) effect of losing each base.
    tracks
        (n, L) by method; the audited one under `AUDITED`, and under its name where it is compared too.
    signed
        Whether the audited map has signs.
    """

    rows: NDArray[np.int64]
    codes: NDArray[np.uint8]
    known: Flags
    ism: Floats
    tracks: dict[str, Floats]
    signed: bool


def audit_saturation(context: AuditContext) -> AuditSection:
    """Look for saturation, blind maps, and a method that does better.

    Parameters
    ----------
    context
        What is audited.

    Returns
    -------
    AuditSection
        `values`: saturated_share, probability_gradient_ratio and squashed_share; dead_relu_share, dead_channel_share
        and inactive_share; blind_share with its ci, blind_share_by_method; agreement (by method ism_spearman,
        removal_pearson, …); redundancy; recommended_method and recommendation (None unless another method is
        measurably better). Tables `saturation_regions`, `cold_spots` and `redundant_regions`.
    """
    warnings: list[str] = []
    untested: list[str] = []
    chances = probabilities(context, untested)
    values = _of_probability(context, chances, warnings)
    names = ("dead_relu_share", "dead_channel_share", "inactive_share", "blind_share", "blind_share_ci", "redundancy",
             "blind_share_by_method", "agreement", "recommended_method", "recommendation")  # fmt: skip
    values |= dict.fromkeys(names) | {"n_important": 0, "n_regions": 0}
    if context.model is None:
        untested.append("Dead units, blind spots and redundancy were not tested: there is no model.")
        return AuditSection("saturation", values, {}, tuple(warnings), tuple(untested))
    maps = _maps(context, untested)
    table = context.attr.regions.iloc[maps.rows].reset_index(drop=True)[["chrom", "start", "end", "name", "strand"]]
    table.insert(0, "row", maps.rows)
    regions = table.drop(columns="strand").assign(prediction=context.predict(maps.codes))
    regions["probability"] = np.nan if chances is None else pd.Series(chances.of(maps.rows))
    values |= {"n_regions": len(maps.rows)} | _of_relus(context, maps, regions, warnings, untested)
    tables = {"saturation_regions": regions, "cold_spots": cold_spots(table, maps.known[:0], maps.ism[:0], {})}
    if context.effect_scale <= ROUNDING * np.abs(regions["prediction"]).max():
        untested.append("Blind spots and redundancy were not tested: the model predicts the same for every sequence.")
        return AuditSection("saturation", values, tables, tuple(warnings), tuple(untested))
    found, blind = _of_blindness(context, maps, regions, warnings, untested)
    values |= found
    tables["cold_spots"] = cold_spots(table, blind, maps.ism, maps.tracks)
    found, tables["redundant_regions"] = _of_removal(context, maps, regions, warnings, untested)
    values |= found
    return AuditSection("saturation", values, tables, tuple(warnings), tuple(untested))


def _maps(context: AuditContext, untested: list[str]) -> _Maps:
    n = min(context.settings.n_small, context.settings.n_ism_regions)
    rows = context.rows(n)
    codes = context.codes(rows)
    known = codes != N_CODE
    ism = np.where(known, context.losses(n), 0.0)
    tracks = {AUDITED: context.track(rows).astype(np.float64)}
    for method in COMPARED:
        try:
            tracks[method] = context.map_by(method, n).astype(np.float64)
        except (SeqsalError, RuntimeError) as error:  # torch's own words, where a model does what no method foresaw
            untested.append(f"{method} was not compared: {str(error).splitlines()[0]}")
    tracks["ism"] = ism
    finite = {name: np.where(known & np.isfinite(track), track, 0.0) for name, track in tracks.items()}
    return _Maps(rows, codes, known, ism, finite, bool(context.attr.attrs.get("signed", True)))


def _of_probability(context: AuditContext, chances: Probability | None, warnings: list[str]) -> Values:
    if chances is None:
        return {"saturated_share": None, "probability_gradient_ratio": None, "squashed_share": None, "n_predicted": 0}
    p, settings = chances.values, context.settings
    slope = p * (1 - p)
    squashed = float((slope < settings.squashed_slope / 4).mean())
    if context.attr.output_space == "probability" and squashed > 0:
        warnings.append(
            f"The map is about a probability whose slope is below {settings.squashed_slope:.0%} of its largest in "
            f"{squashed:.0%} of the regions, which makes the map faint there: attribute the logit instead."
        )
    return {
        "saturated_share": float((np.minimum(p, 1 - p) <= settings.saturated).mean()),
        "probability_gradient_ratio": float(slope.mean()),
        "squashed_share": squashed,
        "n_predicted": len(p),
    }


def _of_relus(
    context: AuditContext, maps: _Maps, regions: pd.DataFrame, warnings: list[str], untested: list[str]
) -> Values:
    assert context.model is not None
    activity: Activity | None = None
    try:
        activity = relu_activity(context.model, maps.codes, context.device)
    except SeqsalError as error:
        untested.append(f"Dead units were not tested: {error}")
    else:
        if activity is None:
            untested.append("Dead units were not tested: the model has no ReLU.")
    regions["inactive_share"] = np.nan if activity is None else pd.Series(activity.inactive)
    if activity is None:
        return {}
    dead = float(activity.n_dead_channels.sum() / activity.n_channels.sum())
    if dead > context.settings.max_dead_share:
        warnings.append(f"{dead:.0%} of the model's ReLU channels are 0 for every region that was looked at.")
    return {
        "dead_relu_share": float(activity.n_dead_units.sum() / activity.n_units.sum()),
        "dead_channel_share": dead,
        "inactive_share": float(activity.inactive.mean()),
        "relu_layers": [
            {
                "layer": layer,
                "dead_relu_share": float(off / units),
                "dead_channel_share": float(empty / channels),
            }
            for layer, units, off, channels, empty in zip(*activity[:5], strict=True)
        ],
    }


def _of_blindness(
    context: AuditContext, maps: _Maps, regions: pd.DataFrame, warnings: list[str], untested: list[str]
) -> tuple[Values, Flags]:
    """Share of the important positions of which each map shows nothing; and where the audited one does not."""
    settings = context.settings
    important = important_positions(maps.ism, maps.known, context.effect_scale, settings)
    blind = {
        name: blind_positions(track, maps.ism, maps.known, important, settings)
        for name, track in maps.tracks.items()
        if name != "ism"
    }
    n_important, n_blind = important.sum(1), blind[AUDITED].sum(1)
    regions["n_important"], regions["n_blind"] = n_important, n_blind
    total = int(n_important.sum())
    if not total:
        untested.append(
            "Blind spots were not tested: losing no single base changes a prediction by "
            f"{settings.min_position_effect:.0%} of the model's range."
        )
        return {"n_important": 0}, blind[AUDITED]
    share = float(n_blind.sum() / total)
    if share > settings.max_blind_share:
        regions_named = regions.loc[n_blind > 0, "name"].head(3)
        warnings.append(
            f"The map shows nothing at {share:.0%} of the positions that matter by mutagenesis, in "
            f"{int((n_blind > 0).sum())} regions ({', '.join(map(str, regions_named))}, …): see the cold spots."
        )
    return {
        "n_important": total,
        "blind_share": share,
        "blind_share_ci": ratio_interval(n_blind, n_important, context.rng("interval of blindness"), settings),
        "blind_share_by_method": {name: float(at.sum() / total) for name, at in blind.items() if name != AUDITED},
    }, blind[AUDITED]


def _of_removal(
    context: AuditContext, maps: _Maps, regions: pd.DataFrame, warnings: list[str], untested: list[str]
) -> tuple[Values, pd.DataFrame]:
    """Agreement of every map with removed spans and mutagenesis, redundancy, and the method to use."""
    tiles = choose_tiles(context, maps.codes, maps.tracks)
    effects = remove_tiles(context, maps.codes, tiles)
    agreement = {name: _agreement(maps, name, tiles, effects) for name in maps.tracks}
    regions["ism_spearman"] = agreement[AUDITED]["ism_spearman"]
    regions["removal_pearson"] = agreement[AUDITED]["removal_pearson"]
    best = _recommend(context, agreement)
    values: Values = {
        "agreement": {
            name: {key: _mean(found) for key, found in each.items()}
            | {"n_passes": _n_passes(context, name, maps.codes.shape[1])}
            for name, each in agreement.items()
        },
        "recommended_method": best,
    }
    values["recommendation"] = None if best is None else _advice(context, best, values["agreement"])
    warnings.extend([values["recommendation"]] if best is not None else [])
    witness = next((name for name in WITNESSES if name in maps.tracks), None)
    if witness is None:
        untested.append("Redundant sites were not tested: neither DeepLIFT nor integrated gradients could be had.")
        return values, pd.DataFrame()
    hidden = find_hidden(context, maps.codes, tiles, effects, maps.ism, maps.tracks[witness])
    values["redundancy"] = _redundancy(hidden, witness, warnings)
    return values, _redundant_table(regions, hidden)


def _agreement(maps: _Maps, name: str, tiles: Tiles, effects: Floats) -> dict[str, Floats]:
    """Correlations of a map with mutagenesis and with removed spans, (n,) each.

    Magnitudes are compared where the audited map has no signs.
    """
    track, ism, worth = maps.tracks[name], maps.ism, np.nan_to_num(effects)
    if not maps.signed:
        track, ism, worth = np.abs(track), np.abs(ism), np.abs(worth)
    sums = tile_sums(tiles.edges, track)
    return {
        "ism_spearman": rank_correlation(track, ism, maps.known),
        "ism_pearson": row_moments(track, ism, maps.known).pearson(),
        "removal_pearson": row_moments(sums, worth, tiles.tested).pearson(),
    }


def _mean(values: Floats) -> float | None:
    """Mean of those that are numbers; None where there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _n_passes(context: AuditContext, name: str, length: int) -> int | None:
    method = context.attr.method if name == AUDITED else name
    if method not in METHODS:
        return None
    return make_method(method, rc_average=context.rc_average).n_passes(length)


def _recommend(context: AuditContext, agreement: dict[str, dict[str, Floats]]) -> str | None:
    """Choose the cheapest of the methods that are about as good as the best, if any beats the audited map."""
    audited, least = agreement[AUDITED], context.settings.min_method_gain
    gains: dict[str, float] = {}
    for name, found in agreement.items():
        if name in (AUDITED, context.attr.method):
            continue
        keys = ("removal_pearson",) if name == "ism" else ("removal_pearson", "ism_spearman")
        each = {key: np.nan_to_num(found[key]) - np.nan_to_num(audited[key]) for key in keys}
        intervals = [mean_interval(gain, context.rng(f"gain of {name} {key}"), context.settings)
                     for key, gain in each.items()]  # fmt: skip
        means = [float(gain.mean()) for gain in each.values()]
        better = any(i is not None and i[0] > 0 and gain >= least for i, gain in zip(intervals, means, strict=True))
        worse = any(i is not None and i[1] < 0 for i in intervals)
        if better and not worse:
            gains[name] = means[0] if name == "ism" else sum(means) / len(means)
    close = [name for name, gain in gains.items() if gain >= max(gains.values()) - least]
    length = context.attr.length
    return min(close, key=lambda name: _n_passes(context, name, length) or 0, default=None)


def _advice(context: AuditContext, best: str, agreement: dict[str, Values]) -> str:
    def numbers(key: str) -> str:
        pair = [agreement[name][key] for name in (best, AUDITED)]
        return " against ".join("none" if value is None else f"{value:.2f}" for value in pair)

    told = f"a correlation with removed spans of {numbers('removal_pearson')}"
    if best != "ism":
        told += f", with mutagenesis of {numbers('ism_spearman')}"
    passes = agreement[best]["n_passes"]
    return f"Use {best} instead of {context.attr.method}: {told}, for {passes:,} passes a region."


def _redundancy(hidden: Hidden, witness: str, warnings: list[str]) -> Values:
    tested = hidden.n_tiles > 0
    n_hidden = int(hidden.hidden.sum())
    if n_hidden:
        warnings.append(
            f"In {n_hidden} of {len(tested)} regions, removing several spans together changes the prediction though no "
            "single base in them matters (redundant sites, or a saturated model): mutagenesis misses them."
        )
    return {
        "witness": witness,
        "n_tested": int(tested.sum()),
        "n_hidden": n_hidden,
        "hidden_share": n_hidden / max(len(tested), 1),
        **{name: _mean(getattr(hidden, name)) for name in ("joint", "control", "singly", "additive")},
    }


def _redundant_table(regions: pd.DataFrame, hidden: Hidden) -> pd.DataFrame:
    table = regions[["row", "chrom", "start", "end", "name"]].assign(
        n_spans=hidden.n_tiles,
        joint_effect=hidden.joint,
        control_effect=hidden.control,
        single_effects=hidden.singly,
        ism_sum=hidden.additive,
        hidden=hidden.hidden,
    )
    return table[hidden.n_tiles > 0].reset_index(drop=True)
