"""What the genome browser of the page holds, and where its links lead."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import EVIL, Page
from track_toys import make_attr, slow_track

from seqsal.plot.locus import read_locus
from seqsal.regions import Region
from seqsal.report import ReportInputs
from seqsal.report.genome import MAX_BP, MAX_WINDOW_BP, MISSING, SIDE_BP, GenomeView, Spans, choose_spans, view_genome
from seqsal.report.html import igv_script, render_report
from seqsal.sequence.codes import N_CODE, decode, encode

Make = Callable[..., ReportInputs]
PLACES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60), st.integers(1, 20)), max_size=12)


def table(places: list[tuple[str, int, int]]) -> pd.DataFrame:
    rows = [(chrom, start, start + length) for chrom, start, length in places]
    return pd.DataFrame(rows, columns=["chrom", "start", "end"]).astype({"start": np.int64, "end": np.int64})


def make_view(inputs: ReportInputs) -> GenomeView:
    view = view_genome(inputs)
    assert view is not None
    return view


def unpack(data: Mapping[str, Any]) -> dict[tuple[str, int], float]:
    """Values by chromosome and position, as the page's script reads them."""
    found = {}
    for one in data["stretches"]:
        units = np.frombuffer(base64.b64decode(one["values"]), dtype="<i2")
        assert len(units) == len(one["sequence"])
        found.update({(one["chrom"], one["start"] + i): u * data["step"] for i, u in enumerate(units) if u != MISSING})
    return found


@given(PLACES.filter(len), PLACES, st.integers(1, 200))
def test_a_place_is_found_where_it_overlaps_a_span(
    wanted: list[tuple[str, int, int]], asked: list[tuple[str, int, int]], max_bp: int
) -> None:
    spans = choose_spans(table(wanted), max_bp)
    rows = list(spans.table[["chrom", "start", "end"]].itertuples(index=False))
    found = spans.find(table(asked))
    for (chrom, start, length), row in zip(asked, found, strict=True):
        hits = [i for i, (c, s, e) in enumerate(rows) if c == chrom and s < start + length and e > start]
        assert row == (hits[0] if hits else -1)
    covered = sum(end - start for _, start, end in rows)
    assert covered <= max(max_bp, wanted[0][2])
    assert spans.find(table(wanted[:1]))[0] >= 0


@pytest.mark.parametrize("strand", [".", "-"])
def test_values_and_bases_are_those_of_the_genome(rng: np.random.Generator, strand: str) -> None:
    codes = rng.integers(0, 4, size=(6, 50))
    codes[2, 20:25] = N_CODE
    attr = make_attr(rng.normal(size=(6, 50)), start=np.arange(6) * 30, codes=codes, strand=[strand] * 6)
    if strand == ".":  # windows that overlap agree on the bases
        genome = rng.integers(0, 4, size=200)
        attr = replace(attr, codes=np.stack([genome[i * 30 : i * 30 + 50] for i in range(6)]).astype(np.uint8))
    data = make_view(ReportInputs(attr, attr.regions.assign(prediction=0.0), pd.DataFrame())).data
    slow, found = slow_track(attr), unpack(data)
    assert found.keys() == slow.keys()
    worst = max(abs(found[key] - slow[key]) for key in slow)
    assert worst <= data["step"] / 2 + 1e-7
    if strand == ".":
        assert data["stretches"][0]["sequence"] == decode(genome[:200].astype(np.uint8))


