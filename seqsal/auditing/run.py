"""The audit from start to end: what it is made from is read and checked, every part runs, and the verdict follows."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd

from seqsal.auditing.context import AuditContext
from seqsal.auditing.inputs import describe_inputs, read_evidence
from seqsal.auditing.part import Results
from seqsal.auditing.parts import PARTS, load_part
from seqsal.auditing.result import AuditResult
from seqsal.auditing.verdict import judge
from seqsal.io.attributions import Attributions
from seqsal.io.progress import bar as progress_bar
from seqsal.models import SequenceModel
from seqsal.models.seen import seen_text
from seqsal.version import VERSION

__all__ = ["EVIDENCE", "AuditPlan", "run_audit"]


EVIDENCE = ("motif_db", "annotations", "artifacts", "positives", "negatives", "genome", "strata", "settings")


class AuditPlan:
    """An audit of windows that need not be attributed yet.

    `regions`, `length`: region table of the windows, and their length in bp. `evidence`: those parameters of
    :func:`seqsal.audit` that are in `EVIDENCE`. Raises SeqsalError: Something cannot be read.
    """

    def __init__(self, regions: pd.DataFrame, length: int, **evidence: Any) -> None:
        self._read = read_evidence(regions, length, **evidence)
        self._inputs = describe_inputs({name: one for name, one in evidence.items() if name != "settings"})

    def run(
        self,
        attr: Attributions,
        model: SequenceModel | None,
        *,
        other_models: Sequence[SequenceModel] = (),
        **options: Any,
    ) -> AuditResult:
        """Audit the windows' attributions.

        `attr`: of the windows. `model`, `other_models`: read as the attributions were made. `options`: further
        arguments of :class:`seqsal.auditing.context.AuditContext`: `peaks`, `patterns`, `explainer`, `device`, `seed`,
        `progress`. Raises ModelError: The model does not give the predictions that the attributions are about.
        """
        context = AuditContext(attr, model, other_models=other_models, **options, **self._read)
        return run_audit(context, inputs=self._inputs)


def run_audit(context: AuditContext, *, inputs: Mapping[str, Any] | None = None) -> AuditResult:
    """Run every part of the audit, and judge.

    `context`: what is audited. `inputs`: further inputs by name, such as the file of known motifs, for the record.
    Returns AuditResult.
    """
    results, seconds = Results(), {}
    with _without_attribution_warnings():
        for name in progress_bar(PARTS, desc="audit", unit="part", disable=not context.progress):
            start = time.perf_counter()
            results[name] = load_part(name).run(context, results)
            seconds[name] = round(time.perf_counter() - start, 3)
    return AuditResult(
        verdict=judge(results, context.settings, output=context.attr.output_space),
        results=results,
        warnings=_merged([_seen(context), *(result.warnings for result in results.values())]),
        untested=_merged(result.untested for result in results.values()),
        settings=context.settings,
        provenance=_provenance(context, inputs or {}),
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


def _seen(context: AuditContext) -> list[str]:
    """Say that the regions are those of the training, where they are."""
    text = seen_text(context.attr.attrs.get("trained_on", {}))
    return [text] if text else []


def _merged(lines: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All sentences in order, each once."""
    return tuple(dict.fromkeys(line for part in lines for line in part))


def _provenance(context: AuditContext, inputs: Mapping[str, Any]) -> dict[str, Any]:
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
        "given": dict(inputs),
        "seed": context.seed,
    }
