"""A Hugging Face snapshot in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nets import random_X
from safetensors.torch import save_file, save_model

from seqsal.errors import CheckpointError, ModelError, SeqsalError
from seqsal.models import load_model

LENGTH = 256


@pytest.fixture
def snapshot(tmp_path: Path) -> tuple[torch.nn.Module, Path]:
    package = pytest.importorskip("enformer_pytorch")
    torch.manual_seed(0)
    module = package.Enformer.from_hparams(
        dim=24, depth=1, heads=2, target_length=2, num_downsamples=4, dim_divisible_by=12, attn_dim_key=4,
        output_heads={"human": 3, "mouse": 2}, use_tf_gamma=False,
    ).eval()  # fmt: skip
    module.config.save_pretrained(tmp_path / "enformer")
    save_model(module, str(tmp_path / "enformer" / "model.safetensors"))  # each shared tensor by one of its names
    return module, tmp_path / "enformer"


def test_a_snapshot_is_the_model_that_was_saved(snapshot: tuple[torch.nn.Module, Path]) -> None:
    module, folder = snapshot
    model, X = load_model(folder, input_length=LENGTH, target=2), random_X(2, LENGTH)
    torch.testing.assert_close(model.predict(X), module(X.mT)["human"].sum(1)[:, 2])
    assert model.source["file"] == "enformer" and len(model.source["sha256"]) == 64
    whole = folder / "model.safetensors"
    state = dict(module.state_dict())
    names = sorted({state[name].data_ptr(): name for name in state}.values())
    for i, part in enumerate((names[::2], names[1::2])):
        save_file({name: state[name].clone() for name in part}, folder / f"part{i}.safetensors")
    shards = {name: f"part{i % 2}.safetensors" for i, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    whole.unlink()
    torch.testing.assert_close(load_model(folder, input_length=LENGTH, target=2)(X), model(X))


def test_what_is_no_snapshot_or_of_unknown_kind_is_refused_in_one_line(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, str], type[SeqsalError], str]] = [
        ({}, CheckpointError, "a folder without config.json"),
        ({"config.json": "{"}, CheckpointError, "config.json: no JSON"),
        ({"config.json": "[1]"}, CheckpointError, "holds a list"),
        (
            {"config.json": '{"model_type": "enformr", "architectures": ["Enformr"]}'}, ModelError,
            r"architecture 'enformr' \(Enformr\), expected one of borzoi, enformer, prime; did you mean .?enformer",
        ),
        (
            {"config.json": '{"model_type": "esm"}', "vocab.txt": "<cls>\nA\nAAAAAA\nAAAAAC"}, ModelError,
            "reads tokens of several bases such as 'AAAAAA'.*use ism or tiles",
        ),
        ({"config.json": '{"model_type": "hyenadna"}', "vocab.json": '{"A": 7, "C": 8}'}, ModelError, "--layout NL"),
    ]  # fmt: skip
    for i, (files, kind, message) in enumerate(cases):
        folder = tmp_path / str(i)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        with pytest.raises(kind, match=message) as error:
            load_model(folder)
        assert "\n" not in str(error.value)


def test_weights_that_are_pickles_or_another_models_are_refused(snapshot: tuple[torch.nn.Module, Path]) -> None:
    _, folder = snapshot
    save_file({"other": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="weights do not fit the model"):
        load_model(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"without model.safetensors; it has pytorch_model.bin, which are pickles"
    ):
        load_model(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dim": "wide"}))
    with pytest.raises(ModelError, match="does not make a model of enformer-pytorch"):
        load_model(folder)
