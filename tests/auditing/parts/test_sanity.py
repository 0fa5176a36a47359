"""Random weights: honest maps change, those of the painter do not, and what cannot be tested is said."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from audit_cases import CPU, Ignores, OneBase, Seen, attributions_of, context_of, model_of, seen
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from torch import nn

from seqsal.auditing.context import AuditContext
from seqsal.auditing.painter import paint_motifs
from seqsal.auditing.parts import sanity
from seqsal.auditing.parts.sanity import audit_sanity as audit_part
from seqsal.auditing.parts.sanity import weights
from seqsal.auditing.parts.sanity.randomize import Randomizer
from seqsal.auditing.parts.sanity.weights import Comparison, map_similarity, spread_evenly
from seqsal.auditing.settings import AuditSettings
from seqsal.errors import UsageError
from seqsal.models import CNN, CNNConfig
from seqsal.motifs import Motif
from tests.toys import Linear, Small, random_codes

LENGTH = 60
SETTINGS = AuditSettings(n_small=6, n_bootstrap=100)
SITE = np.array([0, 1, 1, 2, 3, 0, 2, 2], dtype=np.uint8)


@pytest.fixture(autouse=True)
def two_random_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "N_RANDOMIZATIONS", 2)


def audit_sanity(context: AuditContext) -> Seen:
    return seen(audit_part(context))


class Locked(Small):
    """Cannot be deep-copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("no")


class Middle(nn.Module):
    """A network that reads the middle third only."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.inner(X[:, :, 20:40])


class ZeroHead(nn.Linear):
    """A layer that starts at 0."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def randomizer(module: nn.Module, codes: NDArray[np.uint8]) -> Randomizer:
    return Randomizer(model_of(module, LENGTH), codes, lambda name: np.random.default_rng([*name.encode()]), CPU)


def painter_context(module: nn.Module, codes: NDArray[np.uint8], **given: Any) -> AuditContext:
    counts = np.full((4, 8), 1.0)
    counts[SITE, np.arange(8)] = 57 - 3 * np.arange(8)
    paint = paint_motifs([Motif("toy", "", counts)], p_value=1e-3)
    attr = attributions_of(module, codes)
    painted = dataclasses.replace(attr, track=paint(None, codes), attrs={**attr.attrs, "method": "painter"})
    return context_of(module, codes, attr=painted, settings=SETTINGS, **{"explainer": paint, **given})


def test_similarity_is_that_of_scipy_over_known_positions(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 3, 40)).astype(np.float32)
    known = rng.random((3, 40)) < 0.8
    found = map_similarity(a, b, known)
    for i in range(3):
        x, y = a[i, known[i]].astype(np.float64), b[i, known[i]].astype(np.float64)
        assert found["similarity"][i] == pytest.approx(spearmanr(abs(x), abs(y)).statistic)
        assert found["signed_similarity"][i] == pytest.approx(spearmanr(x, y).statistic)
        assert found["mass_similarity"][i] == pytest.approx(pearsonr(abs(x), abs(y)).statistic)


def test_flat_maps_are_unlike_or_undefined(rng: np.random.Generator) -> None:
    a, flat = rng.normal(size=(1, 20)).astype(np.float32), np.zeros((1, 20), dtype=np.float32)
    known = np.ones((1, 20), dtype=bool)
    assert map_similarity(a, flat, known)["similarity"][0] == 0
    assert np.isnan(map_similarity(flat, a, known)["similarity"][0])
    assert map_similarity(flat + 2, flat + 2, known)["similarity"][0] == 1


def test_what_only_positions_share_does_not_count(rng: np.random.Generator) -> None:
    place = np.exp(-(np.linspace(-4, 4, 50) ** 2))
    before, after, shuffled = (place * rng.uniform(0.5, 1.5, size=(3, 40, 50))).astype(np.float32)
    known = np.ones((40, 50), dtype=bool)
    comparison = Comparison(before, [after], [shuffled], known)
    assert comparison.same["mass_similarity"].mean() > 0.8
    assert abs(comparison.excess("mass_similarity") or 0) < 0.2
    assert Comparison(before, [-2 * before], [shuffled], known).excess("signed_similarity") == pytest.approx(1.0)


def test_layers_go_from_the_output_down(rng: np.random.Generator) -> None:
    found = randomizer(Small(), random_codes(rng, 8, LENGTH))
    assert [found.label(layer) for layer in found.layers] == ["head (Linear)", "block (Conv1d)", "stem (Conv1d)"]
    assert found.layers[-1] == ("norm", "stem")


