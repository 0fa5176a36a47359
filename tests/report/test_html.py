from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import EVIL, Page, rows_of

from seqsal.errors import OutputError, UsageError
from seqsal.io.attributions import Attributions, Controls
from seqsal.motifs import Motif, MotifResult, Pattern
from seqsal.peaks import merge_peaks
from seqsal.plot.locus import window_locus
from seqsal.report import ReportInputs, write_report
from seqsal.report.cards import strongest_position, top_rows
from seqsal.report.html import render_report
from seqsal.report.tables import PAGE_ROWS

Make = Callable[..., ReportInputs]


def test_the_page_holds_every_section_and_table(make_inputs: Make, tmp_path: Path) -> None:
    inputs = make_inputs(title="CTCF in GM12878")
    path = write_report(tmp_path / "report.html", inputs)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    sections = [attrs["id"] for attrs in page.all("section")]
    assert sections == ["summary", "genome", "top-regions", "scores", "peaks", "regions", "run"]
    links = [str(attrs["href"]) for attrs in page.all("a")]
    assert {f"#{name}" for name in sections} <= set(links)
    assert all(link[1:] in page.ids for link in links)
    assert len(page.ids) == len(set(page.ids))
    assert "CTCF in GM12878" in page.texts
    assert len(rows_of(text, "peaks-table")) == 30
    assert len(rows_of(text, "regions-table")) == 30
    assert len(page.all("article")) == inputs.n_top
    assert len(page.all("tr")) == 2 + 2 * PAGE_ROWS


def test_nothing_comes_from_outside(make_inputs: Make) -> None:
    text = render_report(make_inputs())
    page = Page(text)
    assert page.all("link") == []
    assert len([attrs for attrs in page.all("script") if "type" not in attrs]) == 1
    own, igv = re.findall(r'<script(?: type="text/plain" id="igv-source")?>(.*?)</script>', text, re.DOTALL)[::-1]
    assert not re.search(r"https?:|src=|@import|//[a-z]+\.", text.replace(igv, ""))
    (policy,) = [str(a["content"]) for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (own, igv)]
    assert f"script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}';" in policy
    assert "connect-src" not in policy and "unsafe-eval" not in policy


def test_the_same_results_give_the_same_bytes(make_inputs: Make, tmp_path: Path) -> None:
    inputs = make_inputs(run_info={"seconds": {"attribute": 1.0}})
    later = replace(inputs, run_info={"seconds": {"attribute": 2.0}})
    one, other = write_report(tmp_path / "a.html", inputs), write_report(tmp_path / "b.html", later)
    assert one.read_bytes() == other.read_bytes()


def test_names_are_escaped_wherever_they_come_from(make_inputs: Make) -> None:
    inputs = make_inputs(3, names=[EVIL, "../../etc/passwd", "名前 \x00\x1b[0m"])
    regions = inputs.attr.regions.assign(chrom=EVIL)
    peaks = inputs.peaks.assign(chrom=EVIL, name=EVIL)
    rejected = regions.assign(reason=EVIL)
    inputs = ReportInputs(
        replace(inputs.attr, regions=regions, attrs={"method": EVIL, "output_space": EVIL, "model": EVIL}),
        inputs.scores.assign(chrom=EVIL),
        peaks,
        {"command": EVIL, "parameters": {EVIL: EVIL}, "versions": {EVIL: {EVIL: EVIL}}},
        rejected,
        title=EVIL,
    )
    page = Page(render_report(inputs))
    assert [attrs for attrs in page.all("script") if "type" not in attrs] == [{}]
    assert page.all("img") == []
    assert not any("onerror" in attrs for _, attrs in page.elements)
    assert EVIL in page.texts
    assert "../../etc/passwd" in page.texts


def test_long_names_do_not_make_a_large_page(make_inputs: Make) -> None:
    short, long = make_inputs(50), make_inputs(50, names=["x" * 10_000] * 50)
    assert len(render_report(long)) < len(render_report(short)) + 50_000


