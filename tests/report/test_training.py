"""What the page says of the model's test and of the regions that it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from seqsal.report import ReportInputs
from seqsal.report.html import render_report
from seqsal.training.metrics import binary_curves, calibration_curve

Make = Callable[..., ReportInputs]


def test_the_page_says_how_sure_the_test_is_and_draws_its_curves(make_inputs: Make, rng: np.random.Generator) -> None:
    labels = np.repeat([1.0, 0.0], 20)
    test = {
        "auroc": 0.9, "auroc_interval": [0.81, 0.95], "n_positives": 20, "n_negatives": 20, "negatives": "shuffles",
    }  # fmt: skip
    logits = rng.normal(size=40) + labels
    curves = {**binary_curves(labels, logits), "calibration": calibration_curve(labels, logits)[0]}
    history = [{"epoch": 1, "train_loss": 0.7, "valid_loss": 0.6}, {"epoch": 2, "train_loss": 0.4, "valid_loss": 0.5}]
    model = {"metrics": {"test": test}, "curves": curves, "history": history, "stopped": "2 of 9 epochs (early)"}
    page = render_report(make_inputs(5, run_info={"model": model}))
    assert "95 % interval 0.810 to 0.950; 20 positives, 20 negatives (shuffles); chance that" in page
    assert "ROC curve on the test part" in page and 'aria-label="Precision and recall"' in page
    assert 'aria-label="Calibration"' in page and 'aria-label="Loss by training epoch"' in page
    assert "Trained for 2 of 9 epochs (early)." in page
    assert "ROC curve" not in render_report(make_inputs(5))


def test_the_page_says_which_regions_the_model_was_trained_on(make_inputs: Make) -> None:
    inputs = make_inputs(4)
    counts = {"train": 2, "valid": 1, "held_out": 1}
    told = replace(
        inputs,
        attr=replace(inputs.attr, attrs={**inputs.attr.attrs, "trained_on": counts}),
        scores=inputs.scores.assign(seen=["train", "valid", "", "train"]),
    )
    page = render_report(told)
    assert "2; 1 chose the epoch; 1 are held out" in page
    assert page.count("chose the epoch") > 1 and "held out" in page and "trained on" in page
    assert "the model does not say" in render_report(inputs)
