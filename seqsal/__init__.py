"""Sequence attribution that tests its own answer: which bases drive a prediction, and can that be believed.

The public names are loaded on first use, so that `import seqsal` (and `seqsal --help`) does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seqsal.errors import SeqsalError
from seqsal.version import VERSION as __version__
from seqsal.views import name_views

if TYPE_CHECKING:
    from seqsal.api import attribute, plot_logo, score
    from seqsal.audit import AuditSettings, audit
    from seqsal.audit.result import AuditResult, read_audit
    from seqsal.compare import compare_attributions
    from seqsal.exchange import import_attributions, write_controls
    from seqsal.io.attributions import Attributions
    from seqsal.io.store import read_attributions
    from seqsal.models import load_model, train_model, wrap
    from seqsal.motifs import discover_motifs
    from seqsal.peaks import call_peaks
    from seqsal.pipeline import run
    from seqsal.plot import plot_curves, plot_heatmap, plot_tracks, save_figure

_HOMES = {
    "Attributions": "seqsal.io.attributions",
    "AuditResult": "seqsal.audit.result",
    "AuditSettings": "seqsal.audit.settings",
    "attribute": "seqsal.api",
    "audit": "seqsal.audit",
    "call_peaks": "seqsal.peaks",
    "compare_attributions": "seqsal.compare",
    "discover_motifs": "seqsal.motifs",
    "import_attributions": "seqsal.exchange",
    "load_model": "seqsal.models",
    "plot_curves": "seqsal.plot",
    "plot_heatmap": "seqsal.plot",
    "plot_logo": "seqsal.api",
    "plot_tracks": "seqsal.plot",
    "read_audit": "seqsal.audit.result",
    "read_attributions": "seqsal.io.store",
    "run": "seqsal.pipeline",
    "save_figure": "seqsal.plot",
    "score": "seqsal.api",
    "train_model": "seqsal.models",
    "wrap": "seqsal.models",
    "write_controls": "seqsal.exchange",
}

__all__ = [
    "Attributions",
    "AuditResult",
    "AuditSettings",
    "SeqsalError",
    "__version__",
    "attribute",
    "audit",
    "call_peaks",
    "compare_attributions",
    "discover_motifs",
    "import_attributions",
    "load_model",
    "plot_curves",
    "plot_heatmap",
    "plot_logo",
    "plot_tracks",
    "read_attributions",
    "read_audit",
    "run",
    "save_figure",
    "score",
    "train_model",
    "wrap",
    "write_controls",
]

name_views(  # what the methods of results draw with
    {
        "agreement_html": "seqsal.report.notebook:agreement_html",
        "attributions_html": "seqsal.report.notebook:attributions_html",
        "browser": "seqsal.browser.notebook:show_browser",
        "motifs_html": "seqsal.report.notebook:motifs_html",
        "plot": "seqsal.plot.stack:plot_attributions",
    }
)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqsal' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    return module if module.__name__ == f"seqsal.{name}" else getattr(module, name)  # a package that can be called


def __dir__() -> list[str]:
    return __all__
