"""The foreseen work of an audit against what audits really ask of a model."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from audit_cases import CPU, context_of, model_of
from numpy.typing import NDArray
from torch import nn
from toys import Small, random_codes

from seqsal.attribution import AttributeOptions, attribute_windows, predict_windows
from seqsal.auditing.cost import PREDICTION, ModelWork, audit_work, total_work
from seqsal.auditing.run import PARTS, run_audit
from seqsal.auditing.settings import RUN_SIZES, AuditSettings
from seqsal.auditing.size import AuditSize, size_of

FACTOR = 1.5
FEW = {"n_bootstrap": 20, "n_permutations": 5}  # what is counted does not depend on them
SIZES = {**RUN_SIZES, **FEW}


class Counting(nn.Module):
    """A convolution and a sum that count their sequences, and whose operations cannot be traced.

    So mutants are whole sequences to it, and methods that need its structure refuse it.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.head = nn.Conv1d(4, 4, 9, padding=4), nn.Linear(4, 1)
        self.n_seen, self.lock = [0], threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Counting:
        copied = Counting()
        copied.load_state_dict(self.state_dict())
        copied.n_seen, copied.lock = self.n_seen, self.lock
        return copied.requires_grad_(self.head.weight.requires_grad).train(self.training)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        with self.lock:
            self.n_seen[0] += len(X)
        total = float(X.detach().sum())  # a number that depends on the input ends a trace
        h = torch.relu(self.stem(X)) if np.isfinite(total) else self.stem(X)
        return self.head(h.square().mean(-1)).squeeze(-1)


def sized(
    module: nn.Module, codes: NDArray[np.uint8], method: str, settings: AuditSettings, *, rc: bool = False, **given: int
) -> AuditSize:
    options = AttributeOptions(method=method, rc_average=rc)
    return size_of(settings, len(codes), model_of(module, codes.shape[1]), codes, options, device=CPU, **given)


