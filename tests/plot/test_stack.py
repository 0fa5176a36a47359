from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from track_toys import bump, make_attr

from seqsal.errors import RegionError, StoreError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.plot import save_figure
from seqsal.plot.stack import LETTERS_BP, plot_attributions, plot_tracks

PEAKS = pd.DataFrame({"chrom": "chr1", "start": [1205], "end": [1215], "name": ["pos_1"]})


@pytest.fixture
def attr(rng: np.random.Generator) -> Attributions:
    """Windows of 300 bp at chr1:1000 and chr1:5000, the second with the higher prediction."""
    track = np.stack([bump(300, 210, 8, 3.0), -bump(300, 100, 8, 2.0)])
    made = make_attr(track, start=[1000, 5000], codes=rng.integers(0, 4, (2, 300)))
    prediction = np.array([0.5, 1.5], dtype=np.float32)
    return replace(made, attrs={"output_space": "logit", "method": "ism"}, prediction=prediction)


def gids(ax: object) -> set[str]:
    return {str(patch.get_gid()) for patch in ax.patches}  # type: ignore[attr-defined]


def test_a_long_place_is_a_line_and_its_strongest_part_in_letters(attr: Attributions) -> None:
    line, letters = plot_attributions(attr)
    assert line.get_xlim() == (5000, 5300)
    assert {"positive", "negative", "highlight"} <= gids(line)
    assert any(gid.startswith("letters-") for gid in gids(letters))
    assert letters.get_xlim() == (5050, 5150)  # around the trough at 5100
    assert line.get_xlabel() == "position on chr1 (bp, 0-based)"
    assert line.get_ylabel() == "contribution\nto the logit"
    assert line.figure.get_suptitle() == "ism, chr1:5000-5300 (300 bp)"


def test_a_short_place_is_letters_over_boxes(attr: Attributions) -> None:
    letters, boxes = plot_attributions(attr, "chr1:1180-1240", peaks=PEAKS, motifs=PEAKS.assign(motif="REB1"))
    assert letters.get_xlim() == boxes.get_xlim() == (1180, 1240)
    assert letters.get_xlabel() == "" and boxes.get_xlabel() == "position on chr1 (bp, 0-based)"
    assert [label.get_text() for label in boxes.get_yticklabels()] == ["peaks", "motifs"]
    assert {text.get_text() for text in boxes.texts} == {"pos_1", "REB1"}


def test_boxes_come_under_both_pictures_of_a_long_place(attr: Attributions) -> None:
    axes = plot_attributions(attr, 0, peaks=PEAKS, title="here")
    assert [ax.get_xlim() for ax in axes] == [(1000, 1300), (1000, 1300), (1160, 1260), (1160, 1260)]
    assert axes[0].figure.get_suptitle() == "here"


def test_what_is_covered_of_a_region_is_drawn(attr: Attributions) -> None:
    (letters,) = plot_attributions(attr, "chr1:900-1050")
    assert letters.get_xlim() == (1000, 1050)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("chr1:2000-2100", r"no window .* covers it; the nearest window is chr1:1000-1300 \(700 bp away\)"),
        ("chr9:1-2", "none is on chr9; windows are on chr1"),
        ("nonsense", "region 'nonsense': not understood, .* such as 'region_1'"),
        ("<script>alert(1)</script>", "not understood"),
        (2, "got row 2, but there are 2 regions"),
        (-1, "got row -1"),
    ],
)
def test_regions_outside_the_data(attr: Attributions, region: str | int, message: str) -> None:
    with pytest.raises(RegionError, match=message) as caught:
        plot_attributions(attr, region)
    assert "\n" not in str(caught.value)


def test_errors_stay_short(attr: Attributions) -> None:
    for text in ("x" * 10_000, "x" * 10_000 + ":1-2"):
        with pytest.raises(RegionError) as caught:
            plot_attributions(attr, text)
        assert len(str(caught.value)) < 400


