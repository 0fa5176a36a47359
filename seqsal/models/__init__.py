"""Models: the built-in CNN, and any other PyTorch model read as one scalar per sequence."""

from seqsal.models.checkpoint import load_checkpoint, save_checkpoint
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.models.load import load_model
from seqsal.models.sequence_model import SequenceModel, wrap
from seqsal.models.state import resolve_device

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
