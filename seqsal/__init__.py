"""Sequence attribution that tests its own answer: which bases drive a prediction, and can that be believed.

The public names are loaded on first use, so that `import seqsal` (and `seqsal --help`) does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seqsal.errors import SeqsalError
from seqsal.io.views import name_views
from seqsal.version import VERSION as __version__

if TYPE_CHECKING:
    from seqsal.agreement import compare_attributions
    from seqsal.attribution.api import attribute, score
    from seqsal.attribution.receptive_field import receptive_field
    from seqsal.auditing import AuditSettings, audit
    from seqsal.auditing.result import AuditResult, read_audit
    from seqsal.experiments.variants import score_variants
    from seqsal.interop.attributions import import_attributions, write_controls
    from seqsal.io.attributions import Attributions
    from seqsal.io.joins import concat
    from seqsal.io.store import read_attributions
    from seqsal.models import load_model, wrap
    from seqsal.motifs import discover_motifs
    from seqsal.peaks import call_peaks
    from seqsal.pipeline.retrain import retrain
    from seqsal.pipeline.run import run
    from seqsal.plot import plot_curves, plot_heatmap, plot_logo, plot_receptive_field, plot_tracks, save_figure
    from seqsal.training import train_model

_HOMES = {
    "Attributions": "seqsal.io.attributions",
    "AuditResult": "seqsal.auditing.result",
    "AuditSettings": "seqsal.auditing.settings",
    "attribute": "seqsal.attribution.api",
    "audit": "seqsal.auditing",
    "call_peaks": "seqsal.peaks",
    "concat": "seqsal.io.joins",
    "compare_attributions": "seqsal.agreement",
    "discover_motifs": "seqsal.motifs",
    "import_attributions": "seqsal.interop.attributions",
    "load_model": "seqsal.models",
    "plot_curves": "seqsal.plot",
    "plot_heatmap": "seqsal.plot",
    "plot_logo": "seqsal.plot",
    "plot_receptive_field": "seqsal.plot",
    "plot_tracks": "seqsal.plot",
    "read_audit": "seqsal.auditing.result",
    "read_attributions": "seqsal.io.store",
    "receptive_field": "seqsal.attribution.receptive_field",
    "retrain": "seqsal.pipeline.retrain",
    "run": "seqsal.pipeline.run",
    "save_figure": "seqsal.plot",
    "score": "seqsal.attribution.api",
    "score_variants": "seqsal.experiments.variants",
    "train_model": "seqsal.training",
    "wrap": "seqsal.models",
    "write_controls": "seqsal.interop.attributions",
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
    "concat",
    "discover_motifs",
    "import_attributions",
    "load_model",
    "plot_curves",
    "plot_heatmap",
    "plot_logo",
    "plot_receptive_field",
    "plot_tracks",
    "read_attributions",
    "read_audit",
    "receptive_field",
    "retrain",
    "run",
    "save_figure",
    "score",
    "score_variants",
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
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