@pytest.mark.parametrize(
    ("method", "n", "length", "changes"),
    [
        ("gradient_x_input", 30, 60, SIZES),
        ("gradient_x_input", 12, 150, {"n_steps": 20, "n_draws": 3, "n_ism_regions": 4, "n_small": 8, **FEW}),
        ("ism", 20, 40, SIZES | {"max_random_passes": 10_000}),
        ("integrated_gradients", 16, 80, SIZES | {"n_perturbations": 10, "n_randomizations": 2}),
    ],
)
def test_foreseen_sequences_are_those_that_a_counting_model_sees(
    rng: np.random.Generator, method: str, n: int, length: int, changes: dict[str, Any]
) -> None:
    module, codes, settings = Counting(), random_codes(rng, n, length), AuditSettings().changed(changes)
    context = context_of(module, codes, method, settings=settings)
    size = sized(module, codes, method, settings)
    module.n_seen[0] = 0
    run_audit(context)
    foreseen = audit_work(size)
    refused = foreseen["saturation"].windows.get("deeplift_shap", 0) * size.n_passes("deeplift_shap")
    expected = total_work(foreseen).n_sequences(size) - refused
    assert module.n_seen[0] / FACTOR < expected < FACTOR * module.n_seen[0]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Sequences by kind, and calls of predictions, that audits ask for from now on."""
    counts: Counter[str] = Counter()

    def count_predicted(model: Any, source: Any, **options: Any) -> Any:
        counts.update({PREDICTION: len(source), "calls": 1})
        return predict_windows(model, source, **options)

    def count_attributed(model: Any, source: Any, options: Any, **others: Any) -> Any:
        counts.update({options.method: len(source)})
        return attribute_windows(model, source, options, **others)

    for module in ("context", "stability"):
        monkeypatch.setattr(f"seqsal.auditing.{module}.predict_windows", count_predicted)
    monkeypatch.setattr("seqsal.auditing.context.attribute_windows", count_attributed)
    return counts


@pytest.mark.parametrize(
    ("method", "rc_average", "n_others", "changes"),
    [
        ("gradient_x_input", True, 0, SIZES),
        ("deeplift_shap", False, 2, SIZES | {"max_random_passes": 5_000}),
        ("saliency", False, 0, {"n_small": 10, "n_ism_regions": 6, "n_steps": 12, **FEW}),
        ("ism", True, 1, SIZES),
    ],
)
def test_foreseen_windows_of_each_method(
    rng: np.random.Generator, asked: Counter[str], method: str, rc_average: bool, n_others: int, changes: dict[str, Any]
) -> None:
    module, codes, settings = Small(), random_codes(rng, 26, 50), AuditSettings().changed(changes)
    options = {
        "method_options": {"rc_average": rc_average},
        "other_models": [Small(seed=i + 1) for i in range(n_others)],
    }
    context = context_of(module, codes, method, settings=settings, **options)
    size = sized(module, codes, method, settings, rc=rc_average, n_other_models=n_others)
    asked.clear()
    run_audit(context)
    work = total_work(audit_work(size))
    assert {*work.windows} == {*asked} - {"calls"}
    for name, n in work.windows.items():
        factor = FACTOR if name == PREDICTION else 1.1 if name == method else 1.0
        assert asked[name] / factor <= n <= factor * asked[name], name
    assert asked["calls"] / FACTOR < work.n_calls < FACTOR * asked["calls"]


def test_classes_are_predicted_too(rng: np.random.Generator, asked: Counter[str]) -> None:
    codes, settings = random_codes(rng, 20, 40), AuditSettings().changed(SIZES)
    classes = {"positives": random_codes(rng, 900, 40), "negatives": random_codes(rng, 1100, 40)}
    context = context_of(Small(), codes, settings=settings, **classes)
    alone = sized(Small(), codes, "gradient_x_input", settings)
    both = sized(Small(), codes, "gradient_x_input", settings, n_positives=900, n_negatives=1100)
    run_audit(context)
    n_more = total_work(audit_work(both)).windows[PREDICTION] - total_work(audit_work(alone)).windows[PREDICTION]
    assert n_more == 3 * (900 + 1000) + 2 * settings.n_neutral
    foreseen = total_work(audit_work(both)).windows[PREDICTION]
    assert asked[PREDICTION] / FACTOR < foreseen < FACTOR * asked[PREDICTION]


def test_training_is_counted_where_it_is_asked_for() -> None:
    settings = AuditSettings().changed({"retrain": True, "n_retrain_epochs": 5})
    sizes = [
        AuditSize(settings, 100, 50, "gradient_x_input", n_layers=3, **known)
        for known in ({}, {"n_positives": 400, "n_negatives": 2_000})
    ]
    without, trained = (audit_work(size)["sanity"] for size in sizes)
    assert trained.windows[PREDICTION] - without.windows[PREDICTION] == 2 * 3 * 5 * (400 + 1_000)


def test_many_passes_leave_layers_and_regions_out() -> None:
    def windows(method: str, most: int) -> int:
        settings = AuditSettings(max_random_passes=most)
        return audit_work(AuditSize(settings, 1_000, 200, method, n_layers=9))["sanity"].windows[method]

    assert windows("gradient_x_input", 50_000) == 32 * (2 + 2 * 3 + 8 + 9)
    assert windows("ism", 50_000) == 11 * (2 + 2 * 3)  # 50,000 / (600 · 7)
    assert windows("ism", 1) == 2 + 2 * 3


def test_parts_are_those_of_the_audit_and_add_up() -> None:
    work = audit_work(AuditSize(AuditSettings(), 10, 100, "saliency", n_layers=1))
    assert set(work) < set(PARTS)
    together = total_work(work)
    assert together.windows[PREDICTION] == sum(part.windows.get(PREDICTION, 0) for part in work.values())
    two = ModelWork({"ism": 2}, 4) + ModelWork({"ism": 3, PREDICTION: 5}, 1)
    assert two == ModelWork({"ism": 5, PREDICTION: 5}, 5)


def test_more_regions_than_are_looked_at_cost_nothing() -> None:
    sizes = [AuditSize(AuditSettings(), n, 100, "gradient_x_input", n_layers=4) for n in (1_000, 100_000)]
    assert audit_work(sizes[0]) == audit_work(sizes[1])
