"""Pictures on the page: single regions, each as a track with its strongest part as a logo, and motif patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from seqsal.errors import counted
from seqsal.io.attributions import Attributions
from seqsal.motifs import MotifResult, Pattern
from seqsal.plot.locus import Locus, common_limits, window_locus
from seqsal.plot.logo import plot_letters
from seqsal.plot.motifs import plot_cwm, plot_motif
from seqsal.plot.style import gallery_svg, one_line, two_lines
from seqsal.plot.tracks import boxes_within, plot_track
from seqsal.regions import Region, format_region
from seqsal.report.inputs import ReportInputs
from seqsal.report.tables import show, two_digits

__all__ = [
    "MAX_PATTERNS", "MAX_TARGETS", "N_EXAMPLES", "Card", "PatternCard", "TargetsCard", "draw_cards", "draw_named",
    "draw_patterns", "draw_targets", "strongest", "strongest_position", "top_rows",
]  # fmt: skip

_ROWS_AT_ONCE = 64  # looked at for the next region to picture
_TRACK_INCHES, _TRACK_MARGINS = (9.0, 1.55), (0.8, 0.35, 0.25, 0.05)
_TARGET_INCHES, _TARGET_MARGINS = (9.0, 1.6), (0.8, 0.35, 0.25, 0.3)
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
    note: str = ""


def draw_cards(inputs: ReportInputs, rows: Sequence[int] | None = None, *, key: str = "region") -> list[Card]:
    """Draw some regions on one scale."""
    chosen = top_rows(inputs) if rows is None else rows
    loci = [window_locus(inputs.attr, row) for row in chosen]
    limits = common_limits(loci)
    pairs = enumerate(zip(chosen, loci, strict=True), start=1)
    return [_draw_card(inputs, row, locus, limits, f"{key}-{number}") for number, (row, locus) in pairs]


def top_rows(inputs: ReportInputs) -> list[int]:
    """First rows of `inputs.order`, a window left out when it overlaps one that is in already."""
    chosen: dict[int, tuple[str, int, int]] = {}
    for first in range(0, len(inputs.order), _ROWS_AT_ONCE):
        rows = inputs.order[first : first + _ROWS_AT_ONCE]
        windows = inputs.attr.rows(rows, ["chrom", "start", "end"])
        for row, chrom, start, end in zip(rows.tolist(), *(windows[name].tolist() for name in windows), strict=True):
            if len(chosen) == inputs.n_top:
                return list(chosen)
            if not any(chrom == other and start < b and end > a for other, a, b in chosen.values()):
                chosen[row] = chrom, start, end
    return list(chosen)


def strongest_position(locus: Locus, peaks: pd.DataFrame) -> int:
    """Position to enlarge: the summit of the peak with the largest signal, else where the smoothed track is largest."""
    if len(peaks) == 0:
        return locus.strongest_position
    peak = peaks.iloc[int(np.argmax(peaks["signal"].abs().to_numpy()))]
    return int(peak["start"]) + (int(peak["summit"]) if peak["summit"] >= 0 else int(peak["end"] - peak["start"]) // 2)


def _draw_card(inputs: ReportInputs, row: int, locus: Locus, limits: tuple[float, float], key: str) -> Card:
    window, peaks = inputs.attr.rows([row]).iloc[0], boxes_within(inputs.peaks, locus.span)
    zoom = locus.around(strongest_position(locus, peaks), inputs.zoom_bp)
    place = format_region(one_line(locus.chrom), locus.start, locus.end, str(window["strand"]))
    unit, space = two_lines(inputs.attr.unit), inputs.attr.output_space
    prediction, fdr = float(inputs.attr.prediction[row]), inputs.peaks.attrs.get("fdr")
    n_peaks = "no peak" if fdr is None else f"no peak at q ≤ {fdr:g}{_best_weak(inputs, locus)}"
    if len(peaks):
        n_peaks = counted(len(peaks), "peak")

    def draw_track(ax: Axes) -> None:
        plot_track(
            locus.track, ax, start=locus.start, chrom=locus.chrom, unit=unit, peaks=peaks,
            highlight=[(zoom.start, zoom.end)], limits=limits,
        ).set_xlabel("")  # fmt: skip

    def draw_logo(ax: Axes) -> None:
        part = slice(zoom.start - locus.start, zoom.end - locus.start)
        plot_letters(locus.track[part], locus.codes[part], ax, start=zoom.start, chrom=locus.chrom, unit=unit)
        ax.set_ylim(*limits)

    about = f"Attribution of every base of {place}, with {n_peaks}"
    enlarged = f"Logo of {format_region(one_line(locus.chrom), zoom.start, zoom.end)}"
    return Card(
        key=key,
        span=locus.span,
        name=one_line(window["name"]) if "name" in window and window["name"] != "." else place,
        place=place,
        prediction=f"prediction {show(prediction)} ({space})" if np.isfinite(prediction) else "prediction not known",
        peaks=n_peaks,
        track=gallery_svg(draw_track, _TRACK_INCHES, _TRACK_MARGINS, key=f"{key}-track", label=about),
        logo=gallery_svg(draw_logo, _LOGO_INCHES, _LOGO_MARGINS, key=f"{key}-logo", label=enlarged),
    )


MAX_TARGETS = 8


@dataclass(frozen=True)
class TargetsCard:
    """A region, with the map of each target below the other, and what is predicted of each."""

    key: str
    name: str
    place: str
    chips: list[str]
    pictures: list[Markup]


def draw_targets(inputs: ReportInputs, results: Sequence[Attributions]) -> list[TargetsCard]:
    """Draw the regions with the highest predictions as several targets have them, each region on one scale."""
    cards, named = [], [(target_label(result), result) for result in results]
    for number, row in enumerate(top_rows(inputs), start=1):
        key, window = f"targets-{number}", inputs.attr.rows([row]).iloc[0]
        place = format_region(one_line(window["chrom"]), window["start"], window["end"], str(window["strand"]))
        name = one_line(window["name"]) if "name" in window and window["name"] != "." else place
        chips = [f"{label} {show(float(result.prediction[row]))}" for label, result in named]
        cards.append(TargetsCard(key, name, place, chips, draw_named(named, row, key=key)))
    return cards


def draw_named(
    named: Sequence[tuple[str, Attributions]], row: int, *, key: str, highlight: Sequence[tuple[int, int]] = ()
) -> list[Markup]:
    """Draw several maps of one region below each other, each named, on one scale, with some spans in grey."""
    loci = [window_locus(attr, row) for _, attr in named]
    limits, place = common_limits(loci), format_region(one_line(loci[0].chrom), loci[0].start, loci[0].end)

    def draw(ax: Axes, label: str, attr: Attributions, locus: Locus) -> None:
        plot_track(
            locus.track, ax, start=locus.start, chrom=locus.chrom, unit=two_lines(attr.unit), limits=limits,
            highlight=highlight, title=label,
        ).set_xlabel("")  # fmt: skip

    return [
        gallery_svg(partial(draw, label=label, attr=attr, locus=locus), _TARGET_INCHES, _TARGET_MARGINS,
                    key=f"{key}-{i}", label=f"Attribution of every base of {place}: {label}")
        for i, ((label, attr), locus) in enumerate(zip(named, loci, strict=True))
    ]  # fmt: skip


def target_label(result: Attributions) -> str:
    """Name a result by what it is about: a named output, a contrast, or an output's number."""
    return one_line(str(result.attrs.get("target_name", f"target {result.target}")))


