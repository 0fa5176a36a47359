"""The tracks of a bundle: what each file holds and how it looks, told once for all browsers.

Peaks are split by sign, since bigNarrowPeak has no colour for each item. A table without rows makes no track: an empty
bigBed is not valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from seqsal.browser.bigbed import ARTIFACT_SCHEMA, MOTIF_SCHEMA, PEAK_SCHEMA, PLAIN_SCHEMA, BedSchema, Row, write_bigbed
from seqsal.browser.text import clean_name
from seqsal.errors import RegionError
from seqsal.io.bed import narrowpeak_columns

__all__ = ["NEGATIVE", "POSITIVE", "FeatureTrack", "SignalTrack", "feature_tracks"]

RGB = tuple[int, int, int]
POSITIVE: RGB = (0, 114, 178)  # the blue and vermilion of the figures
NEGATIVE: RGB = (213, 94, 0)
NEUTRAL: RGB = (88, 99, 115)
ARTIFACT: RGB = (148, 52, 110)


@dataclass(frozen=True)
class SignalTrack:
    """The attributions: a bigWig, drawn as letters where there is room for them.

    Attributes
    ----------
    file
        Relative to the bundle's folder.
    low, high
        Least and largest value.
    label
        What the values are.
    """

    file: str
    low: float
    high: float
    label: str
    key: str = "attributions"
    name: str = "Attributions"


@dataclass(frozen=True)
class FeatureTrack:
    """Items of one kind: a bigBed.

    Attributes
    ----------
    key
        Identifier, and name of the file without `.bb`.
    name
        At most 17 characters.
    label
        What the items are, in one line.
    color
        Of the track, and of items that have none of their own.
    schema
        Columns of the file.
    rows
        What goes into it.
    """

    key: str
    name: str
    label: str
    color: RGB
    schema: BedSchema
    rows: list[Row]

    @property
    def file(self) -> str:
        """The file, relative to the bundle's folder."""
        return f"{self.key}.bb"

    def write(self, folder: Path, chrom_sizes: Mapping[str, int]) -> None:
        """Write the file into a folder."""
        write_bigbed(folder / self.file, self.rows, chrom_sizes, self.schema)


def feature_tracks(
    chrom_sizes: Mapping[str, int],
    *,
    peaks: pd.DataFrame | None = None,
    motifs: pd.DataFrame | None = None,
    artifacts: pd.DataFrame | None = None,
) -> list[FeatureTrack]:
    """Make tracks of the tables that have rows.

    Parameters
    ----------
    chrom_sizes
        Chromosome lengths (bp).
    peaks
        Columns of narrowPeak, as `seqsal.call_peaks` or `seqsal.peaks.read_peaks` give them.
    motifs
        Region table; `match` and `contribution` where there are.
    artifacts
        Region table.

    Raises
    ------
    RegionError
        An item lies on a chromosome that is not there, or beyond its end.
    """
    tracks = []
    if peaks is not None:
        peaks = _fit(peaks, chrom_sizes, "peaks")
        negative = (peaks["signal"] < 0).to_numpy(bool)
        tracks += [
            _peak_track("positive", peaks[~negative], POSITIVE, "raise"),
            _peak_track("negative", peaks[negative], NEGATIVE, "lower"),
        ]
    if motifs is not None:
        tracks.append(_motif_track(_fit(motifs, chrom_sizes, "motif instances")))
    if artifacts is not None:
        rows = _bed9(_fit(artifacts, chrom_sizes, "artifact hits"), [ARTIFACT] * len(artifacts))
        label = "Where artifacts stand that the model uses"
        tracks.append(FeatureTrack("artifacts", "Artifact hits", label, ARTIFACT, ARTIFACT_SCHEMA, rows))
    return [track for track in tracks if track.rows]


def _peak_track(sign: str, peaks: pd.DataFrame, color: RGB, verb: str) -> FeatureTrack:
    label = f"Called elements that {verb} the prediction"
    name = f"{sign.capitalize()} peaks"
    return FeatureTrack(f"peaks_{sign}", name, label, color, PEAK_SCHEMA, _narrowpeak(peaks))


def _narrowpeak(peaks: pd.DataFrame) -> list[Row]:
    table = peaks.assign(score=_scores(peaks), name=_names(peaks["name"]))
    chrom, start, end, *rest = (list(column) for column in narrowpeak_columns(table))
    return [(c, int(s), int(e), "\t".join(r)) for c, s, e, *r in zip(chrom, start, end, *rest, strict=True)]


def _motif_track(table: pd.DataFrame) -> FeatureTrack:
    label = "Instances of motif patterns among the peaks"
    if "contribution" not in table:
        rows = _bed9(table, [NEUTRAL] * len(table))
        return FeatureTrack("motifs", "Motif instances", label, NEUTRAL, PLAIN_SCHEMA, rows)
    contribution = table["contribution"].to_numpy(np.float64)
    colors = [NEGATIVE if value < 0 else POSITIVE for value in contribution]
    patterns = _names(table["name"])
    if "match" in table:
        table = table.assign(name=table["match"].where(table["match"] != "", table["name"]))
    more = [f"\t{name}\t{value:.6g}" for name, value in zip(patterns, np.nan_to_num(contribution), strict=True)]
    rows = [(*row[:3], row[3] + extra) for row, extra in zip(_bed9(table, colors), more, strict=True)]
    return FeatureTrack("motifs", "Motif instances", label, NEUTRAL, MOTIF_SCHEMA, rows)


def _bed9(table: pd.DataFrame, colors: list[RGB]) -> list[Row]:
    columns = (table["chrom"], table["start"], table["end"], _names(table["name"]), _scores(table), table["strand"])
    return [
        (chrom, int(start), int(end), f"{name}\t{score}\t{strand}\t{start}\t{end}\t{r},{g},{b}")
        for (chrom, start, end, name, score, strand), (r, g, b) in zip(zip(*columns, strict=True), colors, strict=True)
    ]


def _names(names: pd.Series) -> list[str]:
    return [clean_name(name) for name in names]


def _scores(table: pd.DataFrame) -> pd.Series:
    return table["score"].fillna(0).clip(0, 1000).round().astype(np.int64)


def _fit(table: pd.DataFrame, chrom_sizes: Mapping[str, int], what: str) -> pd.DataFrame:
    """Cut items that hang over an end of their chromosome; refuse those that lie outside."""
    table = table.reset_index(drop=True)
    size = table["chrom"].map(dict(chrom_sizes)).to_numpy(np.float64)
    start, end = table["start"].to_numpy(np.int64), table["end"].to_numpy(np.int64)
    outside = np.isnan(size) | (start >= size) | (end <= 0)
    if outside.any():
        row = table.loc[int(outside.argmax())]
        raise RegionError(
            f"{what}: {clean_name(row['name'])} at {row['chrom']}:{row['start']}-{row['end']} and "
            f"{int(outside.sum()) - 1} more lie outside the chromosomes of the attributions; give those made from them"
        )
    fitted = table.assign(start=np.maximum(start, 0), end=np.minimum(end, size).astype(np.int64))
    if "summit" in table:
        at = start + table["summit"].to_numpy(np.int64)
        inside = (table["summit"].to_numpy() >= 0) & (at >= fitted["start"]) & (at < fitted["end"])
        fitted["summit"] = np.where(inside, at - fitted["start"], -1)
    return fitted
