"""Several runs on one page, the methods text, the average map and gene models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from seqsal.cli import main
from seqsal.errors import StoreError, UsageError
from seqsal.io.attributions import Attributions, Controls
from seqsal.io.store_writer import AttributionWriter, StoreLayout
from seqsal.plot.heatmap import plot_mean_track
from seqsal.plot.style import new_axes
from seqsal.report import ReportInputs, sections, write_comparison
from seqsal.report.comparison import _shared
from seqsal.report.genome import gene_models, view_genome
from seqsal.report.html import render_report
from seqsal.report.methods import methods_text

Inputs = Callable[..., ReportInputs]
MOTIF = "pattern sign n_seqlets match accession p_value q_value consensus width information contribution algorithm"


def store(attr: Attributions, path: Path) -> None:
    regions = attr.regions.assign(padded=False, input_row=np.arange(len(attr)))
    layout = StoreLayout(regions, regions[:0], attr.length, attr.chrom_sizes)
    with AttributionWriter(path, layout, attr.attrs) as writer:
        writer.write("main", 0, {key: getattr(attr, key) for key in ("codes", "track", "prediction")})
        writer.finish()


@pytest.fixture
def runs(make_inputs: Inputs, tmp_path: Path) -> list[Path]:
    """Folders of two finished runs of 30 windows; the second lacks every other peak and was not audited."""
    folders = []
    for name, every in (("a", 1), ("b", 2)):
        inputs = make_inputs()
        folder = tmp_path / name
        (folder / "motifs").mkdir(parents=True)
        peaks = inputs.peaks.iloc[::every]
        peaks.to_csv(folder / "peaks.tsv", sep="\t", index=False)
        row = "pos_pattern_1\tpos\t29\tCTCF\tMA1\t1e-9\t1e-7\tCCACTAG\t7\t12\t3.5\tkmers\n"
        (folder / "motifs" / "motifs.tsv").write_text("\t".join(MOTIF.split()) + "\n" + row)
        store(inputs.attr, folder / "attributions.h5")
        info = {"parameters": {"method": "ism", "fdr": 0.05}, "model": {"file": f"{name}.pt"}, "n_regions": 30}
        (folder / "run.json").write_text(json.dumps(info))
        folders.append(folder)
    return folders


def cells(page: str, table: str) -> list[list[object]]:
    """Rows of a table of a page."""
    text = page.partition(f'id="{table}-table"')[2]
    found = re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    rows: list[list[object]] = json.loads(found[1])
    return rows


def test_several_runs_on_one_page(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "comparison.html"
    result = CliRunner().invoke(main, ["report", *map(str, runs), "--out", str(out)])
    assert result.exit_code == 0, result.output
    page = out.read_text(encoding="utf-8")
    overview = cells(page, "overview")
    assert [row[:3] for row in overview] == [["a", "a.pt", "ism"], ["b", "b.pt", "ism"]]
    assert [row[8] for row in overview] == [29, 15] and overview[0][4] == "not audited"
    assert cells(page, "common") == [["a", "b", 30, 15, 0.5], ["b", "a", 15, 15, 1]]
    assert cells(page, "agreement")[0][:4] == ["a", "b", 30, 1]  # the same maps
    assert [row[3] for row in cells(page, "patterns")] == ["CTCF", "CTCF"]
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page


def test_runs_that_cannot_be_compared(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got 1 folder, expected two or more"):
        write_comparison(tmp_path / "x.html", runs[:1])
    with pytest.raises(UsageError, match="given twice"):
        write_comparison(tmp_path / "x.html", [runs[0], runs[0]])
    (runs[1] / "run.json").unlink()
    with pytest.raises(StoreError, match="not the folder of a finished"):
        write_comparison(tmp_path / "x.html", runs)
    result = CliRunner().invoke(main, ["report", str(runs[0]), "A.h5", "--out", str(tmp_path / "x.html")])
    assert result.exit_code == 2 and "expected one attribution file, or folders of runs" in result.stderr
    assert not (tmp_path / "x.html").exists()


def test_peaks_in_common_are_those_that_share_a_base(rng: np.random.Generator) -> None:
    def peaks(n: int) -> pd.DataFrame:
        start = rng.integers(0, 500, n)
        end, sign = start + rng.integers(1, 60, n), rng.choice(["pos", "neg"], n)
        return pd.DataFrame({"chrom": rng.choice(["chr1", "chr2"], n), "start": start, "end": end, "sign": sign})

    one, other = peaks(60), peaks(25)
    slow = [
        any((a.chrom, a.sign) == (b.chrom, b.sign) and a.start < b.end and b.start < a.end for b in other.itertuples())
        for a in one.itertuples()
    ]
    assert _shared(one, other).tolist() == slow and 5 < sum(slow) < 60


def test_the_methods_text_says_what_was_done(make_inputs: Inputs) -> None:
    inputs = make_inputs()
    inputs.peaks.attrs.update(fdr=0.05, n_controls=1000, best_q=0.001)
    with_controls = replace(inputs.attr, controls=Controls(np.zeros((3, 80), dtype=np.float32)))
    inputs = replace(inputs, attr=with_controls, run_info={"versions": {"torch": "2.13.0"}})
    text = methods_text(inputs)
    for words in ("seqsal", "PyTorch 2.13.0", "gradient × input", "ctcf.safetensors", "30 windows of 80 bp", "seed 0",
                  "1,000 controls", "q ≤ 0.05 there were 29 that raise and 1 that lowers"):  # fmt: skip
        assert words in text, words
    assert methods_text(inputs) in render_report(inputs).replace("&#39;", "'")


def test_the_average_map_is_the_mean_over_regions(make_inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "MIN_AVERAGED", 5)
    attr = make_inputs().attr
    ax = plot_mean_track(attr, np.arange(len(attr)), new_axes(4, 2))
    mean = next(line for line in ax.lines if line.get_gid() == "mean")
    np.testing.assert_allclose(mean.get_ydata(), np.asarray(attr.track).mean(axis=0), rtol=1e-5)
    assert mean.get_xdata()[40] == 0.5  # base 40 of 80 stands right of the middle
    page = render_report(make_inputs())
    assert 'id="average"' in page and "average-heatmap" in page
    assert 'id="average"' not in render_report(make_inputs(n=3))


def test_gene_models_are_a_track_of_the_browser(make_inputs: Inputs, tmp_path: Path) -> None:
    lines = [("chr1", 141, 160, "A"), ("chr1", 241, 260, "B"), ("chr9", 1, 50, "C")]
    text = "".join(
        f'{chrom}\tx\texon\t{start}\t{end}\t.\t+\t.\tgene_id "{name}"; gene_name "{name}";\n'
        for chrom, start, end, name in lines
    )
    (tmp_path / "genes.gtf").write_text(text)
    inputs = make_inputs()
    genes = gene_models(inputs.attr, tmp_path / "genes.gtf")
    view = view_genome(replace(inputs, genes=genes))
    assert view is not None and gene_models(inputs.attr) is None
    track = next(one for one in view.data["tracks"] if one["name"] == "Exons")
    assert [(one["start"], one["end"], one["name"]) for one in track["features"]] == [(140, 160, "A"), (240, 260, "B")]
