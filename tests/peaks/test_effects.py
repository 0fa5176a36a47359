"""Effects: what candidates do to the prediction is what the model says without them."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

import seqsal
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import Axis
from seqsal.models import wrap
from seqsal.models.ensemble import Ensemble
from seqsal.peaks import call_peaks, effects, statistic_text
from seqsal.peaks.candidates import UNMEASURED, CandidateRules, Ruler
from seqsal.peaks.controls import read_null
from seqsal.peaks.effects import BEST_BP, HALF_BP, TURNS, Agreement, Effects
from seqsal.peaks.joint import BASES, EFFECT, FEATURES, OTHERS, STEADY, STRAND, Windows, fit_joint
from seqsal.peaks.null import Evidence
from seqsal.sequence.codes import one_hot, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number

LENGTH = 120


class Matches(torch.nn.Module):
    """More than `n` matches of TGACTCA raise it, of CTTATCT change it by `weight`, and an A at the end raises it."""

    def __init__(self, weight: float = -1.0, n: int = 1) -> None:
        super().__init__()
        self.of_second, self.n = weight, n
        self.weight = torch.tensor(one_hot(np.array([[3, 2, 0, 1, 3, 1, 0], [1, 3, 3, 0, 3, 1, 3]], np.uint8)))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        first, second = torch.relu(torch.nn.functional.conv1d(X, self.weight) - self.n).square().sum(2).T
        return first + self.of_second * second + X[:, 0, -1]


class OnBothStrands(Matches):
    """The same of either strand."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return super().forward(X) + super().forward(X.flip(1, 2))


@pytest.fixture(scope="module")
def attr() -> Attributions:
    """20 windows, a site in half of them, and 60 controls."""
    codes = np.random.default_rng(0).integers(4, size=(20, LENGTH)).astype(np.uint8)
    codes[::2, 50:57] = [3, 2, 0, 1, 3, 1, 0]
    made: Attributions = seqsal.attribute(Matches(), X=one_hot(codes), device="cpu", n_controls=60)
    return made


def measured(attr: Attributions, is_steady: bool = True) -> tuple[Effects, dict[str, Evidence], dict[str, Evidence]]:
    """Measure the controls' candidates; also as they were before."""
    windows = Windows.of(attr, Axis.of(attr))
    found, n = read_null(attr, CandidateRules(), scale=None, windows=windows)
    asks = Effects.of(attr, None, "cpu", is_steady)
    assert asks is not None
    asks.aim(found, n, CandidateRules().widths, None)
    return asks, found, asks.of_controls(found, 1)


def sites(n: int) -> Evidence:
    """Candidates in the middle of n windows, higher than all others."""
    features = np.full((n, 4 + len(FEATURES)), 1e3, np.float32)
    return Evidence(features, np.arange(n), np.zeros(n, np.int64), np.full(n, 53))


def predicted(codes: NDArray[np.uint8], is_reverse: bool) -> float:
    with torch.no_grad():
        strand = reverse_complement(codes[None]) if is_reverse else codes[None]
        return float(Matches()(torch.from_numpy(one_hot(strand))).item())


