"""What a biologist takes to the bench: of each call, what deleting it does and the motif inside, the best first."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from seqsal.errors import StoreError
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_bed, write_tsv
from seqsal.motifs import Motif, MotifResult
from seqsal.motifs.scan import best_hits
from seqsal.peaks import deletion_effects, rank_elements
from seqsal.peaks.elements import EFFECT_COLUMNS

__all__ = ["MERGE_BP", "describe_calls", "motifs_of", "write_elements"]

MERGE_BP = 20  # peaks of a run that lie at most so far apart are one element
MOTIF_COLUMNS = ("motif", "motif_score", "motif_p")
logger = logging.getLogger(__name__)


def motifs_of(result: MotifResult, database: Sequence[Motif] | None = None) -> list[Motif]:
    """Motifs to name elements by: the patterns that were found, by their labels, or else those of the database."""
    found = [Motif(one.label, one.name, one.motif.counts, one.motif.n_sites) for one in result.patterns]
    return found or list(database or ())


def describe_calls(
    calls: pd.DataFrame,
    attr: Attributions,
    *,
    model: nn.Module | str | os.PathLike[str] | None = None,
    motifs: Sequence[Motif] = (),
    device: str = "auto",
    progress: bool = False,
) -> pd.DataFrame:
    """Add to peaks or elements what deleting them does, where a model is at hand, and the motif inside, where known.

    Elements are ranked anew, by q-value and effect, and come in that order; peaks stay in theirs.
    """
    size = calls["signal"].abs() if "signal" in calls else calls["signal_pos"] - calls["signal_neg"]
    ranked = calls.iloc[np.lexsort((-size, calls["q_value"]))]
    try:
        found = deletion_effects(attr, ranked, model=model, device=device, progress=progress)
    except StoreError as error:
        if model is not None:
            raise
        logger.info("the effect of deleting the calls is not measured: %s", error)
        found = pd.DataFrame(np.nan, index=calls.index, columns=list(EFFECT_COLUMNS))
    inside = pd.DataFrame({"motif": "", "motif_score": np.nan, "motif_p": np.nan}, index=calls.index)
    if motifs and len(calls):
        inside = best_hits(attr, calls, motifs)
    described = calls.assign(**found.reindex(calls.index), **inside)
    described.attrs = dict(calls.attrs)
    return rank_elements(described) if "signal_pos" in calls else described


def write_elements(elements: pd.DataFrame, bed: Path, table: Path, output_space: str) -> None:
    """Write elements as BED in the order of the genome, and as a table in order of rank, with their output space."""
    write_bed(elements.sort_values(["chrom", "start"], kind="stable"), bed)
    write_tsv(elements.assign(output_space=output_space), table, missing="")
