"""Right for the right reasons: a loss on the map of the network in training (Ross, Hughes and Doshi-Velez 2017).

With t the map of a window (arXiv:1703.03717; here any method that can be differentiated twice) and M− and M+ the bases
that an expert, or the audit, marks as irrelevant and as relevant, each window that has marks adds to the loss::

    irrelevant = Σ over M− of |t| / Σ|t|            relevant = 1 − Σ over M+ of |t| / Σ|t|

the mean over the windows of a batch that have such marks, times `mask_weight`, which rises from 0 over the first
`mask_warmup` of all steps. Both are shares, so neither the scale of the output nor the length of the windows matters.
Maps are those of the network as it predicts (running statistics, no dropout), so that a window's map is its own.

Examples may also have *copies*: bases of an artifact, which is to be seen in both classes alike. Each time that a
window is shown, a coin says whether it is to have the artifact. If so and it has none, a copy is written into it where
it stands in another window; if not and it has one, the bases of a negative without are written over it. What every
window has, such as edges, comes from any other window.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqsal.attribution import methods
from seqsal.errors import TrainingError, did_you_mean
from seqsal.io.bed import read_bed
from seqsal.models.cnn import scalar
from seqsal.regions import mask_of, spans_in_windows
from seqsal.sequence.codes import N_CODE

if TYPE_CHECKING:
    from seqsal.training.examples import Examples
    from seqsal.training.settings import TrainConfig

__all__ = ["Masks", "Randomiser", "Relevance", "check_mask_method", "mark_examples", "mask_terms", "predicting"]

logger = logging.getLogger(__name__)

Flags = NDArray[np.bool_]
RELEVANT, IRRELEVANT = 1, -1
TINY = 1e-12  # a map of 0 has no share anywhere


def mask_terms(track: torch.Tensor, marks: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the terms of a batch by name, those that any of its windows has: maps (n, L), marks (n, L) of −1, 0, 1."""
    mass = track.abs()
    share = mass / (mass.sum(dim=1, keepdim=True) + TINY)
    terms = {}
    for name, sign in (("irrelevant", IRRELEVANT), ("relevant", RELEVANT)):
        has = (marks == sign).any(dim=1)
        if has.any():
            inside = (share * (marks == sign))[has].sum(dim=1).mean()
            terms[name] = inside if sign == IRRELEVANT else 1 - inside
    return terms


