"""The audit from start to end: every part in turn, then the verdict."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tqdm.auto import tqdm

from seqsal.auditing.artifacts import audit_artifacts
from seqsal.auditing.composition import audit_composition, composition_findings
from seqsal.auditing.context import AuditContext
from seqsal.auditing.faithfulness import audit_faithfulness
from seqsal.auditing.plausibility import audit_plausibility
from seqsal.auditing.result import AuditResult
from seqsal.auditing.sanity import audit_sanity
from seqsal.auditing.saturation import audit_saturation
from seqsal.auditing.section import AuditSection
from seqsal.auditing.stability import audit_stability
from seqsal.auditing.strata import audit_strata
from seqsal.auditing.verdict import judge
from seqsal.version import VERSION

__all__ = ["PARTS", "run_audit"]

_VERDICTS = ("shortcut", "present", "clean")
Part = Callable[[AuditContext, Mapping[str, AuditSection]], AuditSection]


def _audit_strata(context: AuditContext, done: Mapping[str, AuditSection]) -> AuditSection:
    hits = done["artifacts"].tables.get("hits")
    held = None if hits is None or hits.empty else hits.rename(columns={"name": "artifact"})
    return audit_strata(context, context.strata, hits=held)


PARTS: dict[str, Part] = {
    "faithfulness": lambda context, _: audit_faithfulness(context),
    "sanity": lambda context, _: audit_sanity(context),
    "stability": lambda context, _: audit_stability(context),
    "saturation": lambda context, _: audit_saturation(context),
    "plausibility": lambda context, _: audit_plausibility(context, motif_result=context.patterns),
    "artifacts": lambda context, _: audit_artifacts(context),
    "composition": lambda context, _: audit_composition(context),
    "strata": _audit_strata,
}


def run_audit(context: AuditContext, *, given: Mapping[str, Any] | None = None) -> AuditResult:
    """Ask every part of the audit, and judge.

    Parameters
    ----------
    context
        What is audited.
    given
        Further inputs by name, such as the file of known motifs, for the record.

    Returns
    -------
    AuditResult
    """
    sections: dict[str, AuditSection] = {}
    seconds: dict[str, float] = {}
    with _without_attribution_warnings():
        for name, ask in tqdm(PARTS.items(), desc="audit", unit="part", disable=not context.progress):
            start = time.perf_counter()
            sections[name] = ask(context, sections)
            seconds[name] = round(time.perf_counter() - start, 3)
    sections["artifacts"] = _with_findings(sections["artifacts"], composition_findings(sections["composition"]))
    return AuditResult(
        verdict=judge(sections, context.settings, method=context.attr.method, output=context.attr.output_space),
        sections=sections,
        warnings=_merged(section.warnings for section in sections.values()),
        untested=_merged(section.untested for section in sections.values()),
        settings=context.settings,
        provenance=_provenance(context, given or {}),
        seconds=seconds,
    )


@contextmanager
def _without_attribution_warnings() -> Iterator[None]:
    """Silence what attributing says: that is of the methods compared and of changed models, not of the map audited."""
    logger = logging.getLogger("seqsal.attribution.engine")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _with_findings(artifacts: AuditSection, findings: Iterable[Mapping[str, Any]]) -> AuditSection:
    """Add what is no sequence (composition, repeats, padding, edges) to the artifacts, shortcuts first."""
    values = sorted([*artifacts.values, *findings], key=lambda one: _VERDICTS.index(one["verdict"]))
    return replace(artifacts, values=values)


def _merged(lines: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All sentences in order, each once."""
    return tuple(dict.fromkeys(line for part in lines for line in part))


def _provenance(context: AuditContext, given: Mapping[str, Any]) -> dict[str, Any]:
    attr = context.attr
    keys = ("method", "target", "output_space", "options", "model", "genome", "seed")
    model = None if context.model is None else dict(context.model.source)
    return {
        "seqsal_version": VERSION,
        "attributions": {"n_regions": len(attr), "length": attr.length, "result": attr.name}
        | {key: attr.attrs[key] for key in keys if key in attr.attrs},
        "model": model,
        "n_other_models": len(context.other_models),
        "has_explainer": context.explainer is not None,
        "n_positives": None if context.positives is None else len(context.positives),
        "n_negatives": None if context.negatives is None else len(context.negatives),
        "given": dict(given),
        "seed": context.seed,
    }
