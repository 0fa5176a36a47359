"""Composition, repeats, unknown bases and places, for models that read just one of these."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from audit_cases import Ignores, context_of
from torch import nn

from seqsal.auditing.context import AuditContext
from seqsal.auditing.finding import Effect
from seqsal.auditing.part import NotTested
from seqsal.auditing.parts.composition import Property, audit_composition, judge_properties, signed_rank
from seqsal.sequence.codes import encode
from tests.toys import Linear, random_codes

LENGTH, N = 100, 60
NO_PEAKS = pd.DataFrame({"chrom": pd.Series(dtype=str), "start": pd.Series(dtype=int), "end": pd.Series(dtype=int)})
CONTRACT = {
    "name", "kind", "sequence", "n_regions", "attribution_share", "enrichment", "marginal_effect", "ablation_effect",
    "q_value", "verdict", "text",
}  # fmt: skip


class Count(nn.Module):
    """f(X) = scale · how often a word occurs."""

    def __init__(self, word: str, scale: float = 1.0) -> None:
        super().__init__()
        kernel = np.eye(4)[encode(word)].T[None].astype(np.float32)
        self.kernel = nn.Parameter(torch.from_numpy(kernel))
        self.scale, self.width = scale, len(word)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        matches = torch.nn.functional.conv1d(X, self.kernel)
        return self.scale * torch.relu(matches - (self.width - 1)).sum(dim=(1, 2))


class Unknown(nn.Module):
    """f(X) = how many bases are unknown."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return (1 - X.sum(dim=1)).sum(dim=1)


def of_gc(rng: np.random.Generator, n: int, gc: float) -> np.ndarray:
    is_gc = rng.random((n, LENGTH)) < gc
    return np.where(is_gc, rng.integers(1, 3, (n, LENGTH)), 3 * rng.integers(0, 2, (n, LENGTH))).astype(np.uint8)


def linear(rows: Any, columns: Any = slice(None)) -> Linear:
    weight = torch.zeros(4, LENGTH)
    weight[rows, columns] = 1.0
    return Linear(weight)


def audited(module: nn.Module, codes: np.ndarray, **given: Any) -> AuditContext:
    return context_of(module, codes, method_options={"gradient_correction": False}, peaks=NO_PEAKS, **given)


def verdicts(context: AuditContext) -> dict[str, str]:
    return {row["name"]: row["verdict"] for row in audit_composition(context).to_json()["findings"]}


def row_of(context: AuditContext, name: str) -> dict[str, Any]:
    return next(row for row in audit_composition(context).to_json()["findings"] if row["name"] == name)


