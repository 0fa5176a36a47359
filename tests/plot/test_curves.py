from __future__ import annotations

import numpy as np
import pytest

from seqsal.errors import UsageError
from seqsal.plot import plot_score_histogram, plot_training_history

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
