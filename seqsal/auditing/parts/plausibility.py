"""Plausibility: :mod:`seqsal.auditing.plausibility`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seqsal.auditing.part import Fact, Reason, measured, with_interval
from seqsal.auditing.plausibility import audit_plausibility
from seqsal.auditing.section import SectionResult, part_of_section
from seqsal.auditing.settings import AuditSettings

UNKNOWN = "how much of it lies in known motifs is not known"


@dataclass(frozen=True, eq=False, kw_only=True)
class PlausibilityResult(SectionResult):
    """How much of the map lies in known biology."""

    @property
    def place(self) -> str:
        """What the map is compared with."""
        return "annotated regions" if self.values.get("source") == "annotations" else "known motifs"

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        mass, expected = self.values.get("motif_mass"), self.values.get("expected")
        if mass is not None and expected is not None:
            gain = with_interval(self.values["gain"], self.values.get("ci"), "{:.0%}")
            yield Fact(f"{mass:.0%} of the map in {self.place},", f"{expected:.0%} by chance (gain {gain})")

    def reasons(self, settings: AuditSettings) -> Iterator[Reason]:
        mass, expected, interval = (self.values.get(key) for key in ("motif_mass", "expected", "ci"))
        said = UNKNOWN
        if mass is not None and expected is not None:
            said = f"{mass:.0%} of it lies in {self.place}, where {expected:.0%} would by chance"
        lower = None if not interval or tuple(interval) == (0, 0) else interval[0]
        needed = "an interval of the gain over matched positions above 0"
        low, gain = measured(lower, "no interval"), measured(self.values.get("gain"), "nothing to compare with")
        yield Reason.above("plausible", "known biology", low, 0.0, needed, sentence=said, is_decisive=True)
        yield Reason.at_least(
            "plausible", "gain over matched positions", gain, settings.min_gain, sentence=said, is_decisive=True
        )


PART = part_of_section(
    PlausibilityResult, lambda context, _: audit_plausibility(context, motif_result=context.patterns)
)
