"""The attribution methods: each its formula, a pure function of (f, X), and the class that holds its options.

The functions take any f: (N, 4, L) → (N,) in evaluation mode and one-hot windows X (N, 4, L), and give
:class:`~seqsal.attribution.methods.base.Scores`. With ``create_graph=True`` a loss may be built on a map.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqsal.attribution.methods.activation_maps import cam, grad_cam
    from seqsal.attribution.methods.contributions import deeplift_shap
    from seqsal.attribution.methods.gradients import gradient_x_input, saliency
    from seqsal.attribution.methods.mutagenesis import ism
    from seqsal.attribution.methods.paths import expected_gradients, integrated_gradients, smoothgrad
    from seqsal.attribution.methods.perturbation import tiles

__all__ = [
    "cam",
    "deeplift_shap",
    "expected_gradients",
    "grad_cam",
    "gradient_x_input",
    "integrated_gradients",
    "ism",
    "saliency",
    "smoothgrad",
    "tiles",
]


def __getattr__(name: str) -> Any:
    """Load a formula from the module of its class, which the registry names."""
    from seqsal.attribution.methods.registry import METHODS

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(METHODS[name].__module__), name)
