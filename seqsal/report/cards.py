"""Pictures on the page: single regions, each as a track with its strongest part as a logo, and motif patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from seqsal.motifs import MotifResult, Pattern
from seqsal.plot.locus import Locus, common_limits, window_locus
from seqsal.plot.logo import plot_letters
from seqsal.plot.motifs import plot_cwm, plot_motif
from seqsal.plot.style import inline_svg, one_line, two_lines
from seqsal.plot.tracks import boxes_within, plot_track
from seqsal.regions import Region, format_region
from seqsal.report.inputs import ReportInputs
from seqsal.report.tables import show

__all__ = [
    "MAX_PATTERNS",
    "N_EXAMPLES",
    "Card",
    "PatternCard",
    "draw_cards",
    "draw_patterns",
    "strongest",
    "strongest_position",
    "top_rows",
]

_TRACK_INCHES, _TRACK_MARGINS = (9.0, 1.55), (0.8, 0.35, 0.25, 0.05)
_LOGO_INCHES, _LOGO_MARGINS = (9.0, 1.75), (0.8, 0.35, 0.45, 0.05)


@dataclass(frozen=True)
class Card:
    """One region of the gallery."""

    key: str
    span: Region
    name: str
    place: str
    prediction: str
    peaks: str
    track: Markup
    logo: Markup
    zoom: str
    note: str = ""

    def with_note(self, note: str) -> Card:
        """Add a few words to the head of the card."""
        return replace(self, note=note)


def draw_cards(inputs: ReportInputs, rows: Sequence[int] | None = None, *, key: str = "region") -> list[Card]:
    """Draw some regions on one scale."""
    chosen = top_rows(inputs) if rows is None else rows
    places = [_find_place(inputs, number, row) for number, row in enumerate(chosen, start=1)]
    limits = common_limits(place.locus for place in places)
    return [_draw_card(inputs, place, limits, f"{key}-{place.number}") for place in places]


def top_rows(inputs: ReportInputs) -> list[int]:
    """First rows of `inputs.order`, a window left out when it overlaps one that is in already."""
    regions = inputs.attr.regions
    chosen: list[int] = []
    for row in inputs.order:
        if len(chosen) == inputs.n_top:
            break
        window = regions.iloc[int(row)]
        taken = regions.iloc[chosen]
        overlaps = (taken["chrom"] == window["chrom"]) & (taken["start"] < window["end"])
        if not (overlaps & (taken["end"] > window["start"])).any():
            chosen.append(int(row))
    return chosen


def strongest_position(locus: Locus, peaks: pd.DataFrame) -> int:
    """Position to enlarge: the summit of the peak with the largest signal, else where the smoothed track is largest."""
    if len(peaks) == 0:
        return locus.strongest_position
    peak = peaks.iloc[int(np.argmax(peaks["signal"].abs().to_numpy()))]
    return int(peak["start"]) + (int(peak["summit"]) if peak["summit"] >= 0 else int(peak["end"] - peak["start"]) // 2)


@dataclass(frozen=True)
class _Place:
    """A region and what of it is enlarged."""

    number: int
    row: int
    locus: Locus
    peaks: pd.DataFrame
    zoom: tuple[int, int]

    @property
    def zoomed(self) -> slice:
        """Columns of the enlarged span."""
        return slice(self.zoom[0] - self.locus.start, self.zoom[1] - self.locus.start)


def _find_place(inputs: ReportInputs, number: int, row: int) -> _Place:
    locus = window_locus(inputs.attr, row)
    peaks = boxes_within(inputs.peaks, locus.span)
    zoom = locus.around(strongest_position(locus, peaks), inputs.zoom_bp)
    return _Place(number, row, locus, peaks, (zoom.start, zoom.end))


def _draw_card(inputs: ReportInputs, place: _Place, limits: tuple[float, float], key: str) -> Card:
    window, locus = inputs.attr.regions.iloc[place.row], place.locus
    text = format_region(one_line(locus.chrom), locus.start, locus.end, str(window["strand"]))
    zoom = format_region(one_line(locus.chrom), *place.zoom)
    n_peaks = _count_peaks(place.peaks, inputs.peaks.attrs.get("fdr"))
    unit = two_lines(inputs.attr.unit)

    def draw_track(ax: Axes) -> None:
        plot_track(
            locus.track,
            ax,
            start=locus.start,
            chrom=locus.chrom,
            unit=unit,
            peaks=place.peaks,
            highlight=[place.zoom],
            limits=limits,
        ).set_xlabel("")

    def draw_logo(ax: Axes) -> None:
        part = place.zoomed
        plot_letters(locus.track[part], locus.codes[part], ax, start=place.zoom[0], chrom=locus.chrom, unit=unit)
        ax.set_ylim(*limits)

    label = f"Attribution of every base of {text}, with {n_peaks}"
    return Card(
        key=key,
        span=locus.span,
        name=one_line(window["name"]) if "name" in window and window["name"] != "." else text,
        place=text,
        prediction=_prediction(float(inputs.attr.prediction[place.row]), inputs.attr.output_space),
        peaks=n_peaks,
        track=inline_svg(draw_track, _TRACK_INCHES, key=f"{key}-track", label=label, margins=_TRACK_MARGINS),
        logo=inline_svg(draw_logo, _LOGO_INCHES, key=f"{key}-logo", label=f"Logo of {zoom}", margins=_LOGO_MARGINS),
        zoom=zoom,
    )


def _prediction(value: float, space: str) -> str:
    return f"prediction {show(value)} ({space})" if np.isfinite(value) else "prediction not known"


def _count_peaks(peaks: pd.DataFrame, fdr: float | None) -> str:
    if len(peaks):
        return f"{len(peaks)} peak{'s' * (len(peaks) > 1)}"
    return "no peak" if fdr is None else f"no peak at q ≤ {fdr:g}"


MAX_PATTERNS = 30
N_EXAMPLES = 4
_INCH_PER_BASE, _MARGINS, _HEIGHT = 0.17, (0.55, 0.1, 0.25, 0.06), 0.95


@dataclass(frozen=True)
class PatternCard:
    """One pattern as a row of the table.

    Attributes
    ----------
    match, accession, q_value
        What names the pattern, or a dash.
    nearest
        The best match where it is too uncertain to name the pattern, or an empty text.
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
    nearest: str
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


def _draw(pattern: Pattern, windows: pd.DataFrame) -> PatternCard:
    key = pattern.name.replace("_", "-")
    match, nearest = pattern.named_match, pattern.match
    return PatternCard(
        key=key,
        name=pattern.name,
        effect="raises" if pattern.sign == "pos" else "lowers",
        consensus=pattern.motif.consensus,
        match="–" if match is None else one_line(match["match"], 40),
        accession="" if match is None else one_line(match["accession"], 40),
        q_value="–" if match is None else show(float(match["q_value"])),
        nearest=""
        if match is not None or nearest is None
        else f"{one_line(nearest['match'], 40)}, q {show(float(nearest['q_value']))}",
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
