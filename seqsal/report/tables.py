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

from seqsal.plot.style import one_line

__all__ = ["MAX_ROWS", "PAGE_ROWS", "Column", "Table", "make_table", "page_json", "show", "two_digits"]

PAGE_ROWS = 12
MAX_ROWS = 20_000  # keeps the page below 10 MB; the files beside it hold every row
_MAX_CHARS = 80
_DIGITS = 4
ALMOST_ONE = 0.9999  # larger numbers below 1 would be shown as 1


@dataclass(frozen=True)
class Column:
    """One column of a table on the page.

    Attributes
    ----------
    label, hint
        Heading, and what it means in a few words.
    kind
        `text`, `place`, `effect` or `number`: how it looks and how it sorts.
    """

    label: str
    kind: str = "text"
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """A table ready for its template.

    Attributes
    ----------
    key
        Unique on the page.
    columns
        What the cells of a row are.
    rows
        Text and numbers; NaN is None.
    n_total
        Number of rows before the cut at `MAX_ROWS`.
    places
        What the rows are about: chrom, start, end, row by row; None where they are about no place.
    """

    key: str
    columns: Sequence[Column]
    rows: list[list[Any]]
    n_total: int
    places: pd.DataFrame | None = None

    @property
    def place_column(self) -> int:
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
    key: str, columns: Sequence[Column], cells: Sequence[Any], *, places: pd.DataFrame | None = None
) -> Table:
    """Build a table from one array or Series a column, cut to its first `MAX_ROWS` rows."""
    n_total = len(cells[0]) if len(cells) else 0
    shown = [_to_json(pd.Series(values).iloc[:MAX_ROWS]) for values in cells]
    about = None if places is None else places.iloc[:MAX_ROWS]
    return Table(key, columns, [list(row) for row in zip(*shown, strict=True)], n_total, about)


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
