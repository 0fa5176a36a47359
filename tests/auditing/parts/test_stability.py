"""Stability on models whose maps must stay, and on an explainer whose maps do not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from audit_cases import Ignores, Seen, attributions_of, context_of, seen
from torch import nn

from seqsal.auditing.context import AuditContext
from seqsal.auditing.parts.stability import audit_stability as audit_part
from seqsal.auditing.parts.stability import compare_models, edits
from seqsal.auditing.settings import AuditSettings
from seqsal.models import SequenceModel
from tests.toys import Linear, Small, random_codes

LENGTH = 64
SETTINGS = AuditSettings(n_small=6, n_regions=6, n_bootstrap=200)


@pytest.fixture(autouse=True)
def few_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits, "MAX_EDITS", 5)


def audit_stability(context: AuditContext) -> Seen:
    return seen(audit_part(context))


class Symmetric(nn.Module):
    """The sum of what a network gives to both strands."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Small()

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.body(X) + self.body(X.flip(1, 2))


class Pooled(nn.Module):
    """What bases weigh by themselves, wherever they are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 3.0]))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return (self.weight[:, None] * X).sum(1).mean(-1)


def half_blind(rng: np.random.Generator) -> Linear:
    """Reads the first half only, where every substitution has an effect of 1 or more."""
    weight = np.zeros((4, LENGTH), np.float32)
    weight[:, : LENGTH // 2] = rng.permuted(np.tile([[0.0], [1.0], [3.0], [6.0]], (1, LENGTH // 2)), axis=0)
    return Linear(torch.from_numpy(weight))


def hashed(model: SequenceModel, codes: np.ndarray) -> np.ndarray:
    """A map of noise that another base anywhere makes another."""
    return np.stack([np.random.default_rng(list(row)).normal(size=len(row)) for row in codes]).astype(np.float32)


def stable(module: nn.Module, codes: np.ndarray, *args: Any, **given: Any) -> Any:
    return audit_stability(context_of(module, codes, *args, settings=given.pop("settings", SETTINGS), **given))


def test_a_linear_map_stays_when_unread_bases_change(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, LENGTH)
    section = stable(half_blind(rng), codes, method_options={"gradient_correction": False})
    found = section.values["substitutions"]
    assert found["n_substitutions"] == 12  # two of the four parts of each window are not read
    assert found["pearson"] == pytest.approx(1)
    assert found["relative_change"] == 0
    assert found["worst_region"] is None
    assert section.tables["stability_regions"]["n_substitutions"].tolist() == [2] * 6
    assert not any("not stable" in text for text in section.warnings)


def test_an_explainer_of_noise_is_not_stable(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, LENGTH)
    module = half_blind(rng)
    attr = attributions_of(module, codes)
    attr.track[:] = hashed(None, codes)
    attr.attrs["method"] = "hashed"
    section = stable(module, codes, attr=attr, explainer=hashed)
    found = section.values["substitutions"]
    assert abs(found["pearson"]) < 0.3
    assert found["worst_relative_change"] > 1
    assert found["worst_region"] in {f"chr1:{start}-{start + LENGTH}" for start in range(0, 6 * LENGTH, LENGTH)}
    assert any("not stable: after substitutions that leave the prediction" in text for text in section.warnings)
    assert any("reverse complement of the same DNA has another map" in text for text in section.warnings)
    assert any("scores only the base that is there" in text for text in section.untested)


def test_what_is_compared_leaves_out_the_substituted_bases(rng: np.random.Generator) -> None:
    """An explainer that shows a substitution itself and nothing else has the same map elsewhere."""
    codes = random_codes(rng, 6, LENGTH)
    module = half_blind(rng)
    attr = attributions_of(module, codes)

    def shows_itself(model: SequenceModel, changed: np.ndarray) -> np.ndarray:
        same = (changed[:, None] == codes).sum(2).argmax(1)
        return np.where(changed == codes[same], attr.track[same], 100).astype(np.float32)

    found = stable(module, codes, explainer=shows_itself).values["substitutions"]
    assert found["n_substitutions"] == 12
    assert found["worst_relative_change"] == 0


def test_a_position_blind_model_has_the_same_map_after_a_shift(rng: np.random.Generator) -> None:
    section = stable(Pooled(), random_codes(rng, 6, LENGTH, share_unknown=0.02))
    assert set(section.values["shifts"]) == {"1", "3", "10"}
    for found in section.values["shifts"].values():
        assert found["pearson"] == pytest.approx(1)
        assert found["relative_change"] == pytest.approx(0, abs=1e-6)
        assert found["ci"] == pytest.approx([1, 1])


def test_a_position_bound_model_changes_with_a_shift_and_so_does_its_prediction(rng: np.random.Generator) -> None:
    module = Linear(torch.from_numpy(rng.normal(size=(4, LENGTH)).astype(np.float32)))
    found = stable(module, random_codes(rng, 6, LENGTH)).values["shifts"]["3"]
    assert abs(found["pearson"]) < 0.4
    assert found["prediction_change"] > 0.3
    assert found["same_prediction"]["n_regions"] == 0


def test_a_symmetric_model_has_the_same_map_on_both_strands(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, LENGTH)
    found = stable(Symmetric(), codes).values["reverse_complement"]
    assert found["pearson"] == pytest.approx(1, abs=1e-4)
    assert found["prediction_change"] == pytest.approx(0, abs=1e-4)
    assert found["by_construction"] is False
    other = stable(Small(), codes).values["reverse_complement"]
    assert other["pearson"] < 0.9
    assert other["prediction_change"] > 0.01


def test_an_average_over_strands_is_symmetric_by_construction(rng: np.random.Generator) -> None:
    context = context_of(Small(), random_codes(rng, 6, LENGTH), settings=SETTINGS, method_options={"rc_average": True})
    found = audit_stability(context).values["reverse_complement"]
    assert found["by_construction"] is True
    assert found["pearson"] == pytest.approx(1)
    assert found["prediction_change"] > 0.01  # of the model itself, which is not


def test_models_are_compared_by_pairs(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, LENGTH)
    weight = rng.normal(size=(4, LENGTH)).astype(np.float32)
    module, turned = Linear(torch.from_numpy(weight)), Linear(torch.from_numpy(-weight))
    peaks = pd.DataFrame({"chrom": ["chr1", "chr2"], "start": [3, 3], "end": [20, 20]})
    section = stable(module, codes, other_models=[module, turned], peaks=peaks)
    found = section.values["models"]
    assert found["n_models"] == 3
    by_pair = {(pair["a"], pair["b"]): pair for pair in found["pairs"]}
    assert by_pair[0, 1]["pearson"] == pytest.approx(1)
    assert by_pair[0, 1]["top_overlap"] == by_pair[0, 1]["sign_agreement"] == by_pair[0, 1]["peak_sign_agreement"] == 1
    assert by_pair[0, 2]["pearson"] == by_pair[0, 2]["prediction_pearson"] == pytest.approx(-1)
    assert by_pair[0, 2]["sign_agreement"] == by_pair[0, 2]["peak_sign_agreement"] == 0
    assert found["pearson"] == pytest.approx(-1 / 3)
    assert found["top_expected"] == pytest.approx(3 / LENGTH)
    assert any("when the model is trained again" in text for text in section.warnings)


def test_peaks_lie_where_the_model_read_them(rng: np.random.Generator) -> None:
    """In a window of the reverse strand a peak at its genomic start is at the end of the map."""
    codes = random_codes(rng, 2, LENGTH)
    attr = attributions_of(Small(), codes)
    attr.regions.loc[1, "strand"] = "-"
    peaks = pd.DataFrame({"chrom": ["chr1"] * 2, "start": [0, LENGTH], "end": [8, LENGTH + 8]})

    def agrees_at_first(model: SequenceModel, given: np.ndarray) -> np.ndarray:
        signs = np.where(np.arange(LENGTH) < 8, 1, -1)
        return np.where(attr.track == 0, -1, attr.track * signs).astype(np.float32)

    context = context_of(Small(), codes, attr=attr, peaks=peaks, explainer=agrees_at_first, other_models=[Small()])
    assert compare_models(context, context.rows(2)).shares.peak_sign_agreement == 0.5


def test_what_cannot_be_tested_is_said(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 3, LENGTH)
    attr = attributions_of(Small(), codes)
    section = audit_stability(AuditContext(attr, None, settings=SETTINGS))
    assert set(section.values.values()) == {None}
    assert section.untested == ("Stability, locality and minimal edits: no model was given.",)
    assert "how far it reaches was not tested" in section.warnings[0]
    attr.attrs["method"] = "another"
    section = audit_stability(context_of(Small(), codes, attr=attr, settings=SETTINGS))
    assert section.values["substitutions"] is None
    assert section.values["locality"]["picture"] == "scaled_track"
    assert section.values["minimal_edits"]["n_regions"] == 3
    assert any("how the attributions were made is not known" in text for text in section.untested)


def test_a_model_that_ignores_its_input_has_a_defined_result(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 4, LENGTH)
    codes[0] = 4
    section = stable(Ignores(), codes, other_models=[Ignores()])
    json.dumps(section.values, allow_nan=False)
    assert section.values["locality"] is section.values["minimal_edits"] is None
    assert section.values["substitutions"]["pearson"] is None
    assert section.values["substitutions"]["worst_relative_change"] == 0
    assert section.values["models"]["pearson"] is None
    assert any("predicts the same" in text for text in section.untested)


@pytest.mark.parametrize("length", [12, 25])
def test_short_windows_one_region_and_unknown_bases(rng: np.random.Generator, length: int) -> None:
    codes = random_codes(rng, 3, length, share_unknown=0.2)
    codes[1] = 4
    module = Linear(torch.from_numpy(rng.normal(size=(4, length)).astype(np.float32)))
    json.dumps(stable(module, codes, "ism").values, allow_nan=False)
    alone = stable(module, random_codes(rng, 1, length))
    assert alone.values["locality"]["ci"] is None
    assert alone.values["reverse_complement"]["ci"] is None
    assert "Confidence intervals of stability: there is only one region." in alone.untested
    assert list(alone.values["shifts"]) == [str(bp) for bp in (1, 3, 10) if 2 * bp < length]


def test_the_same_twice(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 5, LENGTH)
    first, second = (stable(Small(), codes, other_models=[Small(seed=1)]) for _ in range(2))
    assert json.dumps(first.values) == json.dumps(second.values)
    assert first.warnings == second.warnings
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(table, second.tables[name])
        if name != "locality_probes":
            assert list(table.columns[:5]) == ["row", "chrom", "start", "end", "name"]
