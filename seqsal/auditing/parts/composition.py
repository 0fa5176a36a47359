"""Composition: :mod:`seqsal.auditing.composition`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seqsal.auditing.composition import audit_composition
from seqsal.auditing.part import Fact
from seqsal.auditing.section import SectionResult, part_of_section
from seqsal.auditing.settings import AuditSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class CompositionResult(SectionResult):
    """How much of the predictions is composition, repeats, unknown bases or place."""

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        explained = self.values.get("shuffle_r2")
        if explained is not None:
            yield Fact("predictions of shuffles explain", f"{explained:.0%} of those of the regions")
        for key, name in (("gc", "GC"), ("cpg", "CpG")):
            correlation = (self.values.get(key) or {}).get("regions")
            if correlation is not None:
                yield Fact(f"correlation with {name}", f"{correlation:.2f}")


PART = part_of_section(CompositionResult, lambda context, _: audit_composition(context))
