"""Sanity: :mod:`seqsal.auditing.sanity`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seqsal.auditing.part import Fact, Reason, measured
from seqsal.auditing.sanity import audit_sanity
from seqsal.auditing.section import SectionResult, part_of_section
from seqsal.auditing.settings import AuditSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class SanityResult(SectionResult):
    """What became of the map when weights, input and labels were made random."""

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        depends = self.values.get("depends_on_model")
        if depends is not None:
            yield Fact("depends on the model" if depends else "does not depend on the model", "")
            yield Fact("similarity to the map of random weights", f"{self.values['randomized_similarity']:.2f}")

    def reasons(self, settings: AuditSettings) -> Iterator[Reason]:
        similarity = measured(self.values.get("randomized_similarity"), "random weights were not tried")
        yield Reason.at_most(
            "faithful", "randomization", similarity, settings.max_randomized_similarity,
            sentence=f"it barely changes when the model's weights are made random (similarity {similarity:.2f})"
            if isinstance(similarity, float) else "",
        )  # fmt: skip


PART = part_of_section(SanityResult, lambda context, _: audit_sanity(context))
