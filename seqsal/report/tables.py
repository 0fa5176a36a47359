"""Tables of the page: the first rows as HTML, all rows as JSON for the script that sorts, filters and pages them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from seqsal.models.seen import TRAINED_ON
from seqsal.motifs import MotifResult
from seqsal.plot.style import one_line
from seqsal.plot.tracks import negative_peaks
from seqsal.regions import format_region
from seqsal.report.inputs import ReportInputs

__all__ = [
    "MAX_ROWS", "PAGE_ROWS", "SPACES", "Column", "Table", "element_table", "make_table", "page_json", "peak_table",
    "region_table", "rejected_table", "show", "two_digits", "usage_table",
]  # fmt: skip

PAGE_ROWS = 12
MAX_ROWS = 20_000  # keeps the page below 10 MB; the files next to it hold every row
_MAX_CHARS = 80
_STRANDED_PLACE = "chrom:start-end(strand), 0-based, end not included"
_DIGITS = 4
ALMOST_ONE = 0.9999  # larger numbers below 1 would be shown as 1
SPACES = {
    "logit": "log-odds before the model's last sigmoid: 0 is even odds, each +1 multiplies the odds by 2.7",
    "probability": "the model's probability, between 0 and 1",
    "log": "the logarithm of what the model predicts: each +1 multiplies it by 2.7",
    "count": "a number of reads",
    "linear": "the model's output as it is",
}


@dataclass(frozen=True)
class Column:
    """One column of a table on the page."""

    label: str
    kind: str = "text"  # or place, effect, verdict or number: how it looks and how it sorts
    hint: str = ""  # what it means, in a few words


@dataclass(frozen=True)
class Table:
    """A table ready for its template."""

    key: str  # unique on the page
    columns: Sequence[Column]
    rows: list[list[Any]]  # text and numbers; NaN is None
    n_total: int  # rows before the cut at `MAX_ROWS`
    regions: pd.DataFrame | None = None  # what the rows are about: chrom, start, end; None for no place

    @property
    def location_column(self) -> int:
        """Column that names the place of a row: the first of that kind, else the first."""
        return next((i for i, column in enumerate(self.columns) if column.kind == "place"), 0)

    @property
    def first_page(self) -> list[list[str]]:
        """Cells of the first rows as they are shown."""
        return [[show(cell) for cell in row] for row in self.rows[:PAGE_ROWS]]

    @property
    def json(self) -> Markup:
        """All rows as JSON that cannot end the `<script>` element around it, whatever names hold."""
        return page_json(self.rows)


def page_json(value: Any) -> Markup:
    """Write a value as JSON that cannot end the `<script>` element around it, whatever names hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    safe = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return Markup(safe)  # every < is spelled as an escape


def make_table(
    key: str, columns: Sequence[tuple[Column, Any]], *, regions: pd.DataFrame | None = None, n_total: int | None = None
) -> Table:
    """Build a table from its columns, each with an array or Series, cut to its first `MAX_ROWS` rows of `n_total`."""
    shown = [_to_json(pd.Series(values).iloc[:MAX_ROWS]) for _, values in columns]
    about = None if regions is None else regions.iloc[:MAX_ROWS]
    rows = [list(row) for row in zip(*shown, strict=True)]
    n_total = len(columns[0][1]) if n_total is None else n_total
    return Table(key, [column for column, _ in columns], rows, n_total, about)


def two_digits(values: pd.Series) -> pd.Series:
    """Round to two significant digits: as much as a q-value can be trusted for."""
    return values.map(lambda value: float(f"{value:.1e}"))


