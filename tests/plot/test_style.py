from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from track_toys import make_attr

from seqsal.errors import OutputError, UsageError
from seqsal.plot import plot_attributions, plot_letters, save_figure, style
from seqsal.plot.style import drawing_style, one_line, root_figure


def draw(**options: object) -> Figure:
    ax = plot_letters(np.array([1.0, -1.0, 0.5]), [0, 1, 2], start=10, **options)  # type: ignore[arg-type]
    return root_figure(ax)


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf", ".PNG"])
def test_the_same_figure_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    paths = [save_figure(draw(chrom="chr1"), tmp_path / f"{name}{suffix}") for name in ("one", "other")]
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert len(first) > 1000
    assert sorted(os.listdir(tmp_path)) == [f"one{suffix}", f"other{suffix}"]


def test_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    """Another process has the seed 1; this one any, which is 1 in one run of four thousand millions."""
    code = (
        "import sys; from seqsal.plot import plot_letters, save_figure;"
        "save_figure(plot_letters([1.0, -1.0, 0.5], [0, 1, 2], start=10, chrom='chr1'), sys.argv[1])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "other.svg"], check=True, env=environment)
    save_figure(plot_letters([1.0, -1.0, 0.5], [0, 1, 2], start=10, chrom="chr1"), tmp_path / "this.svg")
    assert (tmp_path / "this.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_places_of_axes_are_rounded(rng: np.random.Generator) -> None:
    """The layout's solver gives other last digits in other processes, which change the ids of clips."""
    figure = root_figure(plot_attributions(make_attr(rng.normal(size=(1, 400))), zoom_bp=20)[0])
    figure.draw_without_rendering()
    for ax in figure.axes:
        corners = ax.get_position().get_points()
        assert corners == pytest.approx(np.round(corners, 8), abs=1e-15)
        assert (0 < corners).all() and (corners < 1).all()


def test_text_stays_text(tmp_path: Path) -> None:
    svg = save_figure(draw(chrom="chr1", unit="contribution to the logit"), tmp_path / "a.svg")
    texts = [element.text for element in ElementTree.parse(svg).iter() if element.tag.endswith("}text")]
    assert {"contribution to the logit", "position on chr1 (bp, 0-based)", "10"} <= set(texts)
    pdf = save_figure(draw(chrom="chr1"), tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # TrueType outlines embedded, so that the text can be edited
    assert b"CreationDate" not in pdf


def test_an_axes_saves_its_whole_figure(tmp_path: Path) -> None:
    figure = Figure()
    left, _ = figure.subplots(1, 2)
    nested = Figure().subfigures().add_subplot()
    assert save_figure(left, tmp_path / "a.png").stat().st_size > 0
    assert save_figure(nested, tmp_path / "b.png").stat().st_size > 0


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a&b\"'", "$\\frac{1", "染色体", "x" * 10_000, "a\nb\x00\x1b", "‮"]
)
def test_odd_names_make_sound_pictures(tmp_path: Path, name: str) -> None:
    for suffix in (".svg", ".png", ".pdf"):
        path = save_figure(draw(chrom=name, title=one_line(name)), tmp_path / f"a{suffix}")
        assert path.stat().st_size > 0
    texts = [e.text or "" for e in ElementTree.parse(tmp_path / "a.svg").iter() if e.tag.endswith("}text")]
    assert any(one_line(name) in text for text in texts)


def test_names_are_cut_to_one_printable_line() -> None:
    assert one_line("chr1") == "chr1"
    assert one_line("a\tb\nc") == "a b c"
    assert one_line("y" * 100, 10) == "yyyyyyyyy…"


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    for name, got in (("logo.gif", "suffix '.gif'"), ("logo", "no suffix")):
        with pytest.raises(UsageError, match=f"{got}, expected .svg, .png or .pdf"):
            save_figure(draw(), tmp_path / name)
    with pytest.raises(OutputError, match="does not exist"):
        save_figure(draw(), tmp_path / "nowhere" / "logo.svg")
    assert os.listdir(tmp_path) == []


def test_settings_and_pyplot_are_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    draw()
    with drawing_style(text_color="red"):
        assert matplotlib.rcParams["text.color"] == "red"
    assert {key: matplotlib.rcParams[key] for key in before} == before
    assert plt.get_fignums() == []


def test_pictures_asked_for_in_a_notebook_are_pyplots(monkeypatch: pytest.MonkeyPatch) -> None:
    plt.switch_backend("agg")
    assert not style.in_notebook()
    draw = style.shown(lambda: style.new_axes(2, 1))
    draw()
    assert plt.get_fignums() == []
    monkeypatch.setattr(style, "in_notebook", lambda: True)
    try:
        style.new_axes(2, 1)
        assert plt.get_fignums() == []
        figure = root_figure(draw())
        assert [plt.figure(number) for number in plt.get_fignums()] == [figure]
        style.new_axes(2, 1)
        assert len(plt.get_fignums()) == 1
    finally:
        plt.close("all")
