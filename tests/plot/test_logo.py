from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from track_toys import make_attr

from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.plot import BASE_COLORS, plot_letters, plot_logo, plot_region_rows, plot_region_track, save_figure
from seqsal.plot.logo import compound_outline, stack_letters
from seqsal.sequence.codes import ALPHABET, encode


def count_letters(ax: Axes) -> dict[str, int]:
    """How many copies of each letter are drawn."""
    counts = {}
    for number, base in enumerate(ALPHABET):
        one = len(compound_outline(stack_letters([1.0], [number]), number, 0, True).vertices)
        mine = [patch for patch in ax.patches if patch.get_gid() == f"letters-{base}"]
        counts[base] = sum(len(patch.get_path().vertices) for patch in mine) // one
    return counts


def tick_labels(ax: Axes) -> list[str]:
    """Labels of the ticks that lie within the axes."""
    root = ax.figure
    root.canvas.draw() if not isinstance(root, Figure) else root.draw_without_rendering()
    low, high = ax.get_xlim()
    return [tick.get_text() for tick in ax.get_xticklabels() if low <= tick.get_position()[0] <= high]


@pytest.fixture
def attr(rng: np.random.Generator) -> Attributions:
    """Two windows of 60 bp, at chr1:1000 and, 20 bp of overlap, chr1:1040."""
    codes = rng.integers(0, 4, size=100)
    made = make_attr(rng.normal(size=(2, 60)), start=[1000, 1040], codes=np.stack([codes[:60], codes[40:]]))
    return replace(made, attrs={"output_space": "logit"})


def test_every_base_is_drawn_once_with_its_height() -> None:
    sequence, values = "ACGTTNAC", np.array([1.0, -2.0, 0.5, 0.25, -0.125, 9.0, 3.0, 0.0])
    ax = plot_letters(values, encode(sequence), start=100, chrom="chr7", unit="contribution to the logit", title="here")
    assert count_letters(ax) == {"A": 2, "C": 1, "G": 1, "T": 2}
    low, high = ax.get_ylim()
    assert -2.3 < low < -2.0 < 3.0 < high < 3.3
    assert ax.get_xlim() == (100, 108)
    assert ax.get_ylabel() == "contribution to the logit"
    assert ax.get_xlabel() == "position on chr7 (bp, 0-based)"
    assert ax.get_title(loc="left") == "here"


def test_letters_stand_above_their_position() -> None:
    ax = plot_letters([0.0, 2.0, 0.0], encode("AAA"), start=50)
    (patch,) = [patch for patch in ax.patches if patch.get_gid() == "letters-A"]
    box = patch.get_path().get_extents()
    assert 51 <= box.x0 < box.x1 <= 52
    assert (box.y0, box.y1) == pytest.approx((0, 2))


@pytest.mark.parametrize("n_bases", [20, 60, 100, 200, 500])
def test_ticks_name_whole_bases_and_stay_apart(n_bases: int) -> None:
    ax = plot_letters(np.ones(n_bases), np.zeros(n_bases, int), start=190_100)
    labels = tick_labels(ax)
    places = [int(label.replace(",", "")) for label in labels]
    assert 2 <= len(places) <= 13
    assert all(190_100 <= place < 190_100 + n_bases for place in places)
    assert len(set(np.diff(places))) == 1
    boxes = [tick.get_window_extent() for tick in ax.get_xticklabels() if tick.get_text() in labels]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(sorted(boxes, key=lambda box: box.x0)))


def test_axes_given_are_used_and_returned() -> None:
    axes = Figure().add_subplot()
    assert plot_letters(np.ones((4, 5)), ax=axes) is axes
    assert count_letters(axes) == dict.fromkeys("ACGT", 5)


def test_nothing_to_draw_is_drawn_as_an_empty_axis() -> None:
    ax = plot_letters(np.zeros(5), np.full(5, 4))
    assert count_letters(ax) == dict.fromkeys("ACGT", 0)
    assert ax.get_ylim() == (-1, 1)


def test_colors_can_be_chosen_by_name_or_base() -> None:
    values, codes = np.ones(4), encode("ACGT")
    for colors, expected in (("colorblind", BASE_COLORS["colorblind"]), (dict.fromkeys("ACGT", "#123456"), None)):
        ax = plot_letters(values, codes, colors=colors)
        drawn = {patch.get_gid()[-1]: to_hex(patch.get_facecolor()) for patch in ax.patches}
        assert drawn == (expected or colors)
    with pytest.raises(UsageError, match="colors: got 'rainbow', expected one of classic, colorblind"):
        plot_letters(values, codes, colors="rainbow")
    with pytest.raises(UsageError, match="colors: none for C, G, T"):
        plot_letters(values, codes, colors={"A": "red"})


