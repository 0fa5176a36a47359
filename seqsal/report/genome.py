"""What the genome browser of the page holds: sequence, attributions and features around what the page shows.

A chromosome does not fit on a page, so igv.js gets pieces of chromosomes at their own coordinates: a FASTA record named
`chrom:start-end @len=SIZE` (from 1) is such a piece. The page's script writes those records from the stretches here.
Attributions are 16-bit integers, little-endian in base64, whose unit is `step`; `MISSING` stands for no value.
"""

from __future__ import annotations

import base64
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import RegionError
from seqsal.io.attributions import Attributions
from seqsal.io.gtf import read_gtf
from seqsal.io.sweep import rows_over
from seqsal.plot.locus import Locus, read_locus
from seqsal.plot.style import NEGATIVE, POSITIVE, one_line
from seqsal.plot.tracks import name_motifs, negative_peaks
from seqsal.regions import Region, make_regions, merge_regions
from seqsal.report.audit import worst_rows
from seqsal.report.cards import MAX_PATTERNS, N_EXAMPLES, strongest, top_rows
from seqsal.report.inputs import ReportInputs
from seqsal.report.variants import rows_by_weight, variant_regions
from seqsal.sequence.codes import decode

__all__ = ["MAX_BP", "GenomeView", "Spans", "choose_spans", "gene_models", "view_genome"]

MAX_BP = 100_000  # 0.4 MB of the page, and as many bars for igv.js to hold
MAX_WINDOW_BP = 5_000  # of longer windows the middle
SIDE_BP = 150  # on each side of a peak, a motif instance or an artifact
VIEW_BP = 100  # the least to look at: wide enough for the surroundings, narrow enough for letters
MAX_FEATURES = 5_000  # of a kind
MAX_LINKS = 20_000
MISSING = -(1 << 15)
_CHROM_BP = 1 << 40  # no chromosome is so long
ARTIFACTS = "Artifacts"
VARIANTS = "Variants"
ARTIFACT, NEUTRAL = "#94346e", "#586373"
_ODD = re.compile(r"[^A-Za-z0-9_.*#+-]+")
_MARKUP = str.maketrans("<>\"'`", "‹›”’‘")  # igv.js writes names into elements and attributes as they are


@dataclass(frozen=True)
class Spans:
    """Spans that do not overlap."""

    table: pd.DataFrame

    def find(self, regions: pd.DataFrame) -> NDArray[np.int64]:
        """Return for each place (chrom, start, end) the row of the first span that it overlaps, -1 for none, (n,)."""
        found = np.full(len(regions), -1)
        for chrom, spans in self.table.groupby("chrom", sort=False):
            rows = np.flatnonzero((regions["chrom"] == chrom).to_numpy(dtype=bool))
            start, end = (regions[key].to_numpy()[rows].astype(np.int64) for key in ("start", "end"))
            at = np.searchsorted(spans["end"].to_numpy(), start, side="right")
            inside = at < len(spans)
            inside[inside] = spans["start"].to_numpy()[at[inside]] < end[inside]
            found[rows[inside]] = spans.index.to_numpy()[at[inside]]
        return found


def choose_spans(wanted: pd.DataFrame, max_bp: int) -> Spans:
    """Join the first of the regions wanted, as many as take `max_bp` bases together, but one at least."""

    def join(n: int) -> pd.DataFrame:
        return merge_regions(make_regions(*(wanted[key].to_numpy()[:n] for key in ("chrom", "start", "end"))))

    def size(n: int) -> int:
        joined = join(n)
        return int((joined["end"] - joined["start"]).sum())

    return Spans(join(max(1, bisect_right(range(1, len(wanted) + 1), max_bp, key=size))))


