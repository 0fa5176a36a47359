"""Times of a model that takes a known time for each call and sequence, and for the audit of its map."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from audit_cases import CPU, context_of, model_of
from torch import nn
from toys import Small, random_codes

from seqsal.attribution import AttributeOptions
from seqsal.auditing.cost import PREDICTION, ModelWork, audit_work, total_work
from seqsal.auditing.run import PARTS
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.size import AuditSize, size_of
from seqsal.pipeline.forecast import trials
from seqsal.pipeline.forecast.trials import Speed, model_seconds, try_model

LENGTH, SECONDS = 30, 4e-3


class Slow(nn.Module):
    """A linear model that waits for each sequence."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.waited = 0.0
        self.weight = nn.Parameter(torch.randn(4, LENGTH))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        time.sleep(SECONDS * len(X))
        self.waited += SECONDS * len(X)
        return (self.weight * X).sum(dim=(1, 2)) ** 2


class Sorts(nn.Module):
    """What `deeplift_shap` has no rule for."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = (X * torch.arange(1.0, 5.0)[:, None]).sum(dim=1).sort(dim=-1).values
        return torch.where(h > 2, h, 2 * h).sum(dim=1)


def sized(module: nn.Module, codes: Any, settings: AuditSettings, method: str = "gradient_x_input") -> AuditSize:
    options = AttributeOptions(method=method)
    return size_of(settings, len(codes), model_of(module, codes.shape[1]), codes, options, device=CPU)


def test_model_seconds_adds_calls_and_windows() -> None:
    work = ModelWork({PREDICTION: 100, "ism": 3}, 7)
    assert model_seconds(work, {PREDICTION: Speed(0.5, 0.01), "ism": Speed(0.0, 2.0)}) == pytest.approx(3.5 + 1 + 6)
    assert model_seconds(ModelWork(), {PREDICTION: Speed(1.0, 1.0)}) == 0


def test_each_kind_takes_its_passes(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 8, LENGTH)
    module = Slow()
    size = sized(module, codes, AuditSettings(n_small=4, n_ism_regions=4))
    work = ModelWork({PREDICTION: 1, "gradient_x_input": 1, "integrated_gradients": 1}, 1)
    speeds = try_model(model_of(module, LENGTH), codes, size, work, device=CPU)
    assert set(speeds) == set(work.windows)
    for kind, n_passes in ((PREDICTION, 1), ("gradient_x_input", 1), ("integrated_gradients", 52)):
        assert SECONDS * n_passes / 8 < speeds[kind].window < 8 * SECONDS * n_passes, kind


def test_an_audit_waits_for_the_model_about_as_long_as_foreseen(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, LENGTH)
    sizes = {"n_regions": 6, "n_steps": 3, "n_draws": 1, "n_perturbations": 4, "n_ism_regions": 2, "n_small": 2,
             "max_edits": 3, "n_bootstrap": 5, "n_permutations": 2, "n_removed": 2, "n_neutral": 4}  # fmt: skip
    settings = AuditSettings().changed(sizes)
    size, parts = sized(Slow(), codes, settings), ("faithfulness", "stability")
    work = total_work({part: audit_work(size)[part] for part in parts})
    foreseen = model_seconds(work, try_model(model_of(Slow(), LENGTH), codes, size, work, device=CPU))
    module = Slow()
    context = context_of(module, codes, settings=settings)
    module.waited = 0.0
    for part in parts:
        PARTS[part](context, {})
    assert foreseen / 4 < module.waited < 4 * foreseen


def test_a_method_that_refuses_the_model_takes_no_time(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 4, LENGTH)
    size, work = sized(Sorts(), codes, AuditSettings()), ModelWork({"deeplift_shap": 2, "gradient_x_input": 2})
    speeds = try_model(model_of(Sorts(), LENGTH), codes, size, work, device=CPU)
    assert speeds["deeplift_shap"] == Speed(0.0, 0.0) and speeds["gradient_x_input"].window > 0


def test_slow_methods_are_counted_and_not_tried(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MOST_SECONDS", 0.0)
    monkeypatch.setattr(trials, "try_windows", None)
    codes = random_codes(rng, 4, 20)
    size, work = sized(Small(), codes, AuditSettings()), ModelWork({"ism": 1, "integrated_gradients": 1})
    speeds = try_model(model_of(Small(), 20), codes, size, work, device=CPU)
    assert speeds["ism"].window == pytest.approx(60 * speeds[PREDICTION].window)
    assert speeds["integrated_gradients"].window == pytest.approx(3 * 50 * speeds[PREDICTION].window)
