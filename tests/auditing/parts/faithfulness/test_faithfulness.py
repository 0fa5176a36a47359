from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from audit_cases import Ignores, OneBase, Seen, attributions_of, context_of, seen
from toys import Linear, random_codes

from seqsal.auditing.context import AuditContext
from seqsal.auditing.parts import faithfulness
from seqsal.auditing.parts.faithfulness import audit_faithfulness
from seqsal.auditing.settings import AuditSettings
from seqsal.sequence.codes import N_CODE

SETTINGS = AuditSettings(n_bootstrap=300, n_ism_regions=8, n_steps=10, n_draws=2)
KINDS = ("deletion", "insertion")


@pytest.fixture
def linear(rng: np.random.Generator) -> Linear:
    return Linear(torch.from_numpy(rng.normal(size=(4, 50)).astype(np.float32)))


@pytest.fixture
def codes(rng: np.random.Generator) -> np.ndarray:
    return random_codes(rng, 20, 50)


def with_track(context: AuditContext, track: np.ndarray, **attrs: Any) -> AuditContext:
    """The same audit of another map."""
    attr = replace(context.attr, track=track.astype(np.float32), attrs=context.attr.attrs | attrs)
    return AuditContext(attr, context.model, settings=context.settings, peaks=context.peaks)


def check_values(value: Any) -> None:
    """Plain and finite, through and through."""
    if isinstance(value, dict):
        for key, part in value.items():
            assert type(key) is str
            check_values(part)
    elif isinstance(value, list):
        for part in value:
            check_values(part)
    else:
        assert value is None or type(value) in (str, int, float, bool)
        assert type(value) is not float or np.isfinite(value)


def audited(context: AuditContext) -> Seen:
    section = seen(audit_faithfulness(context))
    check_values(section.values)
    json.dumps(section.values, allow_nan=False)
    return section


def test_the_gradient_of_a_linear_model_is_faithful(linear: Linear, codes: np.ndarray) -> None:
    section = audited(context_of(linear, codes, settings=SETTINGS))
    for kind in KINDS:
        values = section.values[kind]
        assert values["n_regions"] == 20
        assert values["share_better"] == 1
        assert 0 < values["ci"][0] < values["difference"] < values["ci"][1]
        assert values["against"]["reverse"]["difference"] > values["difference"]
        assert values["against"]["random"]["ci"] == values["ci"]
        assert values["against"]["centre"]["ci"][0] > 0
    deletion, insertion = (section.values[kind] for kind in KINDS)
    assert deletion["difference"] == pytest.approx(deletion["random_auc"] - deletion["auc"])
    assert insertion["difference"] == pytest.approx(insertion["auc"] - insertion["random_auc"])
    assert insertion["auc"] == pytest.approx(deletion["reverse_auc"])  # the same sequences, read backwards
    assert section.values["ism_spearman"] == pytest.approx(1)
    assert section.values["ism_share_below"] == 0
    assert not section.warnings
    assert section.values["order"] == "attribution"


def test_the_negative_of_the_true_map_is_worse_than_random(linear: Linear, codes: np.ndarray) -> None:
    context = context_of(linear, codes, settings=SETTINGS)
    section = audited(with_track(context, -np.asarray(context.attr.track)))
    for kind in KINDS:
        assert section.values[kind]["ci"][1] < 0
        assert section.values[kind]["share_better"] == 0
    assert section.values["ism_spearman"] == pytest.approx(-1)
    assert section.values["ism_share_below"] == 1
    assert any("does not lower the prediction faster than random order" in text for text in section.warnings)
    assert any("does not raise the prediction faster than random order" in text for text in section.warnings)
    assert any("hardly agrees with what single substitutions do" in text for text in section.warnings)