class TestComposition:
    def test_a_model_of_gc_on_classes_of_other_gc_is_a_shortcut(self, rng: np.random.Generator) -> None:
        rich, poor = of_gc(rng, N, 0.6), of_gc(rng, N, 0.4)
        context = audited(linear([[1], [2]]), rich, positives=rich, negatives=poor)
        section = audit_composition(context)
        assert section.to_json()["classes"]["retained"] == pytest.approx(1.0)
        assert section.to_json()["classes"]["shuffle_auroc"] == pytest.approx(section.to_json()["classes"]["gc_auroc"])
        assert section.to_json()["shuffle_r2"] == pytest.approx(1.0)
        assert section.to_json()["gc"]["regions"] == pytest.approx(1.0)
        found = row_of(context, "GC content")
        assert found.keys() == CONTRACT
        assert found["verdict"] == "shortcut"
        gap = float((rich % 3 > 0).sum(1).mean() - (poor % 3 > 0).sum(1).mean())
        assert found["marginal_effect"] == pytest.approx(gap, rel=0.1)
        assert found["attribution_share"] == pytest.approx(1.0)
        assert any("GC content alone" in line for line in section.warnings)

    def test_without_classes_gc_is_present_and_never_a_shortcut(self, rng: np.random.Generator) -> None:
        context = audited(linear([[1], [2]]), of_gc(rng, N, 0.6))
        section = audit_composition(context)
        assert row_of(context, "GC content")["verdict"] == "present"
        assert section.to_json()["classes"] is None
        assert any("none of them is called a shortcut" in line for line in section.untested)

    def test_rich_positives_are_no_shortcut_of_a_model_that_reads_a_word(self, rng: np.random.Generator) -> None:
        rich, poor = of_gc(rng, N, 0.6), of_gc(rng, N, 0.4)
        rich[:, 40:52] = encode("GATTCATTACAG")
        context = audited(Count("GATTCATTACAG", 5.0), rich, positives=rich, negatives=poor)
        found = row_of(context, "GC content")
        assert found["verdict"] == "present"
        assert audit_composition(context).to_json()["classes"]["retained"] == pytest.approx(0.0, abs=0.05)

    def test_a_model_of_cpg_is_told_from_one_of_gc(self, rng: np.random.Generator) -> None:
        codes, poor = of_gc(rng, N, 0.5), of_gc(rng, N, 0.5)
        for start in range(0, LENGTH, 10):
            codes[:, start : start + 2] = encode("CG")
            poor[:, start : start + 2] = encode("GC")
        context = audited(Count("CG"), codes, positives=codes, negatives=poor)
        found = verdicts(context)
        assert found["CpG (observed/expected)"] == "shortcut"
        assert found["GC content"] == "clean"

    def test_regions_stand_in_for_positives(self, rng: np.random.Generator) -> None:
        context = audited(linear([[1], [2]]), of_gc(rng, N, 0.6), negatives=of_gc(rng, N, 0.4))
        assert verdicts(context)["GC content"] == "shortcut"


class TestTracts:
    def test_repeats_of_the_positives_that_the_model_reads(self, rng: np.random.Generator) -> None:
        codes, negatives = random_codes(rng, N, LENGTH), random_codes(rng, N, LENGTH)
        codes[:30, 20:36] = encode("CA" * 8)
        context = audited(Count("CACACACACA"), codes, positives=codes, negatives=negatives)
        found = row_of(context, "simple repeats")
        assert (found["verdict"], found["n_regions"]) == ("shortcut", 30)
        assert found["marginal_effect"] == pytest.approx(4.0, abs=0.5)  # the word 4 times in 16 bp, or with more around
        assert found["ablation_effect"] == pytest.approx(4.0, abs=0.3)
        assert found["enrichment"] > 10

    def test_repeats_that_the_model_does_not_read_are_present(self, rng: np.random.Generator) -> None:
        codes = random_codes(rng, N, LENGTH)
        codes[:30, 20:36] = encode("CA" * 8)
        context = audited(Count("GATTACA"), codes, positives=codes, negatives=random_codes(rng, N, LENGTH))
        assert row_of(context, "simple repeats")["verdict"] == "present"

    def test_padding_of_the_positives(self, rng: np.random.Generator) -> None:
        codes, negatives = random_codes(rng, N, LENGTH), random_codes(rng, N, LENGTH)
        codes[:40, :10] = 4
        context = audited(Unknown(), codes, positives=codes, negatives=negatives)
        found = row_of(context, "unknown bases")
        assert (found["verdict"], found["n_regions"]) == ("shortcut", 40)
        assert found["marginal_effect"] == pytest.approx(10.0)
        assert found["ablation_effect"] == pytest.approx(10.0)
        assert row_of(audited(Unknown(), negatives, negatives=negatives), "unknown bases")["verdict"] == "clean"


