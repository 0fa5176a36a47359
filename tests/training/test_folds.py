"""Cross-validation by chromosome: what each fold holds out, going on after an interruption, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import call, refused

import seqsal
from seqsal.errors import TrainingError
from seqsal.models import CNNConfig, load_checkpoint
from seqsal.training import TrainConfig, folds
from seqsal.training.folds import FoldsResult, train_folds

L = 30


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("folds")
    rng = np.random.default_rng(0)
    names = ["a", "b", "c", "d"]
    (folder / "g.fa").write_text("".join(f">{n}\n{''.join(rng.choice(list('ACGT'), 2_000))}\n" for n in names))
    starts = [(n, s) for n, k in zip(names, (12, 11, 6, 5), strict=True) for s in range(40, 40 + 60 * k, 60)]
    (folder / "p.bed").write_text("".join(f"{n}\t{s}\t{s + L}\n" for n, s in starts))
    return {"positives": folder / "p.bed", "genome": folder / "g.fa"}


SMALL: dict[str, Any] = {
    "config": CNNConfig(L, n_filters=4, stem_kernel=5, n_blocks=0), "training": TrainConfig(epochs=1), "device": "cpu",
}  # fmt: skip


def test_each_fold_holds_out_its_own_chromosomes_and_an_interrupted_call_goes_on(
    inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    train = folds.train_model

    def counted(*args: Any, **options: Any) -> Any:
        if len(trained) == 2:
            trained.append("stopped")
            raise KeyboardInterrupt
        trained.append(options["out"].name)
        return train(*args, **options)

    monkeypatch.setattr(folds, "train_model", counted)
    given = {**inputs, **SMALL, "n_folds": 3, "out": tmp_path / "M.safetensors"}
    with pytest.raises(KeyboardInterrupt):
        train_folds(**given)
    result = train_folds(**given)
    assert trained == ["M.fold1.safetensors", "M.fold2.safetensors", "stopped", "M.fold3.safetensors"]
    assert result.chroms == [["a"], ["b"], ["c", "d"]]
    for i, path in enumerate(result.paths):
        split = load_checkpoint(path)[1]["split"]
        assert split["test"]["chroms"] == result.chroms[i] and split["valid"]["chroms"] == result.chroms[(i + 1) % 3]
    assert "sd over folds" in result.summary() and len(result.summary().splitlines()) == 3 + 2
    train_folds(**given)
    assert len(trained) == 4
    train_folds(**given | {"seed": 1})  # other settings begin anew
    assert len(trained) == 7
    assert len(seqsal.score(list(map(str, result.paths)), genome=inputs["genome"], regions=inputs["positives"])) == 34
    assert set(json.loads((tmp_path / "M.folds.json").read_text())["folds"]) == {path.name for path in result.paths}


def test_the_command(inputs: dict[str, Any], tmp_path: Path) -> None:
    words = [word for name, value in inputs.items() for word in (f"--{name}", value)]
    words += ["--epochs", 1, "--filters", 4, "--blocks", 0, "--device", "cpu", "--out", tmp_path / "M.safetensors"]
    done = call("train", *words, "--folds", 3)
    assert done.exit_code == 0 and "sd over folds" in done.output, done.output
    refused(call("train", *words, "--folds", 5), "folds: got 5, but positives lie on 4 chromosomes", "give 4 at most")
    refused(call("train", *words, "--folds", 3, "--test-chroms", "a"), "test_chroms: is for one network")


def test_refusals(inputs: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="folds: got 2, expected 3 or more"):
        train_folds(**inputs, **SMALL, n_folds=2, out=tmp_path / "M.safetensors")
    (tmp_path / "p.fa").write_text("".join(f">p{i}\n{'ACGTA' * 6}\n" for i in range(9)))
    with pytest.raises(TrainingError, match="records of the FASTA have no coordinates"):
        train_folds(tmp_path / "p.fa", 3, tmp_path / "M.safetensors", **SMALL)
    table = pd.DataFrame({"chrom": ["a", "b"], "start": [0, 0], "end": [L, L]})
    with pytest.raises(TrainingError, match="lie on 2 chromosomes"):
        train_folds(table, 3, tmp_path / "M.safetensors", genome=inputs["genome"], **SMALL)
    assert not list(tmp_path.glob("M*"))


def test_several_targets_are_told_by_their_mean() -> None:
    metrics = [{"pearson": [0.2, 0.4]}, {"pearson": [0.5, 0.7]}]
    said = FoldsResult([Path("a"), Path("b")], [["chr1"], ["chr2"]], metrics).summary()
    assert "a: test pearson 0.300; on chr1" in said and "test pearson: 0.450, sd over folds 0.212" in said
