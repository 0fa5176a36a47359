"""The probabilities behind attributed outputs, where the model gives any."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.compute import frozen_on_device
from seqsal.auditing.context import AuditContext
from seqsal.models import SequenceModel
from seqsal.sequence.tensors import one_hot_tensor

__all__ = ["Probability", "probabilities"]

PASS_BASES = 1 << 16


class Probability(NamedTuple):
    """Predicted probabilities (n,) of rows (n,) of the attributions."""

    rows: NDArray[np.int64]
    values: NDArray[np.float64]

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probabilities of some rows; NaN for others."""
        found = np.full(int(max(self.rows.max(), rows.max())) + 1, np.nan)
        found[self.rows] = self.values
        return found[rows]


def probabilities(context: AuditContext, untested: list[str]) -> Probability | None:
    """Predict probabilities, or say in `untested` why there are none.

    Of a logit before a sigmoid it is the sigmoid, without asking the model again; before a softmax it depends on the
    other classes, so the model is asked for as many regions as the slow tests look at.
    """
    space, model = context.attr.output_space, context.model
    rows = context.rows(context.settings.n_regions)
    told = np.asarray(context.attr.prediction[rows], dtype=np.float64)
    terminal = None if model is None else model.terminal
    if space not in ("probability", "logit"):
        untested.append(f"Saturation of the probability was not tested: the output is not one ({space}).")
    elif space == "logit" and (model is None or model.readout.reduce is not None):
        untested.append("Saturation of the probability was not tested: nothing says how it follows from the logit.")
    elif space == "logit" and model is not None and terminal is not None and terminal.kind != "sigmoid":
        rows = context.rows(context.settings.n_small)
        values = _ask(context, model, rows)
        return Probability(rows, np.exp(values) if terminal.kind == "log_softmax" else values)
    else:
        if not np.isfinite(told).all() and model is not None:
            rows = context.rows(context.settings.n_small)
            told = context.predict(context.codes(rows))
        if np.isfinite(told).all():
            return Probability(rows, np.clip(told, 0, 1) if space == "probability" else _sigmoid(told))
        untested.append("Saturation of the probability was not tested: the attributions lack the predictions.")
    return None


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(torch.sigmoid(torch.from_numpy(values)).numpy())


def _ask(context: AuditContext, model: SequenceModel, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the model's own output, after the softmax."""
    step = max(1, PASS_BASES // max(context.attr.length, 1))
    parts = []
    with frozen_on_device(model, context.device):
        for first in range(0, len(rows), step):
            codes = torch.from_numpy(np.ascontiguousarray(context.codes(rows[first : first + step])))
            parts.append(model.predict(one_hot_tensor(codes.to(context.device))).double().cpu().numpy())
    return np.concatenate(parts)
