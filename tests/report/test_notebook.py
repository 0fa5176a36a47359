"""What results show in a notebook."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from track_toys import make_attr

import seqsal
from seqsal.io.attributions import Attributions
from seqsal.motifs.matrices import Motif
from seqsal.motifs.patterns import SEQLET_COLUMNS, MotifResult, Pattern
from seqsal.report.notebook import N_PAIRS, N_PATTERNS, N_REGIONS

ODD = "<script>alert('x')</script> & \"é\" " + "y" * 10_000


class Balanced(HTMLParser):
    """Checks that tags are closed in order, and keeps their names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


def check(html: str, limit: int) -> list[str]:
    """Assert that HTML stands on its own, and return the tags in it."""
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert "script" not in parser.seen and "img" not in parser.seen and "link" not in parser.seen
    assert not re.search(r"(?:href|src|url)\s*[=(]\s*[\"']?(?!#|\"#)(?:https?:|//)", html)
    assert len(html) < limit
    return parser.seen


@pytest.fixture
def attr(rng: np.random.Generator) -> Attributions:
    made = make_attr(rng.normal(size=(8, 30)), chrom=[ODD.replace(" ", "")] * 8, codes=rng.integers(0, 4, (8, 30)))
    stored = {
        "model": {"file": "/home/me/<b>.pt", "sha256": "1"},
        "genome": {"fasta": {"file": "hg38.fa"}, "length": 9},
    }
    prediction = np.arange(8, dtype=np.float32)
    names = made.regions.assign(name=[ODD] * 7 + ["best"])
    return replace(
        made, regions=names, attrs={"output_space": "logit", "method": "ism", **stored}, prediction=prediction
    )


def make_result(n_patterns: int, name: str = "CTCF") -> MotifResult:
    motif = Motif("m", "", np.eye(4)[:, [0, 1, 2, 3, 0, 1, 2]] * 9 + 1, 10.0)
    seqlets = pd.DataFrame({key: pd.Series([], dtype=kind) for key, kind in SEQLET_COLUMNS.items()})
    match = {"match": name, "accession": "", "p_value": 1e-9, "q_value": 1e-8}
    cwm = motif.frequencies * 2 - 0.1
    patterns = [Pattern(f"pos_pattern_{i}", "pos", "kmers", motif, cwm, seqlets, match) for i in range(n_patterns)]
    return MotifResult(tuple(patterns), {"pos": 5, "neg": 0}, warnings=("few <peaks>",))


def test_attributions(attr: Attributions) -> None:
    html = attr._repr_html_()
    tags = check(html, 10_000)
    assert "8 of 30 bp" in html and "ism, target 0" in html and "contribution to the logit" in html
    assert "<td>&lt;b&gt;.pt</td>" in html and "<td>hg38.fa</td>" in html
    assert html.index("best") < html.index("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp;")
    assert tags.count("tr") == 6 + 1 + N_REGIONS
    assert "#fff" not in html and "color:black" not in html  # the page's own colours


def test_attributions_without_regions(attr: Attributions) -> None:
    nothing = replace(
        attr, regions=attr.regions[:0], codes=attr.codes[:0], track=attr.track[:0], prediction=attr.prediction[:0]
    )
    assert "0 of 30 bp" in nothing._repr_html_()


def test_motifs_show_their_logos() -> None:
    html = make_result(2, ODD)._repr_html_()
    tags = check(html, 40_000)
    assert tags.count("svg") == 2
    assert "2 patterns from the peaks: 5 pos and 0 neg" in html and "few &lt;peaks&gt;" in html
    assert "currentColor" in html
    assert make_result(2, ODD)._repr_html_() == html


def test_a_logo_takes_few_kilobytes() -> None:
    assert len(make_result(1)._repr_html_()) < 15_000


def test_many_patterns_are_cut_short() -> None:
    html = make_result(N_PATTERNS + 3)._repr_html_()
    assert check(html, 200_000).count("svg") == N_PATTERNS
    assert "… and 3 more patterns, see .table" in html


def test_no_pattern() -> None:
    html = make_result(0)._repr_html_()
    check(html, 2_000)
    assert "<p>no pattern</p>" in html


def test_agreement(rng: np.random.Generator) -> None:
    first = make_attr(rng.normal(size=(3, 30)), codes=rng.integers(0, 4, (3, 30)))
    results = {
        ODD: first,
        **{f"r{i}": replace(first, track=rng.normal(size=(3, 30)).astype(np.float32)) for i in range(9)},
    }
    html = seqsal.compare_attributions(results)._repr_html_()
    tags = check(html, 20_000)
    assert tags.count("tr") == 1 + N_PAIRS
    assert "10 results on 3 regions of 30 bp" in html and "… and 15 more pairs, see .overall" in html