def test_regions_by_name(attr: Attributions) -> None:
    odd = "<b>\"Ünïcode\" & 'quotes'</b> $x^2$"
    named = replace(attr, regions=attr.regions.assign(name=[odd, "twice"]))
    assert plot_attributions(named, odd)[0].get_xlim() == (1000, 1300)
    twice = replace(attr, regions=attr.regions.assign(name="twice"))
    with pytest.raises(RegionError, match="region 'twice': 2 regions have this name; give chrom:start-end"):
        plot_attributions(twice, "twice")


def test_no_region_at_all(attr: Attributions) -> None:
    empty = replace(
        attr, regions=attr.regions[:0], codes=attr.codes[:0], track=attr.track[:0], prediction=attr.prediction[:0]
    )
    with pytest.raises(RegionError, match="attributions, but there are 0 regions"):
        plot_attributions(empty)


def test_zoom_must_be_a_width(attr: Attributions) -> None:
    with pytest.raises(UsageError, match="zoom_bp: got 0, expected a number of bases"):
        plot_attributions(attr, zoom_bp=0)


def test_tracks_share_the_ruler(attr: Attributions) -> None:
    values = np.linspace(-1, 1, 300)
    axes = plot_tracks(
        {"one": attr, "mine": values, "two": replace(attr, track=-attr.track)}, "chr1:1000-1300", peaks=PEAKS
    )
    assert len(axes) == 4
    assert [ax.get_title(loc="left") for ax in axes[:3]] == ["one", "mine", "two"]
    assert {ax.get_xlim() for ax in axes} == {(1000, 1300)}
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, False, True]
    assert axes[1].get_ylabel() == "value"


def test_tracks_on_one_scale(attr: Attributions) -> None:
    twice = replace(attr, track=2 * attr.track)
    apart = plot_tracks({"a": attr, "b": twice}, 0)
    together = plot_tracks({"a": attr, "b": twice}, 0, same_scale=True)
    assert apart[0].get_ylim() != apart[1].get_ylim()
    assert together[0].get_ylim() == together[1].get_ylim()
    assert together[1].get_ylim()[1] > 6.0


def test_letters_when_there_is_room_or_they_are_asked_for(attr: Attributions) -> None:
    def has_letters(region: str, letters: bool | None = None) -> bool:
        return any(gid.startswith("letters-") for gid in gids(plot_tracks({"a": attr}, region, letters=letters)[0]))

    assert has_letters(f"chr1:{1300 - LETTERS_BP}-1300") and not has_letters(f"chr1:{1299 - LETTERS_BP}-1300")
    assert has_letters("chr1:1000-1300", letters=True) and not has_letters("chr1:1200-1220", letters=False)


def test_arrays_take_the_bases_of_a_result(attr: Attributions) -> None:
    axes = plot_tracks({"a": attr, "mine": np.ones(40)}, "chr1:1190-1230")
    assert all(any(gid.startswith("letters-") for gid in gids(ax)) for ax in axes)
    (alone,) = plot_tracks({"mine": np.ones(40)}, "chr1:1000-1040")
    assert "positive" in gids(alone) and alone.get_xlim() == (1000, 1040)


def test_results_in_files(attr: Attributions, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        plot_tracks({"a": attr, "b": tmp_path / "none.h5"}, 0)


@pytest.mark.parametrize(
    ("tracks", "region", "message"),
    [
        ({}, None, "tracks: none given"),
        ({"mine": np.ones(3)}, None, "arrays do not tell where they are"),
        (
            {"mine": np.ones(3)},
            "chr1:0-4",
            r"mine has shape \(3,\), expected \(4,\), a value for each base of chr1:0-4",
        ),
    ],
)
def test_bad_tracks(tracks: dict[str, np.ndarray], region: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plot_tracks(tracks, region)


def test_odd_names_are_drawn_as_they_are(attr: Attributions, tmp_path: Path) -> None:
    name = "<script>alert('$x^2$')</script> é 結合 & \"quoted\""
    axes = plot_tracks({name: attr}, 0, title="t" * 10_000)
    text = save_figure(axes[0], tmp_path / "x.svg").read_text(encoding="utf-8")
    assert "<script" not in text and "&lt;script&gt;alert('$x^2$')" in text
    assert len(axes[0].figure.get_suptitle()) == 120
    assert "<text" in text and "DejaVu Sans" in text
