"""Real sites of yeast, chrIV and chrX held out: better than the reference of the data's README, and named."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from seqsal.cli import main
from seqsal.models import load_checkpoint
from seqsal.motifs import read_motifs

HELD_OUT = ["chrIV", "chrX"]
REFERENCE_AUROC, REFERENCE_AP = 0.905, 0.816  # of Reb1, README.md beside the data
pytestmark = [pytest.mark.slow, pytest.mark.yeast]


@pytest.fixture(autouse=True)
def _index_in_a_folder_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def call(*arguments: object) -> None:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


def train(sites: Path, genome: Path, model: Path, *more: object) -> None:
    call("train", "--positives", sites, "--genome", genome, "--input-length", 200, "--test-chroms", ",".join(HELD_OUT),
         "--negative-sampling", "random", "--min-distance", 500, "--out", model, "--device", "cpu", *more)  # fmt: skip


def check_is_named(accession: str, sites: Path, genome: Path, model: Path) -> None:
    """The held-out sites alone say which factor binds."""
    held_out = [line for line in sites.read_text().splitlines() if line.split("\t")[0] in HELD_OUT]
    bed, out = model.with_name("held_out.bed"), model.with_name("run")
    bed.write_text("\n".join(held_out) + "\n")
    call("run", "--model", model, "--genome", genome, "--regions", bed, "--rc-average",
         "--motif-db", "jaspar:2026:fungi", "--no-audit", "--out", out)  # fmt: skip
    table = pd.read_csv(out / "motifs" / "motifs.tsv", sep="\t")
    assert table["pattern"][0] == "pos_pattern_1"
    assert table["accession"][0].startswith(accession) and table["q_value"][0] < 0.001
    assert table["n_seqlets"][0] >= 20
    usage = pd.read_csv(out / "motifs" / "motif_usage.tsv", sep="\t")
    assert usage["accession"][0].startswith(accession)
    assert len(read_motifs(out / "motifs" / "motifs.meme")) == len(table)
    info = json.loads((out / "run.json").read_text())
    assert info["n_patterns"] == len(table) and info["seconds"]["motifs"] < 180
    assert 'id="pos-pattern-1"' in (out / "report.html").read_text()


def test_reb1(yeast: dict[str, Path], tmp_path: Path) -> None:
    model = tmp_path / "M.safetensors"
    smaller = ("--epochs", 8, "--filters", 32, "--blocks", 2)  # of 12, 64 and 4: enough to beat the reference
    train(yeast["Reb1"], yeast["genome"], model, *smaller)
    metadata = load_checkpoint(model)[1]
    assert metadata["split"]["test"]["chroms"] == HELD_OUT
    assert not set(HELD_OUT) & set(metadata["split"]["train"]["chroms"])
    metrics = metadata["metrics"]["test"]
    assert metrics["n_negatives"] == 4 * metrics["n_positives"]
    assert metrics["auroc"] > REFERENCE_AUROC
    assert metrics["average_precision"] > REFERENCE_AP
    check_is_named("MA0363", yeast["Reb1"], yeast["genome"], model)


def test_abf1(yeast: dict[str, Path], tmp_path: Path) -> None:
    model = tmp_path / "M.safetensors"
    train(yeast["Abf1"], yeast["genome"], model, "--epochs", 8, "--filters", 32)  # of 64: enough to be named
    check_is_named("MA0265", yeast["Abf1"], yeast["genome"], model)
