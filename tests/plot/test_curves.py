from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from seqsal.errors import UsageError
from seqsal.plot import plot_curves, plot_replacement_curves, plot_score_histogram, plot_training_history

HISTORY = [{"epoch": i, "train_loss": 1.0 / i, "valid_loss": 1.5 / i, "valid_auroc": 0.9} for i in (1, 2, 3)]


@pytest.mark.parametrize("n_scores", [1, 2, 100, 5000])
def test_every_finite_score_is_counted(rng: np.random.Generator, n_scores: int) -> None:
    ax = plot_score_histogram(np.append(rng.normal(size=n_scores), np.nan), label="prediction (logit)")
    (patch,) = ax.patches
    assert patch.get_data().values.sum() == n_scores
    assert ax.get_xlabel() == "prediction (logit)"
    assert ax.get_ylim()[0] == 0


def test_far_humps_get_bins_enough(rng: np.random.Generator) -> None:
    scores = np.append(rng.normal(0, 0.02, 60), rng.normal(1, 0.02, 60))
    counts = plot_score_histogram(scores).patches[0].get_data().values
    assert len(counts) >= 11
    assert counts[2:-2].sum() == 0


def test_equal_scores_make_one_bin() -> None:
    (patch,) = plot_score_histogram(np.full(40, 2.5)).patches
    assert np.count_nonzero(patch.get_data().values) == 1


def test_scores_must_be_finite_somewhere() -> None:
    for scores in ([], [np.nan]):
        with pytest.raises(UsageError, match="no finite value"):
            plot_score_histogram(scores)


def test_losses_are_drawn_by_epoch() -> None:
    ax = plot_training_history(HISTORY, best_epoch=2)
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines) == ["train loss", "valid loss", "kept"]
    np.testing.assert_array_equal(lines["train loss"].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(lines["valid loss"].get_ydata(), [1.5, 0.75, 0.5])
    np.testing.assert_array_equal(lines["kept"].get_xdata(), [2, 2])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")


def test_columns_and_chosen_metrics() -> None:
    ax = plot_training_history({"r": [0.1, 0.2]})
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 2])
    ax = plot_training_history(HISTORY, metrics=["valid_auroc"])
    assert [line.get_label() for line in ax.lines] == ["valid auroc"]
    assert ax.get_ylabel() == "value"


def test_a_history_without_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match="history: no numbers"):
        plot_training_history([])
    with pytest.raises(UsageError, match="history: no valid_r"):
        plot_training_history(HISTORY, metrics=["valid_r"])


def curve_table(orders: tuple[str, ...], *, interval: bool = True) -> pd.DataFrame:
    half = 0.5 if interval else np.nan
    rows = [(order, x, 2 - x - i, 2 - x - i - half, 2 - x - i + half) for i, order in enumerate(orders) for x in (0, 1)]
    return pd.DataFrame(rows, columns=["order", "share", "mean", "lo", "hi"])


def test_each_order_is_a_line_with_its_interval() -> None:
    ax = plot_replacement_curves(curve_table(("map", "random", "reverse", "centre")), label="mean prediction (logit)")
    lines = {line.get_gid(): line for line in ax.lines}
    assert list(lines) == ["curve-map", "curve-random", "curve-centre", "curve-reverse"]
    assert len({line.get_color() for line in ax.lines}) == len({line.get_linestyle() for line in ax.lines}) == 4
    np.testing.assert_array_equal(lines["curve-random"].get_xdata(), [0, 100])
    np.testing.assert_array_equal(lines["curve-random"].get_ydata(), [1, 0])
    bands = {band.get_gid(): band.get_paths()[0].get_extents() for band in ax.collections}
    assert len(bands) == 4
    assert (bands["curve-map-interval"].y0, bands["curve-map-interval"].y1) == (0.5, 2.5)
    assert ax.get_xlabel() == "bases replaced by shuffled sequence (%)"
    assert ax.get_ylabel() == "mean prediction (logit)"


def test_curves_of_one_region_have_no_interval() -> None:
    ax = plot_replacement_curves(curve_table(("map", "random"), interval=False), kind="insertion")
    assert len(ax.lines) == 2
    assert len(ax.collections) == 0
    assert ax.get_xlabel() == "bases restored in shuffled sequence (%)"


def test_tables_that_are_no_curves_are_refused() -> None:
    with pytest.raises(UsageError, match="kind: got 'removal', expected deletion or insertion"):
        plot_replacement_curves(curve_table(("map",)), kind="removal")
    with pytest.raises(UsageError, match="no column lo, expected"):
        plot_replacement_curves(curve_table(("map",)).drop(columns="lo"))
    with pytest.raises(UsageError, match="no row of order map"):
        plot_replacement_curves(curve_table(("alphabetical",)))


def test_curves_of_an_audit_stand_side_by_side() -> None:
    points = pd.DataFrame({"order": ["map"] * 2, "share": [0.0, 1.0], "mean": [2.0, 0.0], "lo": [1, 0], "hi": [3, 0]})
    tables = {"faithfulness.deletion": points, "faithfulness.insertion": points, "other.regions": points}
    provenance = {"attributions": {"output_space": "logit"}}
    left, right = plot_curves(SimpleNamespace(tables=tables, provenance=provenance))
    assert left.get_ylabel() == right.get_ylabel() == "mean prediction (logit)"
    assert [left.get_title(loc="left"), right.get_title(loc="left")] == ["deletion", "insertion"]
    assert left.get_legend() is None and right.get_legend() is not None
    assert left.get_xlabel() == "bases replaced by shuffled sequence (%)"
    (alone,) = plot_curves(SimpleNamespace(tables={"faithfulness.deletion": points}, provenance={}))
    assert alone.get_legend() is not None


def test_an_audit_without_curves() -> None:
    with pytest.raises(UsageError, match=r"audit: holds no curves, .* audit again"):
        plot_curves(SimpleNamespace(tables={}, provenance={}))
