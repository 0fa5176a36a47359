"""Stability: :mod:`seqsal.auditing.stability`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seqsal.auditing.part import Fact
from seqsal.auditing.section import SectionResult, part_of_section
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stability import audit_stability


@dataclass(frozen=True, eq=False, kw_only=True)
class StabilityResult(SectionResult):
    """How stable the map is, and how far from the sequence it holds."""

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        names = {"substitutions": "neutral substitutions", "reverse_complement": "the other strand", "models": "models"}
        for key, name in names.items():
            pearson = (self.values.get(key) or {}).get("pearson")
            if pearson is not None:
                yield Fact(f"correlation over {name}", f"{pearson:.2f}")
        failing = ((self.values.get("locality") or {}).get("substitutions") or {}).get("share_of_regions")
        if failing is not None:
            yield Fact("fails near the sequence in", f"{failing:.0%} of regions")
        median = (((self.values.get("minimal_edits") or {}).get("halve") or {}).get("map") or {}).get("median")
        if median is not None:
            yield Fact("median number of edits that halve the prediction", f"{median:g}")


PART = part_of_section(StabilityResult, lambda context, _: audit_stability(context))
