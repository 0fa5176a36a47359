"""Attribution: from windows and a model to per-base scores."""

from seqsal.attribution.engine import attribute_to_file, attribute_windows
from seqsal.attribution.methods.base import Method, Scores
from seqsal.attribution.methods.registry import METHODS, make_method
from seqsal.attribution.predict import predict_windows
from seqsal.attribution.request import AttributeOptions, Request

__all__ = [
    "METHODS",
    "AttributeOptions",
    "Method",
    "Request",
    "Scores",
    "attribute_to_file",
    "attribute_windows",
    "make_method",
    "predict_windows",
]
