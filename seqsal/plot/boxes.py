"""Boxes with names: peaks and motif instances beneath a track, each on a lane where nothing else stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from seqsal.errors import UsageError
from seqsal.motifs.patterns import MotifResult
from seqsal.plot.style import NEGATIVE, POSITIVE, one_line
from seqsal.plot.tracks import negative_peaks
from seqsal.regions import Region

__all__ = ["MotifBoxes", "boxes_within", "draw_boxes", "n_lanes", "name_motifs"]

MotifBoxes: TypeAlias = MotifResult | pd.DataFrame
MAX_LANES = 8  # of a kind; what finds no place is drawn on the last, without its name
MAX_LABEL = 16
NAMED_Q = 0.05  # a pattern goes by its best match up to this q-value, else by its consensus
LANE_INCHES = 0.19
_FONT_SIZE = 7.0
_INCH_PER_LETTER = 0.066
_GAP_INCHES = 0.05
_LABEL_COLUMNS = ("motif", "pattern", "name")


@dataclass(frozen=True)
class _Box:
    """A span with its label: `left` to `right` is what both take up together on a lane."""

    start: int
    end: int
    label: str
    negative: bool
    left: float
    right: float
    label_at: float


def name_motifs(motifs: MotifBoxes) -> pd.DataFrame:
    """Return the instances of motifs as a table: chrom, start, end, `label`, and `sign`.

    Parameters
    ----------
    motifs
        Result of :func:`seqsal.discover_motifs`, or a table with chrom, start, end, a name (`motif`, `pattern` or
        `name`) and perhaps `strand`, and `attribution` whose sign is shown, as :func:`seqsal.motifs.scan_motifs` gives.

    Raises
    ------
    UsageError
        A column is missing.
    """
    if isinstance(motifs, MotifResult):
        names = {pattern.name: _pattern_name(pattern.match, pattern.motif.consensus) for pattern in motifs.patterns}
        signs = {pattern.name: pattern.sign for pattern in motifs.patterns}
        table = motifs.seqlets
        return _with_strand(table, table["pattern"].map(names)).assign(sign=table["pattern"].map(signs))
    column = next((name for name in _LABEL_COLUMNS if name in motifs), None)
    missing = [key for key in ("chrom", "start", "end") if key not in motifs]
    if missing or column is None:
        raise UsageError(
            f"motifs: no column {', '.join(missing) or 'motif'}, expected chrom, start, end and motif; give the result "
            "of discover_motifs or its seqlets"
        )
    negative = motifs["attribution"] < 0 if "attribution" in motifs else motifs[column].str.startswith("neg_")
    return _with_strand(motifs, motifs[column]).assign(sign=np.where(negative, "neg", "pos"))


def _pattern_name(match: Mapping[str, object] | None, consensus: str) -> str:
    named = match is not None and float(str(match["q_value"])) <= NAMED_Q
    return str(match["match"]) if match is not None and named else consensus


def _with_strand(table: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    strand = table["strand"] if "strand" in table else pd.Series(".", index=table.index)
    arrow = strand.map({"+": " →", "-": " ←"}).fillna("")
    return table.assign(label=names.astype(str).map(lambda name: one_line(name, MAX_LABEL)) + arrow)


def boxes_within(table: pd.DataFrame, span: Region) -> pd.DataFrame:
    """Return the rows that overlap a span, `label` added where there is none.

    Raises
    ------
    UsageError
        A column is missing.
    """
    if table.empty:
        return table
    missing = [key for key in ("chrom", "start", "end") if key not in table]
    if missing:
        raise UsageError(
            f"peaks: no column {', '.join(missing)}, expected chrom, start and end; give the table of call_peaks"
        )
    inside = table[(table["chrom"] == span.chrom) & (table["start"] < span.end) & (table["end"] > span.start)]
    if "label" in inside:
        return inside
    names = inside["name"] if "name" in inside else pd.Series("", index=inside.index)
    return inside.assign(label=names.map(lambda name: one_line(name, MAX_LABEL)))


def n_lanes(kinds: Mapping[str, pd.DataFrame], span: Region, width: float) -> int:
    """Return how many lanes the boxes take, one at least for each kind, on Axes `width` inches wide."""
    return sum(max(1, len(_pack(table, span, width))) for table in kinds.values())


def draw_boxes(ax: Axes, kinds: Mapping[str, pd.DataFrame], span: Region, width: float) -> None:
    """Draw lanes of boxes from above, kind by kind.

    Parameters
    ----------
    ax
        Where to draw; its x axis is the chromosome.
    kinds
        By what they are called on the y axis: tables of :func:`boxes_within`.
    span
        What the Axes show.
    width
        Of the Axes, in inches, from which follows how much room a name takes.
    """
    lane, ticks = 0, []
    for kind, table in kinds.items():
        lanes = _pack(table, span, width)
        ticks.append(lane + (max(1, len(lanes)) - 1) / 2)
        for number, boxes in enumerate(lanes):
            for box in boxes:
                _draw_box(ax, box, lane + number, f"{kind}-box", span)
        lane += max(1, len(lanes))
    ax.set_xlim(span.start, span.end)
    ax.set_ylim(lane - 0.4, -0.6)
    ax.set_yticks(ticks, list(kinds))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _draw_box(ax: Axes, box: _Box, lane: int, gid: str, span: Region) -> None:
    color = NEGATIVE if box.negative else POSITIVE
    start, end = max(box.start, span.start), min(box.end, span.end)
    ax.add_patch(Rectangle((start, lane - 0.3), end - start, 0.6, facecolor=color, linewidth=0, gid=gid))
    if box.label:
        text = ax.text(box.label_at, lane, box.label, gid=f"{gid}-name", va="center_baseline", fontsize=_FONT_SIZE)
        text.set(parse_math=False, clip_on=True)


def _pack(table: pd.DataFrame, span: Region, width: float) -> list[list[_Box]]:
    """Give every box the first lane that is free."""
    lanes: list[list[_Box]] = []
    ends: list[float] = []
    bp_per_inch = (span.end - span.start) / width
    for box in _make_boxes(table, span, bp_per_inch):
        free = next((i for i, end in enumerate(ends) if end <= box.left), None)
        if free is None and len(lanes) < MAX_LANES:
            lanes.append([])
            ends.append(-np.inf)
            free = len(lanes) - 1
        if free is None:
            lanes[-1].append(_Box(box.start, box.end, "", box.negative, box.left, box.right, box.label_at))
            continue
        lanes[free].append(box)
        ends[free] = box.right
    return lanes


def _make_boxes(table: pd.DataFrame, span: Region, bp_per_inch: float) -> list[_Box]:
    """Boxes from left to right; a name stands to the right of its box, or to the left where the picture ends."""
    boxes = []
    gap = _GAP_INCHES * bp_per_inch
    for start, end, label, negative in zip(
        table.get("start", []), table.get("end", []), table.get("label", []), negative_peaks(table), strict=True
    ):
        room = len(label) * _INCH_PER_LETTER * bp_per_inch + gap
        at_right = end + room <= span.end or start - room < span.start
        left, right = (start, end + room) if at_right else (start - room, end)
        boxes.append(
            _Box(int(start), int(end), label, bool(negative), left, right + gap, end + gap if at_right else left)
        )
    return sorted(boxes, key=lambda box: (box.left, box.right))
