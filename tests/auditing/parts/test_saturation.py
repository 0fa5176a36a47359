"""Saturation, blind maps and redundancy: models whose answer is known."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from audit_cases import Ignores, OneBase, Seen, attributions_of, context_of, model_of, regions_of, seen
from numpy.typing import NDArray
from torch import nn

from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import NotTested
from seqsal.auditing.parts.saturation import audit_saturation, blindness
from seqsal.auditing.parts.saturation.blindness import (
    blind_positions,
    choose_tiles,
    cold_spots,
    important_positions,
    remove_tiles,
    tile_sums,
)
from seqsal.auditing.parts.saturation.relu import relu_activity
from seqsal.auditing.settings import AuditSettings
from seqsal.io.attributions import Attributions
from seqsal.models import wrap
from tests.toys import Linear, Small, random_codes

LENGTH = 60
CPU = torch.device("cpu")
QUICK = AuditSettings(n_small=8, n_bootstrap=200)
SITE = slice(4, 10)
OTHER = slice(34, 40)


class Bounded(nn.Module):
    """f = 4 min(number of G in a site, 5.5): with six Gs no gradient is left, yet losing one of them costs 2."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return 22 - 4 * torch.relu(5.5 - X[:, 2, SITE].sum(1))


class Redundant(nn.Module):
    """f = 4 as long as either of two sites is all G, 0 without both."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        either = sum(torch.relu(X[:, 2, site].sum(1) - 5) for site in (SITE, OTHER))
        return 4 - 4 * torch.relu(1 - either)


class Half(nn.Module):
    """Two filters, one of them always below 0, and a functional ReLU."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.filters = nn.Conv1d(4, 2, 3, padding=1)
        with torch.no_grad():
            self.filters.bias.copy_(torch.tensor([0.0, -100.0]))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.filters(X)).sum(dim=(1, 2))


class Wrapped(nn.Module):
    """A model behind another last step."""

    def __init__(self, module: nn.Module, step: Any) -> None:
        super().__init__()
        self.module, self.step = module, step

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.step(self.module(X))


def codes_with_sites(rng: np.random.Generator, n: int = 8) -> NDArray[np.uint8]:
    codes = random_codes(rng, n, LENGTH)
    codes[:, [*range(LENGTH)[SITE], *range(LENGTH)[OTHER]]] = 2
    return codes


def run(context: AuditContext) -> Seen:
    section = seen(audit_saturation(context))
    json.dumps(section.values, allow_nan=False)
    return section


def with_map(attr: Attributions, track: NDArray[np.floating], **attrs: Any) -> Attributions:
    return dataclasses.replace(
        attr, track=track.astype(np.float32), attrs={**attr.attrs, "method": "external", **attrs}
    )


def test_a_linear_model_is_nowhere_blind(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 8, LENGTH)
    section = run(context_of(Linear(torch.randn(4, LENGTH)), codes, settings=QUICK))
    values = section.values
    assert values["blind_share"] == 0 and values["n_important"] > 0 and not len(section.tables["cold_spots"])
    assert values["agreement"]["map"]["ism_spearman"] == pytest.approx(1)
    assert values["agreement"]["ism"]["ism_pearson"] == pytest.approx(1)
    assert values["recommended_method"] is None and values["recommendation"] is None
    assert values["redundancy"]["n_hidden"] == 0
    assert values["saturated_share"] is None and values["dead_relu_share"] is None
    assert any("has no ReLU" in line for line in section.untested)
    assert any("the output is not one (linear)" in line for line in section.untested)


def test_a_saturated_gradient_is_found_and_another_method_named(rng: np.random.Generator) -> None:
    codes = codes_with_sites(rng)
    section = run(context_of(Bounded(), codes, settings=QUICK))
    values = section.values
    assert values["blind_share"] == 1.0 and values["blind_share_ci"] == [1.0, 1.0]
    assert values["blind_share_by_method"]["gradient_x_input"] == 1.0
    assert values["blind_share_by_method"]["integrated_gradients"] == 0.0
    assert values["recommended_method"] in ("integrated_gradients", "deeplift_shap")
    assert values["recommendation"].startswith(f"Use {values['recommended_method']} instead of gradient_x_input")
    spots = section.tables["cold_spots"]
    assert sorted(spots["row"]) == list(range(8))
    assert ((spots["start"] - spots["row"] * LENGTH).between(4, 9) & (spots["ism_effect"] == 2)).all()
    assert (spots["map"] == 0).all() and (spots["integrated_gradients"] > 0).all()
    assert any("100% of the positions that matter" in line for line in section.warnings)


