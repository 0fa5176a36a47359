from __future__ import annotations

import json

import numpy as np
import pytest

from seqsal.report.tables import MAX_ROWS, PAGE_ROWS, Column, make_table, show


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (None, "–"),
        ("a", "a"),
        (1234567, "1,234,567"),
        (-2.0, "-2"),
        (0.000123456, "0.0001235"),
        (1.5e-9, "1.5e-9"),
        (12345.678, "1.235e4"),
        (3.14159, "3.142"),
        (0.99999962, "> 0.9999"),
        (0.99987, "0.9999"),
        (1.0, "1"),
        (1.00000001, "1"),
    ],
)
def test_cells_are_shown_briefly(cell: str | float | None, shown: str) -> None:
    assert show(cell) == shown


def test_rows_hold_what_json_can() -> None:
    columns = [Column("name"), Column("x", "number"), Column("n", "number"), Column("padded")]
    cells = [["a", "b"], np.array([0.1234567891, np.nan]), np.array([1, 2]), np.array([True, False])]
    table = make_table("t", list(zip(columns, cells, strict=True)))
    assert json.loads(table.json) == [["a", 0.123457, 1, "yes"], ["b", None, 2, "no"]]
    assert table.first_page == [["a", "0.1235", "1", "yes"], ["b", "–", "2", "no"]]
    assert json.loads(make_table("t", [(Column("x"), np.array([np.inf]))]).json) == [[None]]


def test_a_probability_below_one_does_not_become_one() -> None:
    table = make_table("t", [(Column("p", "number"), np.array([0.9999999996, 1.0]))])
    (first,), (second,) = json.loads(table.json)
    assert 0.99999 < first < 1 and second == 1
    assert table.first_page == [["> 0.9999"], ["1"]]


def test_json_cannot_end_its_script() -> None:
    names = ["</script><script>alert(1)</script>", "<!--", "\u2028", '"\\']
    text = make_table("t", [(Column("name"), names)]).json
    assert "<" not in text
    assert [row[0] for row in json.loads(text)][:2] == names[:2]


def test_long_tables_and_names_are_cut() -> None:
    table = make_table("t", [(Column("name"), ["x" * 10_000] * (MAX_ROWS + 5)), (Column("n"), np.arange(MAX_ROWS + 5))])
    assert table.n_total == MAX_ROWS + 5
    assert len(table.rows) == MAX_ROWS
    assert len(table.first_page) == PAGE_ROWS
    assert len(table.rows[0][0]) == 80
