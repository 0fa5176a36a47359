"""Fine-tuning: what starts from a checkpoint, what stays bit for bit, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from seqsal.cli import main
from seqsal.errors import TrainingError
from seqsal.models import CNNConfig
from seqsal.models.checkpoint import load_checkpoint
from seqsal.sequence.codes import decode
from seqsal.training.settings import TrainConfig
from seqsal.training.train import TrainResult, train_model

LENGTH = 40
CONFIG = CNNConfig(LENGTH, n_filters=6, stem_kernel=5, n_blocks=1)
ONE = TrainConfig(epochs=1, max_shift=2, batch_size=16)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with examples of two classes, a genome with values, and a binary checkpoint."""
    folder, rng = tmp_path_factory.mktemp("start"), np.random.default_rng(0)
    for name in ("P", "N"):
        records = (f">{name}{i}\n{decode(rng.integers(0, 4, LENGTH, dtype=np.uint8))}\n" for i in range(60))
        (folder / f"{name}.fa").write_text("".join(records))
    chroms = [f">chr{i}\n{decode(rng.integers(0, 4, 1500, dtype=np.uint8))}\n" for i in range(1, 5)]
    (folder / "G.fa").write_text("".join(chroms))
    rows = [(f"chr{c}", 60 * i + 60, 60 * i + 100, f"r{c}.{i}", 100 + 7 * i + c, ".") for c in range(1, 5)
            for i in range(20)]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "R.bed", sep="\t", header=False, index=False)
    binary(folder, config=CONFIG, out=folder / "M.safetensors")
    return folder


def binary(folder: Path, training: TrainConfig = ONE, **options: Any) -> TrainResult:
    return train_model(folder / "P.fa", folder / "N.fa", training=training, device="cpu", **options)


def regression(folder: Path, training: TrainConfig = ONE, **options: Any) -> TrainResult:
    return train_model(folder / "R.bed", genome=folder / "G.fa", training=training, device="cpu", **options)


@pytest.mark.parametrize("freeze", [("stem",), ("stem", "blocks"), ("blocks.0.convolution.0", "pooling"), ("head",)])
def test_frozen_parts_stay_bit_for_bit(lab: Path, freeze: tuple[str, ...]) -> None:
    """Weights and running statistics, with decay of weights, averages of them, and a loss that looks at maps."""
    training = TrainConfig(epochs=2, max_shift=2, batch_size=16, cutout="salient", freeze=freeze)
    result = binary(lab, training, init=lab / "M.safetensors")
    before = load_checkpoint(lab / "M.safetensors")[0].state_dict()
    kept = {name for name, value in result.model.state_dict().items() if torch.equal(value, before[name])}
    wanted = {name for name in before if name.startswith(tuple(f"{one}." for one in freeze))}
    assert wanted and wanted <= kept
    assert {name for name in kept - wanted if name.endswith("weight")} == set()
    assert result.metadata["init"] == {"file": "M.safetensors", "new": []}
    assert all(parameter.requires_grad for parameter in result.model.parameters()) and not result.model.frozen


def test_a_network_starts_from_the_weights(lab: Path) -> None:
    still = TrainConfig(epochs=1, max_shift=0, learning_rate=1e-12, weight_decay=0.0, freeze=("stem", "blocks"))
    result = binary(lab, still, init=lab / "M.safetensors")
    before = load_checkpoint(lab / "M.safetensors")[0]
    for name, value in result.model.state_dict().items():
        torch.testing.assert_close(value, before.state_dict()[name])


def test_a_regression_starts_in_the_units_of_its_targets(lab: Path, tmp_path: Path) -> None:
    config = CNNConfig(LENGTH, n_filters=6, stem_kernel=5, n_blocks=1, loss="regression")
    first = regression(lab, config=config, out=tmp_path / "R.safetensors")
    still = TrainConfig(epochs=1, max_shift=0, learning_rate=1e-12, weight_decay=0.0, freeze=("stem", "blocks"))
    again = regression(lab, still, config=config, init=tmp_path / "R.safetensors")
    X = torch.eye(4)[torch.arange(LENGTH) % 4].T[None]
    torch.testing.assert_close(again.model(X), first.model(X), rtol=1e-4, atol=1e-3)
    with pytest.raises(TrainingError, match="the head of a regression is fitted to the scale"):
        regression(lab, TrainConfig(freeze=("head",)), config=config, init=tmp_path / "R.safetensors")


def test_another_loss_gets_a_new_head_on_the_old_trunk(lab: Path, tmp_path: Path) -> None:
    arguments = ["train", "--regions", lab / "R.bed", "--genome", lab / "G.fa", "--loss", "regression", "--epochs", 1,
                 "--init", lab / "M.safetensors", "--freeze", "stem,blocks", "--out",
                 tmp_path / "R.safetensors"]  # fmt: skip
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    (model, metadata), (before, _) = load_checkpoint(tmp_path / "R.safetensors"), load_checkpoint(lab / "M.safetensors")
    assert metadata["init"]["new"] == ["head.weight", "head.bias"]
    assert (model.config.n_filters, model.config.input_length, model.config.loss) == (6, LENGTH, "regression")
    assert torch.equal(model.stem[0].weight, before.stem[0].weight)


def test_it_is_told_where_the_first_network_has_seen_the_test(
    lab: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = CNNConfig(LENGTH, n_filters=6, stem_kernel=5, n_blocks=1, loss="regression")
    regression(lab, config=config, out=tmp_path / "R.safetensors", test_chroms=["chr1"])
    regression(lab, config=config, init=tmp_path / "R.safetensors", test_chroms=["chr2"])
    assert "init: was trained on chr2, which this network is tested on" in caplog.text


@pytest.mark.parametrize(
    ("options", "freeze", "said"),
    [
        ({}, ("stem",), "freeze: stem would stay at random weights; give a checkpoint to start from"),
        ({"init": True}, ("stam",), "no part is called 'stam'; did you mean 'stem'"),
        ({"init": True}, ("stem", "blocks", "pooling", "head"), "is the whole network, which leaves nothing to train"),
        ({"init": True, "config": CNNConfig(LENGTH, n_filters=8, stem_kernel=5)}, (),
         r"init .*: its stem.0.weight is \(6, 4, 5\), expected \(8, 4, 5\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_started_is_refused(
    lab: Path, options: dict[str, Any], freeze: tuple[str, ...], said: str
) -> None:
    given = {**options, "init": lab / "M.safetensors" if "init" in options else None}
    given = {"config": CONFIG, **given} if "init" not in options else given
    with pytest.raises(TrainingError, match=said):
        binary(lab, TrainConfig(epochs=1, freeze=freeze), **given)


def test_sizes_that_contradict_the_weights_are_refused(lab: Path, tmp_path: Path) -> None:
    arguments = ["train", "--positives", lab / "P.fa", "--negatives", lab / "N.fa", "--filters", 32, "--init",
                 lab / "M.safetensors", "--out", tmp_path / "M2.safetensors"]  # fmt: skip
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == 2 and "its n_filters is 6, got 32; leave that option out" in result.stderr
