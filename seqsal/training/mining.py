"""Hard negatives: what the network takes for a positive away from all of them is shown to it as a negative.

Negatives are a sample, and in a genome the few windows that look most like a positive make the false calls. So after a
training the network scores candidates: `PER_POSITIVE` further negatives for each positive of the training part, drawn
as the first ones were (of the same G+C where those were, as far from any positive), or what is left of the negatives
that were given. The strongest join the training part, as many as it has positives, none that shares half its place or
all its bases with a negative that is there; and a new network is trained from the start (Shrivastava, Gupta and
Girshick 2016, arXiv:1604.03540, do so within an epoch). Chromosomes and sequences that are held out, for validation or
test, are never mined. A site that the positives lack is a hard negative too: mining needs positives that are complete.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import TrainingError
from seqsal.models.seen import record_seen
from seqsal.sequence.draws import window_keys
from seqsal.training.examples import Examples
from seqsal.training.negatives import ClassWindows, sample_negatives
from seqsal.training.settings import TrainConfig
from seqsal.training.sources import Regions

__all__ = ["Miner"]

PER_POSITIVE = 100  # candidates
MOST_BASES = 1 << 28  # of candidates


@dataclass(frozen=True)
class Miner:
    """Where candidates come from: `positives` and `genome` as for :func:`seqsal.training.train_model`."""

    positives: Regions
    genome: str | os.PathLike[str] | None
    training: TrainConfig
    seed: int

    def candidates(self, examples: Examples, round_: int) -> ClassWindows:
        """Return candidates of the training part for a round, counted from 1."""
        if examples.spare is not None:
            return examples.spare
        rows = examples.is_positive
        positive = ClassWindows(examples.windows[rows], examples.codes[rows], examples.parts[rows], {})
        n_train = int((positive.parts == "train").sum())
        n_each = max(min(PER_POSITIVE, MOST_BASES // (n_train * positive.codes.shape[1])), 1)
        drawing = replace(self.training, negatives_per_positive=n_each)
        return sample_negatives(
            positive, self.positives, self.genome, drawing, self.seed, parts=("train",), draw=round_
        )  # fmt: skip

    def add(
        self, examples: Examples, candidates: ClassWindows, scores: NDArray[np.float64]
    ) -> tuple[Examples, dict[str, Any]]:
        """Add the candidates of the largest scores (n,) to the training part; return what was done, as JSON values too.

        Raises
        ------
        TrainingError
            None is left to add.
        """
        of_training = examples.parts == "train"
        n_wanted = int((examples.is_positive & of_training).sum())
        chosen = _strongest(examples, candidates, scores, n_wanted)
        if not len(chosen):
            raise TrainingError(
                f"mine: none of the {len(scores):,} candidates is left that is no negative already, expected more to "
                "choose from; give more negatives, or fewer rounds"
            )
        added = scores[chosen]
        n_above = int((added > 0).sum())
        reach = [float(added.min()), float(added.max())]
        said = {"n_candidates": len(scores), "n_added": len(chosen), "score_range": reach}
        windows = pd.concat([examples.windows, candidates.windows.iloc[chosen]], ignore_index=True)
        codes = np.concatenate([examples.codes, candidates.codes[chosen]])
        parts = np.concatenate([examples.parts, np.full(len(chosen), "train")])
        none = np.zeros((len(chosen), examples.targets.shape[1]), np.float32)
        flank = self.training.max_shift
        marks = examples.marks
        if marks is not None:
            marks = np.concatenate([marks, np.zeros((len(chosen), marks.shape[1]), np.int8)])
        return replace(
            examples,
            marks=marks,
            windows=windows,
            codes=codes,
            targets=np.concatenate([examples.targets, none]),
            parts=parts,
            is_positive=np.concatenate([examples.is_positive, np.zeros(len(chosen), np.bool_)]),
            chroms=windows["chrom"].to_numpy(dtype=str),
            seen=record_seen(windows, parts, codes[:, flank : codes.shape[1] - flank]),
        ), {**said, "n_taken_for_positives": n_above}


def _strongest(
    examples: Examples, candidates: ClassWindows, scores: NDArray[np.float64], n_wanted: int
) -> NDArray[np.int64]:
    """Choose candidates, the strongest first, none of them too near to a negative that is there or chosen."""
    width = candidates.codes.shape[1]
    taken: dict[tuple[str, int], list[int]] = {}
    known = set(window_keys(examples.codes).tolist())
    keys = window_keys(candidates.codes).tolist()
    chroms, starts = candidates.windows["chrom"].to_list(), candidates.windows["start"].to_list()
    is_placed = candidates.provenance.get("sampling") in ("gc", "random") or "genome" in candidates.provenance

    def place(chrom: str, start: int) -> bool:
        """Take a place unless half of it is taken."""
        near = [one for step in (-1, 0, 1) for one in taken.get((chrom, start // width + step), ())]
        if any(2 * abs(one - start) < width for one in near):
            return False
        taken.setdefault((chrom, start // width), []).append(start)
        return True

    negative = examples.windows[~examples.is_positive]
    if is_placed:
        for chrom, start in zip(negative["chrom"], negative["start"], strict=True):
            place(chrom, int(start))
    chosen: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        if len(chosen) == n_wanted:
            break
        if keys[i] in known or (is_placed and not place(chroms[i], int(starts[i]))):
            continue
        known.add(keys[i])
        chosen.append(i)
    return np.array(chosen, dtype=np.int64)
