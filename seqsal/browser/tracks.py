"""The tracks of a bundle: what each file holds and how it looks, once for all browsers.

Peaks are split by sign, since bigNarrowPeak has no colour for each item. A table without rows makes no track: an empty
bigBed is not valid.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from seqsal.browser.labels import clean_name
from seqsal.errors import BedError, RegionError, first_line
from seqsal.io import bigwig
from seqsal.io.bed import narrowpeak_columns, read_bed
from seqsal.motifs.patterns import NAMED_Q
from seqsal.regions import make_regions

__all__ = [
    "ARTIFACT_SCHEMA", "MOTIF_SCHEMA", "NEGATIVE", "PEAK_SCHEMA", "PLAIN_SCHEMA", "POSITIVE", "BedSchema",
    "FeatureTrack", "SignalTrack", "feature_tracks", "read_instances", "read_motif_instances",
]  # fmt: skip

RGB = tuple[int, int, int]
POSITIVE: RGB = (0, 114, 178)  # the blue and vermilion of the figures
NEGATIVE: RGB = (213, 94, 0)
NEUTRAL: RGB = (88, 99, 115)
ARTIFACT: RGB = (148, 52, 110)


@dataclass(frozen=True)
class SignalTrack:
    """The attributions: a bigWig, drawn as letters where there is room for them."""

    file: str  # relative to the bundle's folder
    low: float
    high: float
    label: str  # what the values are
    key: str = "attributions"
    name: str = "Attributions"


@dataclass(frozen=True)
class FeatureTrack:
    """Items of one kind: a bigBed."""

    key: str  # identifier, and name of the file without `.bb`
    name: str  # at most 17 characters
    label: str  # what the items are, in one line
    color: RGB  # of the track, and of items that have none of their own
    schema: BedSchema
    rows: list[Row]

    @property
    def file(self) -> str:
        """The file, relative to the bundle's folder."""
        return f"{self.key}.bb"

    def write(self, folder: Path, chrom_sizes: Mapping[str, int]) -> None:
        """Write the file into a folder."""
        bigwig.write_bigbed(folder / self.file, chrom_sizes, self.rows, self.schema.autosql, self.schema.n_bed)


