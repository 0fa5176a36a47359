"""Whether the model is saturated where it is asked, and whether the map, or the gradient, goes blind there.

* *Probability.* Near 0 and 1 the gradient of a probability is that of the logit times p (1 - p), at most 1/4: the
  surer the prediction, the fainter the map.
* *ReLU.* A unit below 0 passes no gradient (:mod:`seqsal.auditing.parts.saturation.relu`).
* *Cold spots.* Positions that mutagenesis shows to matter and the map does not
  (:mod:`~seqsal.auditing.parts.saturation.blindness`), for the map, gradient × input and integrated gradients.
* *Redundancy.* Where mutagenesis itself is blind (:mod:`~seqsal.auditing.parts.saturation.removal`).
* *Method.* Each map's sum over spans is correlated, within each region, with what the model loses when the span is
  removed; and each map with mutagenesis. Another method is recommended when it does better by either, by at least
  `MIN_METHOD_GAIN` and with a confidence interval of the paired difference above 0, and not worse by the other; of
  those about as good as the best, the one that needs the fewest passes through the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqsal.agreement.measures import row_moments
from seqsal.attribution import METHODS, make_method
from seqsal.attribution.compute import frozen_on_device
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import (
    OMITTED_IF_NONE,
    Fact,
    Interval,
    Measured,
    NotTested,
    Part,
    PartResult,
    Reason,
)
from seqsal.auditing.parts.saturation.blindness import (
    MIN_POSITION_EFFECT,
    blind_positions,
    cold_spots,
    important_positions,
)
from seqsal.auditing.parts.saturation.relu import Activity, relu_activity
from seqsal.auditing.parts.saturation.removal import (
    Hidden,
    Tiles,
    choose_tiles,
    find_hidden,
    remove_tiles,
    tile_sums,
)
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import mean_interval, mean_known, rank_correlation, ratio_interval
from seqsal.errors import SeqsalError
from seqsal.models import SequenceModel
from seqsal.sequence.codes import N_CODE
from seqsal.sequence.tensors import one_hot_tensor

__all__ = ["PART", "MethodAgreement", "Redundancy", "ReluLayer", "SaturationResult", "audit_saturation"]

SATURATED = 0.01  # a probability is saturated within this distance from 0 or 1
SQUASHED_SLOPE = 0.1  # of the largest slope p (1 - p), 1/4, below which the gradient on a probability is squashed
MAX_DEAD_SHARE = 0.5  # of the ReLU channels, 0 for every region, above which there is a warning
MIN_METHOD_GAIN = 0.05  # in correlation with what the model does, of a method that is recommended
COMPARED = ("gradient_x_input", "integrated_gradients", "deeplift_shap")
WITNESSES = ("deeplift_shap", "integrated_gradients")
AUDITED = "map"
ROUNDING = 1e-6  # of predictions that should be equal
PASS_BASES = 1 << 16
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
NO_MODEL = NotTested("Dead units, blind spots and redundancy were not tested: there is no model.")
CONSTANT = NotTested("Blind spots and redundancy were not tested: the model predicts the same for every sequence.")


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
    """Sites that mutagenesis misses because another does the same.

    `witness`: the method whose map says which spans have credit. `n_tested`, `n_hidden`, `hidden_share`: regions with
    spans in which no substitution matters, those where removing them together does, and their share of all regions.
    `joint`, `control`, `singly`, `additive`: means of the effects, see
    :class:`seqsal.auditing.parts.saturation.removal.Hidden`; None where none was tested.
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

    `rows`: (n,) rows of the attributions. `codes`: (n, L). `known`: (n, L), where there is a base. `ism`: (n, L) effect
    of losing each base. `tracks`: (n, L) by method; the audited one under `AUDITED`, and under its name where it is
    compared too. `signed`: whether the audited map has signs.
    """

    rows: NDArray[np.int64]
    codes: NDArray[np.uint8]
    known: Flags
    ism: Floats
    tracks: dict[str, Floats]
    signed: bool


class _Probability(NamedTuple):
    """Predicted probabilities (n,) of rows (n,) of the attributions."""

    rows: NDArray[np.int64]
    values: NDArray[np.float64]

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probabilities of some rows; NaN for others."""
        found = np.full(int(max(self.rows.max(), rows.max())) + 1, np.nan)
        found[self.rows] = self.values
        return found[rows]


