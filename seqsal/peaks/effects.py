"""What else speaks for a candidate: what it does to the prediction, and the maps of other methods.

A map is the model's answer to small changes, and as noisy as its gradient. Where a file has maps of the same target by
several methods, with the same controls, :class:`Agreement` looks up how high a candidate is in the others, windows and
controls alike. Where the model is at hand the strongest candidates of windows and controls are put to the test:

* **effect**: f(x) less f(x with the `HALF_BP` bases on either side of the summit replaced by what a shuffle of the
  window has there), the mean over both strands, each with a shuffle of its own.
* **strand**: the height at that place in the map of the reverse complement, where the map is of one strand and takes
  few passes of the model. What the model reads is there on both strands; what its gradient makes up is seldom the same
  twice.
* **bases**, where that map comes with hypothetical scores: the share of the summit and the `BEST_BP` bases on either
  side that are the best of the four there (the lowest ones, below 0). Of an ensemble each member is asked, and the mean
  share taken: what one member makes up counts less than what all of them read.
* **steady prediction**, where scores are learned: the mean prediction of the window and of its turns by `TURNS` bases
  (what leaves at one end comes in at the other, so that controls can be turned as windows can), other ones on either
  strand. A window that scores by luck of its frame loses by it.

*By measurement*, on 18 development data sets of `benchmarks/calibration.py`, recall at a true false discovery
proportion of 5 %: 0.357 by height, 0.403 by that on the other strand, 0.447 by effect, 0.472 by the sum of height and
effect, 0.500 by the sum of all three. On others (seeds from 2000000, without more controls) that sum has 0.512 with one
model (36 sets) and 0.598 with ensembles of three (19), with the share of bases 0.525 and 0.616, and recall at q ≤ 0.05
rises from 0.412 to 0.418 and from 0.453 to 0.476. Where scores are learned (150 windows, 12 sets each) it is 0.405 and
0.442, and 0.462 and 0.491, with 1.1 to 1.6 % false in all four. With 7 or 17 bases one model has 0.521 and 0.504, with
the observed hypothetical scores over the best ones 0.510; of the members' mean map ensembles have 0.615 and 0.468 at
q ≤ 0.05. In yeast, among the candidates that are
asked about, 284 sites of Reb1 and none of Abf1 at q ≤ 0.2 by the prediction, 328 and 269 by the steady one.

*Spread of the effect over members is left out.* In ensembles without the share of bases, the smallest member's effect
as a further answer has 0.610 at a true 5 %, the mean less its standard error 0.603, their mean over their standard
deviation (and its median among all, against division by 0) 0.611; but recall at q ≤ 0.05 falls from 0.453 to 0.437,
0.440 and 0.430, since the controls' tails become longer, and with the share of bases none adds anything (0.611, 0.616
and 0.611; 0.460, 0.462 and 0.442). The lowest of the members' heights on the other strand has 0.592.

*Cost.* At most `PER_WINDOW` candidates of a sign are asked about for each window, one for `WINDOW_BP` bases in short
windows, and in a genome `MOST_MEASURED` or one for ten windows. Each takes 2 predictions and its window, for
both signs together, one attribution and 2 predictions, or 6 where scores are learned. What was asked is remembered as
long as the attributions are in memory, so that calls at another rate take no pass of the model.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import MethodError, ModelError, StoreError
from seqsal.io.attributions import Array, Attributions
from seqsal.io.sweep import Scale, forward_codes, read_forward
from seqsal.peaks.candidates import Ruler, compressed, smoothed_at
from seqsal.peaks.joint import BASES, EFFECT, OTHERS, STEADY, STRAND, Windows
from seqsal.peaks.null import Evidence
from seqsal.sequence.codes import N_CODE, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number

if TYPE_CHECKING:
    from torch import nn

    from seqsal.attribution.controls import Attribute

__all__ = ["Agreement", "Effects", "predict_without"]

HALF_BP = 9
BEST_BP = 5  # on either side of the summit, where bases are asked to be the best ones
TURNS = ((0, -27, 27), (0, -13, 13))  # bases, of either strand
PER_WINDOW, WINDOW_BP = 2, 150  # candidates of a sign for each window; for each so many bases of a shorter one
MOST_MEASURED, WINDOWS_A_CANDIDATE = 10_000, 10
MOST_REMEMBERED = 100_000  # candidates of windows, and of controls, as long as the attributions are in memory
N_NUMBERS = 3  # about a candidate, before its profile on the other strand: effect, steady prediction, bases
MOST_PASSES = 8  # of the model for a map, that one of the other strand is made
CHUNK_BP = 1 << 20  # bases asked about at a time
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float64]]  # codes (n, W) → (n,)
Read = Callable[[NDArray[np.int64]], NDArray[np.uint8]]  # rows (n,) → codes (n, L)
ReadTrack = Callable[[Attributions, NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.bool_]]]
Found = dict[tuple[int, int], tuple[float, ...]]  # of row and place
logger = logging.getLogger(__name__)


@dataclass
class Effects:
    """Asks the model about the strongest candidates.

    Attributes
    ----------
    attr
        The attributions.
    predict
        Predictions (n,) of codes (n, L), of one strand.
    attribute
        The maps of codes (n, L), by what made the attributions, of each member; None where these are of both strands.
    has_bases
        Whether these score all four bases.
    seed
        Of the shuffles.
    is_signed
        Whether a candidate's sign says which way the prediction goes.
    is_steady
        Whether steady predictions are measured.
    rulers, least
        How high a candidate of each sign has to be.
    widths, scale, shared
        How heights are measured.
    """

    attr: Attributions
    predict: Predict
    attribute: Attribute | None
    has_bases: bool
    seed: int
    is_signed: bool
    is_steady: bool
    rulers: Mapping[str, Ruler] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    remembered: Mapping[str, Found] = field(default_factory=dict)
    widths: tuple[int, ...] = ()
    scale: Scale | None = None
    shared: float = 0.0

    @classmethod
    def of(
        cls, attr: Attributions, model: nn.Module | str | os.PathLike[str] | None, device: str, is_steady: bool
    ) -> Effects | None:
        """Make one of the model that made attributions; None, and a line that says why, where it is not at hand."""
        from seqsal.attribution.controls import attributer, predictor, run_of_attributions  # which wait for torch
        from seqsal.attribution.methods.registry import METHODS

        reason = ""
        if attr.window_codes is not None:
            reason = "only a span of each window was kept"
        elif attr.method == "imported" and model is None:
            reason = "the attributions are imported"
        elif attr.controls is None or attr.controls.codes is None:
            reason = "the sequences of the controls are not known"
        else:
            try:
                run = run_of_attributions(attr, model, device)
                predict = predictor(attr, run, rc_average=False)
                attribute = attributer(attr, run, most_passes=MOST_PASSES)
            except (StoreError, MethodError) as error:
                reason = str(error)
            except ModelError as error:
                if model is not None:
                    raise
                reason = str(error)
        if reason:
            logger.info("peaks: the model is not asked what candidates do to its prediction: %s", reason)
            return None
        seed, is_signed = int(attr.attrs.get("seed", 0)), bool(attr.attrs.get("signed", True))
        has_bases = attribute is not None and METHODS[attr.method].hypothetical
        return cls(attr, predict, attribute, has_bases, seed, is_signed, is_steady)

    @property
    def asked(self) -> tuple[str, ...]:
        """What the model is asked about a candidate."""
        return ("effect", *(("strand",) if self.attribute else ()), *(("bases",) if self.has_bases else ()))

    def aim(
        self,
        controls: Mapping[str, Evidence],
        n_controls: int,
        widths: tuple[int, ...],
        scale: Scale | None,
        shared: float = 0.0,
    ) -> None:
        """Choose the candidates that are asked about, by what the controls show."""
        n, n_heights = len(self.attr), len(widths)
        self.widths, self.scale, self.shared = widths, scale, shared
        self.remembered = _remembered(self.attr, (widths, scale, shared, self.is_steady))
        wanted = min(n * min(PER_WINDOW, self.attr.length / WINDOW_BP), max(MOST_MEASURED, n / WINDOWS_A_CANDIDATE))
        heights = {sign: one.features[:, :n_heights].astype(np.float64) for sign, one in controls.items()}
        self.rulers = {sign: Ruler.of(profiles) for sign, profiles in heights.items()}
        self.least = {
            sign: float(
                np.quantile(self.rulers[sign].strengths(one), max(0.0, 1 - wanted * n_controls / (len(one) * n)))
            )
            if len(one)
            else np.inf
            for sign, one in heights.items()
        }
        n_asked = max(0.0, len(heights) * wanted * (1 + n_controls / n) - sum(map(len, self.remembered.values())))
        n_holding = min(n_asked, n + n_controls)
        n_predictions = 2 * (n_asked + n_holding * (len(TURNS[0]) if self.is_steady else 1))
        logger.info(
            "joint evidence: about %s predictions%s, of %s candidates in %s windows and %s controls",
            f"{n_predictions:,.0f}", f" and {n_holding:,.0f} maps of the other strand" if self.attribute else "",
            f"{n_asked:,.0f}", f"{n:,}", f"{n_controls:,}",
        )  # fmt: skip

    def of_windows(self, found: Mapping[str, Evidence], windows: Windows) -> dict[str, Evidence]:
        """Measure candidates of the windows, of each sign."""
        return self._measured(found, lambda rows: forward_codes(self.attr, windows.order[rows]), "windows")

    def of_controls(self, found: Mapping[str, Evidence], stride: int) -> dict[str, Evidence]:
        """Measure candidates of the controls, of which every `stride`-th is read."""
        assert self.attr.controls is not None
        codes = self.attr.controls.codes
        assert codes is not None
        by_row = {sign: replace(one, unit=one.unit * stride) for sign, one in found.items()}
        measured = self._measured(by_row, lambda rows: np.asarray(codes[rows], dtype=np.uint8), "controls")
        return {sign: replace(one, unit=one.unit // stride) for sign, one in measured.items()}

    def _direction(self, sign: str) -> float:
        return -1.0 if sign == "neg" and self.is_signed else 1.0

    def _measured(self, found: Mapping[str, Evidence], read: Read, what: str) -> dict[str, Evidence]:
        """Fill in the effects and steady predictions of those that are high enough, NaN for the others."""
        rows = {sign: self._high(sign, one) for sign, one in found.items()}
        unit, place = (np.concatenate([getattr(found[s], name)[rows[s]] for s in found]) for name in ("unit", "place"))
        up = np.concatenate([np.full(len(rows[sign]), 1.0 if sign == "pos" else -1.0) for sign in found])
        known, nothing = self.remembered[what], (np.nan,) * (N_NUMBERS + len(self.widths))
        at = list(zip(unit.tolist(), place.tolist(), strict=True))
        values = np.array([known.get(one, nothing) for one in at]).reshape(-1, len(nothing))
        new = np.flatnonzero(np.isnan(values[:, 0]))
        new = new[np.argsort(unit[new], kind="stable")]  # those of a window together
        step = max(1, CHUNK_BP // self.attr.length)
        for these in (new[i : i + step] for i in range(0, len(new), step)):
            values[these] = self._ask(up[these], unit[these], place[these], read)
            if len(known) < MOST_REMEMBERED:
                known.update((at[i], tuple(values[i].tolist())) for i in these.tolist())
        each = np.split(values, np.cumsum([len(rows[sign]) for sign in found])[:-1])
        return {sign: self._filled(sign, found[sign], rows[sign], own) for sign, own in zip(found, each, strict=True)}

    def _high(self, sign: str, evidence: Evidence) -> NDArray[np.int64]:
        """Rows of candidates that are high enough to be asked about."""
        ruler = self.rulers[sign]
        heights = ruler.strengths(evidence.features[:, : len(ruler.reference)].astype(np.float64))
        return np.flatnonzero(heights >= self.least[sign])

    def _filled(self, sign: str, evidence: Evidence, rows: NDArray[np.int64], values: NDArray[np.float64]) -> Evidence:
        """Candidates of a sign with what was measured (n, `N_NUMBERS` + K) of some rows (n,)."""
        features, ruler = evidence.features.copy(), self.rulers[sign]
        features[:, [STRAND, EFFECT]] = np.nan
        features[rows, STRAND] = ruler.strengths(values[:, N_NUMBERS:])
        features[rows, BASES] = values[:, 2]
        features[rows, EFFECT] = values[:, 0] * self._direction(sign) if self.is_signed else np.abs(values[:, 0])
        if self.is_steady:
            features[rows, STEADY] = values[:, 1] * self._direction(sign)
        return replace(evidence, features=features)

    def _ask(
        self, up: NDArray[np.float64], unit: NDArray[np.int64], place: NDArray[np.int64], read: Read
    ) -> NDArray[np.float64]:
        """Effect, steady prediction, bases and profile on the other strand, (n, 3 + K), at offsets (n,) in rows (n,).

        Profiles are turned by `up` (n,), which is -1 for the candidates below 0.
        """
        row, of = np.unique(unit, return_inverse=True)
        codes = read(row)
        strands: tuple[Predict, ...] = (self.predict, lambda codes: self.predict(reverse_complement(codes)))
        inside = np.abs(np.arange(codes.shape[1]) - place[:, None]) <= HALF_BP
        without = predict_without(strands, codes, of, inside, seed=self.seed)
        turns = [own if self.is_steady else own[:1] for own in TURNS]
        predicted = np.array(
            [
                [predict(np.roll(codes, turn, axis=1)) for turn in own]
                for predict, own in zip(strands, turns, strict=True)
            ]
        )  # (strands, turns, windows)
        effect = (predicted[:, 0, of] - without).mean(axis=0)
        bases, profiles = self._other_strand(codes, up, of, place)
        return np.column_stack([effect, predicted.mean(axis=(0, 1))[of], bases, profiles])

    def _other_strand(
        self, codes: NDArray[np.uint8], up: NDArray[np.float64], of: NDArray[np.int64], place: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Share of bases (n,) and profiles (n, K) in the map of the reverse complement of windows `of` (n,).

        0 where there is no such map, or no hypothetical scores.
        """
        if self.attribute is None:
            return np.zeros(len(of)), np.zeros((len(of), len(self.widths)))
        tracks, hypothetical = zip(*self.attribute(reverse_complement(codes)), strict=True)
        track = np.mean(tracks, axis=0)[:, ::-1] - np.float32(self.shared)
        profiles = up[:, None] * _profiles(track, codes != N_CODE, of, place, self.widths, self.scale)
        shares = [share_of_best(h[:, ::-1, ::-1], codes, of, place, up) for h in hypothetical if h is not None]
        return np.mean(shares, axis=0) if shares else np.zeros(len(of)), profiles


