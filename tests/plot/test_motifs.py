"""Logos of patterns: letters as high as the formula says, both strands, and files."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from seqsal.errors import UsageError
from seqsal.motifs import Motif, MotifResult, Pattern
from seqsal.plot import plot_cwm, plot_motif, plot_pattern, save_figure, write_logos
from seqsal.sequence.codes import encode, one_hot


def make_pattern(name: str = "pos_pattern_1", match: str | None = "REB1") -> Pattern:
    counts = one_hot(encode("TTACCCG")) * 10.0
    counts[:, 3] = [0, 5, 0, 5]
    cwm = one_hot(encode("TTACCCG")) * np.array([1.0, 0.5, 2, 3, -1.5, 3, 1])
    seqlets = pd.DataFrame({"chrom": ["chr1"] * 10, "start": range(10), "end": range(7, 17), "score": 1.0})
    named = None if match is None else {"match": match, "accession": "MA0363.3", "p_value": 1e-8, "q_value": 1e-6}
    return Pattern(name, "pos", "kmers", Motif(name, "", counts, 10), cwm, seqlets, named)


def letter_spans(ax: Axes) -> dict[str, tuple[float, float]]:
    """Lowest and highest point of all copies of each letter."""
    spans = {}
    for patch in ax.patches:
        if (patch.get_gid() or "").startswith("letters-"):
            y = np.asarray(patch.get_path().vertices)[:, 1]
            spans[str(patch.get_gid())[-1]] = (float(y.min()), float(y.max()))
    return spans


def test_pfm_heights_are_bits() -> None:
    ax = plot_motif(make_pattern().motif)
    spans = letter_spans(ax)
    assert spans["A"] == pytest.approx((0, 2), abs=0.05)  # A is alone in its column: two bits
    assert spans["G"] == pytest.approx((0, 2), abs=0.05)
    assert ax.get_ylim() == (0, 2)
    half = Motif("half", "", np.array([[0.0], [5], [0], [5]]), 10)  # C or T: one bit in two halves
    heights = letter_spans(plot_motif(half))
    assert sorted(np.round([high - low for low, high in heights.values()], 1)) == [0.5, 0.5]


def test_negative_contributions_hang_below_the_axis() -> None:
    ax = plot_cwm(make_pattern().cwm, unit="contribution")
    assert letter_spans(ax)["C"][0] == pytest.approx(-1.5, abs=0.05)
    assert letter_spans(ax)["A"] == pytest.approx((0, 2), abs=0.05)
    assert ax.get_ylim()[0] < -1.5 and ax.get_ylabel() == "contribution"


def test_the_other_strand_has_the_complement_letters_in_reverse() -> None:
    forward, reverse = (plot_cwm(make_pattern().cwm, reverse=turned) for turned in (False, True))
    assert letter_spans(reverse)["G"] == pytest.approx(letter_spans(forward)["C"], abs=0.05)
    a = next(patch for patch in reverse.patches if patch.get_gid() == "letters-T")
    assert np.asarray(a.get_path().vertices)[:, 0].min() == pytest.approx(5.0, abs=0.1)  # third from the end of 7


def test_pattern_has_four_panels_and_says_what_it_is() -> None:
    axes = plot_pattern(make_pattern(), unit="contribution to the logit")
    assert len(axes) == 4
    figure = axes[0].figure
    assert "REB1" in figure.get_suptitle() and "10 instances" in figure.get_suptitle()
    assert axes[2].get_ylabel() == "mean contribution\nto the logit"
    assert "best match" not in plot_pattern(make_pattern(match=None))[0].figure.get_suptitle()


def test_logos_are_svg_and_stale_ones_go(tmp_path: Path) -> None:
    (tmp_path / "neg_pattern_7.svg").write_text("old")
    (tmp_path / "mine.svg").write_text("kept")
    result = MotifResult((make_pattern(), make_pattern("neg_pattern_1", match="<b>&")), {"pos": 10, "neg": 10})
    written = write_logos(result, tmp_path)
    assert [path.name for path in written] == ["pos_pattern_1.svg", "neg_pattern_1.svg"]
    assert all("<svg" in path.read_text() and "letters-" in path.read_text() for path in written)
    assert "<b>" not in written[1].read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.svg", "neg_pattern_1.svg", "pos_pattern_1.svg"]
    first = written[0].read_bytes()
    assert write_logos(result, tmp_path)[0].read_bytes() == first
    with matplotlib.rc_context({"text.usetex": True, "font.size": 20.0, "axes.facecolor": "red"}):
        assert write_logos(result, tmp_path)[0].read_bytes() == first


def test_odd_motifs(tmp_path: Path) -> None:
    flat = Motif("flat", "", np.full((4, 1), 5.0), 20)
    save_figure(plot_motif(flat), tmp_path / "flat.png")
    with pytest.raises(UsageError, match="shape"):
        plot_cwm(np.zeros((7, 4)))