def _probabilities(context: AuditContext) -> _Probability | NotTested:
    """Predict probabilities.

    Of a logit before a sigmoid it is the sigmoid, without a prediction; before a softmax it depends on the other
    classes, so as many regions are predicted as the slow tests look at.
    """
    space, model = context.attr.output_space, context.model
    rows = context.rows(context.settings.n_regions)
    stored = np.asarray(context.attr.prediction[rows], dtype=np.float64)
    terminal = None if model is None else model.terminal
    if space not in ("probability", "logit"):
        return NotTested(f"Saturation of the probability was not tested: the output is not one ({space}).")
    if space == "logit" and (model is None or model.readout.reduce is not None):
        return NotTested("Saturation of the probability was not tested: nothing says how it follows from the logit.")
    if space == "logit" and model is not None and terminal is not None and terminal.kind != "sigmoid":
        rows = context.rows(context.settings.n_small)
        values = _final_outputs(context, model, rows)
        return _Probability(rows, np.exp(values) if terminal.kind == "log_softmax" else values)
    if not np.isfinite(stored).all() and model is not None:
        rows = context.rows(context.settings.n_small)
        stored = context.predict(context.codes(rows))
    if not np.isfinite(stored).all():
        return NotTested("Saturation of the probability was not tested: the attributions lack the predictions.")
    return _Probability(rows, np.clip(stored, 0, 1) if space == "probability" else _sigmoid(stored))


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(torch.sigmoid(torch.from_numpy(values)).numpy())


