from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from track_toys import make_attr

from seqsal.errors import RegionError, UsageError
from seqsal.plot.style import NEGATIVE, POSITIVE
from seqsal.plot.tracks import MAX_BINS, _envelope, negative_peaks, plot_region_track, plot_track


def steps(ax: Axes, gid: str) -> tuple[np.ndarray, np.ndarray]:
    """Values and edges of a filled line."""
    (patch,) = [patch for patch in ax.patches if patch.get_gid() == gid]
    data = patch.get_data()
    return np.asarray(data.values), np.asarray(data.edges)


def boxes(ax: Axes) -> list[tuple[float, float, str]]:
    """Start, end and color of each peak box."""
    found = [patch for patch in ax.patches if str(patch.get_gid()).startswith("peak-")]
    return [(box.get_x(), box.get_x() + box.get_width(), to_hex(box.get_facecolor())) for box in found]


@pytest.fixture
def peaks() -> pd.DataFrame:
    """One peak of each sign on chr1, one elsewhere, one beyond."""
    return pd.DataFrame(
        {
            "chrom": ["chr1", "chr1", "chr2", "chr1"],
            "start": [102, 106, 103, 500],
            "end": [105, 108, 105, 510],
            "name": ["pos_1", "neg_1", "pos_2", "pos_3"],
        }
    )


def test_both_signs_are_filled_from_zero() -> None:
    values = np.array([1.0, -2.0, 0.0, np.nan, 3.0])
    ax = plot_track(values, start=100, chrom="chr1", unit="contribution to the logit", title="t")
    high, edges = steps(ax, "positive")
    low, _ = steps(ax, "negative")
    np.testing.assert_array_equal(high, [1, 0, 0, np.nan, 3])
    np.testing.assert_array_equal(low, [0, -2, 0, np.nan, 0])
    np.testing.assert_array_equal(edges, np.arange(100, 106))
    assert ax.get_xlim() == (100, 105)
    assert ax.get_ylim()[0] < -2 < 3 < ax.get_ylim()[1]
    assert (ax.get_ylabel(), ax.get_title(loc="left")) == ("contribution to the logit", "t")


def test_peaks_are_boxes_beneath_the_track(peaks: pd.DataFrame) -> None:
    ax = plot_track(np.linspace(-1, 1, 10), start=100, chrom="chr1", peaks=peaks)
    assert boxes(ax) == [(102, 105, POSITIVE), (106, 108, NEGATIVE)]
    low, high = ax.get_ylim()
    (box,) = [patch for patch in ax.patches if patch.get_gid() == "peak-0"]
    assert low + (box.get_y() + box.get_height()) * (high - low) < -1


def test_no_peaks_and_flat_tracks_are_fine(peaks: pd.DataFrame) -> None:
    ax = plot_track(np.zeros(5), peaks=peaks.iloc[:0], highlight=[(1, 3)])
    assert boxes(ax) == []
    assert ax.get_ylim()[0] < 0 < ax.get_ylim()[1]
    assert plot_track([np.nan, np.nan]).get_ylim() == (-1, 1)
    assert plot_track([2.0]).get_ylim()[0] == 0
    assert plot_track([2.0], limits=(-7.0, 8.0)).get_ylim() == (-7, 8)


def test_sign_comes_from_the_column_or_the_name(peaks: pd.DataFrame) -> None:
    assert negative_peaks(peaks).tolist() == [False, True, False, False]
    assert negative_peaks(peaks.assign(sign=["neg", "pos", "neg", "pos"])).tolist() == [True, False, True, False]
    assert negative_peaks(peaks.drop(columns="name")).tolist() == [False] * 4


@given(st.lists(st.one_of(st.floats(-10, 10), st.just(float("nan"))), min_size=1, max_size=60), st.integers(1, 20))
def test_an_envelope_keeps_the_extremes_of_each_bin(values: list[float], max_bins: int) -> None:
    edges, high, low = _envelope(np.array(values), max_bins)
    assert len(high) == len(low) == len(edges) - 1 <= max_bins
    for i, (first, last) in enumerate(zip(edges[:-1].astype(int), edges[1:].astype(int), strict=True)):
        known = [value for value in values[first:last] if value == value]
        if known:
            assert (high[i], low[i]) == (max(0, *known, 0), min(0, *known, 0))
        else:
            assert np.isnan([high[i], low[i]]).all()


def test_long_tracks_keep_their_peaks_in_few_steps(rng: np.random.Generator) -> None:
    values = rng.normal(size=100_003)
    values[77_777] = 50.0
    high, edges = steps(plot_track(values), "positive")
    assert len(high) <= MAX_BINS
    assert high.max() == 50.0
    assert edges[-1] == 100_003


def test_a_region_is_drawn_from_the_windows_over_it(peaks: pd.DataFrame) -> None:
    attr = make_attr(np.stack([np.ones(20), np.full(20, 3.0)]), start=[90, 100])
    ax = plot_region_track(attr, "chr1:95-115", peaks=peaks)
    high, _ = steps(ax, "positive")
    first, second = np.arange(10, 0, -1.0) ** 2, np.arange(1, 11.0) ** 2  # by bases from the window's end, squared
    both = (first + 3 * second) / (first + second)
    np.testing.assert_allclose(high, np.concatenate([[1.0] * 5, both, [3.0] * 5]))
    assert len(boxes(ax)) == 2
    with pytest.raises(RegionError, match="no window"):
        plot_region_track(attr, "chr9:1-2")


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.zeros(0), np.array([np.inf])])
def test_wrong_values_are_refused(values: np.ndarray) -> None:
    with pytest.raises(UsageError, match="values: shape"):
        plot_track(values)
