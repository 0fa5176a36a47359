"""Checkpoints: round trip, bytes, and files that are not what they should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nets import random_X
from safetensors import safe_open
from safetensors.torch import save_file

from seqsal.errors import CheckpointError, OutputError
from seqsal.models.checkpoint import load_checkpoint, read_tensors, save_checkpoint, write_tensors
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.version import VERSION


@pytest.fixture
def model() -> CNN:
    torch.manual_seed(0)
    model = CNN(CNNConfig(40, n_targets=2, loss="count", n_filters=5, stem_kernel=7))
    model(random_X(8, 40))
    return model.eval()


def test_round_trip(model: CNN, tmp_path: Path) -> None:
    metadata = {"history": [{"epoch": 1, "valid_loss": 0.25}], "nothing": float("nan"), "split": {"test": ["chrX"]}}
    save_checkpoint(tmp_path / "m.safetensors", model, metadata)
    loaded, read = load_checkpoint(tmp_path / "m.safetensors")
    X = random_X(3, 40, seed=1)
    assert torch.equal(loaded(X), model(X))
    assert loaded.config == model.config and not loaded.training
    assert read == metadata | {"nothing": None}
    assert list(tmp_path.iterdir()) == [tmp_path / "m.safetensors"]


def test_metadata_can_be_read_by_anyone(model: CNN, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "m.safetensors", model, {"seed": 3})
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        strings = file.metadata()
    assert strings["format"] == "seqsal-cnn"
    assert (strings["format_version"], strings["seqsal_version"]) == ("1", VERSION)
    assert (strings["output_space"], strings["input_length"]) == ("log", "40")
    assert json.loads(strings["config"])["n_filters"] == 5
    assert json.loads(strings["training"]) == {"seed": 3}


def test_same_model_same_bytes(model: CNN, tmp_path: Path) -> None:
    """The safetensors library alone orders metadata at random."""
    metadata = {f"key {i}": i for i in range(20)}
    files = [tmp_path / f"{i}.safetensors" for i in range(5)]
    for file in files:
        save_checkpoint(file, model, metadata)
    assert len({file.read_bytes() for file in files}) == 1


def test_tensors_of_all_kinds(tmp_path: Path) -> None:
    tensors = {
        "__metadata": torch.arange(3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "empty": torch.zeros(0, 2),
        "half": torch.ones(3, dtype=torch.bfloat16),
    }
    write_tensors(tmp_path / "t.safetensors", tensors, {"é": "ß\n"})
    read, strings = read_tensors(tmp_path / "t.safetensors")
    assert strings == {"é": "ß\n"}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[key], tensors[key]) and read[key].dtype == tensors[key].dtype for key in tensors)


def test_files_that_are_no_checkpoint(model: CNN, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent.safetensors: no such file"):
        load_checkpoint(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_checkpoint(tmp_path)
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"not a model at all")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(path)
    save_checkpoint(path, model, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(path)
    save_file(model.state_dict(), path)
    with pytest.raises(CheckpointError, match="is a safetensors file but not a seqsal checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": "2"}, "written in format 2, this seqsal .* reads up to 1; upgrade seqsal"),
        ({"format_version": "new"}, "damaged, its format version is 'new'"),
        ({"config": "{"}, "damaged, its configuration and its weights do not fit"),
        ({"config": json.dumps({"input_length": 40})}, "damaged, its configuration and its weights do not fit"),
        ({"config": json.dumps({"input_length": -4})}, "input_length: got -4"),
        ({"config": json.dumps({"input_length": 40, "n_filters": 20_000})}, "do not fit together .size mismatch for"),
        ({"config": json.dumps({"input_length": 40, "n_blocks": 10**12})}, "1000000000000 blocks, but"),
        ({"format_version": "9" * 5000}, "written in format 999999999, this seqsal"),
        ({"training": "not JSON"}, "damaged"),
        ({"training": "[" * 100_000}, "damaged"),
        ({"training": '{"history": [{"loss": "low"}]}'}, "its training history is not a list of epochs with numbers"),
        ({"training": '{"history": 3}'}, "its training history is not a list of epochs with numbers"),
        ({"training": "[1]"}, "damaged"),
    ],
)
def test_damaged_metadata(model: CNN, tmp_path: Path, changes: dict[str, str], message: str) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, model, {})
    tensors, strings = read_tensors(path)
    write_tensors(path, tensors, strings | changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written(model: CNN, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        save_checkpoint(tmp_path / "no" / "m.safetensors", model, {})
