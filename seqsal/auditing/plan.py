"""An audit in two steps: what it is given is read and checked at once, what is audited may come later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqsal.attribution import AttributeOptions
from seqsal.auditing.context import AuditContext
from seqsal.auditing.given import describe_given, read_evidence
from seqsal.auditing.result import AuditResult
from seqsal.auditing.run import run_audit
from seqsal.auditing.size import AuditSize, size_of
from seqsal.io.attributions import Attributions
from seqsal.models import SequenceModel

__all__ = ["EVIDENCE", "AuditPlan"]

CLASSES = ("positives", "negatives")
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
        self._n_regions, self._length = len(regions), length

    @property
    def n_motifs(self) -> int:
        """Known motifs that the map is compared with."""
        return len(self._read["motifs"] or ())

    def size(
        self,
        model: SequenceModel,
        codes: NDArray[np.uint8],
        options: AttributeOptions,
        *,
        n_other_models: int = 0,
        device: torch.device,
    ) -> AuditSize:
        """Say what the work of the audit follows from, before there are attributions.

        Parameters
        ----------
        model
            That the attributions will be about.
        codes
            (n, L) uint8, one window or more.
        options
            How they will be made; the first of several results is audited.
        n_other_models
            Models that will be compared.
        device
            Where to compute.
        """
        known = {name: None if (given := self._read[name]) is None else len(given) for name in CLASSES}
        return size_of(
            self._read["settings"], self._n_regions, model, codes, options, device=device,
            n_other_models=n_other_models, n_positives=known["positives"], n_negatives=known["negatives"],
        )  # fmt: skip

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
