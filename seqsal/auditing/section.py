"""What one part of the audit found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

__all__ = ["AuditSection"]


@dataclass(frozen=True)
class AuditSection:
    """Result of one part of the audit.

    Attributes
    ----------
    name
        Its key in `audit.json`.
    values
        What goes into `audit.json` under that key: numbers, text, lists and mappings of these; None where a number
        could not be had.
    tables
        Everything that is one row a region, curve point, position or artifact.
    warnings
        What the reader should know before trusting the verdict, a sentence each.
    untested
        What was not tested, and why, a sentence each; nothing is guessed instead.
    """

    name: str
    values: Any
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
