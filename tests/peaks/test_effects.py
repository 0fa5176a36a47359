"""Effects: what candidates do to the prediction is what the model says without them."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import seqsal
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import Axis
from seqsal.peaks import call_peaks, effects
from seqsal.peaks.candidates import UNMEASURED, CandidateRules, Ruler
from seqsal.peaks.controls import read_null
from seqsal.peaks.effects import HALF_BP, N_DRAWS, TURNS, Effects
from seqsal.peaks.joint import EFFECT, STEADY, STRAND, Windows, fit_joint
from seqsal.peaks.null import Evidence
from seqsal.sequence.codes import one_hot, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number

LENGTH = 120


class Matches(torch.nn.Module):
    """Good matches of TGACTCA raise it, of CTTATCT lower it, and an A at the very end raises it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.tensor(one_hot(np.array([[3, 2, 0, 1, 3, 1, 0], [1, 3, 3, 0, 3, 1, 3]], np.uint8)))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        up, down = torch.relu(torch.nn.functional.conv1d(X, self.weight) - 1).square().sum(2).T
        return up - down + X[:, 0, -1]


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
    return asks, found, {sign: asks.of_controls(sign, one, 1) for sign, one in found.items()}


def both_strands(codes: NDArray[np.uint8]) -> float:
    with torch.no_grad():
        strands = (codes[None], reverse_complement(codes[None]))
        return float(np.mean([Matches()(torch.from_numpy(one_hot(one))).item() for one in strands]))


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
            for number in draw_number("deletion", np.arange(N_DRAWS)):
                without = codes.copy()
                without[inside] = dinucleotide_shuffle(codes[None], seed=0, draw=number)[0, inside]
                lost.append(both_strands(codes) - both_strands(without))
            assert one.features[i, EFFECT] == pytest.approx(direction * np.mean(lost), abs=1e-5)
            steady = np.mean([both_strands(np.roll(codes, turn)) for turn in TURNS])
            assert one.features[i, STEADY] == pytest.approx(direction * steady, abs=1e-5)
            turned = seqsal.attribute(Matches(), X=one_hot(reverse_complement(codes[None])), device="cpu").track[0]
            height = slow_strength(direction * turned[::-1], place, asks.rulers[sign])
            assert one.features[i, STRAND] == pytest.approx(height, abs=1e-5)
        columns = [found[sign].features.shape[1] + k for k in (STRAND, EFFECT, STEADY)]
        untouched = np.delete(one.features, columns, axis=1)
        assert set(untouched.ravel()) <= set(found[sign].features.ravel())


def test_the_strongest_are_asked_about_once_and_rank_first(attr: Attributions, monkeypatch: pytest.MonkeyPatch) -> None:
    asks, found, after = measured(attr, is_steady=False)
    null = fit_joint(None, after, Windows.of(attr, Axis.of(attr)), 60, 4)["pos"]
    strengths = null.strengths(after["pos"])
    is_measured = ~np.isnan(after["pos"].features[:, EFFECT])
    assert strengths[is_measured].min() > strengths[~is_measured].max() and strengths.min() < -UNMEASURED / 2
    monkeypatch.setattr(asks, "predict", None)  # what was measured is remembered
    again = asks.of_controls("pos", found["pos"], 1)
    np.testing.assert_array_equal(again.features, after["pos"].features)


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


def test_without_a_model_nothing_is_asked_and_a_line_says_so(
    attr: Attributions, caplog: pytest.LogCaptureFixture
) -> None:
    lost = dataclasses.replace(attr, run=None)
    with caplog.at_level(logging.INFO):
        peaks = call_peaks(lost, statistic="joint", fdr=0.5, max_controls=1)
    assert "not asked what candidates do to its prediction" in caplog.text
    assert peaks.attrs["statistic"] == "height"