@pytest.mark.slow
@pytest.mark.parametrize(("n", "limit"), [(10_000, 5e6), (100_000, 8e6)])
def test_many_regions_stay_below_ten_megabytes(make_inputs: Make, n: int, limit: float) -> None:
    assert len(render_report(make_inputs(n)).encode()) < limit


def test_no_peaks_is_said_and_not_hidden(make_inputs: Make) -> None:
    none = make_inputs(5).peaks.iloc[:0]
    inputs = make_inputs(5, peaks=none)
    assert "No peak could be called: these attributions have no controls" in render_report(inputs)
    controlled = replace(inputs, attr=replace(inputs.attr, controls=Controls(np.zeros((3, 80), np.float32))))
    assert "No peak was called: nothing stands out" in render_report(controlled)
    none.attrs.update(fdr=0.05, best_q=0.213)
    page = render_report(make_inputs(5, peaks=none))
    assert "rate of 0.05; the best candidate has a q-value of 0.213" in page
    assert "Either the model does not rely on short motifs here, or there are too few regions to tell." in page
    assert 'id="summary"' in render_report(make_inputs(5, peaks=pd.DataFrame()))


def test_one_region_is_enough(make_inputs: Make) -> None:
    page = Page(render_report(make_inputs(1)))
    assert len(page.all("article")) == 1
    assert any("predicted 1 region of 80 bp" in text for text in page.texts)


def test_odd_windows_are_drawn(make_inputs: Make) -> None:
    inputs = make_inputs(3, n_top=3)
    codes, track = np.asarray(inputs.attr.codes).copy(), np.asarray(inputs.attr.track).copy()
    codes[2], track[1] = 4, 0.0
    regions = inputs.attr.regions.assign(strand=["-", "+", "."], start=lambda table: table["start"] - 30)
    regions["end"] = regions["start"] + 80
    attr = replace(inputs.attr, codes=codes, track=track, regions=regions)
    assert len(Page(render_report(replace(inputs, attr=attr))).all("article")) == 3


def test_predictions_that_are_not_numbers_draw_no_histogram(make_inputs: Make) -> None:
    inputs = make_inputs(3)
    page = Page(render_report(replace(inputs, scores=inputs.scores.assign(prediction=np.nan))))
    assert "scores" not in [attrs["id"] for attrs in page.all("section")]


def test_scores_on_two_scales_are_told_apart(make_inputs: Make) -> None:
    inputs = make_inputs(4)
    logit = np.array([-2.0, 3.0, 0.0, 1.0])
    both = inputs.scores.assign(prediction=1 / (1 + np.exp(-logit)), logit=logit)
    text = render_report(replace(inputs, scores=both))
    assert [row[3] for row in rows_of(text, "regions-table")] == [3, 1, 0, -2]
    assert [row[2] for row in rows_of(text, "regions-table")] == [0.952574, 0.731059, 0.5, 0.119203]
    assert {"prediction (logit)", "Logit", "prediction 1 (logit)"} <= set(Page(text).texts)
    assert "prediction (logit)" not in Page(render_report(inputs)).texts


def test_what_is_known_of_the_model_is_shown(make_inputs: Make) -> None:
    history = [{"epoch": i, "train_loss": 1.0 / i} for i in (1, 2, 3)]
    model = {
        "file": "m.safetensors",
        "metrics": {"test": {"auroc": 0.97312}, "valid": {"auroc": 0.5}},
        "history": history,
    }
    texts = Page(render_report(make_inputs(3, run_info={"model": model, "versions": {"torch": "2.13.0"}}))).texts
    assert {"Test AUROC", "0.973", "How training and its test went", "m.safetensors", "torch", "2.13.0"} <= set(texts)
    assert "Test AUROC" not in Page(render_report(make_inputs(3))).texts
    assert "ctcf.safetensors" in Page(render_report(make_inputs(3))).texts