def seen_by(kind: str, color: str) -> np.ndarray:
    """CIELAB coordinates of a color as seen with a colour vision deficiency (Machado et al. 2009, severity 1)."""
    matrices = {
        "normal": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    srgb = np.array(to_rgb(color))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(matrices[kind]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(palette: dict[str, str]) -> float:
    """Smallest distance between two bases over all kinds of colour vision."""
    return min(
        float(np.linalg.norm(seen_by(kind, one) - seen_by(kind, other)))
        for kind in ("normal", "protan", "deutan", "tritan")
        for one, other in itertools.combinations(palette.values(), 2)
    )


def test_colorblind_colors_stay_apart_for_everyone() -> None:
    assert closest(BASE_COLORS["colorblind"]) > 15  # 2.3 is just noticeable
    assert closest(BASE_COLORS["colorblind"]) > closest(BASE_COLORS["classic"])


def test_a_region_is_drawn_from_the_windows_over_it(attr: Attributions) -> None:
    ax = plot_logo(attr, "chr1:1,030-1,070")
    assert sum(count_letters(ax).values()) == 40
    assert ax.get_xlim() == (1030, 1070)
    assert ax.get_ylabel() == "contribution\nto the logit"
    overlap = (attr.track[0, 40:60] + attr.track[1, :20]) / 2
    values = np.concatenate([attr.track[0, 30:40], overlap, attr.track[1, 20:30]])
    low, high = ax.get_ylim()
    air = 0.05 * (values.max() - values.min())
    assert (low, high) == pytest.approx((values.min() - air, values.max() + air))


def test_hypothetical_scores_draw_all_four_bases(attr: Attributions, rng: np.random.Generator) -> None:
    kept = replace(attr, hypothetical=rng.normal(size=(2, 4, 60)).astype(np.float32))
    ax = plot_logo(kept, "chr1:1000-1010", hypothetical=True)
    assert count_letters(ax) == dict.fromkeys("ACGT", 10)
    assert ax.get_ylabel() == "hypothetical contribution\nto the logit"


def test_regions_that_cannot_be_drawn(attr: Attributions) -> None:
    with pytest.raises(RegionError, match="nearest window is chr1:1040-1100"):
        plot_logo(attr, "chr1:5000-5100")
    with pytest.raises(RegionError, match="not understood"):
        plot_logo(attr, "chr1:5000")
    with pytest.raises(RegionError, match="6,000 bp of data, at most 5,000 can be drawn"):
        plot_logo(make_attr(np.ones((1, 6000)), start=[0]), "chr1:0-6000")
    with pytest.raises(UsageError, match="row_bp: got 0"):
        plot_region_rows(attr, "chr1:1000-1100", row_bp=0)


def test_a_region_is_named_by_its_place_its_name_or_its_row(attr: Attributions) -> None:
    row = int(np.argmax(attr.prediction))
    window = attr.regions.iloc[row]
    place = f"{window['chrom']}:{window['start']}-{window['end']}"
    for draw in (plot_logo, plot_region_track):
        drawn = [draw(attr, one) for one in (place, row, None)]
        assert len({(ax.get_xlim(), ax.get_ylim()) for ax in drawn}) == 1
    assert len(plot_region_rows(attr, row, row_bp=10)) > 1
    with pytest.raises(RegionError, match="got row 99"):
        plot_logo(attr, 99)
    with pytest.raises(
        UsageError, match=r"region: got 1.5, expected chrom:start-end, the name of a region, or its row"
    ):
        plot_logo(attr, 1.5)  # type: ignore[arg-type]


def test_rows_share_the_scale_and_hold_every_base(attr: Attributions) -> None:
    axes = plot_region_rows(attr, "chr1:1000-1100", row_bp=40, title="rows")
    assert [ax.get_xlim() for ax in axes] == [(1000, 1040), (1040, 1080), (1080, 1120)]
    assert len({ax.get_ylim() for ax in axes}) == 1
    assert sum(sum(count_letters(ax).values()) for ax in axes) == 100
    assert axes[0].get_title(loc="left") == "rows"
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, True]


def test_500_bases_are_one_outline_a_base_and_sign(tmp_path: Path, rng: np.random.Generator) -> None:
    values, codes = rng.normal(size=500), rng.integers(0, 4, size=500)
    ax = plot_letters(values, codes)
    assert 4 <= len(ax.patches) <= 8  # not one a letter, which is what makes logos slow: benchmarks/logos.py
    save_figure(ax, tmp_path / "logo.svg")
    assert (tmp_path / "logo.svg").stat().st_size < 500_000
    assert ElementTree.parse(tmp_path / "logo.svg").getroot().tag.endswith("svg")
