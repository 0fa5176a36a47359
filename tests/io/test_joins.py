"""Subsets, tables and joins of attributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import seqsal
from seqsal.errors import SeqsalError
from seqsal.io.joins import write_anndata, write_parquet
from seqsal.regions import make_regions
from seqsal.sequence.codes import N_CODE, one_hot

L = 20


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv1d(4, 3, 5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 2))


@pytest.fixture(scope="module")
def codes() -> np.ndarray[Any, Any]:
    codes = np.random.default_rng(0).integers(0, 4, (5, L)).astype(np.uint8)
    codes[1, 3] = N_CODE
    return codes


@pytest.fixture
def attr(model: torch.nn.Module, codes: np.ndarray[Any, Any], tmp_path: Any) -> seqsal.Attributions:
    starts = np.arange(5) * 30
    regions = make_regions("chr8", starts, starts + L, name=list("abcde"), strand=["+", "-", ".", "+", "-"])
    return seqsal.attribute(
        model, X=one_hot(codes), regions=regions, target=[0, 1], n_controls=10, out=tmp_path / "A.h5", device="cpu"
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (2, [2]),
        (-1, [4]),
        (slice(1, 4), [1, 2, 3]),
        ([3, 0], [3, 0]),
        (np.array([True, False, False, True, False]), [0, 3]),
        ("chr8:45-95", [1, 2, 3]),
        ("c", [2]),
    ],
)
def test_rows_are_picked(attr: seqsal.Attributions, rows: Any, expected: list[int]) -> None:
    part = attr[rows]
    assert part.regions["name"].tolist() == [list("abcde")[i] for i in expected]
    for name in ("track", "codes", "prediction"):
        np.testing.assert_array_equal(getattr(part, name), np.asarray(getattr(attr, name))[expected])
    other = part.result(part.results[1])
    np.testing.assert_array_equal(other.track, np.asarray(attr.result(attr.results[1]).track)[expected])
    source = np.asarray(attr.controls.source)
    kept = np.isin(source, expected)
    assert part.n_controls == kept.sum()
    of = [expected[i] for i in part.controls.source]
    np.testing.assert_array_equal(of, source[kept])
    np.testing.assert_array_equal(part.controls.track, np.asarray(attr.controls.track)[kept])


def test_what_is_not_there(attr: seqsal.Attributions) -> None:
    with pytest.raises(SeqsalError, match="none of 5 regions shares a base with chr8:500-600"):
        attr["chr8:500-600"]
    with pytest.raises(IndexError):
        attr[5]


def test_tables(attr: seqsal.Attributions, codes: np.ndarray[Any, Any]) -> None:
    table, track = attr.to_frame(), np.asarray(attr.track)
    np.testing.assert_allclose(table["sum"], track.sum(1), atol=1e-5)
    np.testing.assert_allclose(table["positive"] + table["negative"], table["sum"], atol=1e-12)
    bases = attr.to_frame(bases=True)
    assert len(bases) == 5 * L - 1  # but for the unknown one
    reverse = bases[bases["region"] == "e"]
    assert reverse["start"].tolist() == list(range(120 + L - 1, 119, -1))  # as the model read it
    assert reverse["base"].tolist() == ["TGCA"[c] for c in codes[4]]
    np.testing.assert_array_equal(reverse["contribution"], track[4])


def test_joins_are_undone_by_subsets(attr: seqsal.Attributions, model: torch.nn.Module, codes: Any) -> None:
    joined = seqsal.concat([attr[:2], attr[2:]])
    np.testing.assert_array_equal(joined.track, np.asarray(attr.track))
    pd.testing.assert_frame_equal(joined.regions, attr.regions)
    assert joined.results == attr.results
    np.testing.assert_array_equal(joined.result(joined.results[1]).track, attr.result(attr.results[1]).track)
    order = np.argsort(joined.controls.source, kind="stable")
    expected = np.argsort(np.asarray(attr.controls.source), kind="stable")
    np.testing.assert_array_equal(joined.controls.track[order], np.asarray(attr.controls.track)[expected])
    other = seqsal.attribute(model, X=one_hot(codes), method="ism", device="cpu")
    with pytest.raises(SeqsalError, match="got method 'ism' where the first have 'gradient_x_input'"):
        seqsal.concat([attr, other])
    with pytest.raises(SeqsalError, match="got no attributions"):
        seqsal.concat([])


def test_parquet_and_anndata(attr: seqsal.Attributions, tmp_path: Any) -> None:
    for name, write in (("pyarrow", write_parquet), ("anndata", write_anndata)):
        try:
            __import__(name)
        except ImportError:
            with pytest.raises(SeqsalError, match="not installed"):
                write(attr, tmp_path / "x")
            continue
        path = write(attr, tmp_path / f"x.{name}")
        if name == "pyarrow":
            pd.testing.assert_frame_equal(pd.read_parquet(path), attr.to_frame(bases=True), check_dtype=False)
        else:
            import anndata

            found = anndata.read_h5ad(path)
            np.testing.assert_array_equal(found.X, np.asarray(attr.track))
            np.testing.assert_array_equal(found.layers[attr.results[1]], attr.result(attr.results[1]).track)
