"""From sequences to findings: where each artifact is in excess, what explains it, what it does, and the verdict.

- `shortcut`: in excess where classes differ (positives against negatives, either way round; regions against their
  shuffles where classes are not known), no site of a protein, and used by the model.
- `present`: in the sequences more than in their shuffles, or in one class more than in the other, but unused, untested,
  or of a kind that genomes have as well and at no fixed place.
- `clean`: not in excess, or a piece of something else, which `explained_by` names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seqsal.auditing.artifacts.biology import all_motifs
from seqsal.auditing.artifacts.causal import ablation_effect, attribution_share, marginal_effect
from seqsal.auditing.artifacts.effects import Effect
from seqsal.auditing.artifacts.hits import Hits
from seqsal.auditing.artifacts.judge import explain_word
from seqsal.auditing.artifacts.library import AMBIGUOUS_KINDS, Artifact
from seqsal.auditing.artifacts.occurrences import PART_BP
from seqsal.auditing.artifacts.presence import Found, find_enriched, hits_of
from seqsal.auditing.context import AuditContext, Codes
from seqsal.auditing.stats import q_values_of

__all__ = ["COMPARISONS", "Finding", "Place", "find_artifacts"]

COMPARISONS = ("positives", "negatives", "regions")
LEAST_SHUFFLES = 2_000
SHUFFLE_DRAW = 3_000  # away from the draws of other parts
FIXED_BP = 2.0
ONE_STRAND = 0.9


@dataclass(frozen=True)
class Place:
    """Where in the windows copies stand.

    Attributes
    ----------
    median
        Of the first base of the part that most copies have, in offsets along the window.
    spread
        Interquartile range of the starts or of the ends of the copies, whichever is smaller (bp).
    fixed
        Whether that is at most `FIXED_BP`.
    strand
        `+`, `-`, or `both`.
    """

    median: float
    spread: float
    fixed: bool
    strand: str


@dataclass(frozen=True)
class Finding:
    """All that is known of one artifact.

    Attributes
    ----------
    artifact
        Which.
    found
        Its excess, or None where there is none.
    enriched_in
        The set of `COMPARISONS` where it is in excess, or None.
    p_value, q_value
        Of the excess.
    audited
        Hits in the regions audited, in rows of the attributions, with their scores.
    explained_by
        What else explains the excess, or None.
    marginal, ablation
        Effects on the prediction, or None.
    attribution_share
        Of the map's mass, or None.
    place
        Of the copies, or None.
    verdict
        `shortcut`, `present` or `clean`.
    """

    artifact: Artifact
    found: Found | None = None
    enriched_in: str | None = None
    p_value: float = 1.0
    q_value: float = 1.0
    audited: tuple[Hits, NDArray[np.int64]] | None = None
    explained_by: str | None = None
    marginal: Effect | None = None
    ablation: Effect | None = None
    attribution_share: float | None = None
    place: Place | None = None
    family: tuple[str, ...] = ()
    verdict: str = "clean"


@dataclass(frozen=True)
class _Excess:
    found: Found
    enriched_in: str


def find_artifacts(context: AuditContext, artifacts: Sequence[Artifact]) -> list[Finding]:
    """Search, test and judge artifacts; one finding each, in their order."""
    words = [artifact.codes for artifact in artifacts]
    rows = context.rows(context.settings.n_examples)
    regions = context.codes(rows)
    excesses = _excesses(context, artifacts, regions)
    p_values = [excesses[i].found.p_value if i in excesses else 1.0 for i in range(len(words))]
    q_values = q_values_of(p_values)
    findings = []
    for i, artifact in enumerate(artifacts):
        if i not in excesses or q_values[i] > context.settings.fdr:
            findings.append(Finding(artifact, p_value=p_values[i], q_value=float(q_values[i])))
            continue
        hits, scores = hits_of(excesses[i].found.query, words, regions)
        audited = Hits(rows[hits.row], hits.start, hits.end, hits.strand, hits.offset), scores
        family = tuple(artifacts[k].name for k in excesses[i].found.family)
        findings.append(_examine(context, artifact, excesses[i], audited, float(q_values[i]), family))
    return _judged(context, findings)


def _excesses(context: AuditContext, artifacts: Sequence[Artifact], regions: Codes) -> dict[int, _Excess]:
    """Artifacts in excess, by number: between the classes first, else in the regions against their shuffles."""
    words = [artifact.codes for artifact in artifacts]
    excesses: dict[int, _Excess] = {}
    for enriched_in, foreground, background, shuffled in _comparisons(context, regions):
        if not len(foreground) or not len(background) or foreground.shape[1] < PART_BP:
            continue
        explain = _explainer(context, artifacts, foreground, background)
        for found in find_enriched(words, foreground, background, shuffled, context.settings, explain):
            excesses.setdefault(found.query.artifact, _Excess(found, enriched_in))
    return excesses


def _explainer(
    context: AuditContext, artifacts: Sequence[Artifact], foreground: Codes, background: Codes
) -> Callable[[int, int, int], str | None]:
    motifs = [*(context.motifs or ()), *all_motifs()]

    def explain(number: int, start: int, end: int) -> str | None:
        artifact = artifacts[number]
        if artifact.kind == "homopolymer":  # judged by its place
            return None
        return explain_word(artifact.codes, start, end, foreground, background, motifs, context.settings)

    return explain


def _comparisons(context: AuditContext, regions: Codes) -> list[tuple[str, Codes, Codes, Codes]]:
    n_examples = context.settings.n_examples
    comparisons: list[tuple[str, Codes, Codes, Codes]] = []
    if context.positives is not None and context.negatives is not None:
        classes = [_sampled(context, codes, n_examples) for codes in (context.positives, context.negatives)]
        shuffles = [_shuffles(context, codes) for codes in classes]
        comparisons += [
            ("positives", classes[0], classes[1], shuffles[0]),
            ("negatives", classes[1], classes[0], shuffles[1]),
        ]
    shuffled = _shuffles(context, regions)
    return [*comparisons, ("regions", regions, shuffled, shuffled)]


def _sampled(context: AuditContext, codes: Codes, n: int) -> Codes:
    if len(codes) <= n:
        return codes
    return codes[np.sort(context.rng("examples").permutation(len(codes))[:n])]


def _shuffles(context: AuditContext, codes: Codes) -> Codes:
    n_draws = -(-LEAST_SHUFFLES // max(len(codes), 1))
    return np.concatenate([context.shuffled(codes, SHUFFLE_DRAW + draw) for draw in range(n_draws)])


def _examine(
    context: AuditContext,
    artifact: Artifact,
    excess: _Excess,
    audited: tuple[Hits, NDArray[np.int64]],
    q_value: float,
    family: tuple[str, ...],
) -> Finding:
    found, word = excess.found, artifact.codes
    start, end = found.part
    marginal = ablation = None
    if found.explained_by is None:
        marginal = marginal_effect(context, word[start:end], found.hits.of_part(start), artifact.name)
        ablation = ablation_effect(context, word, audited[0], artifact.name)
    return Finding(
        artifact,
        found,
        excess.enriched_in,
        found.p_value,
        q_value,
        audited,
        found.explained_by,
        marginal,
        ablation,
        attribution_share(context, audited[0]),
        _place(found),
        family,
    )


def _place(found: Found) -> Place:
    hits = found.hits
    start, end = found.part
    first = np.where(hits.strand > 0, hits.start - hits.offset + start, hits.end + hits.offset - end)
    spread = min(float(np.subtract(*np.percentile(edge, [75, 25]))) for edge in (hits.start, hits.end))
    forward = float((hits.strand > 0).mean())
    strand = "+" if forward >= ONE_STRAND else "-" if forward <= 1 - ONE_STRAND else "both"
    return Place(float(np.median(first)), spread, spread <= FIXED_BP, strand)


def _judged(context: AuditContext, findings: Sequence[Finding]) -> list[Finding]:
    """Give verdicts, with q-values of the effects over the artifacts that were tested.

    That the sequence is there and that it is an artifact is known by now, and its effect has to be large as well, so
    the effect may have a larger q-value than what has to be found out first.
    """
    settings = context.settings
    tested = [finding for finding in findings if finding.marginal is not None or finding.ablation is not None]
    used = set()
    for name in ("marginal", "ablation"):
        effects = [(finding.artifact.name, getattr(finding, name)) for finding in tested]
        effects = [(label, effect) for label, effect in effects if effect is not None]
        q_values = q_values_of([effect.p_value for _, effect in effects])
        least = settings.min_effect * context.effect_scale if effects else 0.0
        used |= {
            label
            for (label, effect), q_value in zip(effects, q_values, strict=True)
            if q_value <= settings.max_use_q and abs(effect.mean) >= least > 0
        }
    knows_classes = context.positives is not None and context.negatives is not None
    return [_with_verdict(finding, finding.artifact.name in used, knows_classes) for finding in findings]


def _with_verdict(finding: Finding, is_used: bool, knows_classes: bool) -> Finding:
    if finding.found is None or finding.explained_by is not None:
        return finding
    differs = finding.enriched_in != "regions" or not knows_classes
    ambiguous = finding.artifact.kind in AMBIGUOUS_KINDS
    is_biology = ambiguous and not (finding.place is not None and finding.place.fixed)
    verdict = "shortcut" if is_used and differs and not is_biology else "present"
    return replace(finding, verdict=verdict)
