"""Pictures of single regions: the whole window as a track, its strongest place as a logo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from seqsal.plot.locus import Locus, window_locus
from seqsal.plot.logo import plot_letters
from seqsal.plot.style import one_line, two_lines
from seqsal.plot.tracks import plot_track
from seqsal.regions import Region, format_region
from seqsal.report.figures import inline_svg
from seqsal.report.inputs import ReportInputs
from seqsal.report.tables import show

__all__ = ["Card", "draw_cards", "strongest_place", "top_rows"]

_TRACK_INCHES, _TRACK_MARGINS = (9.0, 1.55), (0.8, 0.35, 0.25, 0.05)
_LOGO_INCHES, _LOGO_MARGINS = (9.0, 1.75), (0.8, 0.35, 0.45, 0.05)
_SMOOTH_BP = 9


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
    """Draw some regions on one scale.

    Parameters
    ----------
    inputs
        The results.
    rows
        Of the attributions; None for the `n_top` with the highest predictions.
    key
        What the ids of the cards begin with.
    """
    chosen = top_rows(inputs) if rows is None else rows
    places = [_find_place(inputs, number, row) for number, row in enumerate(chosen, start=1)]
    limits = _common_limits([place.locus for place in places])
    return [_draw_card(inputs, place, limits, f"{key}-{place.number}") for place in places]


def _common_limits(loci: list[Locus]) -> tuple[float, float]:
    """Limits of the y axis that hold every track, with 5 % of air."""
    values = np.concatenate([[0.0], *(locus.track for locus in loci)])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    air = 0.05 * (high - low) or 1.0
    return low - air, high + air


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


def strongest_place(locus: Locus, peaks: pd.DataFrame) -> int:
    """Position to enlarge: the summit of the peak with the largest signal, else where the smoothed track is largest."""
    if len(peaks):
        peak = peaks.iloc[int(np.argmax(peaks["signal"].abs().to_numpy()))]
        return int(peak["start"]) + (
            int(peak["summit"]) if peak["summit"] >= 0 else int(peak["end"] - peak["start"]) // 2
        )
    smooth = np.convolve(np.nan_to_num(locus.track), np.full(_SMOOTH_BP, 1 / _SMOOTH_BP), mode="same")
    return locus.start + int(np.argmax(np.abs(smooth)))


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
    peaks = _peaks_within(inputs.peaks, locus)
    length = min(inputs.zoom_bp, locus.end - locus.start)
    first = int(np.clip(strongest_place(locus, peaks) - length // 2, locus.start, locus.end - length))
    return _Place(number, row, locus, peaks, (first, first + length))


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
        span=Region(locus.chrom, locus.start, locus.end),
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


def _peaks_within(peaks: pd.DataFrame, locus: Locus) -> pd.DataFrame:
    if len(peaks) == 0:
        return peaks
    return peaks[(peaks["chrom"] == locus.chrom) & (peaks["start"] < locus.end) & (peaks["end"] > locus.start)]
