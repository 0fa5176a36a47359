"""Expected seconds of every stage of a run, as far as they follow from what it is given.

How many peaks there will be is not known: one a region is assumed, all of one sign, which is much for a weak model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seqsal.attribution import Trial
from seqsal.auditing.cost import PREDICTION, ModelWork, audit_work, total_work
from seqsal.auditing.plan import AuditPlan
from seqsal.motifs import read_motifs
from seqsal.motifs.modisco import MODISCO_MIN_SEQLETS
from seqsal.motifs.seqlets import MAX_SEQLETS
from seqsal.motifs.usage import DECOY_HITS, DECOY_RANGE
from seqsal.pipeline.forecast.rates import (
    audit_seconds,
    browser_seconds,
    discovery_seconds,
    peaks_seconds,
    report_seconds,
    scan_seconds,
    track_seconds,
)
from seqsal.pipeline.forecast.trials import model_seconds, try_model
from seqsal.pipeline.preparation import PreparedRun

__all__ = ["AuditForecast", "foresee_audit", "foresee_stages"]

N_TRIED = 32
HIT_P_VALUE = 1e-4  # of the scan that says how much each known motif is used


class AuditForecast(NamedTuple):
    """What an audit asks of the model, and what it takes.

    Attributes
    ----------
    work
        Asked of the model, by all parts together.
    n_sequences
        Sequences through the model for it, at most.
    model_seconds
        Of asking the model, on this machine.
    other_seconds
        Of the rest, by the rates.
    """

    work: ModelWork
    n_sequences: int
    model_seconds: float
    other_seconds: float


def foresee_stages(
    prepared: PreparedRun, trial: Trial, audit: AuditForecast | None, *, load_seconds: float, slowness: float
) -> dict[str, float]:
    """Expect so many seconds of each stage.

    Parameters
    ----------
    prepared
        The run.
    trial
        Of its attribution.
    audit
        Of :func:`foresee_audit`; None where there is none.
    load_seconds
        What it took to read and check the input.
    slowness
        Of :func:`seqsal.pipeline.forecast.rates.machine_slowness`.

    Returns
    -------
    dict of str to float
        By the stages of `run.json`, in their order; `tracks` with the scores.
    """
    n, length, n_controls = len(prepared.source), prepared.source.length, trial.layout.n_controls
    others = {
        "tracks": track_seconds(n, length),
        "peaks": peaks_seconds(n, n_controls, length),
        "motifs": peaks_seconds(n, n_controls, length) + _motifs(prepared, n, length),
        "audit": 0.0 if audit is None else audit.other_seconds,
        "browser": browser_seconds(n),
        "report": report_seconds(),
    }
    seconds = {"load": load_seconds, "attribute": trial.expected_seconds}
    seconds |= {name: slowness * one for name, one in others.items()}
    if audit is None:
        del seconds["audit"]
    else:
        seconds["audit"] += audit.model_seconds
    return seconds


def _motifs(prepared: PreparedRun, n: int, length: int) -> float:
    """Discover patterns, and scan the windows for the known motifs and their decoys."""
    named = prepared.parameters.get("motif_db")
    n_motifs = 0 if named is None else len(read_motifs(named))
    n_decoys = int(np.clip(np.ceil(DECOY_HITS / (2 * n * length * HIT_P_VALUE)), *DECOY_RANGE))
    usage = scan_seconds(n_motifs * (1 + n_decoys), n * length)
    return usage + discovery_seconds(min(n, MAX_SEQLETS), MODISCO_MIN_SEQLETS)


def foresee_audit(prepared: PreparedRun, plan: AuditPlan) -> AuditForecast:
    """Count what the audit asks of the model, and try how long that takes."""
    source, options = prepared.source, prepared.settings
    codes = source.read(slice(0, min(N_TRIED, len(source))))
    size = plan.size(
        prepared.model, codes, options, n_other_models=len(prepared.other_models), device=prepared.device
    )  # fmt: skip
    work = total_work(audit_work(size))
    speeds = try_model(prepared.model, codes, size, work, device=prepared.device)
    other = audit_seconds(
        predicted_bp=work.windows[PREDICTION] * size.length,
        placed_bp=size.scanned_bp if plan.n_motifs else 0,
        n_placements=size.settings.n_permutations,
        artifacts_bp=size.artifacts_bp,
    )
    other += scan_seconds(plan.n_motifs, size.scanned_bp)
    return AuditForecast(work, work.n_sequences(size), model_seconds(work, speeds), other)
