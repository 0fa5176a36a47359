"""`seqsal train`: the built-in CNN from regions or sequences into a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seqsal.commands.arguments import PathArgument, check_ending

if TYPE_CHECKING:
    from seqsal.training import TrainResult

__all__ = ["train_to_file"]


def train_to_file(out: PathArgument, *, progress: bool = False, **arguments: Any) -> TrainResult:
    """Do what `seqsal train` does: train the built-in CNN into a checkpoint.

    Parameters
    ----------
    out
        Checkpoint to write (`.safetensors`).
    progress
        Show a progress bar.
    arguments
        Those of :func:`seqsal.train_model`, with the fields of `CNNConfig` and `TrainConfig` among them.
    """
    from seqsal.models import CNNConfig
    from seqsal.training import TrainConfig, train_model
    from seqsal.training.sources import common_length

    check_ending(out, ".safetensors", name="a checkpoint name")
    training = {key: arguments.pop(key) for key in TrainConfig.__dataclass_fields__ if key in arguments}
    sizes = {key: arguments.pop(key) for key in CNNConfig.__dataclass_fields__ if key in arguments}
    columns = training.setdefault("target_columns", ["score"])
    sizes["input_length"] = sizes.get("input_length") or common_length(arguments["positives"])
    sizes.setdefault("n_targets", 1 if sizes.get("loss", "binary") == "binary" else len(columns))
    return train_model(
        config=CNNConfig(**sizes), training=TrainConfig(**training), out=out, progress=progress, **arguments
    )
