"""Whole chromosomes: which windows cover them, what is left out, and what a locus on a border looks like."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyBigWig
import pytest
import torch
from command_line import call

import seqsal
from seqsal.errors import RegionError, SeqsalError, UsageError
from seqsal.io import tiles
from seqsal.io.fasta import Genome
from seqsal.io.inputs import open_input
from seqsal.sequence.codes import N_CODE, decode, encode, one_hot

L = 60
MOTIF = "TGACTCAGCA"


class Sites(torch.nn.Module):
    """Adds up how well each place of a window matches the motif, where it does."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        word = torch.from_numpy(one_hot(encode(MOTIF)))[None]
        return torch.relu(torch.conv1d(X, word) - 6).sum((1, 2))


def written(folder: Path, **chroms: str) -> Path:
    path = folder / "g.fa"
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in chroms.items()))
    return path


def bed(folder: Path, text: str) -> Path:
    path = folder / "x.bed"
    path.write_text(text.replace(" ", "\t"))
    return path


def random_bases(rng: np.random.Generator, n: int) -> str:
    return decode(rng.integers(0, 4, n).astype(np.uint8))


def covered(windows: Any, chrom: str, size: int) -> np.ndarray:
    depth = np.zeros(size, int)
    for row in windows[windows["chrom"] == chrom].itertuples():
        depth[max(row.start, 0) : max(row.end, 0)] += 1
    return depth


