"""Shortcuts: adapters, primers, vectors and other words that are no biology, and whether the model uses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from seqsal.auditing.artifacts.findings import Finding, find_artifacts
from seqsal.auditing.artifacts.hits import Hits
from seqsal.auditing.artifacts.library import Artifact, load_library, read_artifacts
from seqsal.auditing.artifacts.occurrences import PART_BP
from seqsal.auditing.artifacts.unknown import find_unknown
from seqsal.auditing.artifacts.words import exact_hits
from seqsal.auditing.context import AuditContext
from seqsal.auditing.section import AuditSection
from seqsal.regions import lift_span
from seqsal.sequence.codes import encode

__all__ = ["Artifact", "audit_artifacts", "load_library", "read_artifacts"]

HIT_COLUMNS = ("row", "chrom", "start", "end", "name", "score", "strand", "kind", "verdict")
_FLIPPED = {"+": "-", "-": "+"}
_NO_CLASSES = (
    "How often artifacts occur in positives against negatives: the classes are not known; the regions were compared "
    "with their shuffles instead."
)
_NO_MODEL = "Whether the model uses the artifacts that occur: there is no model to ask."


def audit_artifacts(context: AuditContext, artifacts: Sequence[Artifact] | None = None) -> AuditSection:
    """Look for sequences that are no biology, and test whether the model uses them.

    Parameters
    ----------
    context
        What is under audit.
    artifacts
        One's own beside those of the library; those of the context when None.

    Returns
    -------
    AuditSection
        `values`: a dict an artifact, the shortcuts first, with

        - name, kind, sequence (the part that most copies have, else the whole), source, verdict;
        - n_regions, share: audited regions that have it; n_foreground, share_foreground, n_background,
          share_background: those of the two sets compared; share_positives, share_negatives where these were compared;
          enriched_in: `positives`, `negatives` or `regions` (against shuffles), or None; enrichment: ratio of shares,
          half a sequence added to either count; p_value, q_value of that;
        - attribution_share of Σ|track|; marginal_effect, marginal_ci, marginal_p_value, ablation_effect, ablation_ci,
          ablation_p_value in units of the attributed output;
        - position: median, spread (bp), fixed; strand; family: others that match the copies as well; explained_by.

        `tables`: `artifacts`, the same; `hits`, a row a copy in the audited regions of what is not clean, on the
        genome.
    """
    own = tuple(context.artifacts or ()) if artifacts is None else tuple(artifacts)
    findings = find_artifacts(context, [*own, *load_library()])
    known = [finding for finding in findings if finding.verdict != "clean" and finding.audited is not None]
    unknown = find_unknown(context, [finding.audited[0] for finding in known if finding.audited is not None])
    values = [*(_values(finding, context) for finding in findings), *unknown]
    order = ("shortcut", "present", "clean")
    values.sort(key=lambda value: (order.index(value["verdict"]), value["q_value"]))
    hits = [_hit_table(context, *_hits_and_scores(finding), finding.artifact, finding.verdict) for finding in known]
    hits += [_unknown_table(context, value) for value in unknown]
    return AuditSection(
        "artifacts",
        values,
        {"artifacts": _flat(values), "hits": _joined(hits)},
        tuple(_warnings(findings)),
        tuple(_untested(context, own)),
    )


def _values(finding: Finding, context: AuditContext) -> dict[str, Any]:
    found, artifact = finding.found, finding.artifact
    base: dict[str, Any] = {
        "name": artifact.name,
        "kind": artifact.kind,
        "sequence": artifact.sequence,
        "source": artifact.source,
        "n_regions": 0,
        "share": 0.0,
        "enriched_in": finding.enriched_in,
        "enrichment": None,
        "p_value": finding.p_value,
        "q_value": finding.q_value,
        "attribution_share": finding.attribution_share,
        "explained_by": finding.explained_by,
        "family": list(finding.family),
        "verdict": finding.verdict,
        **_effects(finding),
    }
    if found is None or finding.audited is None or finding.place is None:
        return base
    ours, theirs = found.n_with / max(found.n, 1), found.m_with / max(found.m, 1)
    n_regions = len(finding.audited[0])
    shares = {"positives": (ours, theirs), "negatives": (theirs, ours)}.get(finding.enriched_in or "")
    return {
        **base,
        "sequence": artifact.sequence[slice(*found.part)],
        "n_regions": n_regions,
        "share": n_regions / len(context.rows(context.settings.n_examples)),
        "n_foreground": found.n_with,
        "share_foreground": ours,
        "n_background": found.m_with,
        "share_background": theirs,
        "share_positives": shares[0] if shares else None,
        "share_negatives": shares[1] if shares else None,
        "enrichment": (found.n_with + 0.5) / (found.n + 1) * (found.m + 1) / (found.m_with + 0.5),
        "position": {
            "median": finding.place.median,
            "spread": finding.place.spread,
            "fixed": finding.place.fixed,
        },
        "strand": finding.place.strand,
    }


def _effects(finding: Finding) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, effect in (("marginal", finding.marginal), ("ablation", finding.ablation)):
        values[f"{name}_effect"] = None if effect is None else effect.mean
        values[f"{name}_ci"] = None if effect is None or effect.ci is None else list(effect.ci)
        values[f"{name}_p_value"] = None if effect is None else effect.p_value
    return values


def _hits_and_scores(finding: Finding) -> tuple[Hits, Any]:
    assert finding.audited is not None
    return finding.audited


def _unknown_table(context: AuditContext, value: dict[str, Any]) -> pd.DataFrame:
    rows = context.rows(context.settings.n_regions)
    hits = exact_hits(context.codes(rows), rows, encode(value["sequence"]))
    artifact = Artifact(value["name"], value["kind"], value["sequence"], "")
    return _hit_table(context, hits, hits.end - hits.start, artifact, value["verdict"])


def _hit_table(context: AuditContext, hits: Hits, scores: Any, artifact: Artifact, verdict: str) -> pd.DataFrame:
    windows = context.attr.regions.iloc[hits.row]
    strand = windows["strand"].to_numpy()
    start, end = lift_span(windows["start"], windows["end"], strand, hits.start, hits.end)
    on_window = np.where(hits.strand > 0, "+", "-")
    return pd.DataFrame(
        {
            "row": hits.row,
            "chrom": windows["chrom"].to_numpy(),
            "start": start,
            "end": end,
            "name": artifact.name,
            "score": np.asarray(scores, dtype=np.int64),
            "strand": [_FLIPPED[own] if way == "-" else own for own, way in zip(on_window, strand, strict=True)],
            "kind": artifact.kind,
            "verdict": verdict,
        }
    )


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    tables = [table for table in tables if len(table)]
    if not tables:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in HIT_COLUMNS})
    return pd.concat(tables, ignore_index=True)


def _flat(values: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row an artifact, without nested values."""
    return pd.DataFrame([{key: _text_of(value) for key, value in row.items()} for row in values])


def _text_of(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _warnings(findings: Sequence[Finding]) -> list[str]:
    return [
        f"{finding.artifact.name} is in every region, as a constant part of a construct is; without sequences that "
        "lack it nothing tells whether it helps the model."
        for finding in findings
        if finding.verdict == "shortcut"
        and finding.enriched_in == "regions"
        and finding.found is not None
        and finding.found.n_with == finding.found.n
    ]


def _untested(context: AuditContext, own: Sequence[Artifact]) -> list[str]:
    sentences = []
    if context.positives is None or context.negatives is None:
        sentences.append(_NO_CLASSES)
    if context.model is None:
        sentences.append(_NO_MODEL)
    length = context.attr.length
    if length < PART_BP:
        sentences.append(f"Artifacts: windows of {length} bp are shorter than the shortest part that can be told.")
    too_long = [artifact.name for artifact in own if len(artifact.sequence) > length]
    if too_long:
        sentences.append(
            f"Whole copies of {', '.join(too_long)}: longer than the windows, so only parts were looked for."
        )
    return sentences
