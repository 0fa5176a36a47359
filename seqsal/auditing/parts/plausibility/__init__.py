"""Whether the map points at known biology more than chance would have it.

*Mass.* The share of Σ |map| of all regions that lies inside hits of known motifs (or annotations), against the share
inside matched positions of the same regions (:mod:`seqsal.auditing.parts.plausibility.matching`): those of like GC
content for the numbers that count, and spans shifted together for comparison. `gain` is the difference of the two
shares, with its confidence interval by resampling regions (`ci`), `enrichment` their ratio; the p-value is that of the
random placements. The scan is made stricter until hits cover a bounded share of the bases.

*Strands.* Of a model of data without a strand, a motif should earn as much on either strand. That is tested for the
motif that holds most attribution beyond its share of the bases: Mann–Whitney on the sums over its hits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from seqsal.auditing.content import Flags, Values, mask_of, runs_of, spans_in_windows
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import (
    Fact,
    Interval,
    Measured,
    Notes,
    NotTested,
    Part,
    PartResult,
    Reason,
    measured,
    with_interval,
)
from seqsal.auditing.parts.plausibility.matching import (
    Matched,
    MotifHits,
    find_hits,
    match_gc,
    shift_circularly,
    span_positions,
)
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import auroc, mann_whitney_p, number, ratio_interval
from seqsal.motifs import MotifResult
from seqsal.sequence.codes import N_CODE

__all__ = ["PART", "PlausibilityResult", "audit_plausibility"]

N_SCAN_BP = 2_000_000  # bases of regions that are scanned for known motifs, at most
HIT_P_VALUE = 1e-4  # of a hit of a known motif, to begin with
MAX_HIT_SHARE = 0.25  # of the bases that hits may cover: more, and the p-value is made smaller
GC_TOLERANCE = 0.05  # of a span and its matched positions (standard deviation)
N_PERMUTATIONS = 200  # random placements
MAX_MATCH_Q = 0.05  # of a database match that names a pattern
MIN_STRAND_HITS = 5  # of a motif on either strand from which strands are compared
N_LISTED = 20
INSIDE = 0.5  # of a peak's bases under hits
NO_HIT = NotTested("no known motif has a hit")
NOTHING_KNOWN = NotTested("neither known motifs nor annotations were given, or none lies in the regions")
UNKNOWN = "how much of it lies in known motifs is not known"


@dataclass(frozen=True)
class Mass:
    """Share of the map in known biology, and in matched positions.

    `motif_mass`, `expected`: observed, and at matched positions on average. `gain`, `ci`: their difference, with its
    interval over regions; None for one region. `enrichment`, `enrichment_ci`: their ratio. `p_value`: of as much or
    more in random placements.
    """

    motif_mass: float
    expected: float
    gain: float
    ci: Interval | None
    enrichment: Measured
    enrichment_ci: Interval | None
    p_value: float


@dataclass(frozen=True)
class KnownMass(Mass):
    """The same against positions of matched GC content, with the share of the bases that is known biology (`coverage`).

    `within_region` is against circular shifts, `positive` of the positive part of a map with signs.
    """

    coverage: float
    within_region: Mass
    positive: Mass | NotTested


_NUMBERS = tuple(KnownMass.__dataclass_fields__)


@dataclass(frozen=True)
class PeakShare:
    """Share of the peaks that lie in known biology, and of placements of matched GC content."""

    n_peaks: int
    share_inside: float
    expected: float
    gain_ci: Interval | None
    p_value: float


@dataclass(frozen=True)
class StrandSymmetry:
    """Attribution of the hits of one motif on the two strands: means, AUROC of forward against reverse, p-value."""

    motif: str
    n_forward: int
    n_reverse: int
    mean_forward: float
    mean_reverse: float
    auc: float
    p_value: float
    rc_average: bool


@dataclass(frozen=True)
class PatternMatch:
    """A pattern found in the map, and the known motif that it is; None where it is none."""

    pattern: str
    sign: str
    n_seqlets: int
    information: float
    match: str | None
    q_value: float | None


@dataclass(frozen=True)
class Patterns:
    """How informative the patterns found in the map are, and how many of them, and of their seqlets, have a name."""

    n_patterns: int
    n_named: Measured
    named_share: Measured
    median_information: Measured
    patterns: tuple[PatternMatch, ...] = field(metadata={"key": "list"})


@dataclass(frozen=True, eq=False, kw_only=True)
class PlausibilityResult(PartResult):
    """How much of the map lies in known biology.

    Tables: `plausibility_regions` (a row a region) and `motifs` (those that hold most attribution).

    `source`: `motifs` or `annotations`, whichever the numbers, those of :class:`KnownMass`, are about; None where there
    is neither. `threshold`, `n_hits`, `n_motifs`: largest p-value of a hit of the known motifs, their hits, and how
    many motifs there are. `annotations`: the same numbers for annotations. `n_regions`: regions looked at.
    """

    source: str | None
    motif_mass: Measured
    expected: Measured
    gain: Measured
    ci: Interval | None
    enrichment: Measured
    enrichment_ci: Interval | None
    p_value: Measured
    coverage: Measured
    positive: Mass | NotTested
    within_region: Mass | NotTested
    threshold: Measured
    n_hits: int | NotTested
    n_motifs: int | NotTested
    annotations: KnownMass | NotTested
    peaks: PeakShare | NotTested
    strand: StrandSymmetry | NotTested
    n_regions: int
    patterns: Patterns | NotTested

    @property
    def where(self) -> str:
        """What the map is compared with."""
        return "annotated regions" if self.source == "annotations" else "known motifs"

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        if isinstance(self.motif_mass, float) and isinstance(self.gain, float):
            gain = with_interval(self.gain, self.ci, "{:.0%}")
            yield Fact(
                f"{self.motif_mass:.0%} of the map in {self.where},", f"{self.expected:.0%} by chance (gain {gain})"
            )

    def reasons(self, settings: AuditSettings) -> Iterator[Reason]:
        said = UNKNOWN
        if isinstance(self.motif_mass, float):
            said = f"{self.motif_mass:.0%} of it lies in {self.where}, where {self.expected:.0%} would by chance"
        low = None if self.ci is None or self.ci == (0, 0) else self.ci[0]
        needed = "an interval of the gain over matched positions above 0"
        least, lower = settings.min_gain, measured(low, "no interval")
        more: dict[str, Any] = {"sentence": said, "is_decisive": True, "n": self.n_regions if self.source else None}
        yield Reason.above("plausible", "known biology", lower, 0.0, needed, **more)
        yield Reason.at_least("plausible", "gain over matched positions", self.gain, least, **more)


def audit_plausibility(
    context: AuditContext,
    annotations: pd.DataFrame | None = None,
    motif_result: MotifResult | None = None,
) -> PlausibilityResult:
    """Compare the map with known motifs, or with annotations (chrom, start, end), by default those of the context.

    No model is needed. The numbers are about known motifs where they were given and have hits, else about the
    annotations, as `source` says. `motif_result` are patterns found in the same attributions, for what they are.
    """
    annotations = context.annotations if annotations is None else annotations
    audit = _Audit(context)
    audit.say_what_is_missing(motif_result, has_annotations=annotations is not None)
    hits = audit.hits() if context.motifs else None
    masks = {"annotations": None if annotations is None else audit.marked(annotations)}
    masks["motifs"] = None if hits is None else hits.mask
    mass = {name: audit.mass(mask, name) for name, mask in masks.items() if mask is not None and audit.size.any()}
    mask = masks["annotations"] if hits is None else hits.mask
    peaks: PeakShare | NotTested = NOTHING_KNOWN if mask is None else audit.peaks(mask)
    strand: StrandSymmetry | NotTested = NotTested("there are no hits of known motifs")
    if hits is not None:
        audit.notes.tables["motifs"] = table = audit.by_motif(hits)
        strand = audit.strands(hits, table)
    about = next((name for name in ("motifs", "annotations") if name in mass), None)
    audit.notes.warnings += _warnings(mass.get(about or ""), strand, context)
    numbers: dict[str, Any] = {name: None if name.endswith("ci") else NOTHING_KNOWN for name in _NUMBERS}
    return PlausibilityResult(
        source=about,
        **(numbers if about is None else vars(mass[about])),
        threshold=hits.threshold if hits else NO_HIT,
        n_hits=len(hits.table) if hits else NO_HIT,
        n_motifs=len(context.motifs or ()) if hits else NO_HIT,
        annotations=mass.get("annotations", NotTested("no annotations lie in the regions")),
        peaks=peaks,
        strand=strand,
        n_regions=len(audit.rows),
        patterns=_patterns(motif_result),
        **audit.notes.fields(),
    )


class _Audit:
    """The regions looked at: their sequences, maps and the size of the map; and what is compared in them."""

    def __init__(self, context: AuditContext) -> None:
        self.context, self.settings, self.notes = context, context.settings, Notes()
        self.rows = context.rows(max(1, min(self.settings.n_regions, N_SCAN_BP // max(context.attr.length, 1))))
        self.codes = context.codes(self.rows)
        self.known = self.codes != N_CODE
        self.track = np.where(self.known, context.track(self.rows), 0.0).astype(np.float64)
        self.size = np.abs(self.track)
        self.windows = context.attr.rows(self.rows)

    def say_what_is_missing(self, motif_result: MotifResult | None, *, has_annotations: bool) -> None:
        untested = self.notes.untested
        if not self.context.motifs and not has_annotations:
            untested.append(
                "Plausibility was not tested: neither known motifs nor annotations were given "
                "(--motif-db, --annotations)."
            )
        elif not self.size.any():
            untested.append("Plausibility was not tested: the map is 0 in every region that was looked at.")
        elif (self.size.sum(1) > 0).sum() < 2:
            untested.append("Plausibility has no confidence interval: only one region has attributions.")
        if motif_result is None:
            untested.append("The patterns in the map were not judged: none were given (run the motif search first).")

    def hits(self) -> MotifHits | None:
        motifs = self.context.motifs or ()
        hits = find_hits(self.codes, motifs, HIT_P_VALUE, MAX_HIT_SHARE)
        if len(hits.table):
            return hits
        self.notes.untested.append(
            f"Known motifs were not tested: none of the {len(motifs)} has a hit (p ≤ {HIT_P_VALUE:g}) in the regions "
            "that were looked at."
        )
        return None

    def marked(self, annotations: pd.DataFrame) -> Flags | None:
        spans, _ = spans_in_windows(self.windows, annotations)
        if len(spans.row):
            return mask_of(spans, self.codes.shape)
        self.notes.untested.append(
            f"Annotations were not tested: none of the {len(annotations):,} shares a base with the regions that were "
            "looked at (are the chromosomes named alike?)."
        )
        return None

    def mass(self, mask: Flags, name: str) -> KnownMass:
        """Shares of the map under a mask and under matched positions; also notes a table of the regions."""
        held = np.stack([self.size, np.maximum(self.track, 0.0)])
        rng = self.context.rng(f"placements of {name}")
        alike, positive = match_gc(runs_of(mask), held, self.codes, GC_TOLERANCE, N_PERMUTATIONS, rng)
        shifted = shift_circularly(mask, self.size, self.codes, N_PERMUTATIONS, rng)
        total = self.size.sum(1)
        shares = {
            "motif_mass": alike.observed, "expected": alike.expected, "expected_within_region": shifted.expected,
        }  # fmt: skip
        table = self.context.region_table(self.rows).assign(total=total)
        for column, values in shares.items():
            table[column] = np.divide(values, total, out=np.full(len(total), np.nan), where=total > 0)
        self.notes.tables["plausibility_regions"] = table.assign(coverage=mask.mean(1))
        return KnownMass(
            **vars(self._against(alike, self.size, f"{name}, like GC")),
            coverage=float((mask & self.known).sum() / max(int(self.known.sum()), 1)),
            within_region=self._against(shifted, self.size, f"{name}, shifted"),
            positive=self._against(positive, held[1], f"{name}, positive")
            if self.context.signed and held[1].any()
            else NotTested("the map has no positive values that differ from it"),
        )

    def _against(self, matched: Matched, held: Values, name: str) -> Mass:
        """Observed and expected share of what all regions hold, (n, L)."""
        total, observed, expected = held.sum(), matched.observed.sum(), matched.expected.sum()
        rng, settings = self.context.rng(f"interval of {name}"), self.settings
        return Mass(
            motif_mass=float(observed / total),
            expected=float(expected / total),
            gain=float((observed - expected) / total),
            ci=ratio_interval(matched.observed - matched.expected, held.sum(1), rng, settings),
            enrichment=float(observed / expected) if expected > 0 else NotTested("matched positions hold nothing"),
            enrichment_ci=ratio_interval(matched.observed, matched.expected, rng, settings),
            p_value=matched.p_value,
        )

    def peaks(self, mask: Flags) -> PeakShare | NotTested:
        """Share of peaks at least half of whose bases are under the mask, against placements of matched GC content."""
        spans = runs_of(mask[:0])
        if len(self.context.peaks):
            spans, _ = spans_in_windows(self.windows, self.context.peaks)
            spans = spans.take((spans.start >= 0) & (spans.end <= mask.shape[1]))
        if not len(spans.row):
            self.notes.untested.append(
                "Peaks inside known biology were not tested: no peak lies in the regions that were looked at."
            )
            return NotTested("no peak lies in the regions")
        rng, values = self.context.rng("placements of peaks"), mask[None].astype(np.float64)
        (matched,) = match_gc(spans, values, self.codes, GC_TOLERANCE, N_PERMUTATIONS, rng, _is_inside)
        n_peaks = np.bincount(spans.row, minlength=len(mask)).astype(np.float64)
        gains, rng = matched.observed - matched.expected, self.context.rng("interval of peaks")
        return PeakShare(
            n_peaks=len(spans.row),
            share_inside=float(matched.observed.sum() / n_peaks.sum()),
            expected=float(matched.expected.sum() / n_peaks.sum()),
            gain_ci=ratio_interval(gains, n_peaks, rng, self.settings),
            p_value=matched.p_value,
        )

    def by_motif(self, hits: MotifHits) -> pd.DataFrame:
        """Return the motifs by how far their attribution exceeds their share of the bases, the largest excess first."""
        motifs, length = self.context.motifs or (), self.codes.shape[1]
        size, total = self.size.ravel(), max(self.size.sum(), np.finfo(float).tiny)
        per_base = self.size.sum(1) / np.maximum(self.known.sum(1), 1)
        rows = []
        for idx in np.unique(hits.table["motif_idx"].to_numpy()):
            group = hits.table[hits.table["motif_idx"] == idx]
            positions = np.unique(span_positions(group["row"], group["start"], group["end"], length)[0])
            rows.append(
                {
                    "motif": motifs[idx].name,
                    "accession": motifs[idx].accession,
                    "n_hits": len(group),
                    "n_regions": group["row"].nunique(),
                    "motif_mass": size[positions].sum() / total,
                    "expected": per_base[positions // length].sum() / total,
                    "mean_attribution": float(self._sums(group).mean()),
                }
            )
        table = pd.DataFrame(rows)
        table = table.assign(gain=table["motif_mass"] - table["expected"])
        ordered = table.sort_values(["gain", "motif"], ascending=[False, True], kind="stable")
        return ordered[:N_LISTED].reset_index(drop=True)

    def _sums(self, hits: pd.DataFrame) -> Values:
        """Σ map over each hit."""
        running = np.pad(np.cumsum(self.track, axis=1), ((0, 0), (1, 0)))
        row, start, end = (hits[name].to_numpy() for name in ("row", "start", "end"))
        return np.asarray(running[row, end] - running[row, start])

    def strands(self, hits: MotifHits, table: pd.DataFrame) -> StrandSymmetry | NotTested:
        """Test the foremost motif with enough hits on either strand."""
        labels = {(motif.name, motif.accession): idx for idx, motif in enumerate(self.context.motifs or ())}
        for name, accession in zip(table["motif"], table["accession"], strict=True):
            own = hits.table[hits.table["motif_idx"] == labels[name, accession]]
            is_forward, sums = (own["strand"] == "+").to_numpy(), self._sums(own)
            forward, reverse = sums[is_forward], sums[~is_forward]
            if min(len(forward), len(reverse)) >= MIN_STRAND_HITS:
                return StrandSymmetry(
                    motif=name,
                    n_forward=len(forward),
                    n_reverse=len(reverse),
                    mean_forward=float(forward.mean()),
                    mean_reverse=float(reverse.mean()),
                    auc=auroc(forward, reverse) or 0.0,
                    p_value=mann_whitney_p(forward, reverse, method="asymptotic"),
                    rc_average=self.context.rc_average,
                )
        self.notes.untested.append(
            f"Strand symmetry was not tested: no known motif with attribution has {MIN_STRAND_HITS} hits on either "
            "strand."
        )
        return NotTested("no known motif has enough hits on either strand")


def _is_inside(covered: Values, width: int) -> Values:
    return (covered >= INSIDE * width).astype(np.float64)


def _patterns(result: MotifResult | None) -> Patterns | NotTested:
    """Say how informative the patterns found are, and how many of their seqlets have a name."""
    if result is None:
        return NotTested("no patterns were given")
    table = result.table
    named = (table["q_value"] <= MAX_MATCH_Q).to_numpy()
    n_seqlets = int(table["n_seqlets"].sum())
    columns = [table[name] for name in ("pattern", "sign", "n_seqlets", "information", "match", "q_value")]
    listed = [
        PatternMatch(pattern, sign, n, information, match if is_named else None, number(q_value))
        for pattern, sign, n, information, match, q_value, is_named in zip(*columns, named, strict=True)
    ]
    no_database = NotTested("the patterns were compared with no database")
    share = table["n_seqlets"].to_numpy()[named].sum() / n_seqlets if n_seqlets else None
    return Patterns(
        n_patterns=len(table),
        n_named=no_database if result.database is None else int(named.sum()),
        named_share=no_database if result.database is None else measured(share, "no pattern was found"),
        median_information=measured(table["information"].median() if len(table) else None, "no pattern was found"),
        patterns=tuple(listed),
    )


def _warnings(mass: KnownMass | None, strand: StrandSymmetry | NotTested, context: AuditContext) -> Iterator[str]:
    interval = None if mass is None else mass.ci
    if mass is not None and interval is not None:
        within = mass.within_region.ci
        if within is not None and interval[0] <= 0 < within[0]:
            yield (
                "The map holds more inside known biology than at random positions, but not more than at positions of "
                "like GC content: a preference for G and C would explain it."
            )
        if interval[1] < 0:
            yield (
                f"The map avoids known biology: {mass.motif_mass:.0%} of the attribution lies inside, where matched "
                f"positions hold {mass.expected:.0%}."
            )
    if isinstance(strand, StrandSymmetry) and strand.p_value < context.settings.fdr:
        yield (
            f"Hits of {strand.motif} carry {strand.mean_forward:.3g} on the forward strand and "
            f"{strand.mean_reverse:.3g} on the reverse: for data without a strand, average over both strands or "
            "train with reverse complements."
        )


PART = Part(PlausibilityResult, lambda context, _: audit_plausibility(context, motif_result=context.patterns))
