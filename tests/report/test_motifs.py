"""The motif section: logos, names, counts, links to regions on the page, and text that cannot do harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from seqsal.motifs import Motif, MotifResult, Pattern
from seqsal.report import ReportInputs, cards, genome, sections
from seqsal.report.html import render_report
from seqsal.sequence.codes import encode, one_hot

Make = Callable[..., ReportInputs]
EVIL = "\"><script>alert(1)</script>'&"


def make_pattern(name: str, starts: list[int], match: str = "REB1", sign: str = "pos") -> Pattern:
    word = "TTACCCG"
    letters = one_hot(encode(word)) * 1.0
    seqlets = pd.DataFrame(
        {"chrom": "chr1", "start": starts, "end": np.array(starts) + 7, "name": "p", "strand": "+",
         "score": np.arange(len(starts)) + 1.0, "pattern": name, "sequence": word}
    )  # fmt: skip
    named = {"match": match, "accession": "MA0363.3", "p_value": 1e-8, "q_value": 3e-6}
    return Pattern(name, sign, "kmers", Motif(name, "", letters * len(starts), len(starts)), letters, seqlets, named)


def make_result(*patterns: Pattern, **more: object) -> MotifResult:
    return MotifResult(patterns, {"pos": 9, "neg": 0}, **more)  # type: ignore[arg-type]


def test_a_pattern_is_shown_with_logos_counts_and_links(make_inputs: Make) -> None:
    top = 29 * 100  # window of the highest prediction
    result = make_result(make_pattern("pos_pattern_1", [top + 35, 35, 135]), database="jaspar:2026:fungi")
    text = render_report(make_inputs(motifs=result))
    section = text.split('<section id="motifs"')[1].split("</section>")[0]
    assert section.count("<svg") == 4  # PFM and CWM, both strands
    assert "REB1" in section and "MA0363.3" in section and "TTACCCG" in section and "3e-6" in section
    assert '<a href="#region-1">region 1</a>' in section
    assert 'id="region-1"' in text
    assert "chr1:135-142(+)" in section and "jaspar:2026:fungi" in section
    assert '<a href="#motifs">Motifs</a>' in text


def test_a_page_that_names_motifs_does_not_doubt_them(make_inputs: Make) -> None:
    none = make_inputs(5).peaks.iloc[:0]
    none.attrs.update(fdr=0.05, best_q=0.06, best_q_range=(0.03, 0.12), n_controls=8000, is_settled=False)
    motifs = make_result(make_pattern("pos_pattern_1", [35, 135]))
    page = render_report(make_inputs(5, peaks=none, motifs=motifs))
    assert "does not rely" not in page
    assert "The model does rely on short motifs: " in page and "single peaks that cannot be told from chance" in page
    assert "depends on which 8,000 controls were drawn" in page and "--controls 32000" in page


def test_names_are_escaped(make_inputs: Make) -> None:
    pattern = replace(make_pattern("pos_pattern_1", [35]), seqlets=make_pattern("x", [35]).seqlets.assign(chrom=EVIL))
    evil = replace(pattern, match={**(pattern.match or {}), "match": EVIL, "accession": EVIL})
    result = make_result(evil, database=EVIL, warnings=(EVIL,))
    text = render_report(make_inputs(motifs=result))
    assert "<script>alert" not in text


def test_no_pattern_says_so_and_why(make_inputs: Make) -> None:
    text = render_report(make_inputs(motifs=make_result(warnings=("2 peaks raise the prediction",))))
    assert "No motif was found." in text and "Note: 2 peaks raise the prediction." in text


def test_no_discovery_no_section(make_inputs: Make) -> None:
    assert 'id="motifs"' not in render_report(make_inputs())


def test_usage_of_known_motifs_is_a_table(make_inputs: Make) -> None:
    columns = ["motif", "accession", "n_hits", "n_hits_in_peaks", "mean_attribution", "enrichment", "q_value"]
    usage = pd.DataFrame([["REB1", "MA0363.3", 100, 40, 1.5, 8.0, 1e-9]], columns=columns)
    text = render_report(make_inputs(motifs=make_result(make_pattern("pos_pattern_1", [35]), usage=usage)))
    assert 'id="usage-table"' in text and "which it ignores" in text


def test_many_patterns_are_cut(make_inputs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cards, sections, genome):
        monkeypatch.setattr(module, "MAX_PATTERNS", 4)
    patterns = [make_pattern(f"pos_pattern_{i}", [35]) for i in range(1, 4 + 3)]
    text = render_report(make_inputs(motifs=make_result(*patterns)))
    assert text.count('<tr id="pos-pattern-') == 4
    assert "2 more are in <code>motifs/motifs.tsv</code>" in text
