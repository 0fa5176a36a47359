"""Saturation: :mod:`seqsal.auditing.saturation`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seqsal.auditing.part import Fact, Reason, measured
from seqsal.auditing.saturation import audit_saturation
from seqsal.auditing.section import SectionResult, part_of_section
from seqsal.auditing.settings import AuditSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class SaturationResult(SectionResult):
    """Whether the model is saturated, the map blind, and another method better."""

    @property
    def recommended_method(self) -> str | None:
        method: str | None = self.values.get("recommended_method")
        return method

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        saturated, blind = self.values.get("saturated_share"), self.values.get("blind_share")
        if saturated is not None:
            yield Fact("saturated probabilities", f"{saturated:.0%}")
        if blind is not None:
            yield Fact("misses", f"{blind:.0%} of the influential bases", f"{settings.max_blind_share:.0%} or less")
        if self.recommended_method:
            yield Fact(self.recommended_method, "would do better")

    def reasons(self, settings: AuditSettings) -> Iterator[Reason]:
        blind = measured(self.values.get("blind_share"), "no base matters enough")
        said = f"it shows nothing at {blind:.0%} of the bases that the model relies on" if blind else ""
        yield Reason.at_most("faithful", "blindness", blind, settings.max_blind_share, sentence=said)


PART = part_of_section(SaturationResult, lambda context, _: audit_saturation(context))