@pytest.mark.parametrize(("step", "span"), [(None, None), (7, None), (60, None), (None, 20), (20, 20)])
def test_every_base_is_covered_and_nothing_else(
    step: int | None, span: int | None, tmp_path: Path, rng: np.random.Generator
) -> None:
    sizes = {"a": 205, "b": 60, "c": 31}
    genome = written(tmp_path, **{name: random_bases(rng, n) for name, n in sizes.items()})
    with open_input(genome=genome, regions="genome", length=L, step=step, span=span) as source:
        kept, windows = span or L, source.windows
        offset = (L - kept) // 2
        assert (windows["end"] - windows["start"] == L).all()
        spans = windows.assign(start=windows["start"] + offset, end=windows["start"] + offset + kept)
        for name, n in sizes.items():
            assert covered(spans, name, n).min() >= 1
        first = spans[spans["chrom"] == "a"]["start"].to_numpy()
        assert (np.diff(first)[:-1] == (step or kept // 2)).all() and first[-1] == 205 - kept
        with Genome(genome) as oracle:
            np.testing.assert_array_equal(source.read(slice(None)), oracle.read_windows(windows))
        edge = windows["edge"].to_numpy()
        ends = windows["chrom"] != windows["chrom"].shift(), windows["chrom"] != windows["chrom"].shift(-1)
        np.testing.assert_array_equal(edge, ends[0] | ends[1])


@pytest.mark.parametrize("chunk", [1 << 24, 100, 7])
def test_runs_of_n_and_excluded_regions_have_no_window(
    chunk: int, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(tiles, "_CHUNK_BP", chunk)
    a, b = random_bases(rng, 700), random_bases(rng, 300)
    genome = written(tmp_path, a=a[:200] + "N" * 200 + a[400:500] + "N" * 20 + a[520:], b=b)
    exclude = bed(tmp_path, "b 100 140\nb 130 150\nb 180 300\nother 0 5\na 650 650\n".replace("a 650 650\n", ""))
    with (
        caplog.at_level(logging.WARNING),
        open_input(genome=genome, regions="a,b", length=L, step=20, exclude=exclude) as source,
    ):
        codes, windows = source.read(slice(None)), source.windows
        assert (codes != N_CODE).any(axis=1).all()
        for name in ("a", "b"):
            depth = covered(windows, name, 700 if name == "a" else 300)
            if name == "a":
                assert depth[:200].min() >= 1 and depth[400:].min() >= 1 and depth[260:340].max() == 0
            else:
                assert depth[:100].min() >= 1 and depth[100:].max() == 0
        edges = windows[windows["edge"]]
        assert edges["start"].tolist() == [0, 180, 360, 640, 0, 40]
    assert "1 stretches between excluded regions are shorter than the 60 bp" in caplog.text and "30 bp" in caplog.text


def test_a_locus_on_a_border_gives_the_peak_that_it_gives_in_the_middle(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    bases = random_bases(rng, 1_200)
    genome = written(tmp_path, a=bases[:600] + MOTIF + bases[610:])
    found = []
    for phase in (0, 7, 15, 22, 29):  # where the tiles begin, and so where the locus lies in them
        where = {"exclude": bed(tmp_path, f"a 0 {phase}\n")} if phase else {}
        attr = seqsal.attribute(
            Sites(), genome=genome, regions="genome", input_length=L, device="cpu", n_controls=100, **where
        )  # fmt: skip
        peaks = seqsal.call_peaks(attr, fdr=1, max_controls=100)  # so few controls hardly say how sure
        found.append(peaks.loc[peaks["signal"].idxmax()])
    for one in found:
        assert one["start"] + one["summit"] == pytest.approx(605, abs=2)
        assert one["signal"] == pytest.approx(found[0]["signal"], rel=0.03)
        assert (one["start"], one["end"]) == pytest.approx((found[0]["start"], found[0]["end"]), abs=1)


def test_the_command_writes_each_base_that_is_not_excluded_once(tmp_path: Path, rng: np.random.Generator) -> None:
    from seqsal.models import CNN, CNNConfig, save_checkpoint

    save_checkpoint(tmp_path / "M.safetensors", CNN(CNNConfig(L, n_filters=4, n_blocks=0, stem_kernel=5)).eval(), {})
    words = ("--model", tmp_path / "M.safetensors", "--genome", written(tmp_path, a=random_bases(rng, 500)))
    words += ("--regions", "genome", "--step", 50, "--exclude", bed(tmp_path, "a 200 230\n"), "--device", "cpu")
    done = call("attribute", *words, "--out", tmp_path / "A.h5", "--bigwig", tmp_path / "A.bw")
    assert done.exit_code == 0, done.output
    with pyBigWig.open(str(tmp_path / "A.bw")) as file:
        known = np.isfinite(file.values("a", 0, 500, numpy=True))
        assert file.header()["nBasesCovered"] == 470
    np.testing.assert_array_equal(known, np.r_[np.ones(200, bool), np.zeros(30, bool), np.ones(270, bool)])
    assert call("score", *words, "--out", tmp_path / "S.tsv").exit_code == 0
    table = pd.read_csv(tmp_path / "S.tsv", sep="\t")
    assert table["edge"].tolist() == [i in (0, 3, 4, 9) for i in range(10)]
    assert table["start"].tolist() == [0, 50, 100, 140, 230, 280, 330, 380, 430, 440]


def test_tiles_of_long_regions_may_overlap_too(tmp_path: Path, rng: np.random.Generator) -> None:
    genome = written(tmp_path, a=random_bases(rng, 400))
    with open_input(genome=genome, regions="a:50-200", length=L, tile=True, step=30) as source:
        assert source.windows["start"].tolist() == [50, 80, 110, 140]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"regions": "genome", "step": 61}, UsageError, "step: got 61 bp, expected 1 to 60, the bases that are kept"),
        ({"regions": "genome", "span": 20, "step": 21}, UsageError, "step: got 21 bp, expected 1 to 20"),
        ({"regions": "chr11"}, RegionError, "'chr11' is neither a file nor a chromosome of .*did you mean 'chr1'"),
        ({"regions": "chr1,chr3"}, RegionError, "'chr3' is neither a file nor a chromosome"),
        ({"regions": "genome", "exclude": "chr1 0 500\nchr2 0 90\n"}, RegionError, "covers all of chr1, chr2"),
        ({"regions": "chr2", "exclude": "chr2 30 90\n"}, RegionError, "exclude: leaves no stretch of 60 bp"),
        ({"regions": "genome", "exclude": "1 0 20\n"}, RegionError, "its chromosomes are named 1"),
        ({"regions": "chr2"}, RegionError, "holds nothing but N there"),
        ({"regions": "chr1:5-80", "step": 5}, UsageError, "step: is between windows that cover whole chromosomes"),
        ({"regions": "chr1:5-80", "exclude": "chr1 0 5\n"}, UsageError, "exclude: is for whole chromosomes"),
        ({"regions": "genome", "span": 80}, UsageError, "span: got 80 bp, wider than the model's window of 60"),
        ({"regions": "genome", "span": "region"}, UsageError, "keeps whole regions, which tile"),
        ({"regions": "genome", "length": None}, UsageError, "need the length of the model's window"),
    ],
)
def test_refusals(
    options: dict[str, Any], kind: type[SeqsalError], message: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    genome = written(tmp_path, chr1=random_bases(rng, 500), chr2="N" * 90)
    given = {"length": L, **options}
    if "exclude" in given:
        given["exclude"] = bed(tmp_path, given["exclude"])
    with pytest.raises(kind, match=message):
        open_input(genome=genome, **given)