class TestPlaces:
    def test_edges_that_drive_the_prediction(self, rng: np.random.Generator) -> None:
        codes = random_codes(rng, N, LENGTH)
        codes[:, :5], codes[:, -5:] = 0, 0
        negatives = random_codes(rng, N, LENGTH)
        context = audited(linear(0, [*range(5), *range(95, 100)]), codes, negatives=negatives)
        found = row_of(context, "window edges")
        assert found["verdict"] == "shortcut"
        assert found["attribution_share"] == pytest.approx(1.0)
        assert found["enrichment"] == pytest.approx(10.0)
        assert found["marginal_effect"] > 3
        assert found["ablation_effect"] > 3

    def test_a_place_is_told_and_no_shortcut(self, rng: np.random.Generator) -> None:
        context = audited(linear([[0], [1], [2], [3]], slice(30, 40)), random_codes(rng, N, LENGTH))
        section = audit_composition(context)
        np.testing.assert_allclose(section.to_json()["profile"], np.eye(10)[3])
        found = row_of(context, "fixed position")
        assert found["verdict"] == "present"
        assert "100% is at offsets 30 to 40" in found["text"]

    def test_a_model_of_all_places_has_none(self, rng: np.random.Generator) -> None:
        found = verdicts(audited(linear([[0], [1], [2], [3]]), random_codes(rng, N, LENGTH)))
        assert (found["window edges"], found["fixed position"]) == ("clean", "clean")


class TestInput:
    @pytest.mark.parametrize("n", [1, 3, N])
    def test_a_model_that_ignores_its_input_is_clean(self, rng: np.random.Generator, n: int) -> None:
        codes = random_codes(rng, n, LENGTH)
        context = audited(Ignores(), codes, positives=random_codes(rng, N, LENGTH), negatives=of_gc(rng, N, 0.4))
        section = audit_composition(context)
        assert not any(row["verdict"] == "shortcut" for row in section.to_json()["findings"])
        assert section.to_json()["classes"]["retained"] is None
        json.dumps(section.to_json(), allow_nan=False)

    def test_windows_of_n_alone(self) -> None:
        section = audit_composition(audited(Ignores(), np.full((4, LENGTH), 4, dtype=np.uint8)))
        assert section.to_json()["unknown_share"] == 1.0
        json.dumps(section.to_json(), allow_nan=False)

    def test_without_a_model_effects_are_not_guessed(self, rng: np.random.Generator) -> None:
        context = audited(linear([[1], [2]]), of_gc(rng, N, 0.6))
        bare = AuditContext(context.attr, None, negatives=of_gc(rng, N, 0.4))
        section = audit_composition(bare)
        assert all(row["q_value"] is None for row in section.to_json()["findings"])
        assert any("Without a model" in line for line in section.untested)
        json.dumps(section.to_json(), allow_nan=False)

    def test_the_same_call_gives_the_same_values(self, rng: np.random.Generator) -> None:
        context = audited(Count("CG"), random_codes(rng, 20, LENGTH), negatives=random_codes(rng, 20, LENGTH))
        assert audit_composition(context).to_json() == audit_composition(context).to_json()


class TestFindings:
    def test_q_values_are_over_the_tested_ones(self) -> None:
        def finding(p_value: float | None, can: bool = True) -> Property:
            untested = NotTested("not here")
            return Property(
                name="x",
                kind="position",
                n_regions=1,
                attribution_share=0.1,
                enrichment=1.0,
                marginal=untested if p_value is None else Effect(1.0, None, p_value, 9),
                ablation=untested,
                presence_p=0.0,
                is_present=True,
                can_be_shortcut=can,
                text="",
            )

        rows = judge_properties([finding(0.004), finding(None), finding(0.02), finding(1e-9, can=False)], 0.01)
        assert [row.q_value for row in rows] == [
            pytest.approx(0.006),
            NotTested("no effect was tested"),
            pytest.approx(0.02),
            pytest.approx(3e-9),
        ]
        assert [row.verdict for row in rows] == ["shortcut", "present", "present", "present"]

    def test_rounding_is_no_difference(self) -> None:
        assert signed_rank(np.full(30, 1e-8), 1.0) == Effect(pytest.approx(1e-8), None, 1.0, 30)
        found = signed_rank(np.linspace(0.5, 1, 30), 1.0)
        assert isinstance(found, Effect)
        assert found.p_value < 1e-6
        assert signed_rank(np.zeros(0), 1.0) == NotTested("no region has any")
