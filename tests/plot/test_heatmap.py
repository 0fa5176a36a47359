from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from track_toys import bump, make_attr

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.plot import heatmap
from seqsal.plot.heatmap import plot_heatmap
from seqsal.plot.style import NEGATIVE, POSITIVE

LENGTH = 21


@pytest.fixture
def attr() -> Attributions:
    """Five windows with a bump each, predictions 0, 3, 1, 4, 2."""
    centres, heights = [4, 16, 10, 7, 13], [1.0, -5.0, 2.0, 3.0, -4.0]
    track = np.stack([bump(LENGTH, c, 3, h) for c, h in zip(centres, heights, strict=True)])
    made = make_attr(track)
    regions = made.regions.assign(score=[5.0, 1.0, 4.0, 2.0, 3.0])
    return replace(
        made, prediction=np.array([0, 3, 1, 4, 2], np.float32), regions=regions, attrs={"output_space": "logit"}
    )


def lines(ax: Axes) -> np.ndarray:
    (image,) = ax.images
    return np.ma.filled(image.get_array(), np.nan)


@pytest.mark.parametrize(
    ("sort_by", "order"),
    [
        ("prediction", [3, 1, 4, 2, 0]),
        ("strongest", [1, 4, 3, 2, 0]),
        ("position", [0, 3, 2, 4, 1]),
        ("score", [0, 2, 4, 3, 1]),
        (None, [0, 1, 2, 3, 4]),
    ],
)
def test_lines_come_in_the_order_asked_for(attr: Attributions, sort_by: str | None, order: list[int]) -> None:
    ax = plot_heatmap(attr, sort_by=sort_by)
    np.testing.assert_array_equal(lines(ax), attr.track[order])
    assert tuple(ax.images[0].get_extent()) == (-10, 11, 5, 0)
    assert ax.get_xlabel() == "distance from the centre of the region (bp)"


def test_colours_are_symmetrical_about_white(attr: Attributions) -> None:
    image = plot_heatmap(attr).images[0]
    low, high = image.get_clim()
    assert low == -high and 4 < high <= 5
    rgb = [image.to_rgba(np.array([value]))[0, :3] for value in (low, 0.0, high)]
    np.testing.assert_allclose(rgb[1], 1.0, atol=0.01)
    expected = [[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in (NEGATIVE, POSITIVE)]
    np.testing.assert_allclose([rgb[0], rgb[2]], expected, atol=0.01)
    assert plot_heatmap(attr, limit=2.5).images[0].get_clim() == (-2.5, 2.5)


def test_rows_are_chosen_by_number_or_mask(attr: Attributions) -> None:
    np.testing.assert_array_equal(lines(plot_heatmap(attr, rows=[4, 0], sort_by=None)), attr.track[[4, 0]])
    mask = np.array([True, False, False, True, False])
    np.testing.assert_array_equal(lines(plot_heatmap(attr, rows=mask)), attr.track[[3, 0]])


def test_unknown_bases_have_no_value(attr: Attributions) -> None:
    codes = attr.codes.copy()
    codes[0, 5] = 4
    drawn = lines(plot_heatmap(replace(attr, codes=codes), sort_by=None))
    assert np.isnan(drawn[0, 5]) and np.isfinite(drawn).sum() == 5 * LENGTH - 1


def test_many_regions_are_averaged_with_their_neighbours(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heatmap, "MAX_LINES", 7)
    monkeypatch.setattr(heatmap, "MAX_COLUMNS", 5)
    monkeypatch.setattr(heatmap, "_ROWS_AT_ONCE", 4)
    attr = make_attr(rng.normal(size=(20, 12)))
    drawn = lines(plot_heatmap(attr, sort_by=None))
    expected = [[attr.track[i : i + 3, j : j + 3].mean() for j in range(0, 12, 3)] for i in range(0, 20, 3)]
    np.testing.assert_allclose(drawn, expected, rtol=1e-5, atol=1e-6)


def test_nothing_but_zeros_can_be_drawn() -> None:
    assert plot_heatmap(make_attr(np.zeros((2, 5)))).images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": []}, "rows: no region"),
        ({"rows": [5]}, "rows: got row 5, expected rows from 0 to 4"),
        ({"rows": [True]}, r"rows: \(1,\) true or false, expected \(5,\)"),
        ({"sort_by": "chrom"}, "sort_by: got 'chrom', expected prediction, strongest, position, a column"),
        ({"limit": 0.0}, "limit: got 0.0, expected an attribution above 0"),
    ],
)
def test_bad_settings(attr: Attributions, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plot_heatmap(attr, **settings)  # type: ignore[arg-type]