def show(cell: str | int | float | None) -> str:
    """Write a cell as the page's script does: whole numbers in full, others with four significant digits."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if float(cell).is_integer() and abs(cell) < 1e15:
        return f"{int(cell):,}"
    mantissa, _, exponent = f"{cell:.{_DIGITS}g}".partition("e")
    if mantissa == "1" and not exponent:  # a probability that is nearly, but not, certain
        return f"> {ALMOST_ONE}" if cell < 1 else mantissa
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _to_json(values: pd.Series) -> list[Any]:
    if pd.api.types.is_bool_dtype(values):
        return ["yes" if value else "no" for value in values]
    if pd.api.types.is_integer_dtype(values):
        return [int(value) for value in values]
    if pd.api.types.is_float_dtype(values):
        return [_rounded(float(value)) for value in values]
    return [None if pd.isna(value) else one_line(value, _MAX_CHARS) for value in values]


def _rounded(value: float) -> float | None:
    """Cut to the digits that are shown, which halves the page; NaN and infinities have no JSON."""
    if not math.isfinite(value):
        return None
    rounded = float(np.format_float_scientific(value, precision=_DIGITS + 1))
    return rounded if rounded != 1 or value >= 1 else 1 - 10.0 ** -(_DIGITS + 2)


def peak_table(inputs: ReportInputs) -> Table | None:
    """List the peaks, those that stand out most first; None without any."""
    if len(inputs.peaks) == 0:
        return None
    peaks = inputs.ranked_peaks
    effects = np.where(negative_peaks(peaks), "lowers", "raises")
    columns: list[Any] = [
        (Column("Name"), peaks["name"]),
        (Column("Location", "place", "chrom:start-end, 0-based, end not included"), _locations(peaks)),
        (Column("Effect", "effect", "does it raise or lower the prediction"), effects),
        (Column("Width", "number", "bp"), peaks["end"] - peaks["start"]),
        (Column("Summit", "number", "position of the strongest base, 0-based"), peaks["start"] + peaks["summit"]),
        (Column("Signal", "number", f"sum over its bases: {inputs.attr.unit}"), peaks["signal"]),
    ]
    if "q_value" in peaks:
        hint = "expected share of false peaks among those at least as strong"
        columns.append((Column("q-value", "number", hint), two_digits(peaks["q_value"])))
    return make_table("peaks-table", columns, regions=peaks)


def element_table(inputs: ReportInputs) -> Table | None:
    """List the elements by rank; None without any."""
    elements = inputs.elements
    if elements is None or not len(elements):
        return None
    effect = elements["sign"].map({"pos": "raises", "neg": "lowers", "both": "both"})
    deleted = f"change of the prediction ({inputs.attr.output_space}) when its bases are replaced by shuffled ones"
    columns: list[Any] = [
        (Column("Name"), elements["name"]),
        (Column("Location", "place", "chrom:start-end, 0-based, end not included"), _locations(elements)),
        (Column("Effect", "effect", "do its peaks raise or lower the prediction; both: peaks of both signs"), effect),
        (Column("Width", "number", "bp"), elements["end"] - elements["start"]),
        (
            Column("Inside", "number", "share of the attribution about it that lies inside"),
            two_digits(elements["share"]),
        ),
    ]
    if elements["effect"].notna().any():
        columns += [
            (Column("If deleted", "number", deleted), two_digits(elements["effect"])),
            (Column("±", "number", "standard deviation over the shuffles"), two_digits(elements["effect_sd"])),
        ]
    if (elements["motif"] != "").any():
        hint = "the motif inside, of those found here or else of the database"
        columns += [
            (Column("Motif", hint=hint), elements["motif"].replace("", "–")),
            (Column("Motif p", "number", "chance of so good a match in random bases"), two_digits(elements["motif_p"])),
        ]
    columns.append((Column("q-value", "number", "of its best peak"), two_digits(elements["q_value"])))
    return make_table("elements-table", columns, regions=elements)


def region_table(inputs: ReportInputs) -> Table:
    """List every region with its score, the highest first."""
    raw = inputs.raw_column
    scores = inputs.highest(MAX_ROWS)
    columns: list[Any] = [(Column("Name"), scores["name"])] if "name" in scores else []
    columns += [
        (Column("Location", "place", _STRANDED_PLACE), _locations(scores)),
        (Column("Prediction", "number", "on the model's own scale"), scores["prediction"]),
    ]
    if raw != "prediction":
        columns.append((Column(raw.capitalize(), "number", SPACES.get(raw, "")), scores[raw]))
    if "padded" in scores and scores["padded"].any():
        columns.append((Column("Padded", hint="extends past a chromosome's end, filled up with N"), scores["padded"]))
    if "seen" in scores and scores["seen"].isin(TRAINED_ON).any():
        seen = scores["seen"].map({"train": "trained on", "valid": "chose the epoch"}).fillna("held out")
        columns.append((Column("Seen", hint="part of the training that the region shares a base with"), seen))
    return make_table(
        "regions-table", columns, regions=scores, n_total=len(inputs.attr if inputs.scores is None else inputs.scores)
    )


def rejected_table(inputs: ReportInputs) -> Table | None:
    """List the regions that were left out; None without any."""
    rejected = inputs.rejected_regions
    if len(rejected) == 0:
        return None
    columns: list[Any] = [(Column("Name"), rejected["name"])] if "name" in rejected else []
    columns += [
        (Column("Location", "place", _STRANDED_PLACE), _locations(rejected)),
        (Column("Reason"), rejected["reason"]),
    ]
    return make_table("rejected-table", columns)


def _locations(table: pd.DataFrame) -> list[str]:
    strands = table["strand"] if "strand" in table else ["."] * len(table)
    rows = zip(table["chrom"], table["start"], table["end"], strands, strict=True)
    return [format_region(one_line(chrom), start, end, str(strand)) for chrom, start, end, strand in rows]


def usage_table(motifs: MotifResult) -> Table | None:
    """List the known motifs, those that the model uses most first."""
    usage = motifs.usage
    if usage is None or len(usage) == 0:
        return None
    hint = "how much more often its hits lie in peaks than those of its shuffled copies"
    columns = [
        (Column("Known motif"), "motif"),
        (Column("Accession"), "accession"),
        (Column("Hits", "number", "positions that match the motif (p ≤ 1e-4)"), "n_hits"),
        (Column("In peaks", "number", "hits that share a base with a peak"), "n_hits_in_peaks"),
        (Column("Attribution", "number", "mean over the hits of the summed attribution"), "mean_attribution"),
        (Column("Enrichment", "number", hint), "enrichment"),
        (Column("q-value", "number", "of the enrichment, over all motifs"), "q_value"),
    ]
    return make_table("usage-table", [(column, usage[name]) for column, name in columns])
