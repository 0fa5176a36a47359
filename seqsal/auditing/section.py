"""Parts whose results are mappings still: what they found, and the part of the audit that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import pandas as pd

from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Part, PartResult, Results

__all__ = ["AuditSection", "SectionResult", "part_of_section"]


@dataclass(frozen=True)
class AuditSection:
    """Result of one part of the audit: `values` for `audit.json`, tables, and sentences."""

    name: str
    values: Any
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class SectionResult(PartResult):
    """A result by string keys."""

    values: Any

    def to_json(self) -> Any:
        return self.values

    @classmethod
    def from_json(cls, content: Any) -> Self:
        return cls(values=content)


S = TypeVar("S", bound=SectionResult)


def part_of_section(kind: type[S], run: Callable[[AuditContext, Results], AuditSection]) -> Part[S]:
    """Make a part of a function that gives a section."""

    def ask(context: AuditContext, done: Results) -> S:
        found = run(context, done)
        return kind(values=found.values, tables=found.tables, warnings=found.warnings, untested=found.untested)

    return Part(kind, ask)
