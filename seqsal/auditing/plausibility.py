"""Whether the map points at known biology more than chance would have it.

*Mass.* The share of Σ |map| of all regions that lies inside hits of known motifs (or annotations), against the share
inside matched positions of the same regions (:mod:`seqsal.auditing.placements`): those of like GC content for the
numbers that count, and spans shifted together for comparison. `gain` is the difference of the two shares, with its
confidence interval by resampling regions (`ci`), `enrichment` their ratio; the p-value is that of the random
placements. The scan is made stricter until hits cover a bounded share of the bases.

*Strands.* Of a model of data without a strand, a motif should earn as much on either strand. That is tested for the
motif that holds most attribution beyond its share of the bases: Mann–Whitney on the sums over its hits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.context import AuditContext
from seqsal.auditing.hits import MotifHits, find_hits, mask_of, span_positions, spans_in_windows
from seqsal.auditing.placements import Matched, Spans, match_gc, runs_of, shift_circularly
from seqsal.auditing.section import AuditSection
from seqsal.auditing.stats import auroc, mann_whitney_p, ratio_interval
from seqsal.motifs import MotifResult
from seqsal.sequence.codes import N_CODE

__all__ = ["audit_plausibility"]

N_LISTED = 20
INSIDE = 0.5  # of a peak's bases under hits
MASS_KEYS = ("motif_mass", "expected", "gain", "ci", "enrichment", "enrichment_ci", "p_value", "coverage")
Values = dict[str, Any]
Floats = NDArray[np.float64]


class _Sample:
    """The regions looked at: their sequences, maps and the size of the map."""

    def __init__(self, context: AuditContext) -> None:
        settings = context.settings
        n = max(1, min(settings.n_regions, settings.n_scan_bp // max(context.attr.length, 1)))
        self.rows = context.rows(n)
        self.codes = context.codes(self.rows)
        self.track = np.where(self.codes == N_CODE, 0.0, context.track(self.rows)).astype(np.float64)
        self.size = np.abs(self.track)
        self.signed = bool(context.attr.attrs.get("signed", True))
        self.windows = context.attr.regions.iloc[self.rows].reset_index(drop=True)
        self.n_known = max(int((self.codes != N_CODE).sum()), 1)


def audit_plausibility(
    context: AuditContext,
    annotations: pd.DataFrame | None = None,
    motif_result: MotifResult | None = None,
) -> AuditSection:
    """Compare the map with known motifs, or with annotations.

    Parameters
    ----------
    context
        What is audited; its `motifs` are the database, and no model is needed.
    annotations
        Regions that are known to matter, chrom, start, end; by default those of the context.
    motif_result
        Patterns found in the same attributions, for what they are.

    Returns
    -------
    AuditSection
        The top level of `values` is about known motifs where they were given and have hits, else about the
        annotations, as `source` says; all None where there is neither. Tables `plausibility_regions` and `motifs`.
    """
    sample = _Sample(context)
    annotations = context.annotations if annotations is None else annotations
    values: Values = {key: None for key in ("source", *MASS_KEYS, "positive", "within_region", "threshold", "n_hits",
                                            "n_motifs", "annotations", "peaks", "strand")}  # fmt: skip
    values |= {"n_regions": len(sample.rows), "patterns": _patterns(motif_result, context.settings.max_match_q)}
    tables: dict[str, pd.DataFrame] = {}
    untested = list(_missing(sample, context, motif_result, has_annotations=annotations is not None))
    hits = _hits(context, sample, untested) if context.motifs else None
    marked = None if annotations is None else _marked(sample, annotations, untested)
    if sample.size.any():
        if marked is not None:
            values["annotations"], tables["plausibility_regions"] = _mass(context, sample, marked, "annotations")
            values |= {**values["annotations"], "source": "annotations"}
        if hits is not None:
            found, tables["plausibility_regions"] = _mass(context, sample, hits.mask, "motifs")
            values |= {**found, "source": "motifs"}
    mask = marked if hits is None else hits.mask
    if mask is not None:
        values["peaks"] = _peaks(context, sample, mask, untested)
    if hits is not None:
        tables["motifs"] = _by_motif(context, sample, hits)
        values |= {"threshold": hits.threshold, "n_hits": len(hits.table), "n_motifs": len(context.motifs or ())}
        values["strand"] = _strands(context, sample, hits, tables["motifs"], untested)
    return AuditSection("plausibility", values, tables, tuple(_warnings(values, context)), tuple(untested))


def _missing(
    sample: _Sample, context: AuditContext, motif_result: MotifResult | None, *, has_annotations: bool
) -> list[str]:
    lines = []
    if not context.motifs and not has_annotations:
        lines.append("Plausibility was not tested: neither known motifs nor annotations were given.")
    elif not sample.size.any():
        lines.append("Plausibility was not tested: the map is 0 in every region that was looked at.")
    elif (sample.size.sum(1) > 0).sum() < 2:
        lines.append("Plausibility has no confidence interval: only one region has attributions.")
    if motif_result is None:
        lines.append("The patterns in the map were not judged: none were given (run the motif search first).")
    return lines


def _hits(context: AuditContext, sample: _Sample, untested: list[str]) -> MotifHits | None:
    settings = context.settings
    hits = find_hits(sample.codes, context.motifs or (), settings.hit_p_value, settings.max_hit_share)
    if len(hits.table):
        return hits
    untested.append(
        f"Known motifs were not tested: none of the {len(context.motifs or ())} has a hit "
        f"(p ≤ {settings.hit_p_value:g}) in the regions that were looked at."
    )
    return None


def _marked(sample: _Sample, annotations: pd.DataFrame, untested: list[str]) -> NDArray[np.bool_] | None:
    spans, _ = spans_in_windows(sample.windows, annotations)
    if len(spans.row):
        return mask_of(spans, sample.codes.shape)
    untested.append(
        f"Annotations were not tested: none of the {len(annotations):,} shares a base with the regions that were "
        "looked at (are the chromosomes named alike?)."
    )
    return None


def _mass(context: AuditContext, sample: _Sample, mask: NDArray[np.bool_], name: str) -> tuple[Values, pd.DataFrame]:
    """Shares of the map under a mask and under matched positions, with a table of the regions."""
    settings = context.settings
    held = np.stack([sample.size, np.maximum(sample.track, 0.0)])
    rng, n_draws = context.rng(f"placements of {name}"), settings.n_permutations
    both = match_gc(runs_of(mask), held, sample.codes, settings.gc_tolerance, n_draws, rng)
    shifted = shift_circularly(mask, sample.size, sample.codes, n_draws, rng)
    values = _against(context, both[0], sample.size, f"{name}, like GC")
    values["coverage"] = float((mask & (sample.codes != N_CODE)).sum() / sample.n_known)
    values["within_region"] = _against(context, shifted, sample.size, f"{name}, shifted")
    positive = sample.signed and held[1].any()
    values["positive"] = _against(context, both[1], held[1], f"{name}, positive") if positive else None
    return values, _region_table(sample, mask, both[0], shifted)


def _against(context: AuditContext, matched: Matched, held: Floats, name: str) -> Values:
    """Observed and expected share of what all regions hold, (n, L)."""
    total, observed, expected = held.sum(), matched.observed.sum(), matched.expected.sum()
    rng, settings = context.rng(f"interval of {name}"), context.settings
    return {
        "motif_mass": float(observed / total),
        "expected": float(expected / total),
        "gain": float((observed - expected) / total),
        "ci": ratio_interval(matched.observed - matched.expected, held.sum(1), rng, settings),
        "enrichment": float(observed / expected) if expected > 0 else None,
        "enrichment_ci": ratio_interval(matched.observed, matched.expected, rng, settings),
        "p_value": matched.p_value,
    }


def _region_table(sample: _Sample, mask: NDArray[np.bool_], alike: Matched, shifted: Matched) -> pd.DataFrame:
    total = sample.size.sum(1)
    share = np.divide(
        np.stack([alike.observed, alike.expected, shifted.expected]),
        total,
        out=np.full((3, len(total)), np.nan),
        where=total > 0,
    )
    table = sample.windows[["chrom", "start", "end", "name"]].copy()
    table.insert(0, "row", sample.rows)
    columns = {"total": total, "motif_mass": share[0], "expected": share[1], "expected_within_region": share[2]}
    return table.assign(**columns, coverage=mask.mean(1))


def _peaks(context: AuditContext, sample: _Sample, mask: NDArray[np.bool_], untested: list[str]) -> Values | None:
    """Share of peaks at least half of whose bases are under the mask, against placements of like GC content."""
    spans, _ = spans_in_windows(sample.windows, context.peaks) if len(context.peaks) else (None, None)
    if spans is not None:
        inside = (spans.start >= 0) & (spans.end <= mask.shape[1])
        spans = Spans(*(column[inside] for column in spans))
    if spans is None or not len(spans.row):
        untested.append("Peaks inside known biology were not tested: no peak lies in the regions that were looked at.")
        return None
    matched = match_gc(
        spans,
        mask[None].astype(np.float64),
        sample.codes,
        context.settings.gc_tolerance,
        context.settings.n_permutations,
        context.rng("placements of peaks"),
        lambda covered, width: (covered >= INSIDE * width).astype(np.float64),
    )[0]
    n_peaks = np.bincount(spans.row, minlength=len(mask)).astype(np.float64)
    rng = context.rng("interval of peaks")
    return {
        "n_peaks": len(spans.row),
        "share_inside": float(matched.observed.sum() / n_peaks.sum()),
        "expected": float(matched.expected.sum() / n_peaks.sum()),
        "gain_ci": ratio_interval(matched.observed - matched.expected, n_peaks, rng, context.settings),
        "p_value": matched.p_value,
    }


def _by_motif(context: AuditContext, sample: _Sample, hits: MotifHits) -> pd.DataFrame:
    """Return the motifs that hold most attribution beyond their share of the bases, the first first."""
    motifs, length = context.motifs or (), sample.codes.shape[1]
    size, total = sample.size.ravel(), max(sample.size.sum(), np.finfo(float).tiny)
    per_base = sample.size.sum(1) / np.maximum((sample.codes != N_CODE).sum(1), 1)
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
                "mean_attribution": float(_sums(sample, group).mean()),
            }
        )
    table = pd.DataFrame(rows)
    table = table.assign(gain=table["motif_mass"] - table["expected"])
    ordered = table.sort_values(["gain", "motif"], ascending=[False, True], kind="stable")
    return ordered[:N_LISTED].reset_index(drop=True)


def _sums(sample: _Sample, hits: pd.DataFrame) -> Floats:
    """Σ map over each hit."""
    running = np.pad(np.cumsum(sample.track, axis=1), ((0, 0), (1, 0)))
    row = hits["row"].to_numpy()
    return np.asarray(running[row, hits["end"].to_numpy()] - running[row, hits["start"].to_numpy()])


def _strands(
    context: AuditContext, sample: _Sample, hits: MotifHits, table: pd.DataFrame, untested: list[str]
) -> Values | None:
    """Test the foremost motif with enough hits on either strand."""
    labels = {(motif.name, motif.accession): idx for idx, motif in enumerate(context.motifs or ())}
    for name, accession in zip(table["motif"], table["accession"], strict=True):
        own = hits.table[hits.table["motif_idx"] == labels[name, accession]]
        is_forward = (own["strand"] == "+").to_numpy()
        if min(is_forward.sum(), (~is_forward).sum()) < context.settings.min_strand_hits:
            continue
        sums = _sums(sample, own)
        forward, reverse = sums[is_forward], sums[~is_forward]
        return {
            "motif": name,
            "n_forward": len(forward),
            "n_reverse": len(reverse),
            "mean_forward": float(forward.mean()),
            "mean_reverse": float(reverse.mean()),
            "auc": auroc(forward, reverse),
            "p_value": mann_whitney_p(forward, reverse, method="asymptotic"),
            "rc_average": context.rc_average,
        }
    untested.append(
        f"Strand symmetry was not tested: no known motif with attribution has {context.settings.min_strand_hits} hits "
        "on either strand."
    )
    return None


def _patterns(result: MotifResult | None, max_match_q: float) -> Values | None:
    """Say how informative the patterns found are, and how many of their instances have a name."""
    if result is None:
        return None
    table = result.table
    named = (table["q_value"] <= max_match_q).to_numpy()
    n_seqlets = int(table["n_seqlets"].sum())
    listed = table[["pattern", "sign", "n_seqlets", "information", "match", "q_value"]].to_dict("records")
    for row, is_named in zip(listed, named, strict=True):
        row["match"] = row["match"] if is_named else None
        row["q_value"] = None if np.isnan(row["q_value"]) else row["q_value"]
    has_names = result.database is not None and n_seqlets > 0
    return {
        "n_patterns": len(table),
        "n_named": int(named.sum()) if result.database is not None else None,
        "named_share": float(table["n_seqlets"].to_numpy()[named].sum() / n_seqlets) if has_names else None,
        "median_information": float(table["information"].median()) if len(table) else None,
        "list": listed,
    }


def _warnings(values: Values, context: AuditContext) -> list[str]:
    lines = []
    interval, within, strand = values["ci"], values["within_region"], values["strand"]
    if interval is not None and within["ci"] is not None and interval[0] <= 0 < within["ci"][0]:
        lines.append(
            "The map holds more inside known biology than at random positions, but not more than at positions of like "
            "GC content: a taste for G and C would explain it."
        )
    if interval is not None and interval[1] < 0:
        lines.append(
            f"The map avoids known biology: {values['motif_mass']:.0%} of the attribution lies inside, where matched "
            f"positions hold {values['expected']:.0%}."
        )
    if strand is not None and strand["p_value"] < context.settings.fdr:
        lines.append(
            f"Hits of {strand['motif']} carry {strand['mean_forward']:.3g} on the forward strand and "
            f"{strand['mean_reverse']:.3g} on the reverse: for data without a strand, average over both strands or "
            "train with reverse complements."
        )
    return lines
