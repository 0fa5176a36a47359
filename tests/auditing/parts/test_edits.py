"""Minimal edits against a linear model, where they can be counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from audit_cases import attributions_of, context_of

from seqsal.auditing.part import to_json
from seqsal.auditing.parts.stability import edits as module_of_edits
from seqsal.auditing.parts.stability.edits import count_edits
from seqsal.auditing.settings import AuditSettings
from seqsal.models import wrap
from tests.toys import Linear, Small, random_codes

LENGTH = 50
SETTINGS = AuditSettings(n_small=6, n_regions=6)


def strong_at_some(rng: np.random.Generator, signs: float = 1.0) -> tuple[Linear, np.ndarray]:
    """A model that adds what is at twelve positions, each of another weight, and windows that have all of it."""
    at = rng.permutation(LENGTH)[:12]
    weight = np.zeros((4, LENGTH), np.float32)
    weight[1, at] = signs * np.arange(1, 13)
    codes = random_codes(rng, 6, LENGTH)
    codes[:, at] = 1
    return Linear(torch.from_numpy(weight)), codes


@pytest.mark.parametrize("signs", [1.0, -1.0])
def test_a_linear_model_is_undone_from_the_largest_weight_down(rng: np.random.Generator, signs: float) -> None:
    module, codes = strong_at_some(rng, signs)
    context = context_of(module, codes, "ism", settings=SETTINGS)
    table = count_edits(context).regions
    rows = context.rows(6)
    mean = np.mean([context.predict(context.shuffled(codes[rows], draw)) for draw in range(3)], axis=0)
    lost = np.cumsum(np.arange(12, 0, -1))
    for i in range(6):
        expected = 1 + int(np.argmax(lost >= abs(table["prediction"][i] - mean[i]) / 2))
        assert table["halve_map"][i] == table["halve_ism"][i] == expected
    assert table["shuffled_prediction"].to_numpy() == pytest.approx(mean)
    assert (table["halve_random"] > table["halve_map"]).all()


def test_values_summarise_the_table(rng: np.random.Generator) -> None:
    module, codes = strong_at_some(rng)
    edits = count_edits(context_of(module, codes, settings=SETTINGS))
    values, table = to_json(edits)["halve"], edits.regions
    assert values["n_regions"] == 6
    assert values["map"] == {"median": float(table["halve_map"].median()), "n_more_than_cap": 0}
    assert values["random"]["n_more_than_cap"] == int((table["halve_random"] == 21).sum())
    difference = (table["halve_map"] - table["halve_random"]).mean()
    assert values["map_minus_random"]["mean"] == pytest.approx(difference)
    assert values["map_minus_random"]["ci"][1] < 0
    assert to_json(edits)["flip"]["n_regions"] == 0  # a linear output has no border between classes
    assert table["flip_map"].isna().all()


def test_a_logit_flips_where_it_crosses_zero(rng: np.random.Generator) -> None:
    module, codes = strong_at_some(rng)

    class Shifted(torch.nn.Module):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return module(X) - 60.5  # 78 + 0.5 − 60.5 = 18 and 12 + 11 takes it below 0

    model = wrap(Shifted(), input_length=LENGTH, output_space="logit")
    edits = count_edits(context_of(model, codes, settings=SETTINGS))
    assert to_json(edits)["flip"]["n_regions"] == 6
    assert edits.regions["flip_map"].tolist() == [2] * 6
    assert to_json(edits)["flip"]["map"]["median"] == 2


def test_more_than_the_cap_is_counted(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_of_edits, "MAX_EDITS", 1)
    module, codes = strong_at_some(rng)
    edits = count_edits(context_of(module, codes, settings=SETTINGS))
    assert set(edits.regions["halve_map"]) <= {1, 2}
    n_more = int((edits.regions["halve_map"] == 2).sum())
    assert n_more > 3
    assert to_json(edits)["halve"]["map"] == {"median": None, "n_more_than_cap": n_more}


def test_a_map_that_points_elsewhere_needs_more_edits_than_ism(rng: np.random.Generator) -> None:
    module, codes = strong_at_some(rng)
    attr = attributions_of(module, codes)
    attr.track[:] = -attr.track
    edits = count_edits(context_of(module, codes, attr=attr, settings=SETTINGS))
    assert (edits.regions["halve_map"] > edits.regions["halve_ism"]).all()
    assert to_json(edits)["halve"]["map_minus_ism"]["ci"][0] > 0


def test_regions_like_their_shuffles_have_nothing_to_undo(rng: np.random.Generator) -> None:
    module, codes = strong_at_some(rng)
    codes = np.concatenate([codes, np.zeros((1, LENGTH), np.uint8), np.full((1, LENGTH), 4, np.uint8)])
    edits = count_edits(context_of(module, codes, settings=SETTINGS.changed({"n_small": 8, "n_regions": 8})))
    table = edits.regions.set_index("row")
    assert table.loc[[6, 7], [f"halve_{order}" for order in ("map", "ism", "random")]].isna().all(axis=None)
    assert to_json(edits)["halve"]["n_regions"] == 6
    assert table["halve_map"].dtype == pd.Int64Dtype()
    json.dumps(to_json(edits), allow_nan=False)


def test_edits_are_those_of_one_region_at_a_time(rng: np.random.Generator) -> None:
    """All regions go together until each is done; the counts are those of a loop over regions."""
    codes = random_codes(rng, 6, LENGTH)
    context = context_of(Small(), codes, settings=SETTINGS)
    table = count_edits(context).regions
    rows = context.rows(6)
    effects, track = context.substitutions(6), context.track(rows)
    for i, row in enumerate(rows):
        before, aim = table["prediction"][i], table["shuffled_prediction"][i]
        if abs(before - aim) < 0.25 * context.effect_scale:
            assert table["halve_map"][i] is pd.NA
            continue
        sign = 1 if before >= aim else -1
        edited, count = codes[row].copy(), 21
        for step, position in enumerate(np.argsort(-sign * track[i].astype(np.float64), kind="stable")[:20]):
            others = [base for base in range(4) if base != codes[row, position]]
            edited[position] = min(others, key=lambda base: sign * effects[i, base, position])
            if sign * context.predict(edited[None])[0] <= sign * (before + aim) / 2:
                count = step + 1
                break
        assert table["halve_map"][i] == count