class Relevance:
    """Gives the terms of a batch of windows with marks, with a graph down to the parameters of the network."""

    def __init__(self, model: torch.nn.Module, training: TrainConfig) -> None:
        self.model = model
        self.formula = check_mask_method(training.mask_method)

    def __call__(self, X: torch.Tensor, marks: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the terms of one-hot windows (n, 4, L) with marks (n, L)."""
        rows = (marks != 0).any(dim=1)
        if not rows.any():
            return {}
        X = X[rows]
        with predicting(self.model):
            scores = self.formula(lambda X: scalar(self.model, X), X, create_graph=True)
            return mask_terms(scores.track(X), marks[rows])


@contextmanager
def predicting(model: torch.nn.Module) -> Iterator[None]:
    """Put a network in training into evaluation mode meanwhile; its parameters keep their gradients."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def check_mask_method(name: str) -> Any:
    """Return the formula of a method whose maps a loss can be built on."""
    able = [one for one in methods.__all__ if "create_graph" in inspect.signature(getattr(methods, one)).parameters]
    if name not in able:
        raise TrainingError(
            f"mask_method: got {name!r}{did_you_mean(name, able)}, expected a method that can be differentiated again: "
            f"{', '.join(able)}"
        )
    return getattr(methods, name)


class Randomiser:
    """Shows the copies of an artifact in both classes alike; `codes` and `copies` (N, W), `is_positive` (N,)."""

    def __init__(self, codes: torch.Tensor, copies: torch.Tensor, is_positive: torch.Tensor) -> None:
        self.codes, self.copies, self.has = codes, copies, copies.any(dim=1)
        self.donors = self.has.nonzero()[:, 0]
        without = (~self.has & ~is_positive).nonzero()[:, 0]
        self.fillers = without if len(without) else (~is_positive).nonzero()[:, 0]

    def __call__(
        self, rows: torch.Tensor, marks: torch.Tensor | None, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return codes and marks (n, W) of some rows, with copies written in or over."""
        n = len(rows)
        wants = torch.rand(n, generator=generator) < 0.5
        device = rows.device
        donor, filler = (
            pool[torch.randint(len(pool), (n,), generator=generator).to(device)] for pool in (self.donors, self.fillers)
        )
        has, wants = self.has[rows], wants.to(device)
        gets, loses = wants & ~has, ~wants & has
        if len(self.donors) == len(self.has):
            gets, loses = torch.ones_like(wants), torch.zeros_like(wants)
        source = torch.where(gets, donor, torch.where(loses, filler, rows))
        where = torch.where(gets[:, None], self.copies[donor], self.copies[rows] & loses[:, None])
        codes = torch.where(where, self.codes[source], self.codes[rows])
        return codes, None if marks is None else torch.where(where, marks[source], marks[rows])


Masks = str | os.PathLike[str] | pd.DataFrame


def mark_examples(examples: Examples, relevant: Masks | None, irrelevant: Masks | None) -> NDArray[np.int8]:
    """Mark the bases (N, W) of examples that masks, BED files or region tables, say are relevant and irrelevant.

    TrainingError: masks that share bases, of which no training window has any, or that leave nothing of a window.
    """
    flank = (examples.codes.shape[1] - (examples.windows["end"] - examples.windows["start"]).to_numpy()) // 2
    found = {
        name: _mask(examples, masks, name, flank)
        for name, masks in (("relevant", relevant), ("irrelevant", irrelevant))
        if masks is not None
    }
    if len(found) == 2 and (both := found["relevant"] & found["irrelevant"]).any():
        raise TrainingError(
            f"relevant and irrelevant: share bases in {int(both.any(axis=1).sum()):,} windows, first in "
            f"{_named(examples, both)}, expected no base to be both; take such bases out of one of the two"
        )
    for name, mask in found.items():
        mask[_all_covered(examples, mask, name)] = False
    marks = np.zeros(examples.codes.shape, dtype=np.int8)
    for name, mask in found.items():
        marks[mask] = RELEVANT if name == "relevant" else IRRELEVANT
    return marks


def _mask(examples: Examples, masks: Masks, name: str, flank: NDArray[np.int64]) -> Flags:
    table = masks if isinstance(masks, pd.DataFrame) else read_bed(masks)
    spans, which = spans_in_windows(examples.windows, table)
    shift = flank[spans.row]
    mask = mask_of(spans._replace(start=spans.start + shift, end=spans.end + shift), examples.codes.shape)
    if examples.provenance.get("negatives", {}).get("sampling") == "shuffle":  # they have places of positives
        mask &= examples.is_positive[:, None]
    n_train = int(mask[examples.rows("train")].any(axis=1).sum())
    if not n_train:
        raise TrainingError(
            f"{name}: none of its {len(table):,} regions shares a base with a training window ("
            f"{examples.windows['chrom'].iloc[0]}:{examples.windows['start'].iloc[0]} and others), expected some; "
            "give masks of the regions that are trained on, with the same names of chromosomes"
        )
    n_outside = len(table) - len(np.unique(which))
    if n_outside:
        logger.warning("%s: %s of %s regions lie outside all windows, and do nothing", name, f"{n_outside:,}",
                       f"{len(table):,}")  # fmt: skip
    return mask


def _all_covered(examples: Examples, mask: Flags, name: str) -> Flags:
    """Return which windows (N,) have no known base that is not under a mask: no map of theirs is better than another.

    TrainingError: that is so for all that the mask touches.
    """
    is_known = examples.codes < N_CODE
    whole = np.asarray(mask.any(axis=1) & ~(~mask & is_known).any(axis=1))
    if whole.any():
        n_touched = int(mask.any(axis=1).sum())
        first = _named(examples, whole[:, None])
        told = f"{name}: covers {int(whole.sum()):,} of {n_touched:,} windows completely, {first}"
        if whole.sum() == n_touched:
            raise TrainingError(f"{told} among them, expected bases on either side; mark those that matter alone")
        logger.warning("%s among them, where it does nothing", told)
    return whole


def _named(examples: Examples, where: Flags) -> str:
    return str(examples.windows["name"].iloc[int(np.flatnonzero(where.any(axis=1))[0])])
