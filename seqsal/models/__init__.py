"""Models: the built-in CNN, and any other PyTorch model read as one scalar per sequence."""

from seqsal.models.adapt import SequenceModel, wrap
from seqsal.models.checkpoint import load_checkpoint, save_checkpoint
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.models.device import resolve_device
from seqsal.models.load import load_model

__all__ = [
    "CNN",
    "CNNConfig",
    "SequenceModel",
    "load_checkpoint",
    "load_model",
    "resolve_device",
    "save_checkpoint",
    "wrap",
]