def test_regions_left_out_are_listed_with_their_reason(make_inputs: Make) -> None:
    rejected = pd.DataFrame(
        {"chrom": ["chrX"], "start": [5], "end": [9], "name": ["gone"], "reason": ["no such chromosome"]}
    )
    text = render_report(make_inputs(3, rejected=rejected))
    assert rows_of(text, "rejected-table") == [["gone", "chrX:5-9", "no such chromosome"]]
    inputs = make_inputs(3)
    stored = replace(inputs, attr=replace(inputs.attr, rejected=rejected))
    assert "left-out" in Page(render_report(stored)).ids


def test_peaks_are_sorted_by_how_they_stand_out_with_their_effect(make_inputs: Make) -> None:
    inputs = make_inputs(4)
    rows = rows_of(render_report(inputs), "peaks-table")
    assert [row[0] for row in rows] == ["pos_1", "neg_1", "pos_2", "pos_3"]  # all of one q-value
    assert [row[2] for row in rows] == ["raises", "lowers", "raises", "raises"]
    surest = inputs.peaks.assign(q_value=np.where(inputs.peaks["name"] == "pos_3", 0.00012345, 0.04))
    again = rows_of(render_report(replace(inputs, peaks=surest)), "peaks-table")
    assert [row[0] for row in again] == ["pos_3", "pos_1", "neg_1", "pos_2"]
    assert again[0][-1] == 0.00012
    assert rows[0] == ["pos_1", "chr1:35-45", "raises", 10, 40, 10.0, 0.001]


def test_top_regions_are_the_highest_that_do_not_overlap(make_inputs: Make) -> None:
    inputs = make_inputs(6, n_top=3)
    regions = inputs.attr.regions.copy()
    regions.loc[4, ["start", "end"]] = [470, 550]  # over row 5, the highest
    inputs = replace(inputs, attr=replace(inputs.attr, regions=regions))
    assert top_rows(inputs) == [5, 3, 2]
    assert top_rows(replace(inputs, n_top=0)) == []
    assert "top-regions" not in Page(render_report(replace(inputs, n_top=0))).ids


def test_the_enlarged_place_is_the_strongest(make_inputs: Make) -> None:
    inputs = make_inputs(2)
    locus = window_locus(inputs.attr, 0)
    assert strongest_position(locus, inputs.peaks.iloc[:1]) == 40
    assert strongest_position(locus, inputs.peaks.iloc[:1].assign(summit=-1)) == 40
    assert abs(strongest_position(locus, inputs.peaks.iloc[:0]) - 40) <= 2