def feature_tracks(
    chrom_sizes: Mapping[str, int],
    *,
    peaks: pd.DataFrame | None = None,
    motifs: pd.DataFrame | None = None,
    artifacts: pd.DataFrame | None = None,
    variants: pd.DataFrame | None = None,
) -> list[FeatureTrack]:
    """Make tracks of the tables that have rows.

    `peaks` has the columns of narrowPeak; the others are region tables, `motifs` with `match` and `contribution` where
    there are, `variants` with `effect`. An item beyond the chromosomes (`chrom_sizes`, bp) raises `RegionError`.
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
        label = "Occurrences of artifacts that the model uses"
        tracks.append(FeatureTrack("artifacts", "Artifact hits", label, ARTIFACT, ARTIFACT_SCHEMA, rows))
    if variants is not None:
        variants = _fit(variants, chrom_sizes, "variants")
        colors = [POSITIVE if effect > 0 else NEGATIVE for effect in variants["effect"]]
        more = [f"\t{effect:.6g}" for effect in variants["effect"]]
        rows = [(*row[:3], row[3] + extra) for row, extra in zip(_bed9(variants, colors), more, strict=True)]
        label = "Variants, by what they do to the prediction"
        tracks.append(FeatureTrack("variants", "Variants", label, NEUTRAL, VARIANT_SCHEMA, rows))
    return [track for track in tracks if track.rows]


def _peak_track(sign: str, peaks: pd.DataFrame, color: RGB, verb: str) -> FeatureTrack:
    table = peaks.assign(score=_scores(peaks), name=_names(peaks["name"]))
    chrom, start, end, *rest = (list(column) for column in narrowpeak_columns(table))
    rows = [(c, int(s), int(e), "\t".join(r)) for c, s, e, *r in zip(chrom, start, end, *rest, strict=True)]
    label = f"Called elements that {verb} the prediction"
    return FeatureTrack(f"peaks_{sign}", f"{sign.capitalize()} peaks", label, color, PEAK_SCHEMA, rows)


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


Row = tuple[str, int, int, str]
_BED = (
    ("string", "chrom", "Chromosome or contig"),
    ("uint", "chromStart", "First base, from 0"),
    ("uint", "chromEnd", "One past the last base"),
    ("string", "name", "Name"),
    ("uint", "score", "0 to 1000"),
    ("char[1]", "strand", "+, - or ."),
    ("uint", "thickStart", "Same as chromStart"),
    ("uint", "thickEnd", "Same as chromEnd"),
    ("uint", "itemRgb", "Colour as red,green,blue"),
)


@dataclass(frozen=True)
class BedSchema:
    """What the columns of a bigBed are."""

    table: str  # name in autoSql
    comment: str
    n_bed: int  # how many of the columns are BED's own, from the first
    extra: tuple[tuple[str, str, str], ...] = ()  # (type, name, comment) of the columns behind them

    @property
    def autosql(self) -> str:
        """The declaration that goes into the file."""
        columns = _BED[: self.n_bed] + self.extra
        fields = "".join(f'    {kind} {name}; "{comment}"\n' for kind, name, comment in columns)
        return f'table {self.table}\n"{self.comment}"\n(\n{fields})\n'

    @property
    def trackdb_type(self) -> str:
        """The value of `type` in a trackDb."""
        return "bigNarrowPeak" if self.table == "bigNarrowPeak" else f"bigBed {self.n_bed} {'+' if self.extra else '.'}"


PEAK_SCHEMA = BedSchema(
    "bigNarrowPeak",
    "Peaks of attribution",
    6,
    (
        ("float", "signalValue", "Signed sum of the attributions under the peak"),
        ("float", "pValue", "-log10 of the p-value, -1 for none"),
        ("float", "qValue", "-log10 of the q-value, -1 for none"),
        ("int", "peak", "Summit, in bases from chromStart, -1 for none"),
    ),
)
MOTIF_SCHEMA = BedSchema(
    "motifInstances",
    "Instances of motif patterns",
    9,
    (
        ("string", "pattern", "Pattern that the instance belongs to"),
        ("float", "contribution", "Signed sum of the attributions under the instance"),
    ),
)
PLAIN_SCHEMA = BedSchema("instances", "Instances", 9)
ARTIFACT_SCHEMA = BedSchema("artifactHits", "Occurrences of artifacts that the model uses", 9)
VARIANT_SCHEMA = BedSchema(
    "variantEffects", "Effects of variants", 9, (("float", "effect", "Prediction with ALT less that with REF"),)
)


_MORE_COLUMNS = {"contribution", "peak", "sequence"}  # of a seqlets.bed


def read_instances(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read a BED file that may hold no line but comments, as artifacts that were not found leave it.

    Raises
    ------
    BedError
        There is no such file, or a line is malformed.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("shortcuts.bed").write_text("chr1\t10\t22\tadapter\n")
    >>> read_instances("shortcuts.bed")[["chrom", "start", "end", "name"]].to_dict("records")
    [{'chrom': 'chr1', 'start': 10, 'end': 22, 'name': 'adapter'}]
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            empty = all(not line.strip() or line.startswith(b"#") for line in file)
    except OSError as error:
        raise BedError(f"{path}: cannot be read ({error.strerror}); expected a BED file") from error
    return make_regions([], [], []) if empty else read_bed(path)


def read_variants(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read a table of `seqsal variants`, its first target, as regions with `effect`; scores are −100 log10 p.

    Raises
    ------
    BedError
        There is no such file, or it is of another kind.

    Examples
    --------
    >>> from pathlib import Path
    >>> row = "chr1\t10\trs1\tA\tG\t0\t0\t1\t1\t0.001\t0.01"
    >>> head = "chrom\tpos\tid\tref\talt\ttarget\tref_score\talt_score\teffect\tp_value\tq_value"
    >>> _ = Path("V.tsv").write_text(f"{head}\n{row}\n")
    >>> read_variants("V.tsv")[["chrom", "start", "end", "name", "effect"]].to_dict("records")
    [{'chrom': 'chr1', 'start': 9, 'end': 10, 'name': 'rs1:A/G', 'effect': 1.0}]
    """
    try:
        table = pd.read_csv(
            path, sep="\t", dtype=dict.fromkeys(("chrom", "id", "target", "ref", "alt"), str), keep_default_na=False,
            na_values={"p_value": "NA"},
        )  # fmt: skip
        table = table[table["target"] == table["target"].iloc[0]] if len(table) else table
        score = (-100 * np.log10(table["p_value"].fillna(1.0))).clip(0, 1000)
        names = [("" if one == "." else f"{one}:") + f"{ref}/{alt}" for one, ref, alt in
                 table[["id", "ref", "alt"]].itertuples(index=False, name=None)]  # fmt: skip
        start = table["pos"].to_numpy(np.int64) - 1
        regions = make_regions(table["chrom"], start, start + table["ref"].str.len(), name=names, score=score)
        return regions.assign(effect=table["effect"].to_numpy(np.float64))
    except (OSError, KeyError, ValueError, TypeError, pd.errors.ParserError) as error:
        raise BedError(
            f"{path}: cannot be read ({first_line(error)}); expected a table of `seqsal variants`"
        ) from error


def read_motif_instances(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read instances of motifs: a folder of `seqsal motifs`, or any BED file.

    Parameters
    ----------
    path
        The folder, of which `seqlets.bed` and `motifs.tsv` are read, or a BED file.

    Returns
    -------
    DataFrame
        Region table. Where the file says so, `contribution` (float64) is the signed sum of the attributions under an
        instance; from a folder, `match` (str) is what the pattern was named by (q ≤ 0.1), empty where it was not.

    Raises
    ------
    BedError
        There is no such file, or a line is malformed.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("sites.bed").write_text("chr1\t10\t22\tCTCF\t0\t-\n")
    >>> read_motif_instances("sites.bed")[["name", "strand"]].to_dict("records")
    [{'name': 'CTCF', 'strand': '-'}]
    """
    path = Path(path)
    bed = path / "seqlets.bed" if path.is_dir() else path
    table = read_instances(bed)
    with bed.open("rb") as file:  # the first line of an uncompressed file may name its columns
        header = file.readline().decode(errors="replace").lstrip("#").rstrip("\r\n").split("\t")
    if len(table) and _MORE_COLUMNS <= set(header):
        values = pd.read_csv(bed, sep="\t", usecols=["contribution"])["contribution"]
        table["contribution"] = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    if path.is_dir() and (path / "motifs.tsv").is_file():
        patterns = pd.read_csv(path / "motifs.tsv", sep="\t", dtype=str, keep_default_na=False)
        if {"pattern", "match", "q_value"} <= set(patterns):
            certain = pd.to_numeric(patterns["q_value"], errors="coerce") <= NAMED_Q
            matches = dict(zip(patterns["pattern"], patterns["match"].where(certain, ""), strict=True))
            table["match"] = table["name"].map(matches).fillna("")
    return table
