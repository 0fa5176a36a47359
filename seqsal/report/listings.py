"""The long tables of the page: peaks, regions, and what was left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from seqsal.plot.style import one_line
from seqsal.plot.tracks import negative_peaks
from seqsal.regions import format_region
from seqsal.report.inputs import ReportInputs
from seqsal.report.tables import Column, Table, make_table, two_digits

__all__ = ["SPACES", "by_rank", "peak_table", "region_table", "rejected_table"]

SPACES = {
    "logit": "log-odds before the model's last sigmoid: 0 is even odds, each +1 multiplies the odds by 2.7",
    "probability": "the model's probability, between 0 and 1",
    "log": "the logarithm of what the model predicts: each +1 multiplies it by 2.7",
    "count": "a number of reads",
    "linear": "the model's output as it is",
}


def peak_table(inputs: ReportInputs) -> Table | None:
    """List the peaks, those that stand out most first; None without any."""
    if len(inputs.peaks) == 0:
        return None
    peaks = by_rank(inputs.peaks)
    effects = np.where(negative_peaks(peaks), "lowers", "raises")
    columns = [
        Column("Name"),
        Column("Location", "place", "chrom:start-end, 0-based, end not included"),
        Column("Effect", "effect", "does it raise or lower the prediction"),
        Column("Width", "number", "bp"),
        Column("Summit", "number", "position of the strongest base"),
        Column("Signal", "number", f"sum over its bases: {inputs.attr.unit}"),
    ]
    cells = [
        peaks["name"],
        _places(peaks),
        effects,
        peaks["end"] - peaks["start"],
        peaks["start"] + peaks["summit"],
        peaks["signal"],
    ]
    if "q_value" in peaks:
        columns.append(Column("q-value", "number", "expected share of false peaks among those at least as strong"))
        cells.append(two_digits(peaks["q_value"]))
    return make_table("peaks-table", columns, cells, places=peaks)


def by_rank(peaks: pd.DataFrame) -> pd.DataFrame:
    """Peaks of the smallest q-value first, then by the number in their name, which counts from the highest."""
    number = pd.to_numeric(peaks["name"].astype(str).str.extract(r"(\d+)$")[0]).fillna(np.inf).to_numpy()
    q_values = peaks["q_value"].to_numpy() if "q_value" in peaks else np.zeros(len(peaks))
    return peaks.iloc[np.lexsort((-peaks["signal"].abs().to_numpy(), number, q_values))]


def region_table(inputs: ReportInputs) -> Table:
    """List every region with its score, the highest first."""
    raw = inputs.raw_column
    scores = inputs.scores.iloc[np.argsort(-inputs.scores[raw].to_numpy(), kind="stable")]
    columns = [
        Column("Location", "place", "chrom:start-end(strand), 0-based, end not included"),
        Column("Prediction", "number", "on the model's own scale"),
    ]
    cells: list[Any] = [_places(scores), scores["prediction"]]
    if raw != "prediction":
        columns.append(Column(raw.capitalize(), "number", SPACES.get(raw, "")))
        cells.append(scores[raw])
    if "name" in scores:
        columns.insert(0, Column("Name"))
        cells.insert(0, scores["name"])
    if "padded" in scores and scores["padded"].any():
        columns.append(Column("Padded", hint="hangs over a chromosome's end, filled up with N"))
        cells.append(scores["padded"])
    return make_table("regions-table", columns, cells, places=scores)


def rejected_table(inputs: ReportInputs) -> Table | None:
    """List the regions that could not be used; None without any."""
    rejected = inputs.rejected_regions
    if len(rejected) == 0:
        return None
    columns = [Column("Location", "place"), Column("Reason")]
    cells: list[Any] = [_places(rejected), rejected["reason"]]
    if "name" in rejected:
        columns.insert(0, Column("Name"))
        cells.insert(0, rejected["name"])
    return make_table("rejected-table", columns, cells)


def _places(table: pd.DataFrame) -> list[str]:
    strands = table["strand"] if "strand" in table else ["."] * len(table)
    rows = zip(table["chrom"], table["start"], table["end"], strands, strict=True)
    return [format_region(one_line(chrom), start, end, str(strand)) for chrom, start, end, strand in rows]
