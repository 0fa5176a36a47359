"""The result of an audit: its parts, tables, file and shows."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from audit_cases import part_of

from seqsal.auditing.part import NotTested, Results
from seqsal.auditing.result import AuditResult, read_audit
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.verdict import judge
from seqsal.errors import OutputError, StoreError, UsageError

HITS = pd.DataFrame(
    {
        "row": [1, 0, 0, 2],
        "chrom": ["chr2", "chr1", "chr1", "chr1"],
        "start": [5, 30, 30, 7],
        "end": [25, 50, 50, 27],
        "name": ["TruSeq", "TruSeq", "TruSeq", "poly-A"],
        "score": [20, 18, 18, 30],
        "strand": ["-", "+", "+", "+"],
        "verdict": ["shortcut", "shortcut", "shortcut", "present"],
    }
)


def result(**changes: Any) -> AuditResult:
    curve = {"auc": 1.0, "random_auc": 2.0, "difference": 1.0, "ci": [0.5, 1.5]}
    found = {"name": "TruSeq", "kind": "adapter", "n_regions": 2, "share": 0.5, "verdict": "shortcut"}
    sections = Results(
        faithfulness=part_of(
            "faithfulness",
            {
                "deletion": curve,
                "insertion": curve,
                "ism_spearman": 0.625,
                "ism_spearman_ci": [0.5, 0.75],
                "infidelity": 1 / 3,
                "completeness_error": None,
            },
            {"deletion": pd.DataFrame({"share": [0.0, 1.0]}), "regions": pd.DataFrame({"row": [0]})},
        ),
        plausibility=part_of(
            "plausibility",
            {"motif_mass": 0.5, "expected": 0.2, "gain": 0.3, "ci": (0.1, 0.5)},
            {"regions": pd.DataFrame()},
        ),
        artifacts=part_of("artifacts", [found], {"hits": HITS}),
    )
    made = AuditResult(
        judge(sections),
        sections,
        warnings=("Mind the <gap>.",),
        untested=("Labels were not permuted.",),
        settings=AuditSettings(n_regions=12),
        provenance={"seed": 0, "model": {"file": "M.safetensors"}},
        seconds={"faithfulness": 1.5},
    )
    return replace(made, **changes)


def test_parts_and_tables() -> None:
    audit = result()
    assert audit["plausibility"]["motif_mass"] == 0.5
    assert set(audit.tables) == {
        "faithfulness.deletion", "faithfulness.regions", "plausibility.regions", "artifacts.hits",
    }  # fmt: skip
    assert audit.table("deletion") is audit.tables["faithfulness.deletion"]
    with pytest.raises(UsageError, match=r"has no part 'beauty', expected one of faithfulness"):
        audit["beauty"]
    with pytest.raises(UsageError, match=r"there is no table 'beauty', expected one of faithfulness.deletion"):
        audit.table("beauty")
    with pytest.raises(
        UsageError, match=r"several tables are called 'regions', expected one of faithfulness.regions, pl"
    ):
        audit.table("regions")


def test_json_follows_the_contract_and_comes_back(tmp_path: Path) -> None:
    audit = result()
    assert audit.to_json(tmp_path / "audit.json") == tmp_path / "audit.json"
    content = json.loads((tmp_path / "audit.json").read_text())
    assert content["schema"] == 1
    assert list(content) == sorted(content)
    assert set(content) >= {"verdict", "faithfulness", "plausibility", "artifacts", "warnings", "untested", "settings"}
    assert set(content["verdict"]) >= {"faithful", "plausible", "shortcuts", "text"}
    assert content["verdict"]["shortcuts"] == ["TruSeq"] and content["artifacts"][0]["name"] == "TruSeq"
    assert content["faithfulness"]["completeness_error"] is None
    assert content["faithfulness"]["infidelity"] == 0.333333
    assert "seconds" not in content and content["settings"]["n_regions"] == 12
    again = read_audit(tmp_path / "audit.json")
    again.to_json(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "audit.json").read_bytes()
    assert again.verdict == audit.verdict and again.settings == audit.settings and repr(again) == repr(audit)
    assert list(again.results) == ["faithfulness", "plausibility", "artifacts"] and not again.tables


def test_json_has_no_infinities(tmp_path: Path) -> None:
    odd = {"a": [np.inf, np.nan], "b": np.array([1, 2]), "c": np.bool_(True), "d": Path("x")}
    result(provenance=odd).to_json(tmp_path / "audit.json")
    content = json.loads((tmp_path / "audit.json").read_text())
    assert content["provenance"] == {"a": [None, None], "b": [1, 2], "c": True, "d": "x"}


def test_bed_has_each_shortcut_once_in_order(tmp_path: Path) -> None:
    result().write_shortcuts_bed(tmp_path / "s.bed")
    assert (tmp_path / "s.bed").read_text() == "chr1\t30\t50\tTruSeq\t18\t+\nchr2\t5\t25\tTruSeq\t20\t-\n"


def test_bed_without_shortcuts_is_empty(tmp_path: Path) -> None:
    for name, audit in {"a": result(results=Results()), "b": _with_hits(HITS[:0]), "c": _with_hits(HITS[3:])}.items():
        audit.write_shortcuts_bed(tmp_path / name)
        assert (tmp_path / name).read_text() == ""


def _with_hits(hits: pd.DataFrame) -> AuditResult:
    return result(results=Results(artifacts=part_of("artifacts", [], {"hits": hits})))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        result().to_json(tmp_path / "none" / "audit.json")
    with pytest.raises(OutputError, match="does not exist"):
        result().write_shortcuts_bed(tmp_path / "none" / "s.bed")


def test_text_has_verdict_parts_and_warnings() -> None:
    lines = repr(result()).splitlines()
    assert lines[0].startswith("The map shows what the model uses, which is known biology in part")
    assert any(line == "faithful: yes · plausible: yes · shortcuts: TruSeq" for line in lines)
    assert any(line.startswith("faithfulness   deletion 1 (0.5 to 1.5) better than random order") for line in lines)
    assert any(line.startswith("artifacts      1 looked for; 1 shortcut (TruSeq); 0 present") for line in lines)
    assert "warning        Mind the <gap>." in lines and "not tested     Labels were not permuted." in lines
    assert all(len(line) <= 120 for line in lines)


def test_text_is_cut_short_when_there_is_much_to_say() -> None:
    audit = result(warnings=tuple(f"Warning {i}." for i in range(9)))
    assert "warning        … and 7 more" in repr(audit).splitlines()


def test_a_part_without_numbers_says_so() -> None:
    audit = result(results=Results(faithfulness=part_of("faithfulness", {})))
    assert "faithfulness   nothing could be tested" in repr(audit).splitlines()


def test_notebooks_show_a_table_that_escapes_names() -> None:
    html = result()._repr_html_()
    assert "Mind the &lt;gap&gt;." in html and "<gap>" not in html
    assert html.count("<tr>") == html.count("</tr>") == 1 + 3 + 1 + 2  # verdict, parts, remedy, notes
    assert "http" not in html and "<script" not in html


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "cannot be read as JSON"),
        ("[1, 2]", "has no verdict, expected an audit.json"),
        ('{"schema": 1}', "has no verdict, expected an audit.json"),
        ('{"schema": 2, "verdict": {}}', "schema 2, expected 1"),
        ('{"schema": 1, "verdict": {}}', "damaged audit"),
    ],
)
def test_a_wrong_file(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        read_audit(tmp_path / "audit.json")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        read_audit(tmp_path / "audit.json")


def test_settings_of_another_version_are_told(tmp_path: Path) -> None:
    result().to_json(tmp_path / "audit.json")
    content = json.loads((tmp_path / "audit.json").read_text())
    content["settings"]["charm"] = 3
    (tmp_path / "audit.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"damaged audit .*charm"):
        read_audit(tmp_path / "audit.json")


def test_settings_of_an_earlier_version_are_passed_over(tmp_path: Path) -> None:
    result().to_json(tmp_path / "audit.json")
    content = json.loads((tmp_path / "audit.json").read_text())
    content["settings"] |= {"max_edits": 20, "n_permutations": 200}
    (tmp_path / "audit.json").write_text(json.dumps(content))
    assert read_audit(tmp_path / "audit.json").settings == AuditSettings(n_regions=12)


def test_a_part_that_was_not_tested_is_neither_true_nor_false() -> None:
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(NotTested("no model"))


def test_the_registry_loads_no_torch() -> None:
    check = "import sys; from seqsal.auditing.parts import PARTS; assert len(PARTS) > 7 and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