def test_random_weights_leave_the_model_and_other_layers_alone(rng: np.random.Generator) -> None:
    module = Small().train()
    before, draws = state(module), torch.get_rng_state()
    found = randomizer(module.eval(), random_codes(rng, 8, LENGTH))
    with found.randomized(found.layers[:1]) as model:
        after, means = state(model.module), dict(model.module.named_buffers())
        assert not torch.equal(after["head.weight"], before["head.weight"])
        assert torch.equal(after["stem.weight"], before["stem.weight"])
        assert torch.equal(means["norm.running_mean"], before["norm.running_mean"])
    with found.randomized(found.layers) as all_random:
        assert torch.equal(state(all_random.module)["head.weight"], after["head.weight"])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), draws)


def test_normalisation_statistics_are_those_of_the_random_network(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 16, LENGTH)
    found = randomizer(Small(), codes)
    with found.randomized(found.layers) as model:
        X = torch.nn.functional.one_hot(torch.from_numpy(codes).long(), 4).mT.float()
        with torch.no_grad():
            h = model.module.stem(X)
        torch.testing.assert_close(model.module.norm.running_mean, h.mean(dim=(0, 2)))
        torch.testing.assert_close(model.module.norm.running_var, h.var(dim=(0, 2)))
        assert model.module.norm.momentum == 0.1


def test_a_model_that_cannot_be_copied_gets_its_weights_back(rng: np.random.Generator) -> None:
    module = Locked().eval()
    before = state(module)
    found = randomizer(module, random_codes(rng, 8, LENGTH))
    with pytest.raises(RuntimeError, match="in between"), found.randomized(found.layers) as model:
        assert model.module is module
        assert not torch.equal(module.stem.weight, before["stem.weight"])
        raise RuntimeError("in between")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_layers_that_start_at_0_are_permuted(rng: np.random.Generator) -> None:
    module = Small()
    module.head = ZeroHead(8, 1)
    with torch.no_grad():
        module.head.weight.copy_(torch.arange(8.0)[None])
    found = randomizer(module, random_codes(rng, 8, LENGTH))
    with found.randomized(found.layers[:1]) as model:
        weight = model.module.head.weight.detach().flatten()
        assert not torch.equal(weight, torch.arange(8.0)) and torch.equal(weight.sort().values, torch.arange(8.0))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_compiled_models_are_permuted(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 8, LENGTH)
    module = torch.jit.script(Small().eval())
    before = state(module)
    section = audit_sanity(context_of(module, codes, settings=SETTINGS))
    assert section.values["depends_on_model"] is True
    assert section.values["layers"][0]["layer"] == "head (Linear)"
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("module", "method"),
    [
        (Small(), "gradient_x_input"),
        (Small(), "ism"),
        (Small(), "grad_cam"),
        (Locked(), "gradient_x_input"),
        (Middle(), "gradient_x_input"),
    ],
    ids=["gradient", "ism", "grad_cam", "locked", "middle"],
)
def test_an_honest_map_depends_on_the_model(module: nn.Module, method: str, rng: np.random.Generator) -> None:
    codes = random_codes(rng, 12, LENGTH, share_unknown=0.02)
    section = audit_sanity(context_of(module, codes, method, settings=SETTINGS))
    values = section.values
    json.dumps(values, allow_nan=False)
    assert values["reproduced"] == pytest.approx(1.0, abs=1e-4)
    if method != "grad_cam":  # which sees eight channels of this network, smoothed
        assert values["depends_on_model"] is True
    assert values["n_regions"] == 6
    assert [entry["n_layers"] for entry in values["cascade"]] == [1, 2, 3] and len(values["layers"]) == 3
    assert len(section.tables["randomization"]) == 2 + 2 + 3


def test_the_painter_is_called_out(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 12, LENGTH)
    codes[:, 20:28] = SITE
    section = audit_sanity(painter_context(Small(), codes))
    assert section.values["depends_on_model"] is False
    assert section.values["randomized_similarity"] == 1.0
    assert all(entry["similarity"] == 1.0 for entry in section.values["cascade"])
    assert "The map hardly depends on the model" in section.warnings[0] and "the very same map" in section.warnings[0]


def test_a_little_gradient_does_not_hide_the_painter(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 12, LENGTH)
    codes[:, 20:28] = SITE
    plain, module = context_of(Small(), codes), Small()
    honest = painter_context(module, codes)
    assert honest.explainer is not None
    paint = honest.explainer

    def explain(model: Any, given: NDArray[np.uint8]) -> NDArray[np.float32]:
        gradient = plain.attribute(given, model=model)
        return paint(model, given) + 0.02 * gradient / np.abs(gradient).max()

    attr = dataclasses.replace(honest.attr, track=explain(honest.model, codes))
    section = audit_sanity(context_of(module, codes, attr=attr, explainer=explain, settings=SETTINGS))
    assert section.values["depends_on_model"] is False and section.values["measure"] == "mass_similarity"


