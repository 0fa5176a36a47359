"""The state of an interrupted training run: one safetensors file beside the checkpoint, no pickle.

It is written after each epoch and deleted when the checkpoint is there. A fingerprint of the examples, the settings and
the seed says whether it belongs to the run that is being started.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from seqsal.errors import CheckpointError
from seqsal.models.checkpoint import read_tensors, to_json, write_tensors
from seqsal.models.cnn import CNN

__all__ = ["TrainingState", "state_path"]

logger = logging.getLogger(__name__)

_MODULES = ("model", "averaged", "best")


def state_path(checkpoint: str | os.PathLike[str]) -> Path:
    """Return where the state of a run that writes `checkpoint` is kept."""
    path = Path(checkpoint)
    return path.with_name(f".{path.stem}.training.safetensors")


class TrainingState:
    """What an epoch leaves to the next one.

    Parameters
    ----------
    model, averaged, best
        The network in training, its moving average, and the average of the best epoch so far.
    optimizer
        AdamW over the parameters of `model`.

    Attributes
    ----------
    history : list of dict
        One entry for each finished epoch.
    best_epoch : int
        Counted from 1; 0 before any.
    """

    def __init__(self, model: CNN, averaged: CNN, best: CNN, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.averaged, self.best = model, averaged, best
        self.optimizer = optimizer
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the state, whole or not at all."""
        tensors = {
            f"{name}.{key}": value for name in _MODULES for key, value in getattr(self, name).state_dict().items()
        }
        for number, entries in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": value for key, value in entries.items()}
        progress = {"history": self.history, "best_epoch": self.best_epoch}
        write_tensors(path, tensors, {"fingerprint": fingerprint, "progress": to_json(progress)})

    def restore(self, path: Path, fingerprint: str) -> bool:
        """Take up the state at `path` if there is one and it is of this run; say whether it was."""
        if not path.exists():
            return False
        try:
            tensors, strings = read_tensors(path)
        except CheckpointError as error:
            logger.warning("%s; training starts from the beginning", error)
            return False
        if strings.get("fingerprint") != fingerprint:
            logger.warning("%s: is of another run (data, settings or seed differ); training starts anew", path)
            return False
        for name in _MODULES:
            getattr(self, name).load_state_dict(_below(tensors, name))
        self._restore_optimizer(_below(tensors, "optimizer"))
        progress = json.loads(strings["progress"])
        self.history, self.best_epoch = progress["history"], progress["best_epoch"]
        logger.info("%s: resuming after epoch %d", path, len(self.history))
        return True

    def _restore_optimizer(self, tensors: Mapping[str, torch.Tensor]) -> None:
        whole = self.optimizer.state_dict()
        whole["state"] = {}
        for name, value in tensors.items():
            number, _, key = name.partition(".")
            whole["state"].setdefault(int(number), {})[key] = value
        self.optimizer.load_state_dict(whole)


def _below(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