def _final_outputs(context: AuditContext, model: SequenceModel, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the model's own output, after the softmax."""
    step = max(1, PASS_BASES // max(context.attr.length, 1))
    parts = []
    with frozen_on_device(model, context.device):
        for first in range(0, len(rows), step):
            codes = torch.from_numpy(np.ascontiguousarray(context.codes(rows[first : first + step])))
            parts.append(model.predict(one_hot_tensor(codes.to(context.device))).double().cpu().numpy())
    return np.concatenate(parts)


def audit_saturation(context: AuditContext) -> SaturationResult:
    """Look for saturation, blind maps, and a method that does better."""
    return _Audit(context).result()


class _Audit:
    """One audit, with its sentences and the table of its regions."""

    def __init__(self, context: AuditContext) -> None:
        self.context = context
        self.warnings: list[str] = []
        self.untested: list[str] = []
        self.tables: dict[str, pd.DataFrame] = {}
        self.regions = pd.DataFrame()

    def result(self) -> SaturationResult:
        chances = _probabilities(self.context)
        found = {**self._of_probability(chances), **self._of_model(chances)}
        sentences = {"warnings": tuple(self.warnings), "untested": tuple(self.untested)}
        return SaturationResult(**found, **sentences, tables=self.tables)  # type: ignore[arg-type]

    def _not_tested(self, why: NotTested) -> NotTested:
        self.untested.append(why.reason)
        return why

    def _of_probability(self, chances: _Probability | NotTested) -> dict[str, object]:
        if isinstance(chances, NotTested):
            names = ("saturated_share", "probability_gradient_ratio", "squashed_share")
            return dict.fromkeys(names, self._not_tested(chances))
        p = chances.values
        slope = p * (1 - p)
        squashed = float((slope < SQUASHED_SLOPE / 4).mean())
        if self.context.attr.output_space == "probability" and squashed > 0:
            self.warnings.append(
                f"The map is about a probability whose slope is below {SQUASHED_SLOPE:.0%} of its largest in "
                f"{squashed:.0%} of the regions, which makes the map faint there: attribute the logit instead."
            )
        return {
            "saturated_share": float((np.minimum(p, 1 - p) <= SATURATED).mean()),
            "probability_gradient_ratio": float(slope.mean()),
            "squashed_share": squashed,
            "n_predicted": len(p),
        }

    def _of_model(self, chances: _Probability | NotTested) -> dict[str, object]:
        context = self.context
        shares = ("dead_relu_share", "dead_channel_share", "inactive_share")
        if context.model is None:
            return dict.fromkeys((*shares, "blind_share", "redundancy"), self._not_tested(NO_MODEL))
        maps = _maps(context, self.untested)
        self.regions = context.region_table(maps.rows).assign(prediction=context.predict(maps.codes))
        self.regions["probability"] = np.nan if isinstance(chances, NotTested) else chances.of(maps.rows)
        found = {"n_regions": len(maps.rows), **self._of_relus(maps)}
        self.tables["saturation_regions"] = self.regions
        windows = context.region_table(maps.rows).assign(strand=context.attr.regions["strand"].to_numpy()[maps.rows])
        self.tables["cold_spots"] = cold_spots(windows, maps.known[:0], maps.ism[:0], {})
        if context.effect_scale <= ROUNDING * np.abs(self.regions["prediction"]).max():
            return found | dict.fromkeys(("blind_share", "redundancy"), self._not_tested(CONSTANT))
        return found | self._of_blindness(maps, windows) | self._of_removal(maps)

    def _of_relus(self, maps: _Maps) -> dict[str, object]:
        assert self.context.model is not None
        activity: Activity | NotTested
        try:
            found = relu_activity(self.context.model, maps.codes, self.context.device)
            activity = NotTested("Dead units were not tested: the model has no ReLU.") if found is None else found
        except SeqsalError as error:
            activity = NotTested(f"Dead units were not tested: {error}")
        if isinstance(activity, NotTested):
            self.regions["inactive_share"] = np.nan
            names = ("dead_relu_share", "dead_channel_share", "inactive_share")
            return dict.fromkeys(names, self._not_tested(activity))
        self.regions["inactive_share"] = activity.inactive
        dead = float(activity.n_dead_channels.sum() / activity.n_channels.sum())
        if dead > MAX_DEAD_SHARE:
            self.warnings.append(f"{dead:.0%} of the model's ReLU channels are 0 for every region that was looked at.")
        layers = zip(*activity[:5], strict=True)
        return {
            "dead_relu_share": float(activity.n_dead_units.sum() / activity.n_units.sum()),
            "dead_channel_share": dead,
            "inactive_share": float(activity.inactive.mean()),
            "relu_layers": tuple(
                ReluLayer(layer, float(off / units), float(empty / channels))
                for layer, units, off, channels, empty in layers
            ),
        }

    def _of_blindness(self, maps: _Maps, windows: pd.DataFrame) -> dict[str, object]:
        """Share of the important positions of which each map shows nothing; and where the audited one does not."""
        context = self.context
        important = important_positions(maps.ism, maps.known, context.effect_scale)
        blind = {
            name: blind_positions(track, maps.ism, maps.known, important)
            for name, track in maps.tracks.items()
            if name != "ism"
        }
        self.tables["cold_spots"] = cold_spots(windows, blind[AUDITED], maps.ism, maps.tracks)
        n_important, n_blind = important.sum(1), blind[AUDITED].sum(1)
        self.regions["n_important"], self.regions["n_blind"] = n_important, n_blind
        total = int(n_important.sum())
        if not total:
            why = (
                "Blind spots were not tested: losing no single base changes a prediction by "
                f"{MIN_POSITION_EFFECT:.0%} of the model's range."
            )
            return {"n_important": 0, "blind_share": self._not_tested(NotTested(why))}
        share = float(n_blind.sum() / total)
        if share > context.settings.max_blind_share:
            named = self.regions.loc[n_blind > 0, "name"].head(3)
            self.warnings.append(
                f"The map shows nothing at {share:.0%} of the positions that matter by mutagenesis, in "
                f"{int((n_blind > 0).sum())} regions ({', '.join(map(str, named))}, …): see the cold spots."
            )
        rng = context.rng("interval of blindness")
        return {
            "n_important": total,
            "blind_share": share,
            "blind_share_ci": ratio_interval(n_blind, n_important, rng, context.settings),
            "blind_share_by_method": {name: float(at.sum() / total) for name, at in blind.items() if name != AUDITED},
        }

    def _of_removal(self, maps: _Maps) -> dict[str, object]:
        """Agreement of every map with removed spans and mutagenesis, redundancy, and the method to use."""
        context = self.context
        tiles = choose_tiles(context, maps.codes, maps.tracks)
        effects = remove_tiles(context, maps.codes, tiles)
        each = {name: _agreement(maps, name, tiles, effects) for name in maps.tracks}
        self.regions["ism_spearman"] = each[AUDITED]["ism_spearman"]
        self.regions["removal_pearson"] = each[AUDITED]["removal_pearson"]
        best, length = _recommend(context, each), maps.codes.shape[1]
        agreement = {
            name: MethodAgreement(
                **{key: mean_known(values) for key, values in found.items()},
                n_passes=_n_passes(context, name, length),
            )
            for name, found in each.items()
        }
        found: dict[str, object] = {"agreement": agreement, "recommended_method": best}
        if best is not None:
            found["recommendation"] = _advice(context.attr.method, best, agreement)
            self.warnings.append(str(found["recommendation"]))
        witness = next((name for name in WITNESSES if name in maps.tracks), None)
        if witness is None:
            self.tables["redundant_regions"] = pd.DataFrame()
            why = "Redundant sites were not tested: neither DeepLIFT nor integrated gradients could be had."
            return found | {"redundancy": self._not_tested(NotTested(why))}
        hidden = find_hidden(context, maps.codes, tiles, effects, maps.ism, maps.tracks[witness])
        self.tables["redundant_regions"] = _redundant_table(self.regions, hidden)
        return found | {"redundancy": self._redundancy(hidden, witness)}

    def _redundancy(self, hidden: Hidden, witness: str) -> Redundancy:
        tested, n_hidden = hidden.n_tiles > 0, int(hidden.hidden.sum())
        if n_hidden:
            self.warnings.append(
                f"In {n_hidden} of {len(tested)} regions, removing several spans together changes the prediction, "
                "though no base in them matters alone (redundant sites, or a saturated model): mutagenesis misses them."
            )
        means = [mean_known(values) for values in (hidden.joint, hidden.control, hidden.singly, hidden.additive)]
        return Redundancy(witness, int(tested.sum()), n_hidden, n_hidden / max(len(tested), 1), *means)


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
    return _Maps(rows, codes, known, ism, finite, context.signed)


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


def _n_passes(context: AuditContext, name: str, length: int) -> int | None:
    method = context.attr.method if name == AUDITED else name
    if method not in METHODS:
        return None
    return make_method(method, rc_average=context.rc_average).n_passes(length)


def _recommend(context: AuditContext, agreement: dict[str, dict[str, Floats]]) -> str | None:
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
    length = context.attr.length
    return min(close, key=lambda name: _n_passes(context, name, length) or 0, default=None)


def _advice(method: str, best: str, agreement: Mapping[str, MethodAgreement]) -> str:
    better, audited = agreement[best], agreement[AUDITED]

    def numbers(*pair: float | None) -> str:
        return " against ".join("none" if value is None else f"{value:.2f}" for value in pair)

    told = f"a correlation with removed spans of {numbers(better.removal_pearson, audited.removal_pearson)}"
    if best != "ism":
        told += f", with mutagenesis of {numbers(better.ism_spearman, audited.ism_spearman)}"
    return f"Use {best} instead of {method}: {told}, for {better.n_passes:,} passes a region."


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


PART = Part(SaturationResult, lambda context, _: audit_saturation(context))