def test_what_the_page_shows_comes_first(make_inputs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_inputs(500)
    monkeypatch.setattr("seqsal.report.genome.MAX_BP", 1000)
    view = make_view(inputs)
    assert view.n_bp <= 1000
    assert view.locus(Region("chr1", 49_900, 49_980)) and view.locus(Region("chr1", 49_800, 49_880))  # the gallery
    assert view.locus(Region("chr1", 35, 45)) == "chr1:1-90"  # the best peak
    assert view.locus(Region("chr1", 25_000, 25_080)) == ""
    assert view.locus(Region("chr2", 35, 45)) == view.locus(None) == ""
    (peaks,) = view.data["tracks"]
    assert {feature["name"] for feature in peaks["features"]} >= {"pos_1", "neg_1"}
    assert len(peaks["features"]) < 15
    assert {feature["color"] for feature in peaks["features"]} == {"#0072b2", "#d55e00"}


def test_links_stand_in_the_rows_that_are_held_alone(make_inputs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsal.report.genome.MAX_BP", 700)
    text = render_report(make_inputs(300))
    (peaks, regions) = (
        {int(row): locus for row, locus in json.loads(found).items()}
        for found in re.findall(r'class="loci" data-column="1">(.*?)</script>', text)
    )
    assert 0 in peaks and 150 not in peaks and len(peaks) < 20
    assert regions[0] == "chr1:29891-29980" and 150 not in regions
    for link in Page(text).all("a"):
        if "data-locus" in link:
            assert link["href"] == "#genome"
            assert re.fullmatch(r"chr1:\d+-\d+", str(link["data-locus"]))


def test_long_windows_give_their_middle(rng: np.random.Generator) -> None:
    attr = make_attr(rng.normal(size=(2, 3 * MAX_WINDOW_BP)), codes=rng.integers(0, 4, size=(2, 3 * MAX_WINDOW_BP)))
    peak = {"chrom": "chr1", "start": 100, "end": 110, "name": "pos_1", "signal": 1.0, "summit": 5}
    inputs = ReportInputs(attr, attr.regions.assign(prediction=0.0), pd.DataFrame([peak]))
    view = make_view(inputs)
    assert view.n_bp == 2 * MAX_WINDOW_BP + 110 + SIDE_BP
    assert view.locus(Region("chr1", 100, 110)) == "chr1:56-155"
    assert view.data["locus"] == f"chr1:{MAX_WINDOW_BP + 1}-{2 * MAX_WINDOW_BP}"


def test_names_are_plain_and_chromosomes_stay_apart(make_inputs: Make) -> None:
    inputs = make_inputs(4)
    chroms = ["a:1-5", "a 1-5", EVIL, "名前"]
    regions = inputs.attr.regions.assign(chrom=chroms)
    peaks = inputs.peaks.assign(chrom=chroms, name=[EVIL, "x" * 10_000, "a\tb\n", "名前"])
    attr = replace(inputs.attr, regions=regions, attrs={"output_space": EVIL})
    view = make_view(replace(inputs, attr=attr, peaks=peaks))
    assert len(set(view.names.values())) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_.*#+-]+", name) for name in view.names.values())
    texts = [view.data["label"], *(feature["name"] for feature in view.data["tracks"][0]["features"])]
    assert not re.search("[<>\"'`]", "".join(texts))
    assert max(len(feature["name"]) for feature in view.data["tracks"][0]["features"]) == 60
    assert unpack(view.data).keys() == {(view.names[c], p) for c, p in slow_track(attr)}


def test_motifs_and_artifacts_are_shown_and_linked(make_inputs: Make) -> None:
    hits = pd.DataFrame({"chrom": "chr1", "start": [5, 405], "end": [15, 415], "name": ["TruSeq", "poly-A"],
                         "verdict": ["shortcut", "present"]})  # fmt: skip
    audit: Any = SimpleNamespace(tables={"artifacts.hits": hits})
    view = make_view(replace(make_inputs(8), audit=audit))
    assert view.has_artifacts
    features = {track["name"]: track["features"] for track in view.data["tracks"]}["Artifacts"]
    assert [(one["name"], one["start"], one["color"]) for one in features] == [
        ("TruSeq", 5, "#94346e"),
        ("poly-A", 405, "#586373"),
    ]


def test_unknown_bases_alone_leave_nothing_to_browse(make_inputs: Make) -> None:
    inputs = make_inputs(3)
    inputs = replace(inputs, attr=replace(inputs.attr, codes=np.full((3, 80), N_CODE, np.uint8)), n_top=0)
    assert view_genome(inputs) is None
    assert "There is nothing to browse" in render_report(inputs)


def test_tracks_of_zeros_have_a_step() -> None:
    attr = make_attr(np.zeros((1, 5)), codes=[encode("ACGTA")])
    data = make_view(ReportInputs(attr, attr.regions.assign(prediction=0.0), pd.DataFrame())).data
    assert set(unpack(data).values()) == {0.0} and data["step"] > 0


def test_without_igv_the_page_says_what_to_install(make_inputs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsal.report.html.find_spec", lambda name: None)
    assert igv_script() is None
    text = render_report(make_inputs(3))
    assert "pip install igv-notebook" in text
    assert "data-locus" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert len(text) < 300_000


def test_igv_can_stand_inside_a_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    script = igv_script()
    assert script is not None and "createBrowser" in script
    assert not re.search(r"</script|<!--|^//# sourceMappingURL", script, re.IGNORECASE | re.MULTILINE)
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "igv.iife.js").write_text("a = '</SCRIPT><!--'\n//# sourceMappingURL=igv.map\n")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr("seqsal.report.html.find_spec", lambda name: spec)
    assert igv_script() == "a = '<\\/SCRIPT><\\!--'\n\n"


def test_the_first_wanted_fits_even_where_it_is_long() -> None:
    assert choose_spans(table([("a", 0, 2 * MAX_BP), ("a", 5 * MAX_BP, 1)]), MAX_BP).table["end"].tolist() == [
        2 * MAX_BP
    ]
    assert Spans(table([])).find(table([("a", 1, 2)])).tolist() == [-1]


def test_windows_near_a_span_are_found_without_a_look_at_all(
    make_inputs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(12)
    seen: list[int] = []
    expected = view_genome(inputs)

    def read(attr: Any, span: Region, *, among: Any) -> Any:
        table = attr.regions
        over = (table["chrom"] == span.chrom) & (table["start"] < span.end) & (table["end"] > span.start)
        assert set(np.flatnonzero(over)) <= set(among) and (np.diff(among) > 0).all()
        seen.append(len(among))
        return read_locus(attr, span)  # among all

    monkeypatch.setattr("seqsal.report.genome.read_locus", read)
    found = view_genome(inputs)
    assert seen and found is not None and expected is not None and found.data == expected.data
