"""Artifacts: :mod:`seqsal.auditing.artifacts`, and what composition found besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from seqsal.auditing.artifacts import audit_artifacts
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Fact, Results, Shortcut
from seqsal.auditing.parts.composition import CompositionResult
from seqsal.auditing.section import AuditSection, SectionResult, part_of_section
from seqsal.auditing.settings import AuditSettings

VERDICTS = ("shortcut", "present", "clean")
N_NAMED = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class ArtifactsResult(SectionResult):
    """What is not biology, and what the model makes of it."""

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        yield Fact(f"{len(self.values)}", "looked for")
        for word in ("shortcut", "present"):
            names = [str(one["name"]) for one in self.values if one["verdict"] == word]
            shown = ", ".join(names[:N_NAMED]) + ", …" * (len(names) > N_NAMED)
            yield Fact(f"{len(names)}", word + f" ({shown})" * bool(names))

    def shortcuts(self, output: str) -> Iterator[Shortcut]:
        for one in self.values:
            if one["verdict"] == "shortcut":
                told = f"The model takes a shortcut: {one['text']}" if one.get("text") else _sentence(one, output)
                yield Shortcut(str(one["name"]), told)


def _sentence(one: Mapping[str, Any], output: str) -> str:
    facts = [_occurrence(one)]
    # an effect is what the sequence adds to the output, so that taking it away does the opposite
    for key, action, sign in (("marginal_effect", "inserting it alone", 1), ("ablation_effect", "removing it", -1)):
        effect = one.get(key)
        if effect is not None:
            facts.append(f"{action} {'raises' if sign * effect > 0 else 'lowers'} the {output} by {abs(effect):.2g}")
    return f"The model uses {one['name']}, which is not biology: {', '.join(facts)}."


def _occurrence(one: Mapping[str, Any]) -> str:
    positives, negatives = one.get("share_positives"), one.get("share_negatives")
    if positives is not None and negatives is not None:
        return f"found in {positives:.0%} of positives and {negatives:.0%} of negatives"
    share = one.get("share")
    return f"found in {one['n_regions']:,} regions" if share is None else f"found in {share:.0%} of the regions"


def _run(context: AuditContext, done: Results) -> AuditSection:
    found, composition = audit_artifacts(context), done.of(CompositionResult)
    more = [] if composition is None else composition.values["findings"]
    return replace(found, values=sorted([*found.values, *more], key=lambda one: VERDICTS.index(one["verdict"])))


PART = part_of_section(ArtifactsResult, _run)