@dataclass
class _Memory:
    """What the model has been asked about some attributions, and how; the controls were `n`, of this digest."""

    how: tuple[Any, ...]
    n: int
    digest: bytes
    found: dict[str, Found] = field(default_factory=lambda: {"windows": {}, "controls": {}})


_MEMORIES: WeakKeyDictionary[Attributions, _Memory] = WeakKeyDictionary()


def _remembered(attr: Attributions, how: tuple[Any, ...]) -> dict[str, Found]:
    """Return what was asked in the same way before, of the controls as long as the first of them are those of then."""
    assert attr.controls is not None
    codes = attr.controls.codes
    assert codes is not None
    memory = _MEMORIES.get(attr)
    if memory is None or memory.how != how:
        memory = _MEMORIES[attr] = _Memory(how, 0, _digest(codes, 0))
    if memory.n > len(codes) or memory.digest != _digest(codes, memory.n):
        memory.found["controls"] = {}
    memory.n, memory.digest = len(codes), _digest(codes, len(codes))
    return memory.found


def _digest(codes: Array, n: int) -> bytes:
    """Digest the first n rows (n, L)."""
    digest, step = hashlib.blake2b(), max(1, CHUNK_BP // codes.shape[1])
    for i in range(0, n, step):
        digest.update(np.ascontiguousarray(codes[i : min(i + step, n)], dtype=np.uint8).data)
    return digest.digest()


@dataclass
class Agreement:
    """How high candidates are in the maps of the same target by other methods of the file.

    Attributes
    ----------
    others
        The other results, with tracks of the same windows and controls.
    widths, scale
        How heights are measured.
    rulers
        Of each sign, one for each other result.
    """

    others: list[Attributions]
    widths: tuple[int, ...] = ()
    scale: Scale | None = None
    rulers: dict[str, list[Ruler]] = field(default_factory=dict)

    @classmethod
    def of(cls, attr: Attributions, seeds: Attributions | None = None) -> Agreement | None:
        """Look for results other than this one and the seeds; None where there are none with the same controls."""
        if attr.open_result is None:
            return None
        known = (attr.name, None if seeds is None else seeds.name)
        others = [attr.result(name) for name in attr.results if name not in known]
        fit = [one for one in others if one.target == attr.target and 0 < one.n_controls == attr.n_controls]
        return cls(fit) if fit else None

    def of_controls(
        self, found: Mapping[str, Evidence], stride: int, widths: tuple[int, ...], scale: Scale | None
    ) -> dict[str, Evidence]:
        """Look up candidates of the controls, of which every `stride`-th is read, and learn what is high."""
        self.widths, self.scale, self.rulers = widths, scale, {}

        def read(other: Attributions, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
            assert other.controls is not None
            track = np.asarray(other.controls.track[rows * stride], dtype=np.float32)
            codes = other.controls.codes
            return track, np.ones(track.shape, bool) if codes is None else np.asarray(codes[rows * stride]) != N_CODE

        return {sign: self._looked_up(sign, one, read) for sign, one in found.items()}

    def of_windows(self, found: Mapping[str, Evidence], windows: Windows) -> dict[str, Evidence]:
        """Look up candidates of the windows."""

        def read(other: Attributions, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
            return read_forward(other, windows.order[rows])

        return {sign: self._looked_up(sign, one, read) for sign, one in found.items()}

    def _looked_up(self, sign: str, evidence: Evidence, read: ReadTrack) -> Evidence:
        row, of = np.unique(evidence.unit, return_inverse=True)
        order = np.argsort(of, kind="stable")
        step = max(1, CHUNK_BP // self.others[0].length)
        total = np.zeros(len(evidence))
        for k, other in enumerate(self.others):
            up = -1.0 if sign == "neg" and other.attrs.get("signed", True) else 1.0
            profiles = np.zeros((len(evidence), len(self.widths)))
            for i in range(0, len(row), step):
                mine = order[slice(*np.searchsorted(of[order], [i, i + step]))]
                track, known = read(other, row[i : i + step])
                at = of[mine] - i, evidence.place[mine]
                profiles[mine] = up * _profiles(track, known, *at, self.widths, self.scale)
            if k == len(self.rulers.setdefault(sign, [])):  # of the controls, which come first
                self.rulers[sign].append(Ruler.of(profiles))
            total += self.rulers[sign][k].strengths(profiles)
        features = evidence.features.copy()
        features[:, OTHERS] = total / len(self.others)
        return replace(evidence, features=features)


def _profiles(
    track: NDArray[np.float32],
    known: NDArray[np.bool_],
    of: NDArray[np.int64],
    place: NDArray[np.int64],
    widths: tuple[int, ...],
    scale: Scale | None,
) -> NDArray[np.float64]:
    """Profiles (n, K) at offsets (n,) in rows `of` (n,) of tracks (r, L)."""
    level = 1.0 if scale is None else scale(track, known)[:, None]
    margin = max(widths) // 2
    padded = np.pad(compressed((track / level).astype(np.float64)), ((0, 0), (margin, margin)))
    return smoothed_at(padded.ravel(), of * padded.shape[1] + margin + place, widths)


def share_of_best(
    hypothetical: NDArray[np.float32],
    codes: NDArray[np.uint8],
    of: NDArray[np.int64],
    place: NDArray[np.int64],
    up: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the share of bases that are the best of the four (n,), up to `BEST_BP` bases from a place.

    By hypothetical scores (r, 4, L) of windows (r, L) at offsets (n,) in rows `of` (n,); the best one is the lowest
    where `up` (n,) is -1. None is where all four score the same, where the base is unknown, or beyond the window.
    """
    own = np.take_along_axis(hypothetical, np.minimum(codes, N_CODE - 1)[:, None], axis=1)[:, 0]
    low, high = hypothetical.min(axis=1), hypothetical.max(axis=1)
    shares = np.empty(len(of))
    for sign, best in ((1.0, own == high), (-1.0, own == low)):
        total = np.cumsum(np.pad(best & (low < high) & (codes < N_CODE), ((0, 0), (1, 0))), axis=1)
        rows = up == sign
        first, last = np.maximum(place[rows] - BEST_BP, 0), np.minimum(place[rows] + BEST_BP + 1, codes.shape[1])
        shares[rows] = (total[of[rows], last] - total[of[rows], first]) / (2 * BEST_BP + 1)
    return shares


def predict_without(
    predicts: Sequence[Predict],
    codes: NDArray[np.uint8],
    of: NDArray[np.int64],
    inside: NDArray[np.bool_],
    *,
    seed: int,
    span: slice = slice(None),
) -> NDArray[np.float64]:
    """Predict windows (r, W) with spans of them deleted in silico, each replaced by what shuffles have there.

    Span i is `inside[i]` of the part `span` of window `of[i]`, and that part is what is shuffled, once for each of the
    D ways to predict; (D, n).
    """
    found = np.empty((len(predicts), len(of)))
    for draw, number in enumerate(draw_number("deletion", np.arange(len(predicts))).tolist()):
        shuffled = dinucleotide_shuffle(codes[:, span], seed=seed, draw=number)[of]
        without = codes[of]
        np.copyto(without[:, span], shuffled, where=inside)
        found[draw] = predicts[draw](without)
    return found
