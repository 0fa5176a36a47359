"""Whether the model is saturated in the regions, and whether the map, or the gradient, goes blind there.

* *Probability.* Near 0 and 1 the gradient of a probability is that of the logit times p (1 - p), at most 1/4: the
  surer the prediction, the fainter the map.
* *ReLU.* A unit below 0 passes no gradient (:mod:`seqsal.auditing.parts.saturation.relu`).
* *Cold spots.* Positions that mutagenesis shows to matter and the map does not
  (:mod:`~seqsal.auditing.parts.saturation.blindness`), for the map, gradient × input and integrated gradients.
* *Redundancy.* Where mutagenesis itself is blind (there as well).
* *Method.* Each map's sum over spans is correlated, within each region, with what the model loses when the span is
  removed; and each map with mutagenesis. Another method is recommended when it does better by either, by at least
  `MIN_METHOD_GAIN` and with a confidence interval of the paired difference above 0, and not worse by the other; of
  those about as good as the best, the one that needs the fewest passes through the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from seqsal.agreement.measures import row_moments
from seqsal.attribution import METHODS, make_method
from seqsal.attribution.compute import frozen_on_device
from seqsal.auditing.content import Codes, Flags, Ints, Values
from seqsal.auditing.context import AuditContext, one_hot_on
from seqsal.auditing.part import OMITTED_IF_NONE, Fact, Interval, Measured, Notes, NotTested, Part, PartResult, Reason
from seqsal.auditing.parts.saturation.blindness import (
    MIN_POSITION_EFFECT,
    Hidden,
    Tiles,
    blind_positions,
    choose_tiles,
    cold_spots,
    find_hidden,
    important_positions,
    remove_tiles,
    tile_sums,
)
from seqsal.auditing.parts.saturation.relu import relu_activity
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import mean_interval, mean_known, rank_correlation, ratio_interval
from seqsal.errors import SeqsalError, counted
from seqsal.models import SequenceModel
from seqsal.sequence.codes import N_CODE

__all__ = ["PART", "SaturationResult", "audit_saturation"]

SATURATED = 0.01  # a probability is saturated within this distance from 0 or 1
SQUASHED_SLOPE = 0.1  # of the largest slope p (1 - p), 1/4, below which the gradient on a probability is squashed
MAX_DEAD_SHARE = 0.5  # of the ReLU channels, 0 for every region, above which there is a warning
MIN_METHOD_GAIN = 0.05  # in correlation with what the model does, of a method that is recommended
COMPARED = ("gradient_x_input", "integrated_gradients", "deeplift_shap")
WITNESSES = ("deeplift_shap", "integrated_gradients")
AUDITED = "map"
DEAD = ("dead_relu_share", "dead_channel_share", "inactive_share")
ROUNDING = 1e-6  # of predictions that should be equal
PASS_BASES = 1 << 16
NO_MODEL = "Dead units, blind spots and redundancy were not tested: there is no model."
CONSTANT = "Blind spots and redundancy were not tested: the model predicts the same for every sequence."


@dataclass(frozen=True)
class ReluLayer:
    """Share of the units and of the channels of one ReLU that are 0 for every region."""

    layer: str
    dead_relu_share: float
    dead_channel_share: float


@dataclass(frozen=True)
class MethodAgreement:
    """Mean correlation of a map with mutagenesis and with removed spans; None where undefined in every region.

    `n_passes` are those through the model for one window, None of a method that is not seqsal's.
    """

    ism_spearman: float | None
    ism_pearson: float | None
    removal_pearson: float | None
    n_passes: int | None


@dataclass(frozen=True)
class Redundancy:
    """Sites that mutagenesis misses because another does the same, by the credit that the map of `witness` gives.

    `n_tested`, `n_hidden`, `hidden_share`: regions with spans in which no substitution matters, those where removing
    them together does, and their share of all regions. The others are means of the effects, see
    :class:`seqsal.auditing.parts.saturation.blindness.Hidden`; None where none was tested.
    """

    witness: str
    n_tested: int
    n_hidden: int
    hidden_share: float
    joint: float | None
    control: float | None
    singly: float | None
    additive: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class SaturationResult(PartResult):
    """Whether the model is saturated, the map blind, and another method better.

    Tables: `saturation_regions`, `cold_spots` and `redundant_regions`.

    `saturated_share`, `squashed_share`: share of the regions with a probability near 0 or 1, and with a small slope.
    `probability_gradient_ratio`: mean of p (1 - p). `n_predicted`: regions behind these. `dead_relu_share`,
    `dead_channel_share`, `inactive_share`, `relu_layers`: ReLU units and channels that are 0 for every region, units
    that are for a region on average, and by layer. `n_important`: positions that matter by mutagenesis. `blind_share`,
    `blind_share_ci`, `blind_share_by_method`: share of these of which the map shows nothing, and other maps.
    `agreement`: how well each map agrees with what the model does. `redundancy`: sites that mutagenesis misses.
    `recommended_method`, `recommendation`: A method that is measurably better, in a word and in a sentence; None
    without one. `n_regions`: regions looked at.
    """

    saturated_share: Measured
    probability_gradient_ratio: Measured
    squashed_share: Measured
    n_predicted: int = 0
    dead_relu_share: Measured
    dead_channel_share: Measured
    inactive_share: Measured
    relu_layers: tuple[ReluLayer, ...] | None = field(default=None, metadata=OMITTED_IF_NONE)
    n_important: int = 0
    blind_share: Measured
    blind_share_ci: Interval | None = None
    blind_share_by_method: dict[str, float] | None = None
    agreement: dict[str, MethodAgreement] | None = None
    redundancy: Redundancy | NotTested
    recommended_method: str | None = None
    recommendation: str | None = None
    n_regions: int = 0

    @property
    def advised_method(self) -> str | None:
        return self.recommended_method

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        if isinstance(self.saturated_share, float):
            yield Fact("saturated probabilities", f"{self.saturated_share:.0%}")
        if isinstance(self.blind_share, float):
            threshold = f"{settings.max_blind_share:.0%} or less"
            yield Fact("misses", f"{self.blind_share:.0%} of the influential bases", threshold)
        if self.recommended_method:
            yield Fact(self.recommended_method, "would do better")

    def reasons(self, settings: AuditSettings) -> Iterator[Reason]:
        blind, said = self.blind_share, ""
        if isinstance(blind, float):
            said = f"it shows nothing at {blind:.0%} of the bases that the model relies on"
        yield Reason.at_most("faithful", "blindness", blind, settings.max_blind_share, sentence=said)


class _Maps(NamedTuple):
    """The regions looked at, and every map of them.

    `known`: (n, L), where there is a base. `ism`: (n, L) effect of losing each base. `tracks`: (n, L) by method; the
    audited one under `AUDITED`, and under its name where it is compared too.
    """

    rows: Ints
    codes: Codes
    known: Flags
    ism: Values
    tracks: dict[str, Values]
    signed: bool


def _probabilities(context: AuditContext) -> pd.Series | str:
    """Predict probabilities, by rows of the attributions, or say why not.

    Of a logit before a sigmoid it is the sigmoid, without a prediction; before a softmax it depends on the other
    classes, so as many regions are predicted as the slow tests look at.
    """
    space, model = context.attr.output_space, context.model
    rows, few = (context.rows(n) for n in (context.settings.n_regions, context.settings.n_small))
    stored = np.asarray(context.attr.prediction[rows], dtype=np.float64)
    if space not in ("probability", "logit"):
        return f"Saturation of the probability was not tested: the output is not one ({space})."
    if space == "logit" and (model is None or model.readout.reduce is not None):
        return "Saturation of the probability was not tested: nothing says how it follows from the logit."
    if space == "logit" and model is not None and model.terminal is not None and model.terminal.kind != "sigmoid":
        step, parts = max(1, PASS_BASES // max(context.attr.length, 1)), []
        with frozen_on_device(model, context.device):
            for first in range(0, len(few), step):
                part = few[first : first + step]
                X = one_hot_on(context.in_windows(context.codes(part), part), context.device)
                parts.append(model.predict(X).double().cpu().numpy())  # the model's own output, after the softmax
        values = np.concatenate(parts)
        return pd.Series(np.exp(values) if model.terminal.kind == "log_softmax" else values, index=few)
    if not np.isfinite(stored).all() and model is not None:
        rows, stored = few, context.predict(context.codes(few), rows=few)
    if not np.isfinite(stored).all():
        return "Saturation of the probability was not tested: the attributions lack the predictions."
    return pd.Series(np.clip(stored, 0, 1) if space == "probability" else expit(stored), index=rows)


def audit_saturation(context: AuditContext) -> SaturationResult:
    """Look for saturation, blind maps, and a method that does better."""
    return _Audit(context).result()


class _Audit:
    """One audit, with its sentences and the table of its regions."""

    def __init__(self, context: AuditContext) -> None:
        self.context, self.notes, self.regions = context, Notes(), pd.DataFrame()

    def result(self) -> SaturationResult:
        chances = _probabilities(self.context)
        found = {**self._of_probability(chances), **self._of_model(chances)}
        return SaturationResult(**found, **self.notes.fields())

    def _untested(self, why: str, *names: str) -> dict[str, Any]:
        return dict.fromkeys(names, self.notes.not_tested(why))

    def _of_probability(self, chances: pd.Series | str) -> dict[str, Any]:
        if isinstance(chances, str):
            return self._untested(chances, "saturated_share", "probability_gradient_ratio", "squashed_share")
        p = chances.to_numpy()
        slope = p * (1 - p)
        squashed = float((slope < SQUASHED_SLOPE / 4).mean())
        if self.context.attr.output_space == "probability" and squashed > 0:
            self.notes.warnings.append(
                f"The map is about a probability whose slope is below {SQUASHED_SLOPE:.0%} of its largest in "
                f"{squashed:.0%} of the regions, which makes the map faint there: attribute the logit instead."
            )
        return {
            "saturated_share": float((np.minimum(p, 1 - p) <= SATURATED).mean()),
            "probability_gradient_ratio": float(slope.mean()),
            "squashed_share": squashed,
            "n_predicted": len(p),
        }

    def _of_model(self, chances: pd.Series | str) -> dict[str, Any]:
        context = self.context
        if context.model is None:
            return self._untested(NO_MODEL, *DEAD, "blind_share", "redundancy")
        maps = _maps(context, self.notes)
        self.regions = context.region_table(maps.rows).assign(prediction=context.predict(maps.codes, rows=maps.rows))
        self.regions["probability"] = np.nan if isinstance(chances, str) else chances.reindex(maps.rows).to_numpy()
        found = {"n_regions": len(maps.rows), **self._of_relus(context.model, maps)}
        self.notes.tables["saturation_regions"] = self.regions
        windows = context.region_table(maps.rows).assign(strand=context.attr.column("strand", maps.rows))
        self.notes.tables["cold_spots"] = cold_spots(windows, maps.known[:0], maps.ism[:0], {})
        if context.effect_scale <= ROUNDING * np.abs(self.regions["prediction"]).max():
            return found | self._untested(CONSTANT, "blind_share", "redundancy")
        return found | self._of_blindness(maps, windows) | self._of_removal(maps)

    def _of_relus(self, model: SequenceModel, maps: _Maps) -> dict[str, Any]:
        activity = relu_activity(model, self.context.in_windows(maps.codes, maps.rows), self.context.device)
        if isinstance(activity, NotTested):
            self.regions["inactive_share"] = np.nan
            return self._untested(activity.reason, *DEAD)
        self.regions["inactive_share"] = activity.inactive
        dead = float(activity.n_dead_channels.sum() / activity.n_channels.sum())
        if dead > MAX_DEAD_SHARE:
            self.notes.warnings.append(
                f"{dead:.0%} of the model's ReLU channels are 0 for every region that was looked at."
            )
        units, channels = activity.n_dead_units / activity.n_units, activity.n_dead_channels / activity.n_channels
        return {
            "dead_relu_share": float(activity.n_dead_units.sum() / activity.n_units.sum()),
            "dead_channel_share": dead,
            "inactive_share": float(activity.inactive.mean()),
            "relu_layers": tuple(map(ReluLayer, activity.layers, units.tolist(), channels.tolist())),
        }

    def _of_blindness(self, maps: _Maps, windows: pd.DataFrame) -> dict[str, Any]:
        """Share of the important positions of which each map shows nothing; and where the audited one does not."""
        context = self.context
        important = important_positions(maps.ism, maps.known, context.effect_scale)
        blind = {
            name: blind_positions(track, maps.ism, maps.known, important)
            for name, track in maps.tracks.items()
            if name != "ism"
        }
        self.notes.tables["cold_spots"] = cold_spots(windows, blind[AUDITED], maps.ism, maps.tracks)
        n_important, n_blind = important.sum(1), blind[AUDITED].sum(1)
        self.regions["n_important"], self.regions["n_blind"] = n_important, n_blind
        total = int(n_important.sum())
        if not total:
            why = (
                "Blind spots were not tested: losing no single base changes a prediction by "
                f"{MIN_POSITION_EFFECT:.0%} of the model's range."
            )
            return self._untested(why, "blind_share")
        share = float(n_blind.sum() / total)
        if share > context.settings.max_blind_share:
            named = self.regions.loc[n_blind > 0, "name"].head(3)
            self.notes.warnings.append(
                f"The map shows nothing at {share:.0%} of the positions that matter by mutagenesis, in "
                f"{counted(int((n_blind > 0).sum()), 'region')} ({', '.join(map(str, named))}, …): see the cold spots."
            )
        rng = context.rng("interval of blindness")
        return {
            "n_important": total,
            "blind_share": share,
            "blind_share_ci": ratio_interval(n_blind, n_important, rng, context.settings),
            "blind_share_by_method": {name: float(at.sum() / total) for name, at in blind.items() if name != AUDITED},
        }

    def _of_removal(self, maps: _Maps) -> dict[str, Any]:
        """Agreement of every map with removed spans and mutagenesis, redundancy, and the method to use."""
        context = self.context
        tiles = choose_tiles(context, maps.codes, maps.tracks)
        effects = remove_tiles(context, maps.codes, tiles, maps.rows)
        each = {name: _agreement(maps, name, tiles, effects) for name in maps.tracks}
        for key in ("ism_spearman", "removal_pearson"):
            self.regions[key] = each[AUDITED][key]
        agreement = {
            name: MethodAgreement(
                **{key: mean_known(values) for key, values in found.items()}, n_passes=_n_passes(context, name)
            )
            for name, found in each.items()
        }
        best = _recommend(context, each)
        found: dict[str, Any] = {"agreement": agreement, "recommended_method": best}
        if best is not None:
            found["recommendation"] = _advice(context.attr.method, best, agreement)
            self.notes.warnings.append(found["recommendation"])
        witness = next((name for name in WITNESSES if name in maps.tracks), None)
        if witness is None:
            self.notes.tables["redundant_regions"] = pd.DataFrame()
            why = "Redundant sites were not tested: neither DeepLIFT nor integrated gradients could be computed."
            return found | self._untested(why, "redundancy")
        hidden = find_hidden(context, maps.codes, tiles, effects, maps.ism, maps.tracks[witness], maps.rows)
        names = ("n_spans", "joint_effect", "control_effect", "single_effects", "ism_sum", "hidden")
        table = self.regions[["row", "chrom", "start", "end", "name"]].assign(**dict(zip(names, hidden, strict=True)))
        self.notes.tables["redundant_regions"] = table[hidden.n_tiles > 0].reset_index(drop=True)
        return found | {"redundancy": self._redundancy(hidden, witness)}

    def _redundancy(self, hidden: Hidden, witness: str) -> Redundancy:
        tested, n_hidden = hidden.n_tiles > 0, int(hidden.hidden.sum())
        if n_hidden:
            self.notes.warnings.append(
                f"In {n_hidden} of {len(tested)} regions, removing several spans together changes the prediction, "
                "though no base in them matters alone (redundant sites, or a saturated model): mutagenesis misses them."
            )
        means = [mean_known(values) for values in (hidden.joint, hidden.control, hidden.singly, hidden.additive)]
        return Redundancy(witness, int(tested.sum()), n_hidden, n_hidden / max(len(tested), 1), *means)


def _maps(context: AuditContext, notes: Notes) -> _Maps:
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
            notes.untested.append(f"{method} was not compared: {str(error).splitlines()[0]}")
    tracks["ism"] = ism
    finite = {name: np.where(known & np.isfinite(track), track, 0.0) for name, track in tracks.items()}
    return _Maps(rows, codes, known, ism, finite, context.signed)


def _agreement(maps: _Maps, name: str, tiles: Tiles, effects: Values) -> dict[str, Values]:
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


def _n_passes(context: AuditContext, name: str) -> int | None:
    method = context.attr.method if name == AUDITED else name
    if method not in METHODS:
        return None
    return make_method(method, rc_average=context.rc_average).n_passes(context.attr.length)


def _recommend(context: AuditContext, agreement: dict[str, dict[str, Values]]) -> str | None:
    """Choose the cheapest of the methods that are about as good as the best, if any beats the audited map."""
    audited, least = agreement[AUDITED], MIN_METHOD_GAIN
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
    return min(close, key=lambda name: _n_passes(context, name) or 0, default=None)


def _advice(method: str, best: str, agreement: Mapping[str, MethodAgreement]) -> str:
    better, audited = agreement[best], agreement[AUDITED]

    def numbers(*pair: float | None) -> str:
        return " against ".join("none" if value is None else f"{value:.2f}" for value in pair)

    told = f"a correlation with removed spans of {numbers(better.removal_pearson, audited.removal_pearson)}"
    if best != "ism":
        told += f", with mutagenesis of {numbers(better.ism_spearman, audited.ism_spearman)}"
    passes = "1 pass" if better.n_passes == 1 else f"{better.n_passes:,} passes"
    return f"Use {best} instead of {method}: {told}, for {passes} a region."


PART = Part(SaturationResult, lambda context, _: audit_saturation(context))