@pytest.mark.parametrize("kind_of_map", ["constant", "noise"])
def test_a_map_that_knows_nothing_is_as_good_as_random(linear: Linear, kind_of_map: str) -> None:
    """A bootstrap of 60 regions leaves 0 out of an interval of 99.9 % in some 2 of 100 data sets: so in one of 12."""
    settings = SETTINGS.changed({"confidence": 0.999})
    outside = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        context = context_of(linear, random_codes(rng, 60, 50), settings=settings)
        track = np.full((60, 50), 0.3) if kind_of_map == "constant" else rng.normal(size=(60, 50))
        section = audited(with_track(context, track))
        for kind in KINDS:
            low, high = section.values[kind]["ci"]
            outside.append(not low < 0 < high)
            assert 0.2 < section.values[kind]["share_better"] < 0.8
    assert sum(outside) <= 1
    if kind_of_map == "constant":
        assert section.values["ism_spearman"] is section.values["ism_pearson"] is None
        assert section.values["ism_n_undefined"] == 8
        assert any("In 8 of 8 regions" in text for text in section.untested)


def test_a_model_that_reads_one_base(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 20, 50)
    codes[:, 12] = 2
    section = audited(context_of(OneBase(12, 2, 3.0), codes, settings=SETTINGS))
    deletion, table = section.values["deletion"], section.tables["deletion"]
    assert deletion["ci"][0] > 0
    mean = table[table["order"] == "map"]["mean"].to_numpy()
    assert mean[0] == 3
    np.testing.assert_array_equal(mean[2:], mean[-1])
    assert deletion["normalised"] == pytest.approx(0.5, abs=0.15)  # random order loses the base halfway on average
    assert deletion["normalised_ci"][0] < deletion["normalised"] < deletion["normalised_ci"][1]


def test_a_model_that_ignores_its_input(codes: np.ndarray) -> None:
    section = audited(context_of(Ignores(), codes, settings=SETTINGS))
    for kind in KINDS:
        values = section.values[kind]
        assert values["auc"] == values["random_auc"] == 0.25
        assert values["difference"] == values["share_better"] == 0
        assert values["ci"] == [0, 0]
        assert values["normalised"] is values["normalised_ci"] is None
    assert section.values["infidelity"] is None
    assert any("the model ignores its input" in text for text in section.warnings)
    assert any("predicts the same for the regions and their shuffles" in text for text in section.untested)


def test_one_region_has_no_intervals(linear: Linear, codes: np.ndarray) -> None:
    section = audited(context_of(linear, codes[:1], settings=SETTINGS))
    for kind in KINDS:
        assert section.values[kind]["ci"] is None
        assert section.values[kind]["difference"] > 0
        assert section.tables[kind]["lo"].isna().all()
    assert section.values["ism_spearman_ci"] is None
    assert any("With one region alone" in text for text in section.untested)


def test_regions_that_cannot_be_shuffled_are_left_out(linear: Linear, codes: np.ndarray) -> None:
    codes[4], codes[5] = N_CODE, 0
    section = audited(context_of(linear, codes, settings=SETTINGS))
    assert section.values["deletion"]["n_regions"] == 18
    assert section.values["n_untestable"] == 2
    assert any("2 of 20 regions could not be tested" in text for text in section.untested)
    table = section.tables["faithfulness_regions"].set_index("row")
    assert table["deletion_auc"].isna().to_numpy().nonzero()[0].tolist() == [4, 5]
    nothing = audited(context_of(linear, np.full((3, 50), N_CODE, dtype=np.uint8), settings=SETTINGS))
    assert nothing.values["deletion"]["n_regions"] == 0
    assert nothing.values["deletion"]["auc"] is nothing.values["ism_spearman"] is None


def test_windows_shorter_than_the_steps(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 10, 9)
    model = Linear(torch.from_numpy(rng.normal(size=(4, 9)).astype(np.float32)))
    settings = SETTINGS.changed({"n_steps": 40})
    context = context_of(model, codes, settings=settings, n_controls=0)
    section = audited(context)
    assert section.values["deletion"]["ci"][0] > 0
    assert len(section.tables["deletion"]) == 4 * 41


def test_without_a_model_only_the_sums_are_looked_at(linear: Linear, codes: np.ndarray) -> None:
    attr = replace(attributions_of(linear, codes), completeness_error=np.array([0.2] * 15 + [np.nan] * 5))
    section = audited(AuditContext(attr, None, settings=SETTINGS))
    assert section.values["completeness_error"] == pytest.approx(0.2)
    assert section.values["deletion"]["auc"] is section.values["ism_spearman"] is None
    assert section.values["peaks"] == {"positive": None, "negative": None}
    assert any("Without the model" in text for text in section.untested)
    assert any("miss 20.0% of the sum" in text for text in section.warnings)


