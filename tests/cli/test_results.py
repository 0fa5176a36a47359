"""Several methods and targets, and precision, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
import torch
from click.testing import CliRunner, Result
from command_line import SMALL_AUDIT
from toys import random_codes

import seqsal
from seqsal.cli import main
from seqsal.models import CNN, CNNConfig, save_checkpoint
from seqsal.sequence.codes import decode

LENGTH = 60


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result: Result, *words: str) -> None:
    """Assert exit code 2 and one line on stderr that holds every one of `words`."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


@pytest.fixture
def given(tmp_path: Path, rng: np.random.Generator) -> list[object]:
    """Model of three outputs and sequences, as arguments."""
    torch.manual_seed(0)
    config = CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1, stem_kernel=7, n_targets=3)
    save_checkpoint(tmp_path / "M.safetensors", CNN(config).eval(), {"history": [], "metrics": {}})
    starts = range(100, 100 + 20 * LENGTH, LENGTH)
    records = zip(starts, random_codes(rng, 20, LENGTH, 0.02), strict=True)
    text = "".join(f">chr1:{start}-{start + LENGTH}\n{decode(row)}\n" for start, row in records)
    (tmp_path / "seqs.fa").write_text(text)
    return ["--model", tmp_path / "M.safetensors", "--fasta", tmp_path / "seqs.fa", "--device", "cpu"]


def test_one_file_holds_what_separate_runs_give(given: list[object], tmp_path: Path) -> None:
    result = call("attribute", *given, "--method", "gradient_x_input", "--method", "ism", "--target", 0,
                  "--target", 2, "--no-gradient-correction", "--method-option", "ism.n_at_once=50",
                  "--controls", 50, "--batch-size", 8, "--out", tmp_path / "A.h5")  # fmt: skip
    assert result.exit_code == 0, result.output
    names = [f"{method}.target{target}" for method in ("gradient_x_input", "ism") for target in (0, 2)]
    assert f"results: {', '.join(names)}" in result.output
    attr = seqsal.read_attributions(tmp_path / "A.h5", in_memory=False)
    assert list(attr.results) == names and attr.name == names[0] and attr.attrs["gradient_correction"] is False
    alone = call("attribute", *given, "--method", "ism", "--target", 2, "--controls", 50, "--batch-size", 8,
                 "--out", tmp_path / "B.h5")  # fmt: skip
    assert alone.exit_code == 0, alone.output
    one, other = attr.result("ism.target2"), seqsal.read_attributions(tmp_path / "B.h5")
    np.testing.assert_array_equal(np.asarray(one.track), other.track)
    np.testing.assert_array_equal(np.asarray(one.controls.track), other.controls.track)


def test_verbs_open_any_result(given: list[object], tmp_path: Path) -> None:
    path = tmp_path / "A.h5"
    assert call("attribute", *given, "--method", "saliency", "--method", "ism", "--controls", 50,
                "--out", path).exit_code == 0  # fmt: skip
    attr = seqsal.read_attributions(path, "ism")
    peaks = call("peaks", path, "--result", "ism", "--out", tmp_path / "P.narrowPeak", "--fdr", 1)
    assert peaks.exit_code == 0, peaks.output
    expected = seqsal.call_peaks(attr, fdr=1)
    written = pd.read_csv(tmp_path / "P.tsv", sep="\t")
    np.testing.assert_allclose(written["signal"], expected["signal"], rtol=1e-5)
    assert set(written["output_space"]) == {"logit"}
    assert call("export", path, "--result", "ism", "--format", "bigwig", "--out", tmp_path / "a.bw").exit_code == 0
    with pyBigWig.open(str(tmp_path / "a.bw")) as bigwig:
        values = np.array(bigwig.values("chr1", 100, 100 + LENGTH), dtype=np.float32)
    known = attr.codes[0] < 4
    np.testing.assert_array_equal(values[known], attr.track[0][known])
    for options, words in (([], ("saliency, target 0", "influence", "on the logit")),
                           (["--result", "ism"], ("ism, target 0", "contribution", "to the logit"))):  # fmt: skip
        picture = tmp_path / "logo.svg"
        logo = call("logo", path, *options, "--region", "chr1:100-150", "--out", picture)
        assert logo.exit_code == 0, logo.output
        assert all(word in picture.read_text() for word in words)
    for verb in (["peaks", path, "--out", tmp_path / "Q.narrowPeak"],
                 ["logo", path, "--region", "chr1:100-150", "--out", tmp_path / "q.svg"],
                 ["export", path, "--format", "bed", "--out", tmp_path / "q.bed"]):  # fmt: skip
        refused(call(*verb, "--result", "cam"), "A.h5: has no result 'cam', expected one of saliency, ism")


