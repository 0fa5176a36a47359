"""The audit from start to end: every part in turn, then the verdict."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Results
from seqsal.auditing.registry import PARTS, load_part
from seqsal.auditing.result import AuditResult
from seqsal.auditing.verdict import judge
from seqsal.version import VERSION

__all__ = ["run_audit"]


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
    results, seconds = Results(), {}
    with _without_attribution_warnings():
        for name in tqdm(PARTS, desc="audit", unit="part", disable=not context.progress):
            start = time.perf_counter()
            results[name] = load_part(name).run(context, results)
            seconds[name] = round(time.perf_counter() - start, 3)
    return AuditResult(
        verdict=judge(results, context.settings, output=context.attr.output_space),
        results=results,
        warnings=_merged(result.warnings for result in results.values()),
        untested=_merged(result.untested for result in results.values()),
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
