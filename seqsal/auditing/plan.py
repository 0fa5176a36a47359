"""An audit in two steps: what it is given is read and checked at once, what is audited may come later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from seqsal.auditing.context import AuditContext
from seqsal.auditing.given import describe_given, read_evidence
from seqsal.auditing.result import AuditResult
from seqsal.auditing.run import run_audit
from seqsal.io.attributions import Attributions
from seqsal.models import SequenceModel

__all__ = ["EVIDENCE", "AuditPlan"]

EVIDENCE = ("motif_db", "annotations", "artifacts", "positives", "negatives", "genome", "strata", "settings")


class AuditPlan:
    """An audit of windows that need not be attributed yet.

    Parameters
    ----------
    regions, length
        Region table of the windows, and their length in bp.
    evidence
        Those parameters of :func:`seqsal.audit` that are in `EVIDENCE`.

    Raises
    ------
    SeqsalError
        Something cannot be read.
    """

    def __init__(self, regions: pd.DataFrame, length: int, **evidence: Any) -> None:
        self._read = read_evidence(regions, length, **evidence)
        self._given = describe_given({name: one for name, one in evidence.items() if name != "settings"})

    def run(
        self,
        attr: Attributions,
        model: SequenceModel | None,
        *,
        other_models: Sequence[SequenceModel] = (),
        **options: Any,
    ) -> AuditResult:
        """Audit the windows' attributions.

        Parameters
        ----------
        attr
            Of the windows.
        model, other_models
            Read as the attributions were made.
        options
            Further arguments of :class:`seqsal.auditing.context.AuditContext`: `peaks`, `patterns`, `explainer`,
            `device`,
            `seed`, `progress`.

        Raises
        ------
        ModelError
            The model does not give the predictions that the attributions are about.
        """
        context = AuditContext(attr, model, other_models=other_models, **options, **self._read)
        return run_audit(context, given=self._given)
