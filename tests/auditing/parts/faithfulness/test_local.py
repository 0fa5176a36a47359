from __future__ import annotations

import numpy as np
import pytest
import torch
from audit_cases import Ignores, OneBase, context_of
from scipy import stats
from toys import Linear, Small, random_codes

from seqsal.auditing.parts import faithfulness as local
from seqsal.auditing.parts.faithfulness import (
    N_PERTURBATIONS,
    infidelity,
    local_agreement,
    mutagenesis_agreement,
)
from seqsal.auditing.settings import AuditSettings
from seqsal.sequence.codes import N_CODE

SETTINGS = AuditSettings(n_ism_regions=6)


def linear(rng: np.random.Generator, length: int = 40) -> Linear:
    return Linear(torch.from_numpy(rng.normal(size=(4, length)).astype(np.float32)))


def test_losing_a_base_is_the_mean_of_the_other_three(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 5, 30)
    weight = rng.normal(size=(4, 30)).astype(np.float32)
    context = context_of(Linear(torch.from_numpy(weight)), codes, settings=SETTINGS)
    effects = context.losses(5)
    there = weight[codes, np.arange(30)]
    np.testing.assert_allclose(effects, there - (weight.sum(axis=0) - there) / 3, atol=1e-5)


def test_correlations_are_those_of_scipy_over_known_bases(rng: np.random.Generator) -> None:
    track, effects = rng.normal(size=(2, 4, 25))
    track[:, :5] = 0
    known = rng.random((4, 25)) < 0.8
    for signed in (True, False):
        spearman, pearson = mutagenesis_agreement(track, effects, known, signed=signed)
        for i in range(4):
            a, b = track[i, known[i]], effects[i, known[i]]
            a, b = (a, b) if signed else (abs(a), abs(b))
            assert spearman[i] == pytest.approx(stats.spearmanr(a, b).statistic)
            assert pearson[i] == pytest.approx(stats.pearsonr(a, b).statistic)


def test_constant_maps_have_no_correlation(rng: np.random.Generator) -> None:
    known = np.ones((2, 10), dtype=bool)
    track = np.stack([np.full(10, 0.1), rng.normal(size=10)])
    spearman, pearson = mutagenesis_agreement(track, rng.normal(size=(2, 10)), known, signed=True)
    assert np.isnan(spearman).tolist() == np.isnan(pearson).tolist() == [True, False]


def test_the_gradient_of_a_linear_model_agrees_and_foretells_everything(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, 40, share_unknown=0.05)
    context = context_of(linear(rng), codes, settings=SETTINGS, method_options={"hypothetical": True})
    found = local_agreement(context, signed=True, rounding=1e-6)
    np.testing.assert_allclose(found.spearman, 1)
    np.testing.assert_allclose(found.pearson, 1, atol=1e-6)
    np.testing.assert_allclose(found.infidelity, 0, atol=1e-9)
    assert (found.permuted_infidelity > 0.3).all()
    assert found.n_passes == 3 * codes.size + 6 * (N_PERTURBATIONS + 1)


def test_infidelity_is_that_of_its_definition(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one set that covers every base the error of the best scale is 0 or, where the sign is wrong, 1."""
    codes = random_codes(rng, 6, 40)
    model = Small()
    monkeypatch.setattr(local, "N_PERTURBATIONS", 1)
    monkeypatch.setattr(local, "PERTURBED_SHARE", 1.0)
    context = context_of(model, codes, settings=SETTINGS)
    rows = context.rows(6)
    track = context.track(rows).astype(np.float64)
    errors, _ = infidelity(context, rows, codes, track, 0.0)
    shuffled = context.shuffled(codes, 0)
    real = context.predict(codes) - context.predict(shuffled)
    scores = context.attr.hypothetical
    if scores is None:
        foretold = np.where(codes != shuffled, track, 0).sum(axis=1)
    else:
        place = np.arange(40)
        foretold = np.array(
            [(h[c, place] - h[s, place]).sum() for h, c, s in zip(scores, codes, shuffled, strict=True)]
        )
    np.testing.assert_allclose(errors, np.where(foretold * real > 0, 0, 1), atol=1e-9)


def test_a_wrong_sign_foretells_nothing(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, 40)
    context = context_of(linear(rng), codes, settings=SETTINGS, method_options={"hypothetical": False})
    rows = context.rows(6)
    track = context.track(rows).astype(np.float64)
    right, permuted = infidelity(context, rows, codes, track, 1e-6)
    wrong, _ = infidelity(context, rows, codes, -track, 1e-6)
    assert (right < permuted).all()
    assert (wrong > 0.9).all()


def test_a_model_of_one_base_is_foretold_from_the_track_alone(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = random_codes(rng, 6, 40)
    codes[:, 7] = 2
    context = context_of(OneBase(7), codes, settings=SETTINGS, method_options={"hypothetical": False})
    rows = context.rows(6)
    track = np.where(np.arange(40) == 7, 5.0, np.zeros(codes.shape))
    monkeypatch.setattr(local, "PERTURBED_SHARE", 0.5)
    errors, permuted = infidelity(context, rows, codes, track, 1e-6)
    np.testing.assert_allclose(errors, 0, atol=1e-12)
    assert permuted.mean() > 0.3


def test_a_model_that_ignores_its_input_has_no_agreement(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, 40)
    codes[0] = N_CODE
    context = context_of(Ignores(), codes, settings=SETTINGS)
    found = local_agreement(context, signed=True, rounding=1e-6)
    for values in (found.spearman, found.pearson, found.infidelity, found.permuted_infidelity):
        assert np.isnan(values).all()


def test_maps_without_signs_are_compared_by_magnitude(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, 40)
    context = context_of(linear(rng), codes, "saliency", settings=SETTINGS)
    found = local_agreement(context, signed=False, rounding=1e-6)
    assert (found.spearman > 0.2).all()
    assert np.isnan(found.infidelity).all()
