"""Strata: :mod:`seqsal.auditing.strata`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Fact, Results
from seqsal.auditing.section import AuditSection, SectionResult, part_of_section
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.strata import audit_strata


@dataclass(frozen=True, eq=False, kw_only=True)
class StrataResult(SectionResult):
    """How regions differ between strata."""

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        for factor in self.values.get("factors", []):
            n = len(factor["differences"])
            yield Fact(f"{factor['factor']}:", f"{n or 'no'} difference{'s' * (n != 1)}")


def _run(context: AuditContext, done: Results) -> AuditSection:
    from seqsal.auditing.parts.artifacts import ArtifactsResult

    artifacts = done.of(ArtifactsResult)
    hits = None if artifacts is None else artifacts.tables.get("hits")
    held = None if hits is None or hits.empty else hits.rename(columns={"name": "artifact"})
    return audit_strata(context, context.strata, hits=held)


PART = part_of_section(StrataResult, _run)
