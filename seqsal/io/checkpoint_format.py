"""How a checkpoint names its format, apart so that reading what a file says of itself needs no torch."""

__all__ = ["FORMAT", "FORMAT_VERSION"]

FORMAT = "seqsal-cnn"
FORMAT_VERSION = 1
