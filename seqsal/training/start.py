"""Fine-tuning: a network that starts from the weights of another, and parts of it that stay as they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqsal.errors import TrainingError, did_you_mean
from seqsal.models.checkpoint import load_checkpoint
from seqsal.models.cnn import CNN

__all__ = ["check_frozen", "freeze", "start_from", "started_config"]

logger = logging.getLogger(__name__)
_OF_HEADS = ("loss", "n_targets", "output_length", "n_controls", "profile_kernel", "dropout", "pooling")


def started_config(path: str | os.PathLike[str], **sizes: Any) -> dict[str, Any]:
    """Return the sizes of a checkpoint, of its trunk where another loss is given, but for heads and lengths given.

    TrainingError: other sizes of the trunk than those of the weights.
    """
    own = load_checkpoint(path)[0].config.to_dict()
    is_same = sizes.get("loss", own["loss"]) == own["loss"]
    kept = {name: value for name, value in own.items() if is_same or name not in _OF_HEADS}
    for name, value in sizes.items():
        if name not in (*_OF_HEADS, "input_length") and value != own[name]:
            raise TrainingError(
                f"init {path}: its {name} is {own[name]}, got {value}; leave that option out, as the sizes are those "
                "of the weights"
            )
    return kept | sizes


def start_from(model: CNN, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Put weights of a checkpoint into a new network, all but those of heads that give something else.

    Returns, as JSON values, where they are from and which are new. TrainingError: the trunk is of another size.
    """
    first, _ = load_checkpoint(path)
    state, own = first.state_dict(), model.state_dict()
    other = [name for name in own if name not in state or state[name].shape != own[name].shape]
    if first.config.loss != model.config.loss:  # a head of as many outputs, which mean something else
        other += [name for name in own if name.startswith(("head.", "profile.")) and name not in other]
    trunk = [name for name in other if name.startswith(("stem.", "blocks."))]
    if trunk:
        shape = tuple(state[trunk[0]].shape) if trunk[0] in state else "not there"
        raise TrainingError(
            f"init {path}: its {trunk[0]} is {shape}, expected {tuple(own[trunk[0]].shape)}; give the sizes that it "
            "was trained with, or leave them out"
        )
    model.load_state_dict({name: state[name] for name in own if name not in other}, strict=False)
    if other:
        logger.info("init %s: new are %s", path, ", ".join(other))
    return {"file": Path(path).name, "new": other}


def check_frozen(model: CNN, prefixes: Sequence[str], *, has_start: bool) -> None:
    """Raise TrainingError unless each prefix names parts of a network that has weights to keep, and some are left."""
    if model.config.loss == "regression" and any(_is_under("head.weight", prefix) for prefix in prefixes):
        raise TrainingError(
            "freeze: the head of a regression is fitted to the scale of its targets, so it cannot stay as it is; "
            "freeze stem or blocks"
        )
    names = [name for name, _ in model.named_parameters()]
    parts = sorted({name.split(".")[0] for name in names})
    for prefix in prefixes:
        if not any(_is_under(name, prefix) for name in names):
            raise TrainingError(
                f"freeze: no part is called {prefix!r}{did_you_mean(prefix, parts)}; the network has {', '.join(parts)}"
            )
    if prefixes and not has_start:
        raise TrainingError(
            f"freeze: {', '.join(prefixes)} would stay at random weights; give a checkpoint to start from (--init), or "
            "leave it out"
        )
    if all(any(_is_under(name, prefix) for prefix in prefixes) for name in names):
        raise TrainingError(f"freeze: {', '.join(prefixes)} is the whole network, which leaves nothing to train")


def freeze(model: CNN, prefixes: Sequence[str]) -> None:
    """Take gradients from the parts whose names begin so; their normalisation stays as it is, too."""
    model.frozen = tuple(name for name, _ in model.named_modules() if any(_is_under(name, one) for one in prefixes))
    for name, parameter in model.named_parameters():
        if any(_is_under(name, prefix) for prefix in prefixes):
            parameter.requires_grad_(False)


def _is_under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")