def _best_weak(inputs: ReportInputs, locus: Locus) -> str:
    """Say how far the best candidate of a region without peaks is from being one."""
    weak = inputs.weak_peaks
    if weak is None or "q_value" not in weak:
        return ""
    here = boxes_within(weak, locus.span)
    if len(here):
        return f", the best has q {show(float(two_digits(here['q_value']).min()))}"
    return f", nor at q ≤ {weak.attrs['fdr']:g}" if "fdr" in weak.attrs else ""


MAX_PATTERNS = 30
N_EXAMPLES = 4
_INCH_PER_BASE, _MARGINS, _HEIGHT = 0.17, (0.55, 0.1, 0.25, 0.06), 0.95


@dataclass(frozen=True)
class PatternCard:
    """A pattern and its pictures, PFM and CWM, on both strands."""

    pattern: Pattern
    logos: list[Markup]
    other_strand: list[Markup]
    examples: list[tuple[str, str, Region | None]]  # a link within the page, or "", what to call it, and the place


def draw_patterns(inputs: ReportInputs, motifs: MotifResult) -> list[PatternCard]:
    """Draw the first `MAX_PATTERNS` patterns."""
    windows = inputs.attr.rows(top_rows(inputs))
    return [
        PatternCard(one, _logos(one, reverse=False), _logos(one, reverse=True), _examples(one, windows))
        for one in motifs.patterns[:MAX_PATTERNS]
    ]


def _logos(pattern: Pattern, *, reverse: bool) -> list[Markup]:
    key = pattern.name.replace("_", "-") + "-rc" * reverse
    size = (_INCH_PER_BASE * max(pattern.motif.width, 8) + _MARGINS[0] + _MARGINS[1], _HEIGHT)

    def draw_pfm(ax: Axes) -> None:
        plot_motif(pattern.motif, ax, reverse=reverse)

    def draw_cwm(ax: Axes) -> None:
        plot_cwm(pattern.cwm, ax, unit="contrib.", reverse=reverse)

    about = f"of {pattern.name}" + ", other strand" * reverse
    return [
        gallery_svg(draw, size, _MARGINS, key=f"{key}-{kind}", label=f"{text} {about}")
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
