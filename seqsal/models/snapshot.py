"""A Hugging Face snapshot on disk: a folder with `config.json` and weights as safetensors; nothing is downloaded.

The configuration names an architecture, and the package that has it makes the network; no code of the snapshot is run.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seqsal.errors import CheckpointError, ModelError, did_you_mean, first_line, kind_of
from seqsal.models.checkpoint import read_tensors

__all__ = ["ARCHITECTURES", "make_snapshot", "snapshot_weights"]

ARCHITECTURES = {  # model_type: package to install, class of the configuration, class of the network
    "borzoi": ("borzoi-pytorch", "borzoi_pytorch.config_borzoi:BorzoiConfig", "borzoi_pytorch:Borzoi"),
    "enformer": ("enformer-pytorch", "enformer_pytorch.config_enformer:EnformerConfig", "enformer_pytorch:Enformer"),
    "prime": ("borzoi-pytorch", "borzoi_pytorch.config_borzoi:PrimeConfig", "borzoi_pytorch:Prime"),
}
_VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.json")


def make_snapshot(folder: Path) -> nn.Module:
    """Make the network that a snapshot's configuration describes, without its weights.

    Raises
    ------
    CheckpointError
        The folder is no snapshot.
    ModelError
        The architecture is unknown, its package is missing, or it does not take the configuration.
    """
    config = _read_config(folder)
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise ModelError(_unknown(folder, config))
    package, *classes = ARCHITECTURES[kind]
    try:
        make_config, make = (_find(one) for one in classes)
    except ImportError as error:
        raise ModelError(
            f"{folder}: a snapshot of {kind}, which needs {package} ({first_line(error)}); pip install {package}"
        ) from error
    try:
        module: nn.Module = make(make_config(**config))
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, AssertionError) as error:
        raise ModelError(
            f"{folder}: config.json does not make a model of {package} ({type(error).__name__}: {first_line(error)}); "
            "check that the file is whole, and the package's version"
        ) from error
    return module


def snapshot_weights(folder: Path) -> tuple[dict[str, torch.Tensor], list[Path]]:
    """Read the weights of a snapshot, and say from which files.

    Raises
    ------
    CheckpointError
        There are none as safetensors, or a file is missing or damaged.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        files = [folder / Path(str(name)).name for name in names]  # within the folder, whatever it says
    else:
        files = [folder / "model.safetensors"]
    if not files or not files[0].is_file():
        others = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".ckpt", ".msgpack"))
        has = f"; it has {', '.join(others[:3])}, which are pickles" if others else ""
        raise CheckpointError(
            f"{folder}: a snapshot without model.safetensors{has}; fetch the weights as safetensors, or save them so"
        )
    state: dict[str, torch.Tensor] = {}
    for file in files:
        state |= read_tensors(file)[0]
    return state, files


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: a folder without config.json, expected a model file, package.module:factory or a Hugging Face "
            "snapshot (config.json and model.safetensors); check the path"
        )
    return _read_json(folder / "config.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no JSON ({first_line(error)}); fetch the snapshot again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: holds {kind_of(found)}, expected names and values; fetch it again")
    return found


def _unknown(folder: Path, config: Mapping[str, Any]) -> str:
    """Say what is known of an architecture that is not."""
    kind, classes = str(config.get("model_type", "none")), config.get("architectures") or []
    what = f"{folder}: config.json names the architecture {kind!r}"
    what += f" ({', '.join(map(str, classes[:2]))})" if isinstance(classes, list) and classes else ""
    word = _word(folder)
    if word:
        return (
            f"{what}, which reads tokens of several bases such as {word!r}, where a base has no score of its own; make "
            "it in a package.module:factory whose forward() reads one-hot, and use ism or tiles, without gradients"
        )
    return (
        f"{what}, expected one of {', '.join(ARCHITECTURES)}{did_you_mean(kind, ARCHITECTURES)}; make it in a "
        "package.module:factory, and give --weights model.safetensors (--layout NL where it reads numbers of bases)"
    )


def _word(folder: Path) -> str:
    """Return a token of several bases of the snapshot's vocabulary; empty if it has none."""
    for name in _VOCABULARIES:
        if (folder / name).is_file():
            text = (folder / name).read_text(errors="replace")
            tokens = text.split() if name.endswith(".txt") else re.findall(r'"([^"]*)"\s*:\s*\d', text)
            return next((token for token in tokens if len(token) > 1 and set(token) <= set("ACGT")), "")
    return ""


def _find(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
