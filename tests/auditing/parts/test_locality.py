"""The local caveat on models whose cliffs and plateaus are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from audit_cases import context_of
from torch import nn

from seqsal.auditing.part import to_json
from seqsal.auditing.parts.stability import locality
from seqsal.auditing.parts.stability.locality import (
    PATH_SHARES,
    linear_picture,
    make_probes,
    probe_locality,
    sum_changes,
)
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import share_interval
from seqsal.sequence.codes import one_hot
from tests.toys import Linear, Small, random_codes

LENGTH = 60
SETTINGS = AuditSettings(n_small=6, n_regions=6)
FIRST, SECOND = (10, [2, 1, 0, 3, 0, 1, 2, 3]), (40, [3, 3, 1, 0, 2, 2, 0, 1])


class Gate(nn.Module):
    """Whether two words are at their places, 1 or 0 each, joined by any function; slope 1 below a full match."""

    def __init__(self, join: str) -> None:
        super().__init__()
        self.join = join
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        found = []
        for start, word in (FIRST, SECOND):
            at = torch.arange(start, start + len(word), device=X.device)
            matches = X[:, torch.tensor(word, device=X.device), at].sum(-1)
            found.append(torch.relu(matches - len(word) + 1))
        joined = found[0] * found[1] if self.join == "and" else torch.maximum(*found)
        return self.scale * joined + 1e-3 * X[:, 0].sum(-1)


class Floor(nn.Module):
    """Never below a floor."""

    def __init__(self, body: nn.Module, floor: float) -> None:
        super().__init__()
        self.body, self.floor = body, floor

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        value = self.body(X) - self.floor
        return torch.relu(value) + 1e-3 * value


def with_words(rng: np.random.Generator, n: int = 6) -> np.ndarray:
    codes = random_codes(rng, n, LENGTH)
    for start, word in (FIRST, SECOND):
        codes[:, start : start + len(word)] = word
    return codes


def linear(rng: np.random.Generator) -> Linear:
    return Linear(torch.from_numpy(rng.normal(size=(4, LENGTH)).astype(np.float32)))


@pytest.mark.parametrize("method", ["gradient_x_input", "ism", "integrated_gradients"])
def test_a_linear_model_is_what_its_map_adds_up_to(rng: np.random.Generator, method: str) -> None:
    context = context_of(linear(rng), random_codes(rng, 6, LENGTH, share_unknown=0.05), method, settings=SETTINGS)
    found = probe_locality(context)
    assert to_json(found)["n_cliffs"] == to_json(found)["n_plateaus"] == 0
    assert to_json(found)["share_of_regions"] == 0
    assert to_json(found)["picture"] == ("scaled_map" if method == "integrated_gradients" else "map")
    assert found.ci == share_interval(0, 6, 0.95)
    for kind in ("double", "triple", "path"):
        assert to_json(found)["additivity"][kind]["pearson"] == pytest.approx(1, abs=1e-5)
        assert to_json(found)["additivity"][kind]["mean_missed"] == pytest.approx(0, abs=1e-4)
    assert (found.regions["worst_kind"] == "").all()
    assert found.regions["worst_change"].isna().all()
    assert "it adds up to what the model does in all of the regions" in found.warning


def test_an_and_gate_is_a_plateau_once_one_word_is_gone(rng: np.random.Generator) -> None:
    """Each base of either word takes all by itself, so that the map adds up to 16 times what there is to lose."""
    found = probe_locality(context_of(Gate("and"), with_words(rng), settings=SETTINGS))
    assert to_json(found)["n_cliffs"] == 0
    assert to_json(found)["paths"]["share_of_regions"] == 1
    far = found.probes[(found.probes["kind"] == "path") & (found.probes["place"] == "1")].iloc[0]
    assert far["plateaus"] > 0.9
    worst = found.regions.iloc[0]
    assert worst["worst_kind"].startswith("path")
    assert worst["worst_change"] == pytest.approx(-5, abs=0.1)
    assert worst["worst_linear"] < -20
    assert to_json(found)["additivity"]["path"]["mean_missed"] > 1


def test_an_or_gate_is_a_cliff_that_no_single_substitution_sees(rng: np.random.Generator) -> None:
    found = probe_locality(context_of(Gate("or"), with_words(rng), "ism", settings=SETTINGS))
    assert to_json(found)["n_plateaus"] == 0
    assert to_json(found)["paths"]["share_of_regions"] == 1
    far = found.probes[(found.probes["kind"] == "path") & (found.probes["place"] == "1")].iloc[0]
    assert far["cliffs"] > 0.9
    assert found.regions["worst_change"].to_numpy() == pytest.approx(-5, abs=0.1)
    assert np.abs(found.regions["worst_linear"]).max() < 0.1


def test_a_saturated_model_is_a_plateau(rng: np.random.Generator) -> None:
    body = linear(rng)
    best = body.weight.detach().numpy().argmax(0).astype(np.uint8)
    codes = np.tile(best, (6, 1))
    codes[np.arange(6), np.arange(6) * 9] = (codes[np.arange(6), np.arange(6) * 9] + 1) % 4
    floor = float(body(torch.from_numpy(one_hot(codes))).detach().min()) - 3
    found = probe_locality(context_of(Floor(body, floor), codes, settings=SETTINGS))
    assert to_json(found)["n_cliffs"] == 0
    assert to_json(found)["paths"]["share_of_regions"] == 1
    assert to_json(found)["share_of_regions"] == 1


def test_failures_follow_from_their_definition(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 5, LENGTH)
    context = context_of(Small(), codes, settings=SETTINGS)
    found = probe_locality(context)
    rows, scale = context.rows(6), context.effect_scale
    changes = linear_picture(context, 6).changes
    n_cliffs = n_plateaus = n_probes = 0
    before = context.predict(codes[rows])
    for probe in make_probes(context, rows):
        after = context.predict(probe.codes)
        for i, row in enumerate(rows):
            n_probes += bool((probe.codes[i] != codes[row]).any())
            real = float(after[i] - before[i])
            at = np.flatnonzero(probe.codes[i] != codes[row])
            picture = sum(float(changes[i, probe.codes[i, j], j]) for j in at)
            explained = picture / real if real else np.inf
            cliff = abs(real) >= 0.25 * scale and explained < 0.25
            n_cliffs += cliff
            n_plateaus += not cliff and abs(picture) >= 0.25 * scale and abs(real) < 0.25 * abs(picture)
    assert (to_json(found)["n_probes"], to_json(found)["n_cliffs"], to_json(found)["n_plateaus"]) == (
        n_probes, n_cliffs, n_plateaus
    )  # fmt: skip
    assert n_cliffs + n_plateaus > 0
    assert found.regions[["n_probes", "n_cliffs", "n_plateaus"]].sum().tolist() == [n_probes, n_cliffs, n_plateaus]
    assert found.regions["failing_share"].is_monotonic_decreasing
    assert found.probes["n_probes"].sum() == n_probes


def test_shuffles_drawn_together_are_those_drawn_one_by_one(rng: np.random.Generator) -> None:
    context = context_of(Small(), random_codes(rng, 3, LENGTH, share_unknown=0.1), settings=SETTINGS)
    codes = np.asarray(context.codes(context.rows(3)))
    one_by_one = [context.shuffled(codes, draw) for draw in range(7, 12)]
    assert np.array_equal(context.shuffles(codes, 7, 5), one_by_one)


def test_probes_change_what_they_say(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 6, LENGTH, share_unknown=0.1)
    context = context_of(Small(), codes, settings=SETTINGS)
    rows = context.rows(6)
    track = np.abs(context.track(rows))
    probes = list(make_probes(context, rows))
    assert len(probes) == 4 * locality.N_COMBINATIONS + len(PATH_SHARES) * SETTINGS.n_draws
    shuffles = [context.shuffled(codes[rows], draw) for draw in range(SETTINGS.n_draws)]
    for probe in probes:
        changed = probe.codes != codes[rows]
        assert not changed[codes[rows] == 4].any()
        assert probe.codes[codes[rows] < 4].max() < 4
        if probe.kind == "path":
            from_shuffle = [(probe.codes == shuffled)[changed].all() for shuffled in shuffles]
            assert any(from_shuffle)
        else:
            assert (changed.sum(1) == {"double": 2, "triple": 3}[probe.kind]).all()
        if probe.place == "top":
            tenth = np.sort(track, axis=1)[:, -10]
            assert (track >= tenth[:, None])[changed].all()
    assert np.array_equal(probes[-1].codes, shuffles[-1])


def test_sums_are_over_what_differs(rng: np.random.Generator) -> None:
    changes = rng.normal(size=(1, 4, 5))
    codes, changed = np.array([[0, 1, 2, 3, 4]], np.uint8), np.array([[0, 2, 2, 1, 4]], np.uint8)
    assert sum_changes(changes, codes, changed)[0] == pytest.approx(changes[0, 2, 1] + changes[0, 1, 3])


def test_a_map_of_positions_is_put_on_the_scale_of_the_effects(rng: np.random.Generator) -> None:
    """A map without scores of all bases, 7 times too large: the scale is found, the other base cannot be told."""
    weight = np.zeros((4, LENGTH), np.float32)
    weight[1] = rng.normal(size=LENGTH)
    codes = np.ones((4, LENGTH), np.uint8)
    codes[:, ::7] = 0
    module = Linear(torch.from_numpy(weight))
    context = context_of(module, codes, settings=SETTINGS, method_options={"gradient_correction": False})
    context.attr.track[:] *= 7
    context.attr.attrs["method"] = "another"
    picture = linear_picture(context, 4)
    assert picture.kind == "scaled_track"
    there = codes[context.rows(4)] == 1
    expected = -np.where(there, weight[1], 0)
    for base in (0, 2, 3):
        assert picture.changes[:, base][there] == pytest.approx(expected[there], rel=1e-4)
    assert (picture.changes[:, 1][there] == 0).all()


def test_maps_without_signs_and_maps_of_nothing(rng: np.random.Generator) -> None:
    context = context_of(linear(rng), random_codes(rng, 4, LENGTH), "saliency", settings=SETTINGS)
    assert linear_picture(context, 4).kind == "single_effects"
    assert "sum of single effects is what the model does in all of the regions" in probe_locality(context).warning
    context = context_of(linear(rng), random_codes(rng, 4, LENGTH), settings=SETTINGS)
    context.attr.track[:] = 0
    context.attr.attrs["method"] = "another"
    assert (linear_picture(context, 4).changes == 0).all()


def test_windows_of_one_base_and_of_none_have_few_probes(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 3, LENGTH)
    codes[0], codes[1] = 4, 0
    found = probe_locality(context_of(Small(), codes, settings=SETTINGS))
    n_probes = found.regions.set_index("row")["n_probes"]
    assert n_probes[0] == 0
    assert n_probes[1] == 4 * locality.N_COMBINATIONS  # a run of A has no other shuffle
    json.dumps(to_json(found), allow_nan=False)


def test_one_region_has_no_interval(rng: np.random.Generator) -> None:
    found = probe_locality(context_of(Small(), random_codes(rng, 1, LENGTH), settings=SETTINGS))
    assert to_json(found)["ci"] is None
    assert "CI" not in found.warning
