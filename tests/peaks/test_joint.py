"""Joint evidence: more found in a genome, nothing in noise, nothing learned from what is scored."""

from __future__ import annotations

import dataclasses
import logging
import re

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import optimize
from track_toys import bump, make_attr, noise

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions, Controls
from seqsal.io.sweep import Axis
from seqsal.peaks import call_peaks, joint
from seqsal.peaks.candidates import CandidateRules
from seqsal.peaks.controls import read_null
from seqsal.peaks.joint import OF_WINDOW, Windows, _logistic, _search, _stand_out, _yields, fit_joint
from seqsal.peaks.null import Evidence
from seqsal.peaks.pool import benjamini_hochberg

LENGTH = 100


def genome(
    seed: int, n: int = 400, n_sites: int = 0, *, m: int = 400, shift: float = 0.0, chance: float = 0.0
) -> tuple[Attributions, NDArray[np.int64]]:
    """Windows of noise, and controls of it; sites have a bump and a prediction 4 higher, chance bumps are everywhere.

    `shift` is added to the prediction of all windows.
    """
    rng = np.random.default_rng(seed)
    track, prediction = noise(rng, n + m, LENGTH), rng.normal(size=n + m).astype(np.float32)
    sites = np.sort(rng.choice(n, n_sites, replace=False))
    for i in [*sites, *np.flatnonzero(rng.random(n + m) < chance)]:
        track[i] += bump(LENGTH, int(rng.integers(15, LENGTH - 15)), 9, 6.0)
    prediction[sites] += 4
    null = Controls(track[n:], None, np.arange(m) % n, prediction[n:])
    return dataclasses.replace(
        make_attr(track[:n]), prediction=prediction[:n] + np.float32(shift), controls=null
    ), sites