def test_arrays_on_disk_are_read_row_by_row(make_inputs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rows:
        """Counts what is read of an array."""

        def __init__(self, array: np.ndarray) -> None:
            self.array, self.shape, self.read = array, array.shape, 0

        def __len__(self) -> int:
            return len(self.array)

        def __getitem__(self, row: int) -> np.ndarray:
            self.read += 1
            return self.array[row]

    inputs = make_inputs(200)
    track, codes = Rows(np.asarray(inputs.attr.track)), Rows(np.asarray(inputs.attr.codes))
    attr: Attributions = replace(inputs.attr, track=track, codes=codes)  # type: ignore[arg-type]
    monkeypatch.setattr("seqsal.report.genome.MAX_BP", 1600)
    render_report(replace(inputs, attr=attr))
    assert track.read == codes.read
    assert inputs.n_top < track.read <= inputs.n_top + 30  # the gallery, and what the browser has room for


def test_inputs_that_lack_something_are_refused(make_inputs: Make, tmp_path: Path) -> None:
    inputs = make_inputs(3)
    with pytest.raises(UsageError, match="scores: no column prediction"):
        replace(inputs, scores=inputs.attr.regions)
    with pytest.raises(UsageError, match="peaks: no column signal"):
        replace(inputs, peaks=inputs.peaks.drop(columns="signal"))
    with pytest.raises(UsageError, match="zoom_bp: got 3, expected 10 or more"):
        replace(inputs, zoom_bp=3)
    with pytest.raises(OutputError, match="does not exist"):
        write_report(tmp_path / "nowhere" / "report.html", inputs)
    assert list(tmp_path.iterdir()) == []


def elements_of(inputs: ReportInputs, n: int) -> pd.DataFrame:
    """Elements of the first peaks, the effect of deleting them minus their attribution."""
    elements = merge_peaks(inputs.peaks.iloc[:n].assign(score=1), 0, inputs.attr)
    motif = {"motif": ["REB1", *[""] * (n - 1)], "motif_score": 9.0, "motif_p": 0.001}
    return elements.assign(effect=-elements["signal_pos"] - 0.1 * np.arange(n), effect_sd=0.25, **motif)


def test_elements_are_listed_with_what_deleting_them_does(make_inputs: Make) -> None:
    inputs = make_inputs(9)
    text = render_report(replace(inputs, elements=elements_of(inputs, 6)))
    page = Page(text)
    assert "elements" in [attrs["id"] for attrs in page.all("section")]
    assert "element_1" in page.texts and "REB1" in page.texts and "If deleted" in page.texts
    assert "(Pearson r " in text and "over 6 elements)" in text and "elements.tsv" in text
    unmeasured = elements_of(inputs, 2).assign(effect=np.nan, effect_sd=np.nan, motif="")
    page = Page(render_report(replace(inputs, elements=unmeasured)))
    assert "If deleted" not in page.texts and "Motif p" not in page.texts and "element_2" in page.texts
    for none in (None, unmeasured.iloc[:0]):
        sections = Page(render_report(replace(inputs, elements=none))).all("section")
        assert "elements" not in [attrs["id"] for attrs in sections]


def test_motifs_without_peaks_are_explained_and_each_figure_carries_its_rate(make_inputs: Make) -> None:
    """No "0 peaks" above "187 instances" without a word; a plain logo without a peak says how far it is from one."""
    inputs = make_inputs(5)
    weak, none = inputs.peaks.assign(q_value=0.123), inputs.peaks.iloc[:0]
    none.attrs.update(fdr=0.05, best_q=0.076)
    weak.attrs["fdr"] = 0.2
    motif = Motif("pos_pattern_1", "", 20 * np.eye(4)[[2, 0, 3, 3, 0]].T)
    site = {"chrom": "chr1", "start": 40, "end": 45, "name": "pos_1", "score": 1.0, "strand": "+", "sequence": "GATTA"}
    seqlets = pd.DataFrame([site | {"pattern": "pos_pattern_1"}])
    pattern = Pattern("pos_pattern_1", "pos", "kmers", motif, motif.frequencies, seqlets)
    motifs = MotifResult((pattern,), {"pos": 187, "neg": 0})
    given = replace(inputs, peaks=none, weak_peaks=weak.iloc[3:], motifs=motifs, run_info={"seqlet_fdr": 0.2})
    page = render_report(given)
    assert "No single peak reaches q ≤ 0.05 (the best has q 0.076), but 187 weaker ones (q ≤ 0.2) show a motif" in page
    assert "no peak at q ≤ 0.05, the best has q 0.12" in page and "peaks at q ≤ 0.05 that raise the prediction" in page
    assert "no peak at q ≤ 0.05, nor at q ≤ 0.2" in render_report(replace(given, weak_peaks=weak.iloc[:1]))
    assert "No single peak" not in render_report(replace(given, peaks=inputs.peaks))
    assert motifs.without_peaks(0.05, 0.076, 0.2) in html.unescape(page)


def test_the_page_says_what_peaks_were_compared_with(make_inputs: Make) -> None:
    inputs = make_inputs(3)
    controls = Controls(np.zeros((3, 80), np.float32), kind="background")
    page = render_report(replace(inputs, attr=replace(inputs.attr, controls=controls)))
    assert "stand out against windows of the genome away from the regions" in page and "3 of the genome&#39;s" in page
