"""`seqsal report`: the page for any attribution file, with the peaks, motifs and audit that it shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seqsal.auditing import audit
from seqsal.commands.arguments import PathArgument, check_ending, told_reading
from seqsal.io.attributions import Attributions
from seqsal.io.store import read_attributions
from seqsal.motifs import discover_motifs
from seqsal.peaks import PEAK_COLUMNS, call_peaks, read_peaks

if TYPE_CHECKING:
    from seqsal.auditing.result import AuditResult

__all__ = ["report_to_file"]


def report_to_file(
    attributions: PathArgument,
    out: PathArgument,
    *,
    model: str | None = None,
    peaks: PathArgument | None = None,
    motif_db: PathArgument | None = None,
    result: str | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = False,
    **reading: Any,
) -> AuditResult:
    """Do what `seqsal report` does: peaks, motifs, audit and page for any attributions; returns the audit.

    Parameters
    ----------
    attributions
        Attribution file, of seqsal or imported.
    out
        The page.
    model
        What the attributions are about; None leaves out every test that asks a model.
    peaks
        narrowPeak file; called when None, as far as there are controls.
    motif_db
        What motifs are named by, and the map is compared with.
    result
        Which result of the attribution file; None is the first.
    device, seed
        As for :func:`seqsal.audit`.
    reading
        How to read the model, where the attributions do not say.
    """
    from seqsal.auditing.given import load_audited
    from seqsal.auditing.settings import RUN_SIZES
    from seqsal.report import ReportInputs, write_report

    check_ending(out, ".html")
    attr = read_attributions(attributions, result, in_memory=False)
    loaded = None if model is None else load_audited(model, attr, device=device, **told_reading(reading))
    table = _peaks_of(attr, peaks)
    motifs = discover_motifs(attr, table, motif_db=motif_db, seed=seed, progress=progress)
    found = audit(
        loaded, attr, peaks=table, patterns=motifs, motif_db=motif_db, settings=RUN_SIZES, device=device, seed=seed,
        progress=progress,
    )  # fmt: skip
    scores = attr.regions.assign(prediction=np.asarray(attr.prediction, dtype=np.float64))
    given = {"attributions": attributions, "model": model, "peaks": peaks, "motif_db": motif_db, "seed": seed}
    info = {"parameters": {name: str(value) for name, value in given.items() if value is not None}}
    title = f"{attr.method} · {Path(attributions).name}"
    write_report(out, ReportInputs(attr, scores, table, info, motifs=motifs, audit=found, title=title))
    return found


def _peaks_of(attr: Attributions, peaks: PathArgument | None) -> pd.DataFrame:
    """Peaks as given, or called; none where there is nothing to compare with."""
    if peaks is not None:
        return read_peaks(peaks)
    if attr.n_controls:
        return call_peaks(attr)
    return pd.DataFrame({key: pd.Series(dtype=kind) for key, kind in PEAK_COLUMNS.items()})
