"""`seqsal compare` as a user meets it, and the same from Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
import torch
from click.testing import CliRunner, Result
from toys import Small, Windows, random_codes

import seqsal
from seqsal.attribution.engine import AttributeOptions, attribute_to_file
from seqsal.cli import main
from seqsal.errors import StoreError, UsageError

N, LENGTH = 12, 60


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    (line,) = [line for line in result.stderr.splitlines() if "warning" not in line]
    for word in words:
        assert word in line, (word, line)


@pytest.fixture
def lab(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A.h5 with two results, B.h5 of another model, short.h5 of other windows, far.h5 of other places."""
    codes = random_codes(rng, N, LENGTH, 0.02)
    elsewhere, device = Windows(codes), torch.device("cpu")
    elsewhere.windows = elsewhere.windows.assign(start=elsewhere.windows["start"] + 7, end=elsewhere.windows["end"] + 7)
    for name, source, seed, methods in (
        ("A", Windows(codes), 0, ("gradient_x_input", "ism")),
        ("B", Windows(codes), 1, "gradient_x_input"),
        ("short", Windows(codes[:, :40]), 0, "saliency"),
        ("far", elsewhere, 0, "saliency"),
    ):
        options = AttributeOptions(method=methods, n_controls=0)
        attribute_to_file(Small(seed=seed), source, tmp_path / f"{name}.h5", options, device=device)
    (tmp_path / "out").mkdir()
    return tmp_path


def test_tables_and_bigwig(lab: Path) -> None:
    out = lab / "out"
    result = call(lab / "A.h5", f"{lab / 'A.h5'}:ism", lab / "B.h5", "--out", out / "x.tsv", "--bigwig", out / "x.bw",
                  "--top", 5, "--width", 31)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "3 results, 12 regions × 60 bp" in result.output and "A ~ A:ism: Pearson" in result.output
    table = pd.read_csv(out / "x.tsv", sep="\t")
    assert table.columns.tolist() == [
        "chrom", "start", "end", "name", "strand", "a", "b", "n_bases", "pearson", "spearman", "top_overlap",
        "top_expected", "sign_agreement",
    ]  # fmt: skip
    assert len(table) == 3 * N and table["top_expected"].between(0.0833, 0.1).all()
    overall = pd.read_csv(out / "x.overall.tsv", sep="\t")
    assert overall[["a", "b"]].values.tolist() == [["A", "A:ism"], ["A", "B"], ["A:ism", "B"]]
    with pyBigWig.open(str(out / "x.bw")) as bigwig:
        assert bigwig.chroms() == {"chrA": N * LENGTH}
        assert -1 <= bigwig.header()["minVal"] and bigwig.header()["maxVal"] <= 1
        assert bigwig.header()["nBasesCovered"] > 0.9 * N * LENGTH
    expected = seqsal.compare_attributions([f"{lab / 'A.h5'}", f"{lab / 'A.h5'}:ism", lab / "B.h5"], top=5)
    np.testing.assert_allclose(table["pearson"], expected.regions["pearson"], rtol=1e-5)
    np.testing.assert_allclose(overall["spearman"], expected.overall["spearman"], rtol=1e-5)
    first = [path.read_bytes() for path in sorted(out.iterdir())]
    call(lab / "A.h5", f"{lab / 'A.h5'}:ism", lab / "B.h5", "--out", out / "x.tsv", "--bigwig", out / "x.bw",
         "--top", 5, "--width", 31)  # fmt: skip
    assert [path.read_bytes() for path in sorted(out.iterdir())] == first


def test_one_file_stands_for_all_its_results(lab: Path) -> None:
    result = call(lab / "A.h5", "--out", lab / "out" / "x.tsv", "--quiet")
    assert result.exit_code == 0 and not result.output
    (row,) = pd.read_csv(lab / "out" / "x.overall.tsv", sep="\t").to_dict("records")
    assert (row["a"], row["b"], row["top_expected"] >= 3 / 60) == ("gradient_x_input", "ism", True)
    attr = seqsal.read_attributions(lab / "A.h5")
    assert seqsal.compare_attributions(attr).overall["pearson"][0] == pytest.approx(row["pearson"], rel=1e-5)


def test_results_by_name(lab: Path) -> None:
    attr = seqsal.read_attributions(lab / "B.h5")
    opposite = replace(attr, track=-attr.track)
    result = seqsal.compare_attributions({"file": lab / "B.h5", "memory": opposite, "ism": f"{lab / 'A.h5'}:ism"})
    assert result.names == ("file", "memory", "ism")
    assert result.overall["pearson"][0] == pytest.approx(-1)


def test_files_of_one_stem_are_named_by_their_paths(lab: Path) -> None:
    (lab / "out" / "A.h5").write_bytes((lab / "A.h5").read_bytes())
    result = seqsal.compare_attributions([lab / "A.h5", lab / "out" / "A.h5"])
    assert result.names == (str(lab / "A.h5"), str(lab / "out" / "A.h5"))
    assert result.overall["pearson"][0] == pytest.approx(1)


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        (["A.h5", "far.h5"], {}, ("no region is in all of A, far", "chrA:0-60", "chrA:7-67")),
        (["A.h5", "short.h5"], {}, ("60 bp in A", "40 bp in short")),
        (["A.h5", "none.h5"], {}, ("none.h5", "no such file")),
        (["A.h5", "A.h5:saliency"], {}, ("no result 'saliency'", "gradient_x_input, ism")),
        (["A.h5", "A.h5"], {}, ("A.h5 is given twice",)),
        (["B.h5"], {}, ("got 1 result", "two or more")),
        (["B.h5:gradient_x_input"], {}, ("got 1 result",)),
        ([], {}, ("ATTRIBUTIONS",)),
        (["A.h5", "B.h5"], {"top": 61}, ("top: got 61", "60")),
        (["A.h5", "B.h5"], {"top": 0}, ("--top",)),
        (["A.h5", "B.h5"], {"width": 20, "bigwig": "x.bw"}, ("width: got 20", "odd")),
        (["A.h5", "B.h5"], {"out": "x.csv"}, ("x.csv", ".tsv")),
        (["A.h5", "B.h5"], {"out": "nowhere/x.tsv"}, ("nowhere",)),
        (["A.h5", "B.h5"], {"bigwig": "nowhere/x.bw"}, ("nowhere",)),
    ],
)
def test_what_cannot_be_compared(
    lab: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], options: dict[str, object], words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(lab / "out")
    settings = {"out": "x.tsv", **options}
    named = [word for key, value in settings.items() for word in (f"--{key}", value)]
    refused(call(*[f"../{file}" for file in files], *named), *words)
    assert not list((lab / "out").iterdir())


def test_errors_from_python(lab: Path) -> None:
    with pytest.raises(UsageError, match="got 1 result"):
        seqsal.compare_attributions(lab / "B.h5")
    with pytest.raises(StoreError, match="no such file"):
        seqsal.compare_attributions({"a": lab / "A.h5", "b": lab / "none.h5"})