def test_run_is_about_the_first(given: list[object], tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = call("run", *given, "--method", "saliency", "--method", "gradient_x_input", "--target", 2, "--target", 1,
                  *SMALL_AUDIT, "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    attr = seqsal.read_attributions(out / "attributions.h5")
    assert attr.results == (
        "saliency.target2",
        "saliency.target1",
        "gradient_x_input.target2",
        "gradient_x_input.target1",
    )
    assert (attr.method, attr.target) == ("saliency", 2)
    scores = pd.read_csv(out / "scores.tsv", sep="\t")
    np.testing.assert_allclose(scores["logit"], attr.prediction, rtol=1e-4, atol=1e-6)
    info = json.loads((out / "run.json").read_text())
    assert info["parameters"]["method"] == ["saliency", "gradient_x_input"] and info["parameters"]["target"] == [2, 1]
    assert "gradient_x_input.target1" in (out / "report.html").read_text()


def test_precision_on_the_command_line(given: list[object], tmp_path: Path) -> None:
    result = call("attribute", *given, "--precision", "bf16", "--out", tmp_path / "A.h5")
    assert result.exit_code == 0, result.output
    assert "gradient_x_input: bf16 against fp32 on 20 windows: Pearson r " in result.stderr
    attr = seqsal.read_attributions(tmp_path / "A.h5")
    assert attr.attrs["precision"] == "bf16" and 0.9 < attr.attrs["precision_correlation"] < 1
    refused(call("attribute", *given, "--precision", "tf32", "--out", tmp_path / "B.h5"), "tf32 needs a CUDA device")
    refused(call("attribute", *given, "--precision", "fp16", "--out", tmp_path / "B.h5"), "--precision", "fp16")


def test_what_cannot_be_asked(given: list[object], tmp_path: Path) -> None:
    def attribute(*more: object) -> Result:
        return call("attribute", *given, *more, "--out", tmp_path / "A.h5")

    refused(attribute("--target", 0, "--target", 3), "target: 3 is out of range, the model has 3 outputs")
    refused(attribute("--method", "ism", "--method", "ism"), "method: got ism, ism, expected each once")
    refused(attribute("--method", "ism", "--method", "cam", "--method-option", "n_steps=3"), "option n_steps: none of")
    refused(attribute("--method", "ism", "--method-option", "cam.layer=x"), "got method 'cam', expected one of ism")
    assert not (tmp_path / "A.h5").exists()


def test_python_takes_lists(given: list[object]) -> None:
    attr = seqsal.attribute(
        given[1], fasta=given[3], method=["gradient_x_input", "ism"], target=[0, 2], n_controls=0, device="cpu"
    )
    for name in attr.results:
        assert attr.result(name).hypothetical.shape == (20, 4, LENGTH)
    one = seqsal.attribute(seqsal.load_model(given[1]), fasta=given[3], target=2, n_controls=0, device="cpu")
    assert one.results == ("gradient_x_input",) and one.target == 2
    np.testing.assert_allclose(one.track, attr.result("gradient_x_input.target2").track, rtol=1e-5, atol=1e-8)
