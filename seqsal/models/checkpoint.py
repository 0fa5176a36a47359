"""The built-in model on disk: one ``.safetensors`` file, no pickle, the same bytes for the same model.

The tensors are the model's state. The metadata (strings, as the format demands) are: ``format`` = ``seqsal-cnn``,
``format_version``, ``seqsal_version``, ``config`` (JSON of `CNNConfig`), ``training`` (JSON: history, split, metrics,
class counts, seed, inputs), ``output_space`` and ``input_length``. The safetensors library writes metadata keys in
random order, so the header, a JSON text after its length in 8 little-endian bytes, is rewritten with sorted keys.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from seqsal.errors import CheckpointError, ModelError
from seqsal.io.atomic import atomic_path
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.version import CHECKPOINT_FORMAT, CHECKPOINT_VERSION, VERSION

__all__ = [
    "load_checkpoint",
    "read_tensors",
    "save_checkpoint",
    "to_json",
    "write_tensors",
]


def save_checkpoint(path: str | os.PathLike[str], model: CNN, metadata: Mapping[str, Any]) -> None:
    """Write a model and what is known of its training.

    Parameters
    ----------
    path
        Usually ends in ``.safetensors``.
    model
        On any device.
    metadata
        JSON values: training history, split, metrics, … Read back as it is by `load_checkpoint`; NaN becomes null.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    strings = {
        "format": CHECKPOINT_FORMAT,
        "format_version": str(CHECKPOINT_VERSION),
        "seqsal_version": VERSION,
        "config": to_json(model.config.to_dict()),
        "training": to_json(metadata),
        "output_space": model.output_space,
        "input_length": str(model.config.input_length),
    }
    write_tensors(path, model.state_dict(), strings)


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[CNN, dict[str, Any]]:
    """Read a model written by `save_checkpoint`, on the CPU and in evaluation mode.

    Returns
    -------
    model : CNN
    metadata : dict
        As given to `save_checkpoint`.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, not a seqsal checkpoint, or of a newer format.
    """
    tensors, strings = read_tensors(path)
    if strings.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path}: is a safetensors file but not a seqsal checkpoint; make one by `seqsal train`, or give "
            "package.module:factory as the model and this file as its weights"
        )
    _check_version(path, strings.get("format_version", ""))
    try:
        metadata = json.loads(strings["training"])
        _check_training(metadata)
        config = json.loads(strings["config"])
        if config.get("n_blocks", 0) > len(tensors):
            raise ValueError(f"{config['n_blocks']} blocks, but {len(tensors)} tensors")
        with torch.device("meta"):  # sizes are compared before memory is spent on them
            CNN(CNNConfig.from_dict(config)).load_state_dict(tensors, assign=True)
        model = CNN(CNNConfig.from_dict(config))
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ModelError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[:2][-1].strip()  # torch heads a list
        raise CheckpointError(
            f"{path}: damaged, its configuration and its weights do not fit together ({reason}); "
            "train or fetch it again"
        ) from error
    model.metadata = metadata
    return model.eval(), metadata


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file whole or not at all, its metadata in sorted order.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    data = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, dict(metadata))
    n_header = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n_header])
    header = {
        "__metadata__": dict(sorted(metadata.items())),
        **{key: entry for key, entry in header.items() if key != "__metadata__"},
    }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned to 8 bytes
    with atomic_path(path) as temporary:
        temporary.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + n_header :])


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read all tensors and the metadata of a safetensors file.

    Raises
    ------
    CheckpointError
        The file is missing, cannot be read, or is not a whole safetensors file.
    """
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "no such file"
        raise CheckpointError(f"{path}: {what}, expected a .safetensors file; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); it may be truncated or of another kind, fetch it again"
        ) from error


def to_json(value: Any) -> str:
    """Write JSON that any reader takes: sorted keys, NaN and infinities as null."""
    return json.dumps(_finite(value), sort_keys=True, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:  # NaN, ±infinity
        return None
    return value


def _check_training(metadata: Any) -> None:
    """Raise ValueError unless the history is epochs with numbers, or lists of them, as the report plots it."""
    history = metadata.get("history", [])
    values = [value for epoch in history for value in epoch.values()] if isinstance(history, list) else [""]
    if not all(
        one is None or isinstance(one, (int, float))
        for value in values
        for one in (value if isinstance(value, list) else [value])
    ):
        raise ValueError("its training history is not a list of epochs with numbers")


def _check_version(path: str | os.PathLike[str], version: str) -> None:
    if not version.isdecimal():
        raise CheckpointError(f"{path}: damaged, its format version is {version!r}, expected a number; train it again")
    if len(version) > 9 or int(version) > CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{path}: written in format {version[:9]}, this seqsal {VERSION} reads up to {CHECKPOINT_VERSION}; upgrade "
            "seqsal"
        )
