"""`seqsal peaks` from the command line: seeds of the same file and of another, nothing found, no controls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

import seqsal
from seqsal.cli import main
from seqsal.models import CNN, CNNConfig, save_checkpoint
from seqsal.peaks import PEAK_COLUMNS
from seqsal.sequence.codes import decode

LENGTH = 80


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert all(word in result.stderr for word in words), result.stderr


@pytest.fixture
def given(tmp_path: Path, rng: np.random.Generator) -> list[object]:
    """Model and sequences, as arguments of `seqsal attribute`."""
    torch.manual_seed(0)
    config = CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1, stem_kernel=7)
    save_checkpoint(tmp_path / "M.safetensors", CNN(config).eval(), {"history": [], "metrics": {}})
    sequences = rng.integers(0, 4, size=(12, LENGTH)).astype(np.uint8)
    (tmp_path / "seqs.fa").write_text("".join(f">s{i}\n{decode(row)}\n" for i, row in enumerate(sequences)))
    return ["--model", tmp_path / "M.safetensors", "--fasta", tmp_path / "seqs.fa", "--device", "cpu"]


def test_seeds_from_the_same_file_and_from_another(given: list[object], tmp_path: Path) -> None:
    both, alone, coarse = (tmp_path / name for name in ("A.h5", "B.h5", "C.h5"))
    methods = ["--method", "gradient_x_input", "--method", "grad_cam"]
    assert call("attribute", *given, *methods, "--controls", 60, "--out", both).exit_code == 0
    assert call("attribute", *given, "--controls", 60, "--out", alone).exit_code == 0
    assert call("attribute", *given, "--method", "grad_cam", "--controls", 60, "--out", coarse).exit_code == 0
    attr = seqsal.read_attributions(both)
    expected = seqsal.call_peaks(attr, seeds=attr.result("grad_cam"), fdr=1)
    assert 0 < expected.attrs["n_candidates"] < seqsal.call_peaks(attr, fdr=1).attrs["n_candidates"]
    pd.testing.assert_frame_equal(expected, seqsal.call_peaks(attr, seeds="grad_cam", fdr=1))
    texts = []
    for path, seeds in ((both, "grad_cam"), (alone, coarse), (alone, f"{both}:grad_cam")):
        out = tmp_path / "P.narrowPeak"
        result = call("peaks", path, "--from", seeds, "--fdr", 1, "--out", out)
        assert result.exit_code == 0, result.output
        texts.append(out.read_text())
    assert texts[0] == texts[1] == texts[2]
    assert len(texts[0].splitlines()) == len(expected) > 0
    result = call("peaks", both, "--fdr", 1, "--merge", 15, "--out", tmp_path / "M.narrowPeak")
    elements = pd.read_csv(tmp_path / "M.elements.tsv", sep="\t")
    n_peaks = len((tmp_path / "M.narrowPeak").read_text().splitlines())
    assert f"{len(elements)} elements" in result.output and elements["n_pos"].sum() + elements["n_neg"].sum() == n_peaks
    assert len((tmp_path / "M.elements.bed").read_text().splitlines()) == len(elements) < n_peaks
    assert elements["share"].between(0, 1).all()
    assert elements["effect"].notna().all() and (elements["effect_sd"] > 0).all()  # by the model that the file names
    table = pd.read_csv(tmp_path / "M.tsv", sep="\t")
    assert {"effect", "effect_sd", "motif", "motif_p", "output_space"} <= set(table) and len(table) == n_peaks
    out = tmp_path / "Q.narrowPeak"
    refused(call("peaks", alone, "--from", "grad_cam", "--out", out), "--from: got 'grad_cam'", "it has gradient_x")
    refused(call("peaks", both, "--from", "gradient_x_input", "--out", out), "is the track that is called")


def test_nothing_found_is_a_result_and_no_controls_are_not(given: list[object], tmp_path: Path) -> None:
    path, out = tmp_path / "A.h5", tmp_path / "P.narrowPeak"
    assert call("attribute", *given, "--controls", 60, "--out", path).exit_code == 0
    result = call("peaks", path, "--fdr", 1e-9, "--out", out)
    assert result.exit_code == 0 and "0 peaks at q ≤ 1e-09" in result.output and "best q" in result.output
    assert out.read_text() == ""
    table = pd.read_csv(tmp_path / "P.tsv", sep="\t")
    assert len(table) == 0 and list(table.columns)[: len(PEAK_COLUMNS)] == list(PEAK_COLUMNS)
    bare = tmp_path / "B.h5"
    assert call("attribute", *given, "--controls", 0, "--out", bare).exit_code == 0
    (tmp_path / "M.safetensors").rename(tmp_path / "elsewhere.safetensors")
    refused(call("peaks", bare, "--out", out), "no shuffled controls", "seqsal attribute … --controls N")


def test_the_null_is_an_option_and_told(given: list[object], tmp_path: Path, rng: np.random.Generator) -> None:
    """Of sequences without a genome no background is made; of regions it is, and by then nothing is half-written."""
    path, out = tmp_path / "A.h5", tmp_path / "P.narrowPeak"
    assert call("attribute", *given, "--out", path).exit_code == 0
    refused(call("peaks", path, "--null", "background", "--out", out), "were not read from one", "--null shuffle")
    assert not out.exists() and seqsal.read_attributions(path).controls is None
    refused(call("attribute", *given, "--null", "background", "--out", tmp_path / "B.h5"), "were not read from one")
    (tmp_path / "g.fa").write_text(f">chr1\n{decode(rng.integers(0, 4, 9_000).astype(np.uint8))}\n")
    (tmp_path / "r.bed").write_text("".join(f"chr1\t{i}\t{i + LENGTH}\tr{i}\n" for i in range(100, 1100, 100)))
    model = given[:2]
    where = ["--genome", tmp_path / "g.fa", "--regions", tmp_path / "r.bed", "--device", "cpu"]
    assert call("attribute", *model, *where, "--null", "background", "--controls", 40, "--out", path).exit_code == 0
    result = call("peaks", path, "--out", out)
    assert result.exit_code == 0 and "against 40 windows of the genome away from the regions" in result.output
    assert '"null": "background"' in call("info", path, "--json").output
    refused(call("peaks", path, "--null", "backgrund", "--out", out), "--null", "background")
