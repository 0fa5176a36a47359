"""Audit: whether a map is faithful to its model and plausible as biology, and whether the model lives on a shortcut."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seqsal.auditing.settings import AuditSettings

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from seqsal.auditing.context import Explainer
    from seqsal.auditing.result import AuditResult
    from seqsal.auditing.run import Sequences
    from seqsal.io.attributions import Attributions
    from seqsal.motifs import Motif, MotifResult

__all__ = ["AuditSettings", "audit"]

_PATH = str | os.PathLike[str]


def audit(
    model: nn.Module | _PATH | None = None,
    attr: Attributions | _PATH | None = None,
    *,
    motif_db: _PATH | Sequence[Motif] | None = None,
    annotations: _PATH | pd.DataFrame | None = None,
    artifacts: _PATH | None = None,
    positives: Sequences | None = None,
    negatives: Sequences | None = None,
    genome: _PATH | None = None,
    strata: str | pd.DataFrame | None = None,
    other_models: Sequence[nn.Module | _PATH] = (),
    explainer: Explainer | None = None,
    peaks: _PATH | pd.DataFrame | None = None,
    patterns: MotifResult | None = None,
    settings: AuditSettings | Mapping[str, Any] | None = None,
    span: int | str | None = None,
    contrast: str | None = None,
    readout_at: _PATH | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> AuditResult:
    """Test whether a map is faithful to its model and plausible as biology, and whether the model takes a shortcut.

    Parameters
    ----------
    model
        The model that the attributions are about: a file, a module, or one from :func:`seqsal.load_model` or
        :func:`seqsal.wrap`. Files and modules are read as the attributions say (target, output space, layout). None
        leaves out every test that needs one.
    attr
        Attributions, or a file of them.
    motif_db
        Known motifs: `jaspar:RELEASE:TAXGROUP`, a motif file, or motifs.
    annotations
        Regions known to matter, a BED file or a table with chrom, start and end.
    artifacts
        FASTA of one's own artifact sequences, looked for in addition to the library of adapters, primers and vectors.
    positives, negatives
        Sequences of either class, such as the training data: FASTA, a BED file or table with `genome`, or codes (n, L)
        or one-hot (n, 4, L). At most `settings.n_examples` of them are read, evenly spread.
    genome
        FASTA that BED files are read from.
    strata
        `FILE:COLUMN` of a BED or table, such as a batch, or a table with a row a region and a column a factor; regions
        are compared between them.
    other_models
        The same model trained from other seeds or on other folds.
    explainer
        (model, codes (n, L) uint8) → map (n, L): how the attributions were made, where no method of seqsal made them.
    peaks
        Table of :func:`seqsal.call_peaks` or a narrowPeak file; called at q ≤ 0.05 when None.
    patterns
        Of :func:`seqsal.discover_motifs` on these attributions, to be judged for what they are.
    settings
        Sizes and thresholds, all or some of them by name: ``{"n_regions": 200}``.
    span
        Audit so many bases in the middle of each window alone; what was kept of them otherwise.
    contrast
        Audit the result of this contrast, of several.
    readout_at
        Where the attributions were read, to make sure of it: they are audited as they were read in any case.
    device
        `auto`, `cpu` or `cuda[:i]`.
    seed
        Of everything random.
    progress
        Show a progress bar.

    Returns
    -------
    AuditResult
        `verdict`, `table(name)`, `to_json(path)`; what could not be tested is in `untested`.

    Raises
    ------
    SeqsalError
        Input that cannot be used, before any work is done; see the message.

    Examples
    --------
    >>> import numpy as np, seqsal, torch
    >>> class CountsG(torch.nn.Module):
    ...     def forward(self, X):
    ...         return X[:, 2].sum(1)
    >>> X = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (6, 40))].swapaxes(1, 2)
    >>> attr = seqsal.attribute(CountsG(), X=X, n_controls=0)
    >>> audit = seqsal.audit(CountsG(), attr, settings={"n_regions": 6, "n_ism_regions": 6, "n_small": 2})
    >>> audit.verdict.answers
    'faithful: yes · plausible: not tested · shortcuts: none found'
    >>> audit["faithfulness"]["ism_spearman"] > 0.9
    True
    """
    from seqsal.attribution.request import read_model_of
    from seqsal.auditing.run import AuditPlan, open_audited, read_peaks_of
    from seqsal.models import resolve_device

    where, opened = resolve_device(device), open_audited(attr, span=span, contrast=contrast, readout_at=readout_at)
    plan = AuditPlan(
        lambda: opened.regions,
        opened.length,
        motif_db=motif_db,
        annotations=annotations,
        artifacts=artifacts,
        positives=positives,
        negatives=negatives,
        genome=genome,
        strata=strata,
        settings=settings,
    )
    return plan.run(
        opened,
        None if model is None else read_model_of(model, opened, device=where),
        other_models=[read_model_of(other, opened, device=where) for other in other_models],
        peaks=read_peaks_of(opened, peaks),
        patterns=patterns,
        explainer=explainer,
        device=where,
        seed=seed,
        progress=progress,
    )
