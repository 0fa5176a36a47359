"""Pictures of a gallery: what matplotlib draws of the same call, written without it."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from seqsal.motifs import Motif
from seqsal.plot import plot_cwm, plot_letters, plot_motif, plot_track
from seqsal.plot.style import gallery_svg, inline_svg
from tests.pages import EVIL

SIZE, MARGINS = (9.0, 1.55), (0.8, 0.35, 0.45, 0.3)
PEAKS = pd.DataFrame({"chrom": "chr1", "start": [1010, 1030], "end": [1018, 1041], "name": ["pos_1", "neg_1"]})
VALUES = np.sin(np.arange(60)) * np.arange(60) ** 2 / 700
VALUES[20:23] = np.nan


def track(ax: Axes) -> None:
    plot_track(VALUES, ax, start=1000, chrom="chr1", unit="gain\nper base", peaks=PEAKS, highlight=[(1025, 1035)])


def letters(ax: Axes) -> None:
    plot_letters(VALUES, np.arange(60) * 7 % 5, ax, start=1_234_000, chrom="chr1", title="all <letters>")
    ax.set_ylim(-7.5, 7.5)


def motif(ax: Axes) -> None:
    plot_motif(Motif("GATA", "", 20 * np.eye(4)[[2, 0, 3, 0, 1, 1, 1]].T), ax, reverse=True)


def cwm(ax: Axes) -> None:
    plot_cwm(np.random.default_rng(0).normal(size=(4, 12)) * 3e4, ax, unit="contrib.")


def drawn(draw: Callable[[Axes], object]) -> str:
    return gallery_svg(draw, SIZE, MARGINS, key="k", label="what it shows")


def by_matplotlib(draw: Callable[[Axes], object]) -> str:
    """The same picture with axes in the same place."""

    def placed(ax: Axes) -> None:
        left, right, below, above = MARGINS
        ax.figure.set_layout_engine("none")  # type: ignore[union-attr]
        width, height = 1 - (left + right) / SIZE[0], 1 - (below + above) / SIZE[1]
        ax.set_position((left / SIZE[0], below / SIZE[1], width, height))
        draw(ax)

    return inline_svg(placed, SIZE, key="k", label="what it shows")


def area(outline: str) -> np.ndarray:
    """Extent and area of an outline: lowest and highest x and y, and the polygon's area through all its points."""
    points: list[tuple[float, float]] = []
    total, first = 0.0, (0.0, 0.0)
    for command, rest in re.findall(r"([MLQCHVZz])([^MLQCHVZz]*)", outline):
        numbers = [float(number) for number in rest.split()]
        last = points[-1] if points else (0.0, 0.0)
        if command in "HV":
            new = [(numbers[0], last[1]) if command == "H" else (last[0], numbers[0])]
        else:
            new = list(zip(numbers[::2], numbers[1::2], strict=True))
        if command == "M":
            total += last[0] * first[1] - first[0] * last[1]
            first = last = new[0]
        for point in new:
            total += last[0] * point[1] - point[0] * last[1] if command != "M" else 0.0
            points.append(point)
            last = point
    total += points[-1][0] * first[1] - first[0] * points[-1][1]
    x, y = np.array(points).T
    return np.array([x.min(), x.max(), y.min(), y.max(), abs(total) / 2])


def shapes(svg: str) -> dict[str, np.ndarray]:
    found = {}
    for element in ElementTree.fromstring(svg).iter():
        path = element if element.tag == "path" else element.find("path")
        gid = element.get("id", "").removeprefix("k-")
        if re.match("positive|negative|peak|highlight|letters", gid) and path is not None:
            found[gid] = area(path.get("d", ""))
    return found


def texts(svg: str) -> dict[str, tuple[float, float]]:
    """Where texts stand, by what they say; upright ones are centred here and begin at a measured place there."""
    found = {}
    for element in ElementTree.fromstring(svg).iter("text"):
        at = [float(number) for number in re.findall(r"-?[\d.]+", element.get("transform", ""))]
        x, y = (element.get("x"), element.get("y")) if element.get("x") else (at[0], 0.0)
        upright = "rotate(-90" in element.get("transform", "")
        found[element.text or ""] = (float(x or 0), 0.0 if upright else float(y or 0))
    return found


@pytest.mark.parametrize("draw", [track, letters, motif, cwm])
def test_shapes_and_texts_are_where_matplotlib_has_them(
    draw: Callable[[Axes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = drawn(draw), by_matplotlib(draw)
    mine, expected = shapes(ours), shapes(theirs)
    assert mine.keys() == expected.keys() and mine
    for name, shape in mine.items():
        np.testing.assert_allclose(shape[:4], expected[name][:4], atol=0.02, err_msg=name)
        np.testing.assert_allclose(shape[4], expected[name][4], rtol=2e-3, atol=1.0, err_msg=name)
    placed, wanted = texts(ours), texts(theirs)
    assert placed.keys() == wanted.keys()
    for text, place in placed.items():
        np.testing.assert_allclose(place, wanted[text], atol=0.7, err_msg=text)
    assert len(ours) < 0.85 * len(theirs)


def test_gaps_are_gaps_and_flat_parts_take_no_room() -> None:
    svg = drawn(lambda ax: plot_track(np.r_[0, 0, 0, 1, np.nan, 1, 0], ax))
    (outline,) = re.findall(r'id="k-positive" d="([^"]*)"', svg)
    assert outline.count("M") == 2 and outline.count("V") == 6, outline  # of 7 bins, 3 at zero


def test_a_power_of_ten_is_written_within_the_picture() -> None:
    placed = texts(
        gallery_svg(lambda ax: plot_track([2e-7, -1e-7], ax), SIZE, (0.8, 0.35, 0.25, 0.05), key="k", label="")
    )
    assert placed["1e−7"][1] >= 7


def test_it_parses_points_nowhere_and_has_the_colors_of_the_page() -> None:
    svg = gallery_svg(
        lambda ax: plot_track([0.1, -0.2], ax, chrom=EVIL, unit=EVIL, title=EVIL), SIZE, MARGINS, key="k", label=EVIL
    )
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == EVIL and root.attrib["role"] == "img" and "width" not in root.attrib
    assert {EVIL, f"position on {EVIL} (bp, 0-based)"[:12]} <= {(e.text or "")[:12] for e in root.iter("text")} | {EVIL}
    assert svg.count("currentColor") > 2 and "var(--pos)" in svg and "var(--neg)" in svg and "#0072b2" not in svg
    assert "http" not in svg and "<script" not in svg
    ids = {e.attrib["id"] for e in root.iter() if "id" in e.attrib}
    assert {"k-inside", "k-positive", "k-negative"} <= ids and all(name.startswith("k-") for name in ids)


def test_a_matplotlibrc_changes_nothing() -> None:
    expected = drawn(track), drawn(letters)
    with matplotlib.rc_context({"font.size": 20.0, "axes.edgecolor": "red", "axes.unicode_minus": False,
                                "axes.formatter.limits": [0, 0], "patch.facecolor": "red"}):  # fmt: skip
        assert (drawn(track), drawn(letters)) == expected


def test_without_axes_nothing_but_letters_is_drawn() -> None:
    def bare(ax: Axes) -> None:
        cwm(ax)
        ax.set_axis_off()

    svg = drawn(bare)
    assert "<text" not in svg and "letters-A" in svg
