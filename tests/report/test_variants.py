"""The section on variants, and the page of variants alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import EVIL, Page

from seqsal import Attributions
from seqsal.experiments.variants import VariantMaps
from seqsal.regions import make_regions
from seqsal.report import ReportInputs, write_variant_report
from seqsal.report.html import render_report
from seqsal.report.variants import variant_table

Make = Callable[..., ReportInputs]
LENGTH, AT = 60, 30


@pytest.fixture
def maps(rng: np.random.Generator) -> VariantMaps:
    """A substitution that raises, a deletion that lowers, and a substitution that does nothing, by size of q-value."""
    names = ["chr1:131:A>C", "chr1:531:AC>A", "chr1:931:G>T"]
    starts = np.repeat([100, 500, 900], 2)
    windows = make_regions(
        ["chr1"] * 6, starts, starts + LENGTH, name=[f"{one}|{side}" for one in names for side in ("ref", "alt")]
    )
    codes = rng.integers(0, 4, size=(6, LENGTH)).astype(np.uint8)
    track = rng.normal(size=(6, LENGTH)).astype(np.float32)
    attrs = {"output_space": "logit", "method": "ism", "model": {"file": "M.safetensors"}}
    attr = Attributions(windows, codes, track, np.zeros(6, np.float32), attrs=attrs)
    table = pd.DataFrame(
        {"chrom": "chr1", "id": ["rs1", EVIL, "."], "start": [130, 530, 930], "at": AT, "ref_bp": [1, 2, 1],
         "alt_bp": 1, "effect": [1.5, -2.5, 0.01], "p_value": [1e-5, 1e-3, np.nan], "q_value": [1e-4, 0.02, np.nan],
         "motif_gained": ["CTCF|12.5|120|+", "", ""], "motif_lost": ["", "REB1|9|525|-", ""]}
    )  # fmt: skip
    return VariantMaps(attr, table, track[1::2] - track[::2])


def test_a_run_shows_its_variants_those_that_matter_most_first(make_inputs: Make, maps: VariantMaps) -> None:
    text = render_report(replace(make_inputs(5), variants=maps))
    page = Page(text)
    assert "variants" in [attrs["id"] for attrs in page.all("section")]
    order = [text.index(f'id="variant-{i}"') for i in (1, 2)]
    assert order == sorted(order) and 'id="variant-3"' not in text  # as many as regions are pictured
    for i, said in ((1, ("effect +1.5", "q 0.0001")), (2, ("effect -2.5", "q 0.02"))):
        card = text[text.index(f'id="variant-{i}"') :].partition("</article>")[0]
        assert card.count("<svg") == 3 and all(f">{one}<" in card for one in said)
    assert {"CTCF|12.5|120|+", "REB1|9|525|-", "Motif made", "Motif broken"} <= set(page.texts)
    assert text.index("chr1:131:A&gt;C") < text.index("chr1:531:AC&gt;A") < text.index("chr1:931:G&gt;T")
    assert EVIL not in text
    without = replace(maps, table=maps.table.drop(columns=["motif_gained", "motif_lost"]))
    assert [one.label for one in variant_table(without).columns][-1] == "q-value"


def test_a_page_of_variants_alone(maps: VariantMaps, tmp_path: Path) -> None:
    page = write_variant_report(tmp_path / "V.html", maps, {"model": "M.safetensors"}, title=EVIL)
    text = page.read_text(encoding="utf-8")
    assert [attrs["id"] for attrs in Page(text).all("section")] == ["variants", "genome", "run"]
    assert EVIL not in text and '"Variants"' in text  # a track of the page's genome browser
    assert text.count('<article class="card"') == 3
    assert "is 0-based, end not included, but for variants, which are named as in their file, from 1." in text