def slow_strength(track: NDArray[np.float32], place: int, ruler: Ruler) -> float:
    """Height of a track at a place, from the definition of the kernels."""
    padded = np.pad(np.sign(track) * np.abs(track.astype(np.float64)) ** (2 / 3), 20)
    profile = []
    for width in CandidateRules().widths:
        weights = np.maximum(width // 2 + 1 - np.abs(np.arange(-20, 21)), 0)
        profile.append(weights @ padded[place : place + 41] / weights.sum())
    return float((profile / ruler.reference).max())


def test_effects_are_their_definition(attr: Attributions) -> None:
    asks, found, after = measured(attr)
    assert attr.controls is not None and attr.controls.codes is not None
    for sign, direction in (("pos", 1), ("neg", -1)):
        one = after[sign]
        is_measured = ~np.isnan(one.features[:, EFFECT])
        assert is_measured.sum() == round(60 * LENGTH / effects.WINDOW_BP)
        for i in np.flatnonzero(is_measured)[::5]:
            codes, place = np.asarray(attr.controls.codes[int(one.unit[i])]), int(one.place[i])
            inside = slice(max(place - HALF_BP, 0), place + HALF_BP + 1)
            lost = []
            for is_reverse, number in enumerate(draw_number("deletion", np.arange(2))):
                without = codes.copy()
                without[inside] = dinucleotide_shuffle(codes[None], seed=0, draw=number)[0, inside]
                lost.append(predicted(codes, bool(is_reverse)) - predicted(without, bool(is_reverse)))
            assert one.features[i, EFFECT] == pytest.approx(direction * np.mean(lost), abs=1e-5)
            turns = [(turn, is_reverse) for is_reverse in (False, True) for turn in TURNS[is_reverse]]
            steady = np.mean([predicted(np.roll(codes, turn), is_reverse) for turn, is_reverse in turns])
            assert one.features[i, STEADY] == pytest.approx(direction * steady, abs=1e-5)
            turned = seqsal.attribute(
                Matches(), X=one_hot(reverse_complement(codes[None])), hypothetical=True, device="cpu"
            )
            height = slow_strength(direction * turned.track[0, ::-1], place, asks.rulers[sign])
            assert one.features[i, STRAND] == pytest.approx(height, abs=1e-5)
            assert turned.hypothetical is not None
            scores, n_best = direction * turned.hypothetical[0][::-1, ::-1], 0
            for at in range(max(place - BEST_BP, 0), min(place + BEST_BP + 1, LENGTH)):
                n_best += scores[codes[at], at] == scores[:, at].max() > scores[:, at].min()
            assert one.features[i, BASES] == pytest.approx(n_best / (2 * BEST_BP + 1))
        columns = [found[sign].features.shape[1] + k for k in (BASES, STRAND, EFFECT, STEADY)]
        untouched = np.delete(one.features, columns, axis=1)
        assert set(untouched.ravel()) <= set(found[sign].features.ravel())


def test_the_strongest_are_asked_about_once_and_rank_first(attr: Attributions, monkeypatch: pytest.MonkeyPatch) -> None:
    asks, found, after = measured(attr, is_steady=False)
    null = fit_joint(None, after, Windows.of(attr, Axis.of(attr)), 60, 4)["pos"]
    strengths = null.strengths(after["pos"])
    is_measured = ~np.isnan(after["pos"].features[:, EFFECT])
    assert strengths[is_measured].min() > strengths[~is_measured].max() and strengths.min() < -UNMEASURED / 2
    monkeypatch.setattr(asks, "predict", None)  # what was measured is remembered
    again = asks.of_controls(found, 1)
    np.testing.assert_array_equal(again["pos"].features, after["pos"].features)


def test_what_was_asked_is_remembered_with_the_attributions(
    attr: Attributions, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, asked, ask = dataclasses.replace(attr), list[int](), Effects._ask

    def counted(self: Effects, up: NDArray[np.float64], *where: Any) -> NDArray[np.float64]:
        asked.append(len(up))
        return ask(self, up, *where)

    monkeypatch.setattr(Effects, "_ask", counted)
    once, n = call_peaks(again, fdr=0.5, max_controls=1), sum(asked)
    pd.testing.assert_frame_equal(once, call_peaks(again, fdr=0.5, max_controls=1))
    assert n > 50 and sum(asked) == n
    assert attr.controls is not None
    names = ("track", "codes", "source", "prediction")
    changed = {name: np.asarray(getattr(attr.controls, name))[::-1] for name in names}
    again.keep(controls=dataclasses.replace(attr.controls, **changed))  # as many others: of the windows all is known
    other = call_peaks(again, fdr=0.5, max_controls=1)
    np.testing.assert_allclose(once["p_value"], other["p_value"], rtol=1e-4)
    assert n < sum(asked) < 2 * n
    call_peaks(again, fdr=0.5, max_controls=1, smooth_bp=15)
    assert sum(asked) > 2 * n


def test_the_controls_do_not_depend_on_their_order(attr: Attributions) -> None:
    assert attr.controls is not None
    order = np.random.default_rng(1).permutation(60)
    arrays = {
        name: np.asarray(getattr(attr.controls, name))[order] for name in ("track", "codes", "source", "prediction")
    }
    moved = dataclasses.replace(attr, controls=dataclasses.replace(attr.controls, **arrays))
    one, other = (call_peaks(each, statistic="joint", fdr=0.5, max_controls=1) for each in (attr, moved))
    np.testing.assert_allclose(one["p_value"], other["p_value"], rtol=1e-4)
    assert one.attrs["statistic"] == "joint" and len(one) > 5


def test_joint_evidence_is_taken_with_the_model_at_hand(attr: Attributions, caplog: pytest.LogCaptureFixture) -> None:
    few = call_peaks(attr, fdr=0.5, max_controls=1)
    assert statistic_text(few.attrs) == "by joint evidence" and not few.attrs["is_learned"]
    codes = np.random.default_rng(1).integers(4, size=(100, LENGTH)).astype(np.uint8)
    codes[::3, 50:57] = [3, 2, 0, 1, 3, 1, 0]
    many = seqsal.attribute(Matches(), X=one_hot(codes), device="cpu", n_controls=150)
    how: dict[str, Any] = {"fdr": 0.5, "max_controls": 1}
    with caplog.at_level(logging.INFO):
        peaks = call_peaks(many, **how)
    assert "joint evidence: about" in caplog.text and "maps of the other strand" in caplog.text
    assert statistic_text(peaks.attrs) == "by joint evidence" and len(peaks) > 20
    pd.testing.assert_frame_equal(peaks, call_peaks(many, statistic="joint", **how))
    without = call_peaks(dataclasses.replace(many, run=None), **how)
    assert statistic_text(without.attrs) == "by height, since the model is not at hand"
    by_height = call_peaks(many, statistic="height", **how)
    assert statistic_text(by_height.attrs) == "by height"
    pd.testing.assert_frame_equal(without, by_height)
    dear = seqsal.attribute(Matches(), X=one_hot(codes[:8]), method="ism", device="cpu", n_controls=40)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert statistic_text(call_peaks(dear, **how).attrs) == "by joint evidence"
    assert "joint evidence: about" in caplog.text and "maps of the other strand" not in caplog.text


def test_a_window_is_asked_about_once_for_both_signs(attr: Attributions, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Effects._other_strand
    asked: list[int] = []

    def counted(self: Effects, codes: NDArray[np.uint8], *where: NDArray[np.int64]) -> NDArray[np.float64]:
        asked.append(len(codes))
        return made(self, codes, *where)

    monkeypatch.setattr(Effects, "_other_strand", counted)
    _, _, after = measured(dataclasses.replace(attr))
    held = [one.unit[~np.isnan(one.features[:, EFFECT])] for one in after.values()]
    assert sum(asked) == len(np.unique(np.concatenate(held))) < sum(len(np.unique(one)) for one in held)


def test_what_one_member_reads_counts_less_than_what_all_do() -> None:
    """Three members that read the second motif alike, and one that reads it for all: the same mean, map and effects."""
    codes = np.random.default_rng(3).integers(4, size=(24, LENGTH)).astype(np.uint8)
    codes[::2, 50:57], codes[1::2, 50:57] = [3, 2, 0, 1, 3, 1, 0], [1, 3, 3, 0, 3, 1, 3]
    shares, chances = {}, {}
    for name, weights in (("mean", (1.0,)), ("all", (1.0, 1.0, 1.0)), ("one", (3.0, 0.0, 0.0))):
        members = [wrap(OnBothStrands(weight, 5)) for weight in weights]
        model = members[0] if len(members) == 1 else Ensemble(members)
        attr = seqsal.attribute(model, X=one_hot(codes), device="cpu", n_controls=80)
        windows = Windows.of(attr, Axis.of(attr))
        seen = measured(attr)[0].of_windows({"pos": sites(24)}, windows)["pos"].features[:, BASES]
        shares[name] = [np.median(seen[windows.order % 2 == half]) for half in (0, 1)]
        peaks = call_peaks(attr, fdr=1, max_controls=1)
        is_site = (peaks["start"] + peaks["summit"] - 53).abs() <= 4
        is_second = peaks["chrom"].str.removeprefix("sequence_").astype(int) % 2 == 0
        assert min((is_site & is_second).sum(), (is_site & ~is_second).sum()) >= 10
        chances[name] = [peaks["p_value"][is_site & rows].median() for rows in (~is_second, is_second)]
    assert shares["mean"] == shares["all"] and min(shares["all"]) > 0.5
    assert shares["one"] == pytest.approx([shares["all"][0], shares["all"][1] / 3])
    assert chances["mean"] == pytest.approx(chances["all"]) and chances["one"][1] > 1.5 * chances["all"][1]


def test_without_a_model_nothing_is_asked_and_a_line_says_so(
    attr: Attributions, caplog: pytest.LogCaptureFixture
) -> None:
    lost = dataclasses.replace(attr, run=None)
    with caplog.at_level(logging.INFO):
        peaks = call_peaks(lost, statistic="joint", fdr=0.5, max_controls=1)
    assert "not asked what candidates do to its prediction" in caplog.text
    assert peaks.attrs["statistic"] == "height"


def test_other_methods_of_the_file_are_looked_up(tmp_path: Path) -> None:
    """Each candidate's height in the other map, windows and controls alike, from the definition; one is on strand -."""
    rng = np.random.default_rng(2)
    codes = rng.integers(4, size=(12, LENGTH)).astype(np.uint8)
    codes[::2, 50:57] = [3, 2, 0, 1, 3, 1, 0]
    (tmp_path / "g.fa").write_text(">c\n" + "".join("".join("ACGT"[b] for b in row) for row in codes) + "\n")
    rows = [f"c\t{i * LENGTH}\t{(i + 1) * LENGTH}\tr{i}\t0\t{'+-'[i % 2]}\n" for i in range(12)]
    (tmp_path / "r.bed").write_text("".join(rows))
    both = seqsal.attribute(
        Matches(), genome=tmp_path / "g.fa", regions=tmp_path / "r.bed", method=["gradient_x_input", "ism"],
        device="cpu", n_controls=60,
    )  # fmt: skip
    windows, looks, other = Windows.of(both, Axis.of(both)), Agreement.of(both), both.result("ism")
    assert (
        looks is not None and other.controls is not None and Agreement.of(dataclasses.replace(both, attrs={})) is None
    )
    found, _ = read_null(both, CandidateRules(), scale=None, windows=windows)
    after = looks.of_controls(found, 1, CandidateRules().widths, None)
    for sign, direction in (("pos", 1), ("neg", -1)):
        for i in range(0, len(found[sign]), 9):
            track = direction * np.asarray(other.controls.track[int(found[sign].unit[i])])
            height = slow_strength(track, int(found[sign].place[i]), looks.rulers[sign][0])
            assert after[sign].features[i, OTHERS] == pytest.approx(height, abs=1e-5)
        np.testing.assert_array_equal(
            np.delete(after[sign].features, OTHERS, 1), np.delete(found[sign].features, OTHERS, 1)
        )
    unit, place = np.repeat(np.arange(12), 3), rng.integers(LENGTH, size=36)
    asked = Evidence(np.zeros((36, 4 + len(FEATURES)), np.float32), unit, unit * 0, place)
    seen = looks.of_windows({"pos": asked}, windows)["pos"]
    for i, (one, at) in enumerate(zip(unit, place, strict=True)):
        row = int(windows.order[one])
        track = np.asarray(other.track[row])[:: -1 if both.is_reverse[row] else 1]
        assert seen.features[i, OTHERS] == pytest.approx(slow_strength(track, at, looks.rulers["pos"][0]), abs=1e-5)
    peaks = call_peaks(both, fdr=0.5, max_controls=1)
    assert peaks.attrs["asked"] == ("effect", "strand", "bases", "others")
    assert not peaks["p_value"].equals(call_peaks(both, fdr=0.5, max_controls=1, statistic="height")["p_value"])