def test_what_cannot_be_made_again_is_not_guessed(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 12, LENGTH)
    section = audit_sanity(painter_context(Small(), codes, explainer=None))
    assert section.values["depends_on_model"] is None and section.values["n_regions"] == 0
    assert section.values["input"]["n_regions"] == 6
    assert "cannot be made again; give explainer=" in section.untested[0]
    without = AuditContext(attributions_of(Small(), codes, n_controls=0), None, settings=SETTINGS)
    section = audit_sanity(without)
    assert section.values["input"] is None
    assert "the model is not given" in section.untested[0] and "none are stored" in section.untested[1]


def test_maps_that_are_not_the_methods_are_told(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 12, LENGTH)
    attr = attributions_of(Small(), codes)
    attr = dataclasses.replace(attr, track=np.roll(attr.track, 1, axis=1))
    section = audit_sanity(context_of(Small(), codes, attr=attr, settings=SETTINGS))
    assert section.values["depends_on_model"] is None
    assert "not made in the way that they say" in section.warnings[0]


def test_few_references_are_no_deception(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 12, LENGTH)
    options = {"n_references": 1}
    context = context_of(Small(), codes, "expected_gradients", method_options=options, settings=SETTINGS)
    assert audit_sanity(context).values["depends_on_model"] is True


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Ignores(), "the model has no parameters"),
        (OneBase(30), "all alike within each tensor"),
        (Linear(torch.zeros(4, LENGTH)), "the map is the same at every base"),
    ],
    ids=["ignores", "one base", "zero"],
)
def test_models_without_anything_to_randomise(module: nn.Module, reason: str, rng: np.random.Generator) -> None:
    section = audit_sanity(context_of(module, random_codes(rng, 6, LENGTH), settings=SETTINGS))
    json.dumps(section.values, allow_nan=False)
    assert section.values["depends_on_model"] is None and reason in section.untested[0]


def test_one_layer_one_region_and_nothing_known(rng: np.random.Generator) -> None:
    module = Linear(torch.from_numpy(rng.normal(size=(4, LENGTH)).astype(np.float32)))
    section = audit_sanity(context_of(module, random_codes(rng, 1, LENGTH), settings=SETTINGS))
    assert section.values["depends_on_model"] is True and section.values["randomized_ci"] is None
    assert section.values["layers"] == [] and len(section.values["cascade"]) == 1
    assert "one region only" in section.warnings[0]
    unknown = audit_sanity(context_of(module, np.full((3, LENGTH), 4, dtype=np.uint8), settings=SETTINGS))
    assert unknown.values["depends_on_model"] is None


def test_passes_are_bounded(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = random_codes(rng, 12, LENGTH)
    monkeypatch.setattr(weights, "MAX_RANDOM_PASSES", 3 * 3 * LENGTH)
    values = audit_sanity(context_of(Small(), codes, "ism", settings=SETTINGS)).values
    assert values["n_regions"] == 1 and values["cascade"] == [] and values["depends_on_model"] is not None


def test_the_same_seed_gives_the_same_bytes(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 12, LENGTH)
    first, second = (audit_sanity(context_of(copy.deepcopy(Small()), codes, settings=SETTINGS)) for _ in range(2))
    assert json.dumps(first.values) == json.dumps(second.values)


def test_stages_are_spread_evenly() -> None:
    assert spread_evenly(3, 10) == [1, 2, 3]
    assert spread_evenly(100, 4) == [1, 34, 67, 100]
    assert spread_evenly(100, 1) == [100]


def test_labels_that_mean_nothing_give_another_map(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanity, "N_RETRAIN_EXAMPLES", 200)
    monkeypatch.setattr(sanity, "N_RETRAIN_EPOCHS", 6)
    config = CNNConfig(input_length=LENGTH, n_filters=8, n_blocks=0, dropout=0.0, pooling="mean")
    negatives = random_codes(rng, 100, LENGTH)
    positives = np.minimum(random_codes(rng, 100, LENGTH), 2)  # without T
    settings = dataclasses.replace(SETTINGS, retrain=True)
    given = {"positives": positives, "negatives": negatives}
    torch.manual_seed(0)
    context = context_of(CNN(config), positives[:12], settings=settings, **given)
    label = audit_sanity(context).values["label"]
    assert label["true"]["auroc"] > 0.95 and label["n_examples"] == 200
    assert label["permuted"]["auroc"] < 0.8
    off = audit_sanity(context_of(CNN(config), positives[:12], settings=SETTINGS, **given))
    assert off.values["label"] is None and "`retrain` turns it on" in off.untested[-1]
    without = audit_sanity(context_of(CNN(config), positives[:12], settings=settings))
    assert "needs the training data: 50 positives" in without.untested[-1]


def test_retrain_is_yes_or_no() -> None:
    with pytest.raises(UsageError, match="retrain: got 1, expected True or False"):
        AuditSettings(retrain=1)  # type: ignore[arg-type]