def windows_of(peaks: pd.DataFrame) -> set[int]:
    return set((peaks["start"] // (LENGTH + 10)).tolist())


def test_joint_evidence_finds_sites_where_chance_peaks_are_as_high(caplog: pytest.LogCaptureFixture) -> None:
    attr, sites = genome(1, n=1000, n_sites=50, m=2000, chance=0.06)
    by_height, jointly = (call_peaks(attr, fdr=0.15, statistic=one) for one in ("height", "joint"))
    assert (by_height.attrs["statistic"], jointly.attrs["statistic"]) == ("height", "joint")
    found = windows_of(jointly)
    assert len(windows_of(by_height)) == 0
    assert len(found & set(sites)) >= 30
    assert len(found - set(sites)) <= 0.2 * len(found)
    assert f"none at q ≤ 0.15; the smallest q-value is {by_height.attrs['best_q']:.2g}, and " in caplog.text
    rate = float(re.findall(r"\(--fdr ([\d.]+)\)", caplog.text)[0])
    n = len(call_peaks(attr, fdr=rate, statistic="height"))
    assert f"and {n:,} {'is' if n == 1 else 'are'} at q ≤ {rate:g}" in caplog.text
    kept = call_peaks(attr, fdr=0.15, kept_fdr=0.4, statistic="joint")
    pd.testing.assert_frame_equal(kept[kept["q_value"] <= 0.15].reset_index(drop=True), jointly)
    pd.testing.assert_frame_equal(kept, call_peaks(attr, fdr=0.4, statistic="joint"))
    assert len(kept) > len(jointly) and kept.attrs == {**jointly.attrs, "best_q": kept.attrs["best_q"]}
    one_sign = call_peaks(attr, fdr=0.15, statistic="joint", sign="pos")
    assert set(one_sign["sign"]) == {"pos"} and len(windows_of(one_sign) & set(sites)) >= 30


def test_noise_gives_nothing() -> None:
    few = {"n": 120, "m": 150}
    calls = [len(call_peaks(genome(seed, **few)[0], statistic="joint", max_controls=1)) for seed in range(16)]
    assert sum(n > 0 for n in calls) <= 3  # 1 is expected at a true rate of 5 %


def test_windows_that_differ_from_the_controls_as_a_whole_are_not_called_for_it() -> None:
    for seed in range(3):
        attr, _ = genome(seed, n=100, m=150, shift=20)
        assert len(call_peaks(attr, statistic="joint", max_controls=1)) <= 1


def test_order_and_strand_of_the_windows_do_not_matter() -> None:
    attr, _ = genome(2, n=200, n_sites=40)
    order = np.random.default_rng(0).permutation(len(attr))
    rank = np.argsort(order)
    assert attr.controls is not None
    flipped = np.where(np.arange(len(attr)) % 2, "-", "+")
    moved = dataclasses.replace(
        attr,
        regions=attr.regions.iloc[order].assign(strand=flipped).reset_index(drop=True),
        codes=attr.codes[order],
        track=np.where(flipped[:, None] == "-", attr.track[order][:, ::-1], attr.track[order]),
        prediction=attr.prediction[order],
        controls=dataclasses.replace(attr.controls, source=rank[np.asarray(attr.controls.source)]),
    )
    one, other = (call_peaks(each, statistic="joint", max_controls=1) for each in (attr, moved))
    assert len(one) > 15
    pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=1e-6)
    pd.testing.assert_frame_equal(one, call_peaks(attr, statistic="joint", max_controls=1, chunk_bp=1000))


def test_a_position_belongs_to_the_window_whose_middle_is_nearest(rng: np.random.Generator) -> None:
    starts = np.concatenate([np.arange(9) * 40, 1000 + np.arange(5) * 40])
    attr = dataclasses.replace(
        make_attr(noise(rng, 14, LENGTH), start=starts), prediction=rng.normal(size=14).astype(np.float32),
        controls=Controls(noise(rng, 5, LENGTH), prediction=np.ones(5, np.float32)),
    )  # fmt: skip
    windows = Windows.of(attr, Axis.of(attr))
    assert (windows.step, windows.has_place) == (40, False)
    positions = np.concatenate([np.arange(420), np.arange(1000, 1260)])
    prediction = windows.prediction[windows.at(positions)]
    for position, found in zip(positions, prediction, strict=True):
        away = np.abs(2 * (position - starts) + 1 - LENGTH)
        assert found in attr.prediction[away <= away.min() + 2]
    assert windows.is_compared(np.arange(LENGTH)).sum() == 40


def _evidence(attr: Attributions) -> tuple[dict[str, Evidence], dict[str, Evidence], Windows]:
    rules = CandidateRules()
    windows = Windows.of(attr, Axis.of(attr))
    null, _ = read_null(attr, rules, scale=None, windows=windows)
    assert attr.controls is not None
    swapped = dataclasses.replace(attr, controls=Controls(attr.track, None, np.arange(len(attr)), attr.prediction))
    data, _ = read_null(swapped, rules, scale=None, windows=windows)
    return data, null, windows


def test_a_fold_is_scored_by_what_has_not_seen_it() -> None:
    data, null, windows = _evidence(genome(3, n_sites=40)[0])
    plain = fit_joint({"pos": data["pos"]}, {"pos": null["pos"]}, windows, 400, 4)["pos"]
    for one in (data["pos"], null["pos"]):
        one.features[one.fold == 1] *= 3
    changed = fit_joint({"pos": data["pos"]}, {"pos": null["pos"]}, windows, 400, 4)["pos"]
    assert isinstance(plain, joint.JointNull) and isinstance(changed, joint.JointNull)
    np.testing.assert_array_equal(plain.learned[1].weights, changed.learned[1].weights)
    assert any(not np.allclose(plain.learned[k].spread, changed.learned[k].spread) for k in (0, 2))


def test_labels_shuffled_teach_nothing() -> None:
    data, null, windows = _evidence(genome(4, n_sites=60)[0])
    rng = np.random.default_rng(0)
    real = fit_joint({"pos": data["pos"]}, {"pos": null["pos"]}, windows, 400, 4)["pos"]
    assert isinstance(real, joint.JointNull) and sum(one.n_positives for one in real.learned) > 60
    both = Evidence.join([data["pos"], null["pos"]])
    is_data = rng.permutation(len(both)) < len(data["pos"])
    mixed = fit_joint({"pos": both.take(is_data)}, {"pos": both.take(~is_data)}, windows, 400, 4)["pos"]
    p_values = mixed.p_values(mixed.strengths(both.take(is_data)))
    assert p_values.min() > 0.05 / is_data.sum() and 0.4 < np.mean(p_values > 0.5) < 0.65


def test_every_graft_has_another_window_and_the_looks_of_its_candidate() -> None:
    data, null, windows = _evidence(genome(6, n_sites=40)[0])
    grafts, into = windows.population(1.0).graft(null["pos"], data["pos"], 0, 8)
    np.testing.assert_array_equal(windows.prediction[into].astype(np.float32), grafts.features[:, joint.PREDICTION])
    own = grafts.features[:, :-OF_WINDOW].reshape(len(null["pos"]), 8, -1)
    assert (own == own[:, :1]).all() and len(np.unique(own[:, 0], axis=0)) == len(null["pos"])
    levels = grafts.features[:, joint.PREDICTION].reshape(-1, 8)
    assert np.mean([len(np.unique(one)) for one in levels]) > 7.5
    assert levels.mean() == pytest.approx(windows.prediction.mean(), abs=0.1)


def test_a_graft_counts_for_the_places_that_its_window_has_below_it(rng: np.random.Generator) -> None:
    """From the definition, a graft at a time."""
    n_windows, n = 30, 400
    unit, score = rng.integers(n_windows, size=50), rng.normal(size=50)
    n_of = np.bincount(unit, minlength=n_windows) + rng.integers(2, size=n_windows)  # some are not measured
    window, grafted = rng.integers(n_windows, size=200), rng.normal(size=200)
    share = joint._Places(unit, score, n_of / n_of.mean(), n_of.mean()).share(window, grafted, n)
    falling, most = np.sort(grafted)[::-1], 0.0
    for j, least in enumerate(falling, 1):
        left = [n_of[w] - (score[unit == w] >= least).sum() for w in window[grafted >= least]]
        most = max(most, sum(left) / n_of.mean() / (1 - j / (n + 1)))
        assert share[j] == pytest.approx((1 + most) / (1 + j))


def test_p_values_are_those_of_what_is_none(rng: np.random.Generator) -> None:
    """Candidates next to elements, in windows that hold them, and in empty ones: false calls of all kinds add up."""

    def draw(n: int, n_holding: int) -> Evidence:
        """Draw two candidates a window; in the first windows one is an element, which and whose window look higher."""
        own, window = rng.normal(size=2 * n), rng.normal(size=n)
        own[: 2 * n_holding : 2] += 4
        window[:n_holding] += 4
        features = np.zeros((2 * n, 4 + len(joint.FEATURES)), np.float32)
        features[:, :4], features[:, joint.EFFECT] = own[:, None], own
        features[:, [joint.STEADY, joint.PREDICTION]] = np.repeat(window, 2)[:, None]
        unit = np.arange(2 * n) // 2
        return Evidence(features, unit, unit % 3, unit)

    n_false, n_calls = 0, 0
    is_none = (np.arange(6000) >= 300) | (np.arange(6000) % 2 == 1)
    for _ in range(4):
        data, null = draw(3000, 150), draw(6000, 0)
        prediction = data.features[::2, joint.PREDICTION].astype(np.float64)
        population = joint._Population(np.arange(3000), np.arange(3000) % 3, prediction)
        fitted = joint.JointNull.fit(data, null, population, 6000, 4)
        p_values = fitted.p_values(fitted.strengths(data))
        assert 0.4 < np.mean(p_values[is_none] > 0.5) < 0.7
        is_called = benjamini_hochberg(p_values, len(data)) <= 0.1
        n_calls, n_false = n_calls + is_called.sum(), n_false + (is_called & is_none).sum()
    assert n_calls > 400 and n_false <= 0.13 * n_calls, (n_calls, n_false)


def test_a_score_is_no_worse_than_its_best_part(rng: np.random.Generator) -> None:
    n_features = 1 + len(joint.CAPS) + 4 + len(joint.FEATURES)
    nulls = [rng.normal(size=(n, n_features)) for n in (900, 1800)]
    false = []
    for part in (0, joint.STEADY, joint.PREDICTION):
        x = rng.normal(size=(900, n_features))
        x[:60, part] += 5
        weights, mask = _search(x, nulls)
        single = np.eye(n_features)[part]
        assert (_yields(x, nulls, weights) >= 0.9 * _yields(x, nulls, single)).all()
        assert mask[:60].mean() > 0.9
        false.append(mask[60:].mean())
    assert np.mean(false) < 0.04 and max(false) < 0.06  # of 0.031 at a rate of 0.3, the largest


def test_too_few_to_learn_from_is_told(caplog: pytest.LogCaptureFixture) -> None:
    attr, _ = genome(5, n=10)
    with caplog.at_level(logging.INFO):
        peaks = call_peaks(attr, statistic="joint", max_controls=1)
    assert "by their height alone, since 10 windows are too few (at least 100)" in caplog.text
    assert peaks.attrs["statistic"] == "height"
    pd.testing.assert_frame_equal(peaks, call_peaks(attr, max_controls=1))
    with pytest.raises(UsageError, match="statistic: got 'area', expected auto, height or joint"):
        call_peaks(attr, statistic="area")


def test_regression_and_competition_are_their_definitions(rng: np.random.Generator) -> None:
    positives, negatives, towards = rng.normal(0.5, 1, (30, 3)), rng.normal(0, 1, (200, 3)), np.array([1.0, 0, 0])

    def loss(w: NDArray[np.float64]) -> float:
        one = np.log1p(np.exp(-(positives @ w[:3] + w[3]))).sum()
        other = np.log1p(np.exp(negatives @ w[:3] + w[3])).sum() * len(positives) / len(negatives)
        return float(one + other + joint.RIDGE / 2 * ((w[:3] - towards) ** 2).sum())

    best = optimize.minimize(loss, np.zeros(4)).x
    for start in (None, rng.normal(size=4)):
        np.testing.assert_allclose(_logistic(positives, negatives, towards, start), best, atol=1e-3)
    data, nulls = rng.normal(1, 2, 50).round(1), [rng.normal(size=80).round(1), rng.normal(size=60).round(1)]
    for rate in (0.1, 0.5):
        best = 0
        for n in range(1, 51):
            least = np.sort(data)[::-1][n - 1]
            false = max((1 + (null >= least).sum()) / (1 + len(null)) for null in nulls) * len(data)
            best = n if false <= rate * n else best
        assert _stand_out(data, nulls, rate).sum() == best
