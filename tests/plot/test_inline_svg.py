from __future__ import annotations

from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from seqsal.plot import plot_letters, plot_track
from seqsal.plot.style import inline_svg


def draw(ax: Axes) -> None:
    ax.set_yticks([0.025, 0.125])
    ax.set_title('id="a" #010203 1.23456 <b>&', parse_math=False)
    plot_track(np.array([0.1, -0.02]), ax)


def test_an_element_points_nowhere_outside_and_parses() -> None:
    svg = inline_svg(draw, (4, 2), key="one", label='a "quoted" <label>')
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert root.attrib["aria-label"] == 'a "quoted" <label>'
    assert {"viewBox", "role"} <= set(root.attrib)
    assert "width" not in root.attrib
    assert "http" not in svg
    assert "<style" not in svg


def test_names_and_tick_labels_are_not_touched() -> None:
    root = ElementTree.fromstring(inline_svg(draw, (4, 2), key="one", label=""))
    texts = [element.text for element in root.iter("text")]
    assert 'id="a" #010203 1.23456 <b>&' in texts
    assert {"0.025", "0.125"} & set(texts)


def test_colors_are_those_of_the_page() -> None:
    svg = inline_svg(draw, (4, 2), key="one", label="")
    assert svg.count("currentColor") > 3
    assert "fill: var(--pos)" in svg
    assert "fill: var(--neg)" in svg
    assert "#0072b2" not in svg


def test_ids_are_kept_apart_and_found() -> None:
    roots = [ElementTree.fromstring(inline_svg(draw, (4, 2), key=key, label="")) for key in ("one", "two")]
    one, two = ({e.attrib["id"] for e in root.iter() if "id" in e.attrib} for root in roots)
    assert one
    assert not one & two
    used = {e.attrib["href"][1:] for e in roots[0].iter("use")}
    clips = {e.attrib["clip-path"][5:-1] for e in roots[0].iter() if "clip-path" in e.attrib}
    assert used
    assert clips
    assert used | clips <= one


def test_a_logo_is_small_and_the_same_each_time(rng: np.random.Generator) -> None:
    values, codes = rng.normal(size=60), rng.integers(0, 4, size=60)
    first, second = (
        inline_svg(lambda ax: plot_letters(values, codes, ax), (8, 2), key="k", label="") for _ in range(2)
    )
    assert first == second
    assert len(first) < 40_000


def test_margins_fix_the_place_of_the_axes() -> None:
    found = []
    inline_svg(lambda ax: found.append(ax.get_position()), (4, 2), key="k", label="", margins=(1.0, 0.5, 0.4, 0.2))
    assert np.allclose(found[0].extents, [0.25, 0.2, 0.875, 0.9])


def test_a_matplotlibrc_changes_nothing() -> None:
    expected = inline_svg(draw, (4, 2), key="one", label="")
    foreign = {
        "text.usetex": True,
        "font.size": 20.0,
        "lines.linewidth": 9.0,
        "axes.facecolor": "red",
        "figure.dpi": 30.0,
    }
    with matplotlib.rc_context(foreign):
        assert inline_svg(draw, (4, 2), key="one", label="") == expected
        assert matplotlib.rcParams["font.size"] == 20.0
