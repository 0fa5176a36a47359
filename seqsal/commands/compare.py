"""`seqsal compare`: how far attributions agree, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqsal.agreement import Agreement, compare_attributions
from seqsal.commands.arguments import PathArgument, check_ending
from seqsal.io.atomic import atomic_path

__all__ = ["compare_to_file"]


def compare_to_file(attributions: Sequence[str], out: PathArgument, **settings: Any) -> Agreement:
    """Do what `seqsal compare` does: write the table of all regions, and the overall one beside it."""
    overall = Path(out).with_suffix(".overall.tsv")
    check_ending(out, ".tsv")
    agreement = compare_attributions(attributions, **settings)
    for table, path in ((agreement.regions, Path(out)), (agreement.overall, overall)):
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as handle:
            table.to_csv(handle, sep="\t", index=False, na_rep="NA", float_format="%.6g", lineterminator="\n")
    return agreement
