from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from audit_cases import attributions_of, context_of
from toys import Linear, random_codes

from seqsal.auditing.content import runs_of
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import NotTested
from seqsal.auditing.parts.faithfulness.replacement import peak_effects, peak_masks, place_spans
from seqsal.auditing.settings import AuditSettings
from seqsal.regions import make_regions
from seqsal.sequence.codes import N_CODE

SETTINGS = AuditSettings(n_draws=2, n_bootstrap=200)


def spans_of(mask: np.ndarray) -> np.ndarray:
    return np.stack(runs_of(mask[None])[1:], axis=1)


def make_peaks(*spans: tuple[str, int, int, str]) -> pd.DataFrame:
    table = pd.DataFrame(list(spans), columns=["chrom", "start", "end", "sign"])
    return table.assign(summit=0, q_value=0.01)


def weights(rng: np.random.Generator) -> torch.Tensor:
    """Strong bases of either sign at 10 to 20 and 30 to 36 of 60."""
    weight = torch.from_numpy(rng.normal(0, 0.01, size=(4, 60)).astype(np.float32))
    weight[:, 10:20] += torch.eye(4)[:, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]]
    weight[:, 30:36] -= torch.eye(4)[:, [0, 0, 1, 1, 2, 2]]
    return weight


@pytest.fixture
def context(rng: np.random.Generator) -> AuditContext:
    codes = random_codes(rng, 12, 60)
    codes[:, 10:20] = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    codes[:, 30:36] = [0, 0, 1, 1, 2, 2]
    codes[3, 40:] = N_CODE
    spans = [(60 * i + 10, 60 * i + 20, "pos") for i in range(12)] + [(60 * i + 30, 60 * i + 36, "neg") for i in (1, 3)]
    peaks = make_peaks(*(("chr1", start, end, sign) for start, end, sign in spans))
    return context_of(Linear(weights(rng)), codes, settings=SETTINGS, peaks=peaks)


def test_peaks_count_where_they_lie_wholly_in_a_window() -> None:
    regions = make_regions(["chr1", "chr1", "chr2"], [100, 110, 100], [120, 130, 120], strand=["+", "-", "."])
    peaks = make_peaks(("chr1", 100, 103, "pos"), ("chr1", 117, 122, "neg"), ("chr1", 125, 130, "pos"))
    masks = peak_masks(regions, peaks, 20)
    assert [spans_of(mask).tolist() for mask in masks["pos"]] == [[[0, 3]], [[0, 5]], []]
    assert [spans_of(mask).tolist() for mask in masks["neg"]] == [[], [[8, 13]], []]


def test_spans_are_placed_in_free_stretches_alone(rng: np.random.Generator) -> None:
    free = np.zeros(40, dtype=bool)
    free[[*range(3, 10), *range(20, 32)]] = True
    starts = set()
    for _ in range(300):
        placed = place_spans(free, np.array([3, 6]), rng)
        assert placed is not None
        assert placed.sum() == 9
        assert not (placed & ~free).any()
        starts.update(spans_of(placed)[:, 0].tolist())
    assert {3, 4, 20, 26} <= starts
    assert place_spans(free, np.array([13]), rng) is None
    assert place_spans(free, np.array([41]), rng) is None


def test_a_linear_model_changes_by_the_bases_replaced(context: AuditContext) -> None:
    rows = context.rows(100)
    codes, weight = context.codes(rows), next(context.model.parameters()).detach().numpy()
    effects = peak_effects(context, rows, codes, context.predict(codes))
    place = np.arange(10, 20)
    expected = np.zeros(12)
    for draw in range(2):
        shuffled = context.shuffled(codes, draw)
        expected += (weight[shuffled[:, place], place] - weight[codes[:, place], place]).sum(axis=1) / 2
    np.testing.assert_allclose(effects["pos"].change, expected, atol=1e-5)
    assert effects["pos"].index.tolist() == list(range(12))
    assert effects["neg"].index.tolist() == [1, 3]
    assert effects["pos"].n_passes == 2 * 2 * 12


def test_both_signs_count_the_right_way(context: AuditContext) -> None:
    rows = context.rows(100)
    codes = context.codes(rows)
    effects = peak_effects(context, rows, codes, context.predict(codes))
    positive, negative = (effects[sign].summarise(context, True, 1e-6) for sign in ("pos", "neg"))
    assert positive.change < -5 < -0.5 < positive.random_change
    assert positive.difference == pytest.approx(positive.random_change - positive.change)
    assert positive.ci[0] > 5
    assert positive.share_better == 1
    assert negative.change > 2
    assert negative.difference > 2
    assert negative.n_peaks == negative.n_regions == 2
    unsigned = effects["neg"].summarise(context, False, 1e-6)
    assert unsigned.difference == pytest.approx(abs(effects["neg"].change).mean()
                                                   - abs(effects["neg"].random_change).mean())  # fmt: skip


def test_a_window_full_of_peaks_is_left_out_and_counted(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 3, 60)
    codes[2] = N_CODE
    peaks = make_peaks(("chr1", 0, 40, "pos"), ("chr1", 60, 70, "pos"), ("chr1", 130, 140, "pos"))
    context = context_of(Linear(weights(rng)), codes, settings=SETTINGS, peaks=peaks)
    rows = context.rows(3)
    found = peak_effects(context, rows, codes, context.predict(codes))["pos"]
    assert found.index.tolist() == [1]
    assert found.n_unmatched == 1
    assert found.summarise(context, True, 0.0).ci is None


def test_no_peaks_come_to_nothing(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 3, 60)
    model = Linear(weights(rng))
    attr = replace(attributions_of(model, codes), controls=None)
    context = context_of(model, codes, attr=attr, settings=SETTINGS)
    found = peak_effects(context, context.rows(3), codes, np.zeros(3))["neg"].summarise(context, True, 0.0)
    assert found.n_regions == found.n_peaks == 0
    assert found.ci is None and found.change == found.difference == found.share_better == NotTested(
        "none lies within a tested region"
    )