def test_redundant_sites_are_hidden_from_mutagenesis(rng: np.random.Generator) -> None:
    section = run(context_of(Redundant(), codes_with_sites(rng), settings=QUICK))
    found = section.values["redundancy"]
    assert found["n_hidden"] == found["n_tested"] == 8 and found["hidden_share"] == 1.0
    assert found["joint"] > 3.5 and found["singly"] == found["additive"] == found["control"] == 0
    assert section.values["blind_share"] is None
    assert any("losing no single base" in line for line in section.untested)
    assert any("mutagenesis misses them" in line for line in section.warnings)
    assert section.tables["redundant_regions"]["hidden"].all()


def test_a_random_map_is_blind_by_half(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blindness, "IMPORTANT_SHARE", 0.2)
    monkeypatch.setattr(blindness, "MIN_POSITION_EFFECT", 0.01)
    codes = random_codes(rng, 40, LENGTH)
    module = Linear(torch.randn(4, LENGTH))
    attr = with_map(attributions_of(module, codes), rng.normal(size=codes.shape))
    settings = AuditSettings(n_small=40, n_bootstrap=100)
    section = run(context_of(module, codes, attr=attr, settings=settings))
    assert section.values["blind_share"] == pytest.approx(0.5, abs=0.1)
    assert section.values["recommended_method"] == "gradient_x_input"
    assert section.values["agreement"]["map"]["n_passes"] is None


def test_unsigned_maps_are_compared_by_size(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 8, LENGTH)
    module = Linear(torch.randn(4, LENGTH))
    plain = attributions_of(module, codes)
    attr = with_map(plain, np.abs(plain.track[:]), signed=False)
    values = run(context_of(module, codes, attr=attr, settings=QUICK)).values
    assert values["agreement"]["map"]["ism_spearman"] == pytest.approx(1)
    assert values["blind_share"] == 0 and values["recommended_method"] is None


def test_dead_units_are_counted(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 5, LENGTH)
    module = Half().eval()
    context = context_of(module, codes, settings=QUICK)
    values = run(context).values
    X = torch.zeros(5, 4, LENGTH).scatter_(1, torch.from_numpy(codes).long()[:, None], 1.0)
    active = (module.filters(X) > 0).numpy()
    assert not active[:, 1].any()
    assert values["dead_channel_share"] == 0.5
    assert values["dead_relu_share"] == pytest.approx((~active.any(0)).mean())
    assert values["inactive_share"] == pytest.approx((~active).mean())


def test_dead_channels_are_told(rng: np.random.Generator) -> None:
    module = Half().eval()
    with torch.no_grad():
        module.filters.bias.fill_(-100.0)
    section = run(context_of(module, random_codes(rng, 3, LENGTH), settings=QUICK))
    assert section.values["dead_channel_share"] == section.values["dead_relu_share"] == 1.0
    assert any("100% of the model's ReLU channels" in line for line in section.warnings)


