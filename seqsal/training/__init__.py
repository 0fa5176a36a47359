"""Training the built-in network: examples, negatives, fitting and the state of an interrupted run."""

from seqsal.training.settings import TrainConfig
from seqsal.training.train import TrainResult, train_model

__all__ = ["TrainConfig", "TrainResult", "train_model"]
