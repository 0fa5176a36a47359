"""`seqsal score`: predictions of regions, as a table or a track."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from seqsal.attribution.api import score
from seqsal.commands.arguments import PathArgument
from seqsal.errors import UsageError
from seqsal.io.atomic import check_writable
from seqsal.io.tracks import SCORE_FORMATS, write_scores

__all__ = ["check_score_format", "score_to_file"]


def score_to_file(out: PathArgument, *, model: str, progress: bool = False, **arguments: Any) -> pd.DataFrame:
    """Do what `seqsal score` does: predict regions and write them; returns the table."""
    check_score_format(out)
    check_writable(out)
    arguments.pop("seed", None)
    table = score(model, progress=progress, **arguments)
    write_scores(table, out)
    return table


def check_score_format(out: PathArgument) -> None:
    """Raise unless the extension of `out` is one that scores are written in."""
    if Path(out).suffix.lower() not in SCORE_FORMATS:
        raise UsageError(f"{out}: unknown extension, expected one of {', '.join(SCORE_FORMATS)}")
