from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from seqsal.errors import UsageError
from seqsal.motifs.matrices import Motif
from seqsal.motifs.patterns import MotifResult, Pattern
from seqsal.plot.style import NEGATIVE, POSITIVE, new_axes
from seqsal.plot.tracks import MAX_LANES, boxes_within, draw_boxes, n_lanes, name_motifs
from seqsal.regions import Region

SPAN = Region("chr1", 100, 200)
WIDTH = 8.0


def make_peaks(n: int, step: int = 10, width: int = 6) -> pd.DataFrame:
    start = 100 + step * np.arange(n)
    names = [f"{'neg' if i % 2 else 'pos'}_{i + 1}" for i in range(n)]
    return pd.DataFrame({"chrom": "chr1", "start": start, "end": start + width, "name": names})


def drawn(ax: Axes, kind: str) -> list[tuple[float, float, float, str]]:
    """Start, end, lane and colour of the boxes of a kind."""
    boxes = [patch for patch in ax.patches if patch.get_gid() == f"{kind}-box"]
    return [(b.get_x(), b.get_x() + b.get_width(), b.get_y() + 0.3, to_hex(b.get_facecolor())) for b in boxes]


def make_result(q_value: float) -> MotifResult:
    seqlets = pd.DataFrame(
        {"chrom": ["chr1", "chr1"], "start": [110, 150], "end": [114, 154], "name": ["pos_1", "pos_2"],
         "score": [2.0, 1.0], "strand": ["+", "-"], "pattern": "pos_pattern_1", "sequence": "ACGT"}
    )  # fmt: skip
    motif = Motif("pos_pattern_1", "", np.eye(4) * 9 + 1, 10.0)
    match = {"match": "CTCF", "accession": "MA1", "p_value": q_value, "q_value": q_value}
    pattern = Pattern("pos_pattern_1", "pos", "kmers", motif, np.eye(4), seqlets, match)
    other = replace(pattern, name="neg_pattern_1", sign="neg", seqlets=seqlets.assign(pattern="neg_pattern_1"))
    return MotifResult((pattern, other), {"pos": 2, "neg": 2})


def test_boxes_have_the_colour_of_their_sign_and_stay_in_the_picture() -> None:
    peaks = pd.concat([make_peaks(2), make_peaks(1).assign(chrom="chr2"), make_peaks(1).assign(start=90, end=103)])
    ax = new_axes(WIDTH, 1)
    draw_boxes(ax, {"peaks": boxes_within(peaks, SPAN)}, SPAN, WIDTH)
    assert {(start, end, color) for start, end, _, color in drawn(ax, "peaks")} == {
        (100, 106, POSITIVE),
        (110, 116, NEGATIVE),
        (100, 103, POSITIVE),
    }
    assert {text.get_text() for text in ax.texts} == {"pos_1", "neg_2"}
    assert ax.get_xlim() == (100, 200)


def test_nothing_on_a_lane_overlaps() -> None:
    peaks = make_peaks(12, step=2, width=5)
    ax = new_axes(WIDTH, 2)
    draw_boxes(ax, {"peaks": boxes_within(peaks, SPAN)}, SPAN, WIDTH)
    lanes: dict[float, list[tuple[float, float]]] = {}
    labels = {text.get_text(): text.get_position()[0] for text in ax.texts}
    for (start, end, lane, _), name in zip(drawn(ax, "peaks"), labels, strict=False):
        lanes.setdefault(lane, []).append((start, max(end, labels[name])))
    assert 1 < len(lanes) <= MAX_LANES
    unlabelled = len(peaks) - len(labels)
    for lane, spans in lanes.items():
        ordered = sorted(spans)
        if not unlabelled or lane < max(lanes):
            assert all(a[1] <= b[0] for a, b in itertools.pairwise(ordered))


def test_there_is_an_end_to_lanes() -> None:
    peaks = boxes_within(make_peaks(300, step=0), SPAN)
    assert n_lanes({"peaks": peaks}, SPAN, WIDTH) == MAX_LANES
    ax = new_axes(WIDTH, 2)
    draw_boxes(ax, {"peaks": peaks}, SPAN, WIDTH)
    assert len(drawn(ax, "peaks")) == 300 and len(ax.texts) == MAX_LANES


def test_no_box_is_a_lane_of_its_own() -> None:
    assert n_lanes({"peaks": pd.DataFrame(), "motifs": boxes_within(make_peaks(1), SPAN)}, SPAN, WIDTH) == 2


def test_a_name_at_the_right_end_stands_to_the_left() -> None:
    ax = new_axes(WIDTH, 1)
    draw_boxes(ax, {"peaks": boxes_within(make_peaks(1).assign(start=190, end=199), SPAN)}, SPAN, WIDTH)
    assert ax.texts[0].get_position()[0] < 190


@pytest.mark.parametrize(("q_value", "name"), [(1e-8, "CTCF"), (0.5, "ACGT")])
def test_patterns_go_by_a_match_that_holds(q_value: float, name: str) -> None:
    table = name_motifs(make_result(q_value))
    assert list(table["label"]) == [f"{name} →", f"{name} →", f"{name} ←", f"{name} ←"]
    assert sorted(table["sign"]) == ["neg", "neg", "pos", "pos"]


def test_tables_of_instances() -> None:
    hits = (
        make_peaks(2).drop(columns="name").assign(motif=["REB1", "x" * 10_000], strand=["+", "."], attribution=[-1, 1])
    )
    table = name_motifs(hits)
    assert list(table["sign"]) == ["neg", "pos"]
    assert table["label"][0] == "REB1 →" and len(table["label"][1]) < 20


def test_bad_tables() -> None:
    with pytest.raises(UsageError, match="motifs: no column start, expected chrom, start, end and motif"):
        name_motifs(make_peaks(1).drop(columns="start"))
    with pytest.raises(UsageError, match="motifs: no column motif"):
        name_motifs(make_peaks(1).drop(columns="name"))
    with pytest.raises(UsageError, match="peaks: no column chrom, expected chrom, start and end"):
        boxes_within(make_peaks(1).drop(columns="chrom"), SPAN)
