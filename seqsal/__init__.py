"""Sequence attribution that tests its own answer: which bases drive a prediction, and can that be believed.

The public names are loaded on first use, so that `import seqsal` (and `seqsal --help`) does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seqsal.errors import SeqsalError
from seqsal.version import VERSION as __version__

if TYPE_CHECKING:
    from seqsal.api import attribute, call_peaks, compare_attributions, discover_motifs, plot_logo, score
    from seqsal.io.attributions import Attributions
    from seqsal.io.store import read_attributions
    from seqsal.models import load_model, train_model, wrap
    from seqsal.pipeline import run

_HOMES = {
    "Attributions": "seqsal.io.attributions",
    "attribute": "seqsal.api",
    "call_peaks": "seqsal.api",
    "compare_attributions": "seqsal.api",
    "discover_motifs": "seqsal.api",
    "load_model": "seqsal.models",
    "plot_logo": "seqsal.api",
    "read_attributions": "seqsal.io.store",
    "run": "seqsal.pipeline",
    "score": "seqsal.api",
    "train_model": "seqsal.models",
    "wrap": "seqsal.models",
}

__all__ = [
    "Attributions",
    "SeqsalError",
    "__version__",
    "attribute",
    "call_peaks",
    "compare_attributions",
    "discover_motifs",
    "load_model",
    "plot_logo",
    "read_attributions",
    "run",
    "score",
    "train_model",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqsal' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
