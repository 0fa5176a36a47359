"""The version, which pyproject.toml reads from here, and that of the files of trained models."""

__all__ = ["CHECKPOINT_FORMAT", "CHECKPOINT_VERSION", "VERSION"]

VERSION = "0.2.0"
CHECKPOINT_FORMAT = "seqsal-cnn"
CHECKPOINT_VERSION = 1
