"""Maps whose method draws at random, against other draws; more references do what is said of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import NotTested
from seqsal.auditing.parts import draws
from seqsal.auditing.parts.draws import MIN_CORRELATION, DrawsResult, audit_draws
from seqsal.auditing.settings import AuditSettings
from tests.audit_cases import context_of, seen
from tests.toys import Linear, Small, random_codes

LENGTH, N = 60, 24
SETTINGS = AuditSettings(n_small=N)


def audited(rng: np.random.Generator, method: str, **options: Any) -> tuple[AuditContext, DrawsResult]:
    codes = random_codes(rng, N, LENGTH)
    context = context_of(Small(), codes, settings=SETTINGS, method=method, method_options=options)
    return context, audit_draws(context)


@pytest.mark.parametrize("method", ["saliency", "gradient_x_input", "ism"])
def test_a_method_that_draws_nothing_is_not_tested(rng: np.random.Generator, method: str) -> None:
    _, found = audited(rng, method)
    assert found.pearson == NotTested(f"{method} draws nothing at random")
    assert [str(fact) for fact in found.facts(SETTINGS)] == [f"{method} draws nothing at random"]
    assert (found.n_draws, found.option, found.untested, found.warnings) == (0, None, (), ())
    assert seen(found).values["pearson"] is None


@pytest.mark.parametrize(
    ("method", "options"),
    [("deeplift_shap", {"references": "uniform"}), ("smoothgrad", {"noise": 0.0})],
)
def test_options_that_leave_nothing_to_draw(rng: np.random.Generator, method: str, options: dict[str, Any]) -> None:
    _, found = audited(rng, method, **options)
    assert found.pearson == NotTested(
        f"with these options and this model, {method} gives the same map whatever it draws"
    )


def test_correlations_are_those_of_maps_made_again(rng: np.random.Generator) -> None:
    context, found = audited(rng, "expected_gradients", n_references=2)
    rows = context.rows(N)
    others = [context.attribute(context.codes(rows), draw=draw) for draw in (1, 2, 3)]
    slow = [[np.corrcoef(a, b)[0, 1] for a, b in zip(context.track(rows), other, strict=True)] for other in others]
    assert found.pearson == pytest.approx(np.mean(slow))
    assert found.ci is not None and found.ci[0] <= found.pearson <= found.ci[1]
    assert (found.n_regions, found.n_draws, found.option, found.n_samples) == (N, 3, "n_references", 2)
    change = [np.linalg.norm(other - context.track(rows), axis=1) for other in others]
    assert found.relative_change == pytest.approx(np.mean(change / np.linalg.norm(context.track(rows), axis=1)))
    assert list(found.tables["draws_regions"]["row"]) == list(rows)
    assert seen(found).values["n_samples"] == 2


def test_the_references_that_are_needed_are_enough_and_not_far_too_many(rng: np.random.Generator) -> None:
    _, few = audited(rng, "expected_gradients", n_references=2)
    assert isinstance(few.pearson, float) and few.pearson < MIN_CORRELATION
    r = few.pearson
    assert few.n_needed == math.ceil(2 * MIN_CORRELATION * (1 - r) / (r * (1 - MIN_CORRELATION)))
    (warning,) = few.warnings
    assert f"n_references {few.n_needed:.0f} instead of 2" in warning
    _, enough = audited(np.random.default_rng(0), "expected_gradients", n_references=int(few.n_needed))
    assert isinstance(enough.pearson, float) and abs(enough.pearson - MIN_CORRELATION) < 0.05


def test_a_map_of_enough_references_needs_no_more(rng: np.random.Generator) -> None:
    module = Linear(torch.from_numpy(rng.normal(size=(4, LENGTH)).astype(np.float32)))
    codes, options = random_codes(rng, N, LENGTH), {"n_references": 40}
    found = audit_draws(context_of(module, codes, "deeplift_shap", settings=SETTINGS, method_options=options))
    assert isinstance(found.pearson, float) and found.pearson > MIN_CORRELATION
    assert found.n_needed == found.n_samples == 40
    assert not found.warnings


def test_what_cannot_be_drawn_anew_is_said(rng: np.random.Generator) -> None:
    context, _ = audited(rng, "expected_gradients", n_references=2)
    bare = audit_draws(AuditContext(context.attr, None, settings=SETTINGS))
    assert bare.pearson == NotTested("no model was given")
    assert bare.untested == ("How much the map depends on its random numbers: no model was given.",)
    made = AuditContext(context.attr, context.model, settings=SETTINGS, explainer=lambda model, codes: codes * 0.0)
    assert "explainer" in audit_draws(made).untested[0]


def test_draws_with_nothing_in_common_are_beyond_help() -> None:
    assert draws._n_needed(0.0, 20) == NotTested("the draws have nothing in common")
    assert draws._n_needed(0.5, None) == NotTested("the method takes a single draw")
    assert "average the maps of several draws" in draws._warning(0.5, None, None, NotTested())