def test_completeness_is_none_where_no_sum_is_promised(linear: Linear, codes: np.ndarray) -> None:
    assert audited(context_of(linear, codes, settings=SETTINGS)).values["completeness_error"] is None


def test_maps_without_signs_go_by_magnitude(linear: Linear, codes: np.ndarray) -> None:
    context = context_of(linear, codes, settings=SETTINGS)
    track = np.asarray(context.attr.track)
    section = audited(with_track(context, track, signed=False))
    flipped = audited(with_track(context, -track, signed=False))
    assert section.values["order"] == "magnitude"
    for kind in KINDS:
        assert section.values[kind]["auc"] == flipped.values[kind]["auc"]
    assert section.values["infidelity"] is None
    assert any("no signs" in text for text in section.untested)


def test_tables_name_their_regions(linear: Linear, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithfulness, "N_WORST", 3)
    settings = SETTINGS.changed({"n_regions": 6})
    context = context_of(linear, codes, settings=settings)
    section = audited(context)
    table = section.tables["faithfulness_regions"]
    assert list(table.columns[:5]) == ["row", "chrom", "start", "end", "name"]
    assert table["row"].tolist() == context.rows(8).tolist()
    assert table["name"].tolist() == [f"region_{row}" for row in table["row"]]
    assert table["deletion_auc"].notna().sum() == 6
    assert table["ism_spearman"].notna().sum() == 8
    np.testing.assert_allclose(table["deletion_auc"].mean(), section.values["deletion"]["auc"])
    worst = section.tables["ism_worst"]
    assert len(worst) == 3
    assert worst["ism_spearman"].is_monotonic_increasing
    for kind in KINDS:
        curve = section.tables[kind]
        assert list(curve.columns) == ["order", "share", "mean", "lo", "hi"]
        assert ((curve["lo"] <= curve["mean"]) & (curve["mean"] <= curve["hi"])).all()
        ends = curve.groupby("order")["mean"].agg(["first", "last"])
        np.testing.assert_allclose(ends, np.broadcast_to(ends.iloc[0], ends.shape))


def test_the_same_seed_gives_the_same_numbers(linear: Linear, codes: np.ndarray) -> None:
    first, second = (audited(context_of(linear, codes, settings=SETTINGS, seed=3)) for _ in range(2))
    assert first.values == second.values
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(table, second.tables[name])


def test_averages_over_strands_are_audited_as_such(linear: Linear, codes: np.ndarray) -> None:
    section = audited(context_of(linear, codes, settings=SETTINGS, method_options={"rc_average": True}))
    assert section.values["deletion"]["ci"][0] > 0
    assert section.values["ism_spearman"] == pytest.approx(1, abs=1e-3)  # equal effects differ by rounding


def test_mutagenesis_is_not_proved_by_itself(linear: Linear, codes: np.ndarray) -> None:
    section = audited(context_of(linear, codes[:4], "ism", settings=SETTINGS))
    assert any("proves nothing" in text for text in section.untested)


def test_replaced_peaks_are_told(rng: np.random.Generator, linear: Linear, codes: np.ndarray) -> None:
    context = context_of(linear, codes, settings=SETTINGS)
    best = np.asarray(context.attr.track)[:, 5:45].argmax(axis=1) + 5
    start = np.arange(20) * 50 + best
    peaks = pd.DataFrame(
        {"chrom": "chr1", "start": start, "end": start + 1, "sign": "pos", "summit": 0, "q_value": 0.01}
    )
    section = audited(AuditContext(context.attr, context.model, settings=SETTINGS, peaks=peaks))
    positive = section.values["peaks"]["positive"]
    assert positive["n_regions"] == 20
    assert positive["ci"][0] > 0
    assert section.values["peaks"]["negative"]["n_regions"] == 0
    assert any("No negative peaks" in text for text in section.untested)
    table = section.tables["faithfulness_regions"]
    np.testing.assert_allclose(table["positive_peaks_change"].mean(), positive["change"])
    wrong = audited(AuditContext(context.attr, context.model, settings=SETTINGS, peaks=peaks.assign(sign="neg")))
    assert any("Replacing whole negative peaks does not raise" in text for text in wrong.warnings)
