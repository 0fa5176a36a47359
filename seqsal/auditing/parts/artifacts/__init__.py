"""Shortcuts: adapters, primers, vectors and other words that are no biology, and whether the model uses them.

Each artifact of the library, and each of the user's own, is looked for
(:mod:`~seqsal.auditing.parts.artifacts.search`), compared with biology
(:mod:`~seqsal.auditing.parts.artifacts.biology`), tested on the model
(:mod:`~seqsal.auditing.parts.artifacts.effects`), and judged:

- `shortcut`: in excess where classes differ (positives against negatives, either way round; regions against their
  shuffles where classes are not known), no site of a protein, and used by the model.
- `present`: in the sequences more than in their shuffles, or in one class more than in the other, but unused, untested,
  of a kind that genomes have as well and at no fixed position, or in too few to be told from a binding site.
- `clean`: not in excess, or a piece of something else, which `explained_by` names.

Invariant words of no library join them (:mod:`~seqsal.auditing.parts.artifacts.unknown`), and the properties that
:mod:`seqsal.auditing.parts.composition` has judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from seqsal.auditing.context import AuditContext, Codes
from seqsal.auditing.finding import VERDICTS, Effect, Finding, numbers_of
from seqsal.auditing.part import (
    OMITTED_IF_NONE,
    Fact,
    Interval,
    Measured,
    NotTested,
    Part,
    PartResult,
    Results,
    Shortcut,
    from_json,
    to_json,
)
from seqsal.auditing.parts.artifacts.biology import FEW_COPIES, all_motifs, explain_word, is_too_few, naming_motif
from seqsal.auditing.parts.artifacts.effects import ablation_effect, attribution_share, marginal_effect
from seqsal.auditing.parts.artifacts.library import AMBIGUOUS_KINDS, Artifact, load_library, read_artifacts
from seqsal.auditing.parts.artifacts.search import PART_BP, Found, Hits, exact_hits, find_enriched, hits_of
from seqsal.auditing.parts.artifacts.unknown import WordFinding, find_unknown
from seqsal.auditing.parts.composition import CompositionResult
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import q_values_of
from seqsal.errors import counted
from seqsal.motifs import Motif
from seqsal.regions import lift_span
from seqsal.sequence.codes import encode

__all__ = ["PART", "Artifact", "ArtifactsResult", "audit_artifacts", "load_library", "read_artifacts"]

MAX_USE_Q = 0.05  # of the effect of a known artifact that counts as used
LEAST_SHUFFLES = 2_000
SHUFFLE_DRAW = 3_000  # away from the draws of other parts
FIXED_BP = 2.0
ONE_STRAND = 0.9
N_NAMED = 2
HIT_COLUMNS = ("row", "chrom", "start", "end", "name", "score", "strand", "kind", "verdict")
NOT_IN_EXCESS = NotTested("it is not in excess")
_FLIPPED = {"+": "-", "-": "+"}
_NO_CLASSES = (
    "How often artifacts occur in positives against negatives: the classes are not known; the regions were compared "
    "with their shuffles instead."
)
_NO_MODEL = "Whether the model uses the artifacts that occur: no model was given."


@dataclass(frozen=True)
class Position:
    """Where in the windows copies are: median offset of the first base of the part that most have.

    `spread` is the interquartile range of the starts or of the ends, whichever is smaller (bp); `fixed`: whether that
    is at most `FIXED_BP`.
    """

    median: float
    spread: float
    fixed: bool


@dataclass(frozen=True, kw_only=True)
class KnownFinding(Finding):
    """What was found of an artifact of the library, or of the user's.

    `sequence` is the part that most copies have, else the whole. `share`: of the audited regions, that have it.
    `enriched_in`: `positives`, `negatives` or `regions` (against their shuffles), or None. `p_value`: of the excess.
    `explained_by`: what else explains the excess. `family`: other artifacts that match the copies as well.
    `n_foreground`, `share_foreground`, `n_background`, `share_background`: sequences with a copy in the two sets
    compared; only where it is in excess, as `position` and `strand` (`+`, `-` or `both`). `share_positives`,
    `share_negatives`: the same, where these were compared.
    """

    source: str
    share: float = 0.0
    enriched_in: str | None
    enrichment: Measured = NOT_IN_EXCESS
    p_value: float
    explained_by: str | None = None
    family: tuple[str, ...] = ()
    marginal_ci: Interval | None
    marginal_p_value: Measured
    ablation_ci: Interval | None
    ablation_p_value: Measured
    share_positives: float | None = None
    share_negatives: float | None = None
    n_foreground: int | None = field(default=None, metadata=OMITTED_IF_NONE)
    share_foreground: float | None = field(default=None, metadata=OMITTED_IF_NONE)
    n_background: int | None = field(default=None, metadata=OMITTED_IF_NONE)
    share_background: float | None = field(default=None, metadata=OMITTED_IF_NONE)
    position: Position | None = field(default=None, metadata=OMITTED_IF_NONE)
    strand: str | None = field(default=None, metadata=OMITTED_IF_NONE)


@dataclass(frozen=True, eq=False, kw_only=True)
class ArtifactsResult(PartResult):
    """What is not biology, and what the model makes of it; shortcuts first.

    Tables: `artifacts`, a row a finding, and `hits`, a row a copy in the audited regions of what is not clean, on the
    genome.
    """

    findings: tuple[Finding, ...]

    @property
    def leaves_shortcuts_open(self) -> bool:
        return _NO_MODEL in self.untested and any(one.verdict == "present" for one in self.findings)

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        yield Fact(f"{len(self.findings)}", "looked for")
        for word in ("shortcut", "present"):
            names = [one.name for one in self.findings if one.verdict == word]
            shown = ", ".join(names[:N_NAMED]) + ", …" * (len(names) > N_NAMED)
            plural = "s" * (word == "shortcut" and len(names) != 1)
            yield Fact(f"{len(names)}", word + plural + f" ({shown})" * bool(names))

    def shortcuts(self, output: str) -> Iterator[Shortcut]:
        for one in self.findings:
            if one.verdict == "shortcut":
                if one.text:
                    yield Shortcut(one.name, f"The model takes a shortcut: {one.text}")
                else:
                    yield Shortcut(one.name, f"The model uses {one.name}, which is not biology: {_told(one, output)}.")

    def to_json(self) -> list[Any]:
        return [to_json(one) for one in self.findings]

    @classmethod
    def from_json(cls, content: Any) -> Self:
        def kind(one: dict[str, Any]) -> type[Finding]:
            return WordFinding if "exactness" in one else KnownFinding if "source" in one else Finding

        return cls(findings=tuple(from_json(kind(one), one) for one in content))


def _told(one: Finding, output: str) -> str:
    """Say how often an artifact is there, and what inserting and removing it does."""
    facts = [f"found in {counted(one.n_regions, 'region')}" if one.n_regions else "found in no region of these"]
    if isinstance(one, (KnownFinding, WordFinding)) and one.share:
        facts = [f"found in {max(one.share, 0.01):.0%} of the regions"]
    if isinstance(one, KnownFinding) and one.share_positives is not None and one.share_negatives is not None:
        facts = [f"found in {one.share_positives:.0%} of positives and {one.share_negatives:.0%} of negatives"]
    # an effect is what the sequence adds to the output, so that taking it away does the opposite
    for effect, action, sign in (
        (one.marginal_effect, "inserting it alone", 1),
        (one.ablation_effect, "removing it", -1),
    ):
        if isinstance(effect, float):
            facts.append(f"{action} {'raises' if sign * effect > 0 else 'lowers'} the {output} by {abs(effect):.2g}")
    return ", ".join(facts)


def audit_artifacts(
    context: AuditContext, artifacts: Sequence[Artifact] | None = None, properties: Sequence[Finding] = ()
) -> ArtifactsResult:
    """Look for sequences that are no biology, and test whether the model uses them.

    `artifacts` are the user's own, those of the context when None; `properties` of other parts join the list.
    """
    own = tuple(context.artifacts or ()) if artifacts is None else tuple(artifacts)
    tested = examine_artifacts(context, [*own, *load_library()])
    known = [(one, one.audited) for one in tested if one.verdict != "clean" and one.audited is not None]
    unknown = find_unknown(context, [copies for _, copies in known])
    names = [one.artifact.name for one in tested]
    words = [*(_row(one, context, names) for one in tested), *unknown]
    words.sort(key=lambda one: (VERDICTS.index(one.verdict), one.q_value if isinstance(one.q_value, float) else 1.0))
    findings = sorted([*words, *properties], key=lambda one: VERDICTS.index(one.verdict))
    hits = [_hit_table(context, copies, one.artifact.name, one.artifact.kind, one.verdict) for one, copies in known]
    rows = context.rows(context.settings.n_regions)
    for word in unknown:
        copies = exact_hits(context.codes(rows), rows, encode(word.sequence))
        hits.append(_hit_table(context, copies, word.name, word.kind, word.verdict))
    return ArtifactsResult(
        findings=tuple(findings),
        tables={
            "artifacts": _flat(words),
            "hits": pd.concat(hits, ignore_index=True) if hits else pd.DataFrame(columns=HIT_COLUMNS, dtype=object),
        },
        warnings=tuple(_warnings(tested)),
        untested=(*_untested(context, own), *_too_few(tested)),
    )


@dataclass(frozen=True)
class Examined:
    """All that is known of one artifact.

    `found`: its excess in the set `enriched_in`, with p- and q-value. `audited`: hits in the regions audited, in rows
    of the attributions. `marginal`, `ablation`: effects on the prediction.
    """

    artifact: Artifact
    found: Found | None = None
    enriched_in: str | None = None
    p_value: float = 1.0
    q_value: float = 1.0
    audited: Hits | None = None
    marginal: Effect | NotTested = NOT_IN_EXCESS
    ablation: Effect | NotTested = NOT_IN_EXCESS
    attribution_share: Measured = NOT_IN_EXCESS
    verdict: str = "clean"

    @property
    def word(self) -> str:
        """The part that most copies have, or the whole."""
        return self.artifact.sequence if self.found is None else self.artifact.sequence[slice(*self.found.part)]

    @property
    def is_too_few(self) -> bool:
        """Whether there are so few copies that they may as well be the sites of a protein."""
        found = self.found
        return found is not None and is_too_few(found.n_with, found.part[1] - found.part[0])


def examine_artifacts(context: AuditContext, artifacts: Sequence[Artifact]) -> list[Examined]:
    """Search, test and judge artifacts; one result each, in their order."""
    words = [artifact.codes for artifact in artifacts]
    rows = context.rows(context.settings.n_examples)
    regions = context.codes(rows)
    excesses = _excesses(context, artifacts, regions)
    p_values = [excesses[i][0].p_value if i in excesses else 1.0 for i in range(len(words))]
    tested = []
    for i, q_value in enumerate(q_values_of(p_values).tolist()):
        one = Examined(artifacts[i], p_value=p_values[i], q_value=q_value)
        if i in excesses and q_value <= context.settings.fdr:
            found, enriched_in = excesses[i]
            hits = hits_of(found.query, words, regions)
            audited = replace(hits, row=rows[hits.row])
            one = _examine(context, replace(one, found=found, enriched_in=enriched_in, audited=audited), audited)
        tested.append(one)
    return _judged(context, tested)


def _excesses(context: AuditContext, artifacts: Sequence[Artifact], regions: Codes) -> dict[int, tuple[Found, str]]:
    """Artifacts in excess, by number, and where: between the classes first, else in regions against their shuffles."""
    words = [artifact.codes for artifact in artifacts]
    motifs, named = [*(context.motifs or ()), *all_motifs()], _named_patterns(context)
    excesses: dict[int, tuple[Found, str]] = {}
    for enriched_in, foreground, background, shuffled in _comparisons(context, regions):
        if not len(foreground) or not len(background) or foreground.shape[1] < PART_BP:
            continue

        def explain(i: int, start: int, end: int, ours: Codes = foreground, theirs: Codes = background) -> str | None:
            if artifacts[i].kind == "homopolymer":  # judged by its position
                return None
            named_by = naming_motif(words[i][start:end], named)
            return named_by or explain_word(words[i], start, end, ours, theirs, motifs)

        for found in find_enriched(words, foreground, background, shuffled, context.settings.fdr, explain):
            excesses.setdefault(found.query.artifact, (found, enriched_in))
    return excesses


def _named_patterns(context: AuditContext) -> list[tuple[Motif, Motif]]:
    """Patterns that were found in the map and known motifs that name them, in pairs."""
    patterns = () if context.patterns is None else context.patterns.patterns
    named = [(one.motif, one.named_match) for one in patterns if one.named_match]
    if not named:
        return []
    known = {(motif.name, motif.accession): motif for motif in [*all_motifs(), *(context.motifs or ())]}
    pairs = [(motif, known.get((match["match"], match["accession"]))) for motif, match in named]
    return [(pattern, motif) for pattern, motif in pairs if motif is not None]


def _comparisons(context: AuditContext, regions: Codes) -> Iterator[tuple[str, Codes, Codes, Codes]]:
    """Yield names of sets, foreground, background, and shuffles of the foreground."""
    if context.positives is not None and context.negatives is not None:
        n, rng = context.settings.n_examples, context.rng
        ours, theirs = (
            codes if len(codes) <= n else codes[np.sort(rng("examples").permutation(len(codes))[:n])]
            for codes in (context.positives, context.negatives)
        )
        yield "positives", ours, theirs, _shuffles(context, ours)
        yield "negatives", theirs, ours, _shuffles(context, theirs)
    shuffled = _shuffles(context, regions)
    yield "regions", regions, shuffled, shuffled


def _shuffles(context: AuditContext, codes: Codes) -> Codes:
    n_draws = -(-LEAST_SHUFFLES // max(len(codes), 1))
    return np.concatenate(context.shuffles(codes, SHUFFLE_DRAW, n_draws))


def _examine(context: AuditContext, one: Examined, hits: Hits) -> Examined:
    """Test what is in excess on the model, unless it has another explanation."""
    found, word, name = one.found, one.artifact.codes, one.artifact.name
    assert found is not None
    start, end = found.part
    share = attribution_share(context, hits)
    if found.explained_by is not None:
        why = NotTested(f"it is explained by {found.explained_by}")
        return replace(one, marginal=why, ablation=why, attribution_share=share)
    return replace(
        one,
        marginal=marginal_effect(context, word[start:end], found.hits.of_part(start), name),
        ablation=ablation_effect(context, word, hits, name),
        attribution_share=share,
    )


def _position(found: Found) -> Position:
    hits = found.hits
    start, end = found.part
    first = np.where(hits.strand > 0, hits.start - hits.offset + start, hits.end + hits.offset - end)
    spread = min(float(np.subtract(*np.percentile(edge, [75, 25]))) for edge in (hits.start, hits.end))
    return Position(float(np.median(first)), spread, spread <= FIXED_BP)


def _judged(context: AuditContext, tested: Sequence[Examined]) -> list[Examined]:
    """Give verdicts, with q-values of the effects over the artifacts that were tested.

    That the sequence is there and that it is an artifact is known by now, and its effect has to be large as well, so
    the effect may have a larger q-value than what has to be found out first.
    """
    used = set()
    for name in ("marginal", "ablation"):
        effects = {one.artifact.name: getattr(one, name) for one in tested}
        effects = {label: effect for label, effect in effects.items() if isinstance(effect, Effect)}
        q_values = q_values_of([effect.p_value for effect in effects.values()])
        least = context.settings.min_effect * context.effect_scale if effects else 0.0
        used |= {
            label
            for (label, effect), q_value in zip(effects.items(), q_values, strict=True)
            if q_value <= MAX_USE_Q and abs(effect.mean) >= least > 0
        }
    knows_classes = context.positives is not None and context.negatives is not None
    judged = []
    for one in tested:
        if one.found is not None and one.found.explained_by is None:
            differs = (one.enriched_in != "regions" or not knows_classes) and not one.is_too_few
            may_be_biology = one.artifact.kind in AMBIGUOUS_KINDS and not _position(one.found).fixed
            is_shortcut = one.artifact.name in used and differs and not may_be_biology
            one = replace(one, verdict="shortcut" if is_shortcut else "present")
        judged.append(one)
    return judged


def _row(one: Examined, context: AuditContext, names: Sequence[str]) -> KnownFinding:
    found, more = one.found, dict[str, Any]()
    marginal, ablation = numbers_of(one.marginal), numbers_of(one.ablation)
    if found is not None and one.audited is not None:
        ours, theirs = found.n_with / max(found.n, 1), found.m_with / max(found.m, 1)
        forward = float((found.hits.strand > 0).mean())
        more = {
            "share": len(one.audited) / len(context.rows(context.settings.n_examples)),
            "explained_by": found.explained_by,
            "family": tuple(names[k] for k in found.family),
            "n_foreground": found.n_with,
            "share_foreground": ours,
            "n_background": found.m_with,
            "share_background": theirs,
            "enrichment": (found.n_with + 0.5) / (found.n + 1) * (found.m + 1) / (found.m_with + 0.5),
            "position": _position(found),
            "strand": "+" if forward >= ONE_STRAND else "-" if forward <= 1 - ONE_STRAND else "both",
        }
        if one.enriched_in in ("positives", "negatives"):
            other = "negatives" if one.enriched_in == "positives" else "positives"
            more |= {f"share_{one.enriched_in}": ours, f"share_{other}": theirs}
    return KnownFinding(
        name=one.artifact.name,
        kind=one.artifact.kind,
        sequence=one.word,
        source=one.artifact.source,
        n_regions=0 if one.audited is None else len(one.audited),
        enriched_in=one.enriched_in,
        p_value=one.p_value,
        q_value=one.q_value,
        attribution_share=one.attribution_share,
        verdict=one.verdict,
        marginal_effect=marginal[0],
        marginal_ci=marginal[1],
        marginal_p_value=marginal[2],
        ablation_effect=ablation[0],
        ablation_ci=ablation[1],
        ablation_p_value=ablation[2],
        **more,
    )


def _hit_table(context: AuditContext, hits: Hits, name: str, kind: str, verdict: str) -> pd.DataFrame:
    windows = context.attr.rows(hits.row)
    strand = windows["strand"].to_numpy()
    start, end = lift_span(windows["start"], windows["end"], strand, hits.start, hits.end)
    on_window = np.where(hits.strand > 0, "+", "-")
    return pd.DataFrame(
        {
            "row": hits.row,
            "chrom": windows["chrom"].to_numpy(),
            "start": start,
            "end": end,
            "name": name,
            "score": hits.score.astype(np.int64),
            "strand": [_FLIPPED[own] if way == "-" else own for own, way in zip(on_window, strand, strict=True)],
            "kind": kind,
            "verdict": verdict,
        }
    )


def _flat(findings: Sequence[Finding]) -> pd.DataFrame:
    """One row an artifact, without nested values."""

    def flat(value: Any) -> Any:
        if isinstance(value, dict):
            return ", ".join(f"{key} {part}" for key, part in value.items())
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    return pd.DataFrame([{key: flat(value) for key, value in to_json(one).items()} for one in findings])


def _warnings(tested: Sequence[Examined]) -> Iterator[str]:
    for one in tested:
        if one.verdict == "shortcut" and one.enriched_in == "regions" and one.found and one.found.n_with == one.found.n:
            yield (
                f"{one.artifact.name} is in every region, as a constant part of a construct is; without sequences that "
                "lack it nothing tells whether it helps the model."
            )


def _untested(context: AuditContext, own: Sequence[Artifact]) -> Iterator[str]:
    if context.positives is None or context.negatives is None:
        yield _NO_CLASSES
    if context.model is None:
        yield _NO_MODEL
    length = context.attr.length
    if length < PART_BP:
        yield f"Artifacts: windows of {length} bp are shorter than the shortest part that can be recognised."
    too_long = [artifact.name for artifact in own if len(artifact.sequence) > length]
    if too_long:
        yield f"Whole copies of {', '.join(too_long)}: longer than the windows, so only parts were looked for."


def _too_few(tested: Sequence[Examined]) -> Iterator[str]:
    for one in tested:
        if one.verdict == "present" and one.is_too_few and one.found is not None:
            yield (
                f"Whether {one.word} is of {one.artifact.name} or a binding site: "
                f"{counted(one.found.n_with, 'region')} with a copy cannot tell, expected {FEW_COPIES} or more."
            )


def _run(context: AuditContext, done: Results) -> ArtifactsResult:
    composition = done.of(CompositionResult)
    return audit_artifacts(context, properties=() if composition is None else composition.findings)


PART = Part(ArtifactsResult, _run)
