"""Arguments that several verbs of the command line take: the name of an output, and how a model is to be read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqsal.errors import UsageError
from seqsal.io.atomic import check_writable

__all__ = ["READING", "PathArgument", "check_ending", "told_reading"]

PathArgument = str | os.PathLike[str]
# how a model is read when nothing is said
READING = {
    "weights": None, "output_space": "auto", "input_length": None, "trust_pickle": False, "layout": "NCL",
    "channel_order": "ACGT", "output": None, "reduce": None, "track_layout": "NTL",
}  # fmt: skip


def check_ending(out: PathArgument, ending: str, *, name: str = "a name") -> None:
    """Raise unless `out` ends in `ending` and can be written.

    Raises
    ------
    UsageError
        It ends otherwise; `name` says what it names.
    OutputError
        It cannot be written.
    """
    if Path(out).suffix != ending:
        raise UsageError(f"{out}: unknown extension, expected {name} that ends in {ending}")
    check_writable(out)


def told_reading(reading: Mapping[str, Any]) -> dict[str, Any]:
    """Of the arguments that say how to read a model, those that are not at the default of `READING`."""
    return {name: value for name, value in reading.items() if value != READING[name]}
