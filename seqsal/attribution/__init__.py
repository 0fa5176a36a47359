"""Attribution: from windows and a model to per-base scores.

The names are loaded on first use, so that the names of the methods are at hand without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqsal.attribution.engine import attribute_to_file, attribute_windows
    from seqsal.attribution.methods.base import Method, Scores
    from seqsal.attribution.methods.registry import METHODS, make_method
    from seqsal.attribution.passes import predict_windows
    from seqsal.attribution.request import AttributeOptions, Request

_HOMES = {
    "METHODS": "methods.registry",
    "AttributeOptions": "request",
    "Method": "methods.base",
    "Request": "request",
    "Scores": "methods.base",
    "attribute_to_file": "engine",
    "attribute_windows": "engine",
    "make_method": "methods.registry",
    "predict_windows": "passes",
}

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


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
