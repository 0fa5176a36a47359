"""Names that help texts list, apart so that help does not import torch; a test compares them with the originals."""

__all__ = ["METHOD_NAMES"]

METHOD_NAMES = ("gradient_x_input", "saliency")