@pytest.mark.parametrize(
    "step", [nn.ReLU(), nn.ReLU6(), lambda x: x.clamp(min=0), lambda x: x.clamp_min(0), torch.relu]
)
def test_every_way_to_write_a_relu(rng: np.random.Generator, step: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.first, self.last = nn.Linear(4 * LENGTH, 6), nn.Linear(6, 1)
            self.step = step

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return self.last(self.step(self.first(X.flatten(1)))).squeeze(1)

    codes = random_codes(rng, 40, LENGTH)
    activity = relu_activity(model_of(Net(), LENGTH), codes, CPU)
    assert not isinstance(activity, NotTested)
    assert activity.n_units.tolist() == activity.n_channels.tolist() == [6]
    assert activity.inactive.shape == (40,) and 0 < activity.inactive.mean() < 1


def test_the_batch_does_not_matter(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, model = random_codes(rng, 7, LENGTH), model_of(Small(), LENGTH)
    whole = relu_activity(model, codes, CPU)
    monkeypatch.setattr("seqsal.auditing.parts.saturation.relu.PASS_BASES", 2 * LENGTH)
    parts = relu_activity(model, codes, CPU)
    assert not isinstance(whole, NotTested) and not isinstance(parts, NotTested)
    assert all(np.array_equal(a, b) for a, b in zip(whole[1:], parts[1:], strict=True))


def test_probabilities_behind_logits(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 40, LENGTH)
    module = Wrapped(Linear(torch.randn(4, LENGTH)), torch.sigmoid)
    context = context_of(module, codes, settings=QUICK)
    assert context.attr.output_space == "logit"
    section = run(context)
    p = 1 / (1 + np.exp(-context.attr.prediction[:].astype(np.float64)))
    values = section.values
    assert values["n_predicted"] == 40
    assert (
        values["saturated_share"] == pytest.approx(((p < 0.01) | (p > 0.99)).mean()) and values["saturated_share"] > 0
    )
    assert values["probability_gradient_ratio"] == pytest.approx((p * (1 - p)).mean())
    assert values["squashed_share"] == pytest.approx((p * (1 - p) < 0.025).mean())
    assert not any("attribute the logit" in line for line in section.warnings)
    table = section.tables["saturation_regions"]
    assert table["probability"].to_numpy() == pytest.approx(p[table["row"]])


def test_a_map_of_a_probability_is_warned_about(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 20, LENGTH)
    model = wrap(
        Wrapped(Linear(torch.randn(4, LENGTH)), torch.sigmoid).eval(), input_length=LENGTH, output_space="probability"
    )
    section = run(context_of(model, codes, settings=QUICK))
    assert section.values["squashed_share"] > 0
    assert any("attribute the logit instead" in line for line in section.warnings)


@pytest.mark.parametrize("kind", ["softmax", "log_softmax"])
def test_probabilities_behind_a_softmax_are_asked_for(rng: np.random.Generator, kind: str) -> None:
    class Classes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(2)
            self.last = nn.Linear(4 * LENGTH, 3)

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return getattr(torch, kind)(8 * self.last(X.flatten(1)), dim=1)

    codes = random_codes(rng, 12, LENGTH)
    module = Classes().eval()
    table = run(context_of(module, codes, settings=QUICK)).tables["saturation_regions"]
    X = torch.zeros(12, 4, LENGTH).scatter_(1, torch.from_numpy(codes).long()[:, None], 1.0)
    p = module(X).detach()[:, 0]
    p = p.exp() if kind == "log_softmax" else p
    assert table["probability"].to_numpy() == pytest.approx(p.numpy()[table["row"]], rel=1e-4)


@pytest.mark.parametrize("what", ["ignores", "unknown", "single"])
def test_odd_regions(rng: np.random.Generator, what: str) -> None:
    codes = np.full((4, LENGTH), 4, dtype=np.uint8) if what == "unknown" else random_codes(rng, 4, LENGTH)
    module = {"ignores": Ignores(), "unknown": OneBase(20), "single": Linear(torch.randn(4, LENGTH))}[what]
    section = run(context_of(module, codes[:1] if what == "single" else codes, settings=QUICK))
    if what == "single":
        assert section.values["blind_share"] == 0 and section.values["blind_share_ci"] is None
    else:
        assert section.values["blind_share"] is None
        assert any("predicts the same for every sequence" in line for line in section.untested)


def test_without_a_model(rng: np.random.Generator) -> None:
    attr = attributions_of(Linear(torch.randn(4, LENGTH)), random_codes(rng, 4, LENGTH))
    section = run(AuditContext(attr, None, settings=QUICK))
    assert section.values["blind_share"] is None and section.values["n_regions"] == 0
    assert any("there is no model" in line for line in section.untested)
    said = dataclasses.replace(attr, prediction=np.array([0, 0.5, 1, 0.2], np.float32))
    said.attrs["output_space"] = "probability"
    assert run(AuditContext(said, None, settings=QUICK)).values["saturated_share"] == 0.5


def test_a_model_without_a_gradient_is_still_audited(rng: np.random.Generator) -> None:
    codes = codes_with_sites(rng)
    module = model_of(Bounded(), LENGTH)
    attr = attributions_of(module, codes, "ism")
    inner = module.module
    module.module = Wrapped(inner, lambda values: values.detach())
    section = run(context_of(module, codes, attr=attr, settings=QUICK))
    assert section.values["blind_share"] == 0 and section.values["redundancy"] is None
    assert any("gradient_x_input was not compared" in line for line in section.untested)
    assert any("neither DeepLIFT nor integrated gradients" in line for line in section.untested)


def test_important_and_blind_positions_by_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blindness, "IMPORTANT_SHARE", 0.25)
    monkeypatch.setattr(blindness, "MIN_POSITION_EFFECT", 0.5)
    ism = np.array([[0.0, -4, 3, 2, 0.1, 0, 0, 9], [0.1, 0.2, 0, 0, 0, 0, 0, 0]])
    known = np.ones(ism.shape, dtype=bool)
    known[0, 7] = False
    important = important_positions(ism, known, 2.0)
    assert np.array_equal(np.argwhere(important), [[0, 1], [0, 2]])  # the second region has none above 0.5 · 2
    assert not important_positions(ism, known, 0.0).any()
    seen = np.array([[0.1, 1, -3, 0.1, 0.2, 0.1, 0.1, 50], [0.0] * 8])
    assert not blind_positions(seen, ism, known, important).any()
    low = np.where(np.arange(8) == 2, -0.1, seen)  # not above the median
    assert np.array_equal(np.argwhere(blind_positions(low, ism, known, important)), [[0, 2]])
    faint = np.where(np.arange(8) == 2, 0.21, seen * 20)  # above no more than a hundredth of the largest
    assert blind_positions(faint * [[1], [1]], ism, known, important)[0, 2]
    assert blind_positions(seen * 0, ism, known, important)[0, 1:3].all()


def test_cold_spots_are_spans_of_the_genome() -> None:
    windows = regions_of(2, LENGTH).assign(strand=["+", "-"])
    windows.insert(0, "row", [5, 9])
    blind = np.zeros((2, LENGTH), dtype=bool)
    blind[0, [3, 5, 9, 30]] = True
    blind[1, 0] = True
    ism = np.zeros((2, LENGTH))
    ism[0, [3, 5, 9, 30]], ism[1, 0] = [1, -2, 1.5, 0.5], 7
    table = cold_spots(windows, blind, ism, {"map": ism / 10})
    assert table[["row", "start", "end", "n_positions", "ism_effect"]].to_numpy().tolist() == [
        [9, 2 * LENGTH - 1, 2 * LENGTH, 1, 7], [5, 3, 10, 3, -2], [5, 30, 31, 1, 0.5]
    ]  # fmt: skip
    assert table["map"].tolist() == pytest.approx([0.7, -0.2, 0.05])


def test_removed_tiles_of_a_linear_model(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blindness, "SPAN_BP", 7)
    monkeypatch.setattr(blindness, "N_SPANS", 100)
    codes = random_codes(rng, 4, LENGTH, 0.05)
    weight = torch.randn(4, LENGTH)
    context = context_of(Linear(weight), codes)
    tiles = choose_tiles(context, codes, {})
    assert tiles.edges.tolist() == list(range(2, LENGTH, 7)) and tiles.tested.all()
    known_weight = np.concatenate([weight.numpy(), np.zeros((1, LENGTH))]).astype(np.float64)

    def contributions(each: NDArray[np.uint8]) -> NDArray[np.float64]:
        return known_weight[each, np.arange(LENGTH)]

    lost = contributions(codes) - np.mean([contributions(context.shuffled(codes, d)) for d in range(3)], axis=0)
    assert remove_tiles(context, codes, tiles) == pytest.approx(tile_sums(tiles.edges, lost), abs=1e-4)


def test_the_tiles_with_most_credit_are_among_those_removed(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blindness, "SPAN_BP", 5)
    monkeypatch.setattr(blindness, "N_SPANS", 4)
    codes = random_codes(rng, 6, LENGTH)
    context = context_of(Linear(torch.randn(4, LENGTH)), codes)
    track = np.zeros(codes.shape)
    track[:, 12] = -5.0
    track[:, 47] = 3.0
    tiles = choose_tiles(context, codes, {"map": track})
    assert (tiles.tested.sum(1) == 4).all() and tiles.tested[:, [2, 9]].all()
    assert tiles.mask(tiles.tested, LENGTH).sum() == 6 * 4 * 5


def test_the_same_twice(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, LENGTH)
    sections = [run(context_of(Small().eval(), codes, settings=QUICK)) for _ in range(2)]
    assert json.dumps(sections[0].values) == json.dumps(sections[1].values)
    for name, table in sections[0].tables.items():
        pd.testing.assert_frame_equal(table, sections[1].tables[name])
        assert list(table.columns[:5]) == ["row", "chrom", "start", "end", "name"]
