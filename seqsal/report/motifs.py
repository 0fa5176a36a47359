"""Patterns on the page: their logos, what they are called, and where to see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from seqsal.motifs import MotifResult, Pattern
from seqsal.plot.motifs import plot_cwm, plot_motif
from seqsal.plot.style import one_line
from seqsal.regions import Region, format_region
from seqsal.report.figures import inline_svg
from seqsal.report.gallery import top_rows
from seqsal.report.inputs import ReportInputs
from seqsal.report.tables import Column, Table, make_table, show

__all__ = ["MAX_PATTERNS", "N_EXAMPLES", "PatternCard", "draw_patterns", "strongest", "usage_table"]

MAX_PATTERNS = 30
N_EXAMPLES = 4
_INCH_PER_BASE, _MARGINS, _HEIGHT = 0.17, (0.55, 0.1, 0.25, 0.06), 0.95


@dataclass(frozen=True)
class PatternCard:
    """One pattern as a row of the table.

    Attributes
    ----------
    logos
        PFM and CWM.
    other_strand
        The same of the reverse complement.
    examples
        Link within the page, or an empty text, what to call it, and the place, or None for a link.
    """

    key: str
    name: str
    effect: str
    consensus: str
    match: str
    accession: str
    q_value: str
    n_seqlets: str
    contribution: str
    algorithm: str
    logos: list[Markup]
    other_strand: list[Markup]
    examples: list[tuple[str, str, Region | None]]


def draw_patterns(inputs: ReportInputs, motifs: MotifResult) -> list[PatternCard]:
    """Draw the first `MAX_PATTERNS` patterns."""
    windows = inputs.attr.regions.iloc[top_rows(inputs)]
    return [_draw(pattern, windows) for pattern in motifs.patterns[:MAX_PATTERNS]]


def usage_table(motifs: MotifResult) -> Table | None:
    """List the known motifs, those that the model uses most first."""
    usage = motifs.usage
    if usage is None or len(usage) == 0:
        return None
    columns = [
        Column("Known motif"),
        Column("Accession"),
        Column("Hits", "number", "places that look like the motif (p ≤ 1e-4)"),
        Column("In peaks", "number", "hits that share a base with a peak"),
        Column("Attribution", "number", "mean over the hits of the summed attribution"),
        Column("Enrichment", "number", "how much more often its hits lie in peaks than those of its shuffled copies"),
        Column("q-value", "number", "of the enrichment, over all motifs"),
    ]
    names = ("motif", "accession", "n_hits", "n_hits_in_peaks", "mean_attribution", "enrichment", "q_value")
    return make_table("usage-table", columns, [usage[name] for name in names])


def _draw(pattern: Pattern, windows: pd.DataFrame) -> PatternCard:
    key = pattern.name.replace("_", "-")
    match = pattern.match
    return PatternCard(
        key=key,
        name=pattern.name,
        effect="raises" if pattern.sign == "pos" else "lowers",
        consensus=pattern.motif.consensus,
        match="–" if match is None else one_line(match["match"], 40),
        accession="" if match is None else one_line(match["accession"], 40),
        q_value="–" if match is None else show(float(match["q_value"])),
        n_seqlets=show(pattern.n_seqlets),
        contribution=show(float(pattern.seqlets["score"].mean())),
        algorithm=pattern.algorithm,
        logos=_logos(pattern, key, reverse=False),
        other_strand=_logos(pattern, f"{key}-rc", reverse=True),
        examples=_examples(pattern, windows),
    )


def _logos(pattern: Pattern, key: str, *, reverse: bool) -> list[Markup]:
    size = (_INCH_PER_BASE * max(pattern.motif.width, 8) + _MARGINS[0] + _MARGINS[1], _HEIGHT)

    def draw_pfm(ax: Axes) -> None:
        plot_motif(pattern.motif, ax, reverse=reverse)

    def draw_cwm(ax: Axes) -> None:
        plot_cwm(pattern.cwm, ax, unit="contrib.", reverse=reverse)

    about = f"of {pattern.name}" + ", other strand" * reverse
    return [
        inline_svg(draw, size, key=f"{key}-{kind}", label=f"{text} {about}", margins=_MARGINS)
        for kind, text, draw in (
            ("pfm", "Base frequencies in bits", draw_pfm),
            ("cwm", "Mean contributions", draw_cwm),
        )
    ]


def strongest(instances: pd.DataFrame) -> pd.DataFrame:
    """Sort the instances of a pattern, those of the largest contribution first."""
    return instances.iloc[np.argsort(-instances["score"].abs().to_numpy(), kind="stable")]


def _examples(pattern: Pattern, windows: pd.DataFrame) -> list[tuple[str, str, Region | None]]:
    """Pictured regions that hold an instance, as links, then the strongest instances elsewhere."""
    instances = pattern.seqlets
    pictured = np.zeros(len(instances), dtype=bool)
    links: list[tuple[str, str, Region | None]] = []
    for number, (_, window) in enumerate(windows.iterrows(), start=1):
        inside = (instances["chrom"] == window["chrom"]) & (instances["start"] >= window["start"])
        inside &= instances["end"] <= window["end"]
        if inside.any():
            links.append((f"#region-{number}", f"region {number}", None))
            pictured |= inside.to_numpy()
    rest = strongest(instances[~pictured]).iloc[:N_EXAMPLES]
    places = [
        ("", format_region(one_line(chrom), start, end, strand), Region(chrom, start, end))
        for chrom, start, end, strand in rest[["chrom", "start", "end", "strand"]].itertuples(index=False)
    ]
    return (links + places)[:N_EXAMPLES]