@dataclass(frozen=True)
class GenomeView:
    """What the browser holds."""

    data: Mapping[str, Any]  # for the page's script, in types of JSON
    spans: Spans  # where there are values
    names: Mapping[str, str]  # of chromosomes, as igv.js can take them apart from positions
    sizes: Mapping[str, int]  # of chromosomes (bp)

    @property
    def n_bp(self) -> int:
        """Number of bases held."""
        return int((self.spans.table["end"] - self.spans.table["start"]).sum())

    @property
    def has_artifacts(self) -> bool:
        """Whether a track shows artifacts."""
        return any(track["name"] == ARTIFACTS for track in self.data["tracks"])

    @property
    def has_variants(self) -> bool:
        """Whether a track shows variants."""
        return any(track["name"] == VARIANTS for track in self.data["tracks"])

    def loci(self, regions: pd.DataFrame | None) -> dict[int, str]:
        """Return where to go for each place (chrom, start, end) whose middle the browser holds, by its row."""
        if regions is None:
            return {}
        middle = (regions["start"] + regions["end"]) // 2
        held = np.flatnonzero(self.spans.find(regions.assign(start=middle, end=middle + 1)) >= 0)[:MAX_LINKS]
        columns = (regions[key].to_numpy()[held] for key in ("chrom", "start", "end"))
        return {
            int(row): self._around(str(chrom), int(start), int(end))
            for row, chrom, start, end in zip(held, *columns, strict=True)
        }

    def locus(self, place: Region | None) -> str:
        """Return where to go for one place, an empty text where the browser does not hold it."""
        table = None if place is None else pd.DataFrame([place[:3]], columns=["chrom", "start", "end"])
        return self.loci(table).get(0, "")

    def _around(self, chrom: str, start: int, end: int) -> str:
        """Write a place as igv.js counts, from 1, with its surroundings when it is short."""
        middle = (start + end) // 2
        first = max(0, min(start, middle - VIEW_BP // 2))
        last = min(self.sizes[chrom], max(end, middle + VIEW_BP // 2))
        return f"{self.names[chrom]}:{first + 1}-{last}"


def gene_models(attr: Attributions, path: str | os.PathLike[str] | None = None) -> pd.DataFrame | None:
    """Read the exons of a GTF, or of the one by which the attributions were read (`readout_at`); None without any."""
    at = str((attr.attrs.get("readout_at") or {}).get("at", ""))
    source = path or (at.partition(":")[2] if at.startswith(("tss", "exons")) else None)
    if source is None or (path is None and not Path(source).is_file()):
        return None
    table = read_gtf(source, ("exon",))
    chroms = {str(name) for rows in attr.row_blocks() for name in pd.unique(attr.column("chrom", rows))}
    table = table[table["chrom"].isin(chroms)]
    return table.assign(gene_name=table["gene_name"].fillna(table["gene_id"])).drop_duplicates(
        ["chrom", "start", "end"]
    )


def view_genome(inputs: ReportInputs) -> GenomeView | None:
    """Choose and read what the browser holds; None where no base is known.

    Held are the regions that the page pictures, one place of each artifact, the strongest instances of each motif,
    then peaks in the order of their table and the regions of the highest predictions, as far as `MAX_BP` goes.
    """
    wanted = pd.concat([table[["chrom", "start", "end"]] for table in _wanted(inputs)], ignore_index=True)
    loci = list(_read_loci(inputs, choose_spans(wanted, MAX_BP)))
    if not loci:
        return None
    spans = Spans(pd.DataFrame([(one.chrom, one.start, one.end) for one in loci], columns=["chrom", "start", "end"]))
    ends = spans.table.groupby("chrom", sort=False)["end"].max()
    sizes = {str(chrom): int(inputs.attr.chrom_sizes.get(str(chrom), end)) for chrom, end in ends.items()}
    names = _plain_names(sizes)
    step = max(float(np.nanmax(np.abs(one.track))) for one in loci) / -(MISSING + 1) or 1.0
    view = GenomeView({}, spans, names, sizes)
    rows = top_rows(inputs)  # the browser begins at the first region pictured, or at the first place held
    first = _middles(inputs.attr.rows(rows[:1])) if rows else spans.table
    chrom, start, end = first[["chrom", "start", "end"]].iloc[0]
    data = {
        "sizes": {names[chrom]: size for chrom, size in sizes.items()},
        "step": step,
        "stretches": [
            dict(chrom=names[x.chrom], start=x.start, sequence=decode(x.codes), values=_pack(x.track, step))
            for x in loci
        ],
        "label": _plain(f"Attribution, {inputs.attr.unit}"),
        "tracks": [track for track in _tracks(inputs, view) if track["features"]],
        "locus": view.locus(Region(str(chrom), int(start), int(end))),
    }
    return replace(view, data=data)


def _wanted(inputs: ReportInputs) -> Iterator[pd.DataFrame]:
    """Yield the regions to hold, those first that the page needs most."""
    places = ["chrom", "start", "end"]
    shown = [*top_rows(inputs), *worst_rows(inputs.audit)]
    if inputs.variants is not None:
        yield _with_sides(variant_regions(inputs.variants).iloc[rows_by_weight(inputs.variants)])
    if not inputs.only_variants:
        yield _middles(inputs.attr.rows(shown, places))
    if len(hits := _artifact_hits(inputs)):
        yield _with_sides(hits.drop_duplicates("name"))
    for pattern in inputs.motifs.patterns[:MAX_PATTERNS] if inputs.motifs else ():
        yield _with_sides(strongest(pattern.seqlets).iloc[:N_EXAMPLES])
    if len(inputs.peaks):
        yield _with_sides(inputs.ranked_peaks.iloc[:MAX_FEATURES])
    highest = inputs.order[: MAX_BP // min(inputs.attr.length, MAX_WINDOW_BP) + 1]
    yield _middles(inputs.attr.rows(highest, places))


def _middles(windows: pd.DataFrame) -> pd.DataFrame:
    """Cut windows to `MAX_WINDOW_BP` around their middles."""
    cut = ((windows["end"] - windows["start"] - MAX_WINDOW_BP) // 2).clip(lower=0)
    return windows.assign(start=windows["start"] + cut, end=windows["end"] - cut)


def _with_sides(regions: pd.DataFrame) -> pd.DataFrame:
    return regions.assign(start=regions["start"] - SIDE_BP, end=regions["end"] + SIDE_BP)


def _artifact_hits(inputs: ReportInputs) -> pd.DataFrame:
    hits = None if inputs.audit is None else inputs.audit.tables.get("artifacts.hits")
    return pd.DataFrame() if hits is None else hits


def _read_loci(inputs: ReportInputs, spans: Spans) -> Iterator[Locus]:
    """Read the spans, cut to where a base is known."""
    over = rows_over(inputs.attr, spans.table)
    regions, chroms = inputs.attr.rows(over, ["chrom", "start", "end"]), pd.Index(spans.table["chrom"].unique())
    starts, ends = (regions[key].to_numpy(np.int64) for key in ("start", "end"))
    longest = int((ends - starts).max(initial=0))
    number = chroms.get_indexer(pd.Index(regions["chrom"]))
    rows = np.flatnonzero(number >= 0)
    place = number[rows] * _CHROM_BP + starts[rows]
    order = np.argsort(place, kind="stable")
    rows, place = rows[order], place[order]
    for chrom, start, end in spans.table[["chrom", "start", "end"]].itertuples(index=False):
        at = chroms.get_loc(chrom) * _CHROM_BP
        first, last = np.searchsorted(place, (at + start - longest, at + end))  # without a look at all windows for each
        try:
            yield read_locus(inputs.attr, Region(chrom, int(start), int(end)), among=over[np.sort(rows[first:last])])
        except RegionError:  # no window, or nothing but N
            continue


def _plain_names(chroms: Iterable[str]) -> dict[str, str]:
    """Give chromosomes names without colon, space or markup, each its own."""
    names: dict[str, str] = {}
    for chrom in chroms:
        name = _ODD.sub("_", one_line(chrom, 40)) or "_"
        taken = sum(name == other or other.startswith(f"{name}__") for other in names.values())
        names[chrom] = f"{name}__{taken + 1}" if taken else name
    return names


def _plain(name: object) -> str:
    return one_line(name, 60).translate(_MARKUP)


def _pack(track: NDArray[np.float64], step: float) -> str:
    """Write values in units of `step` as base64."""
    units = np.where(np.isnan(track), MISSING, np.rint(np.nan_to_num(track) / step))
    return base64.b64encode(units.astype("<i2").tobytes()).decode()


def _tracks(inputs: ReportInputs, view: GenomeView) -> Iterator[dict[str, Any]]:
    """Yield the tracks of boxes, those without a box too."""
    peaks = inputs.peaks
    if inputs.genes is not None:
        yield _boxes("Exons", inputs.genes.assign(label=inputs.genes["gene_name"], color=NEUTRAL), view)
    if inputs.variants is not None:
        raises = (inputs.variants.table["effect"] > 0).to_numpy()
        yield _boxes(
            VARIANTS, variant_regions(inputs.variants).assign(color=np.where(raises, POSITIVE, NEGATIVE)), view
        )
    if len(peaks):
        colors = np.where(negative_peaks(peaks), NEGATIVE, POSITIVE)
        yield _boxes("Peaks", peaks.assign(label=peaks["name"], color=colors), view)
    if inputs.motifs and len(instances := name_motifs(inputs.motifs)):
        colors = np.where(negative_peaks(instances), NEGATIVE, POSITIVE)
        yield _boxes("Motif instances", instances.assign(color=colors), view)
    if len(hits := _artifact_hits(inputs)):
        colors = np.where(hits["verdict"] == "shortcut", ARTIFACT, NEUTRAL)
        yield _boxes(ARTIFACTS, hits.assign(label=hits["name"], color=colors), view)


def _boxes(name: str, table: pd.DataFrame, view: GenomeView) -> dict[str, Any]:
    held = table.iloc[np.flatnonzero(view.spans.find(table) >= 0)[:MAX_FEATURES]]
    columns = (held[key] for key in ("chrom", "start", "end", "label", "color"))
    features = [
        {"chr": view.names[chrom], "start": int(start), "end": int(end), "name": _plain(label), "color": str(color)}
        for chrom, start, end, label, color in zip(*columns, strict=True)
    ]
    return {"name": name, "features": features}
