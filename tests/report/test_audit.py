"""The audit on the page: verdict first, evidence later, nothing that a name could break."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from audit_cases import part_of
from pages import EVIL, Page, rows_of

from seqsal.auditing.part import NotTested, Results
from seqsal.auditing.parts.field import FieldResult
from seqsal.auditing.result import AuditResult
from seqsal.auditing.verdict import Reason, Verdict
from seqsal.report import ReportInputs
from seqsal.report.html import render_report

Make = Callable[..., ReportInputs]


def curve(sign: int) -> pd.DataFrame:
    share = np.linspace(0, 1, 5)
    parts = [
        pd.DataFrame({"order": order, "share": share, "mean": sign * slope * share, "lo": np.nan, "hi": np.nan})
        for order, slope in (("map", 2.0), ("random", 1.0))
    ]
    return pd.concat(parts, ignore_index=True)


def artifact(name: str, verdict: str, n_regions: int, **more: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("enrichment", "attribution_share", "marginal_effect", "ablation_effect"))
    return {"name": name, "kind": "adapter", "sequence": "ACGT", "n_regions": n_regions, "q_value": 1e-9,
            "verdict": verdict, **empty, **more}  # fmt: skip


def make_audit(**changes: Any) -> AuditResult:
    artifacts = [
        artifact("clean one", "clean", 0),
        artifact("TruSeq", "shortcut", 40, marginal_effect=3.14159, enrichment=12.0),
        artifact("poly-A", "present", 9),
    ]
    worst = pd.DataFrame({"row": [3, 1], "ism_spearman": [0.1234, 0.2], "name": ["peak 3", "peak 1"]})
    hits = pd.DataFrame({"chrom": ["chr1"], "start": [5], "end": [30], "name": ["TruSeq"], "score": [20.0],
                         "strand": ["+"], "verdict": ["shortcut"]})  # fmt: skip
    sections = Results(
        faithfulness=part_of(
            "faithfulness", {"ism_spearman": 0.5},
            {"deletion": curve(-1), "insertion": curve(1), "ism_worst": worst},
        ),
        artifacts=part_of("artifacts", artifacts, {"hits": hits}),
    )  # fmt: skip
    reasons = (
        Reason("faithful", "deletion", 0.5, "above 0", "passed"),
        Reason("plausible", "known biology", None, "above 0", "not tested"),
    )
    verdict = Verdict(True, None, ("TruSeq",), "The model uses TruSeq.", reasons)
    return replace(AuditResult(verdict, sections, ("a caveat",), ("a gap",)), **changes)


@pytest.fixture
def page(make_inputs: Make) -> Page:
    return Page(render_report(make_inputs(5, audit=make_audit())))


def test_the_verdict_comes_first_with_its_answers(page: Page) -> None:
    sections = [attrs["id"] for attrs in page.all("section")]
    assert sections[0] == "verdict" and "audit" in sections
    assert "The model uses TruSeq." in page.texts
    for text in ("yes", "not tested", "TruSeq", "a caveat", "a gap", "deletion", "above 0"):
        assert text in page.texts, text
    tones = [attrs["class"] for attrs in page.all("div") if str(attrs.get("class", "")).startswith("tile ")]
    assert [tone for tone in tones if tone in ("tile good", "tile open", "tile bad")] == [
        "tile good", "tile open", "tile bad"
    ]  # fmt: skip


def test_shortcuts_come_first_among_the_artifacts(make_inputs: Make) -> None:
    text = render_report(make_inputs(5, audit=make_audit()))
    rows = rows_of(text, "artifacts-table")
    assert [row[0] for row in rows] == ["TruSeq", "poly-A", "clean one"]
    assert rows[0][2:7] == ["shortcut", 40, 12, None, 3.1]
    assert "shortcuts.bed" in text
    assert "<code>seqsal retrain --model M.safetensors --audit audit.json" in text
    assert "seqsal retrain" not in render_report(
        make_inputs(5, audit=make_audit(verdict=Verdict(True, None, (), "Yes.")))
    )


def test_curves_and_the_worst_regions_are_drawn(page: Page) -> None:
    labels = [attrs.get("aria-label") for attrs in page.all("svg")]
    assert "Mean prediction while bases are replaced" in labels and "Mean prediction while bases are restored" in labels
    assert "worst-1" in page.ids and "worst-2" in page.ids and "worst-3" not in page.ids
    assert "agreement with mutagenesis 0.12" in page.texts
    assert len(page.ids) == len(set(page.ids))


def test_how_far_the_model_looks_is_drawn(make_inputs: Make) -> None:
    table = pd.DataFrame({"layer": ["a", "b", "output"], "depth": [1, 2, 0], "sigma_bp": [1.0, 1.6, 9.0],
                          "width_bp": [3.0, 5.0, 20.0], "is_cut": [False, True, False]})  # fmt: skip
    table.attrs = {"profiles": [np.array([0.2, 0.6, 0.2]), np.array([0.1, 0.8, 0.1]), np.ones(20)], "sqrt_slope": 1.1}
    none = NotTested("-")
    field = FieldResult(length_bp=20, output_bp=20.0, layer_bp=none, effective_bp=none, sigma_bp=none,
                        tables={"field_layers": table})  # fmt: skip
    audit = make_audit()
    page = Page(render_report(make_inputs(5, audit=replace(audit, results=Results({**audit.results, "field": field})))))
    labels = [attrs.get("aria-label") for attrs in page.all("svg")]
    assert "Response of each layer to a change of one base, by distance" in labels
    assert {"field-responses-response-1", "field-responses-response-2", "field-sigma-fit"} <= set(page.ids)
    assert "How far the model looks" in page.texts and len(page.ids) == len(set(page.ids))


def test_an_audit_read_from_its_file_has_no_pictures(make_inputs: Make) -> None:
    audit = make_audit()
    bare = Results({name: replace(one, tables={}) for name, one in audit.results.items()})
    page = Page(render_report(make_inputs(5, audit=replace(audit, results=bare))))
    assert "worst-1" not in page.ids and "artifacts-table" in page.ids


def test_names_do_not_break_the_page(make_inputs: Make) -> None:
    audit = make_audit(
        verdict=Verdict(False, False, (EVIL, "b"), EVIL, (Reason("faithful", EVIL, 1.0, EVIL, "failed"),)),
        results=Results(artifacts=part_of("artifacts", [artifact(EVIL, "shortcut", 3)])),
        warnings=(EVIL,), untested=(EVIL,),
    )  # fmt: skip
    page = Page(render_report(make_inputs(3, audit=audit)))
    assert all("alert" not in str(attrs.get("onerror")) for attrs in page.all("img"))
    assert len([attrs for attrs in page.all("script") if "type" not in attrs]) == 1


def test_without_an_audit_there_is_none(make_inputs: Make) -> None:
    ids = Page(render_report(make_inputs(3))).ids
    assert "verdict" not in ids and "audit" not in ids
