"""The loss on maps: its terms against their definition and finite differences, masks on windows, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqsal.errors import TrainingError
from seqsal.models.checkpoint import load_checkpoint
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.regions import make_regions
from seqsal.sequence.codes import decode, encode
from seqsal.training import terms as terms_module
from seqsal.training.examples import Examples, load_examples
from seqsal.training.relevance import Randomiser, Relevance, mark_examples, mask_terms
from seqsal.training.settings import TrainConfig
from seqsal.training.train import train_model

LENGTH = 24
CONFIG = CNNConfig(LENGTH, n_filters=4, stem_kernel=5, stem_pool=2, n_blocks=1, activation="gelu", dropout=0.0)
TRAINING = TrainConfig(epochs=2, max_shift=2, negatives_per_positive=1, batch_size=16)
SITE, TAG = encode("TTACCC"), encode("GAGAGG")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sites of three chromosomes that hold SITE at 4 and TAG at 14, every other one turned."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (90, LENGTH), dtype=np.uint8)
    codes[:, 4:10], codes[:, 14:20] = SITE, TAG
    names = [f"chr{1 + i % 3}:{100 * i}-{100 * i + LENGTH}" for i in range(len(codes))]
    path = tmp_path_factory.mktemp("data") / "sites.fa"
    path.write_text("".join(f">{name}\n{decode(row)}\n" for name, row in zip(names, codes, strict=True)))
    return path


def places(first: int, last: int) -> Any:
    return make_regions([f"chr{1 + i % 3}" for i in range(90)], [100 * i + first for i in range(90)],
                        [100 * i + last for i in range(90)])  # fmt: skip


def examples_of(sites: Path, **changes: Any) -> Examples:
    arguments: dict[str, Any] = {
        "genome": None, "config": CONFIG, "training": TRAINING, "valid_chroms": ["chr2"], "test_chroms": ["chr3"],
        "seed": 0,
    }  # fmt: skip
    return load_examples(sites, None, **(arguments | changes))


def train(sites: Path, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "config": CONFIG, "training": TRAINING, "valid_chroms": ["chr2"], "test_chroms": ["chr3"], "device": "cpu",
    }  # fmt: skip
    return train_model(sites, **(arguments | changes))


def test_terms_are_shares_of_the_mass() -> None:
    track = torch.tensor([[1.0, -2.0, 1.0, 0.0], [3.0, 0.0, 0.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    marks = torch.tensor([[0, -1, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 0]])
    terms = {name: float(value) for name, value in mask_terms(track, marks).items()}
    assert terms == pytest.approx({"irrelevant": (0.5 + 0.75) / 2, "relevant": 1 - 0.25})
    assert mask_terms(track, torch.zeros(3, 4)) == {}
    assert mask_terms(torch.zeros(1, 4), marks[:1])["irrelevant"] == 0


@pytest.mark.parametrize(
    ("method", "term"),
    [
        ("gradient_x_input", "irrelevant"), ("gradient_x_input", "relevant"), ("saliency", "irrelevant"),
        ("integrated_gradients", "relevant"),
    ],
)  # fmt: skip
def test_gradients_of_each_term_against_finite_differences(method: str, term: str) -> None:
    torch.manual_seed(0)
    model = CNN(CONFIG).double().train()
    X = torch.eye(4, dtype=torch.float64)[torch.randint(4, (2, LENGTH))].mT
    marks = torch.zeros(2, LENGTH, dtype=torch.int8)
    marks[0, 3:9], marks[1, 10:14] = (-1, -1) if term == "irrelevant" else (1, 1)
    relevance = Relevance(model, TrainConfig(mask_method=method))

    def value() -> torch.Tensor:
        return relevance(X, marks)[term]

    value().backward()
    assert model.training
    for weight in (model.stem[0].weight, model.blocks[0].convolution[0].weight, model.head.weight):
        at = (0,) * (weight.ndim - 1) + (1,)
        assert weight.grad is not None
        differences = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[at] += step
                differences.append(float(value().detach()))
                weight[at] -= step
        assert float(weight.grad[at]) == pytest.approx((differences[0] - differences[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_maps_are_of_windows_by_themselves() -> None:
    """Whatever else is in the batch; and the network is left in training, its running statistics as they were."""
    torch.manual_seed(1)
    model = CNN(CONFIG).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    X = torch.eye(4)[torch.randint(4, (4, LENGTH))].mT
    marks = torch.zeros(4, LENGTH, dtype=torch.int8)
    marks[2, 3:9] = -1
    relevance = Relevance(model, TrainConfig())
    alone, together = relevance(X[2:3], marks[2:3])["irrelevant"], relevance(X, marks)["irrelevant"]
    assert float(alone.detach()) == pytest.approx(float(together.detach()), rel=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()) and model.training


def test_masks_are_laid_on_windows(sites: Path) -> None:
    examples = examples_of(sites)
    marks = mark_examples(examples, places(4, 10), places(14, 20))
    positive, negative = marks[examples.is_positive], marks[~examples.is_positive]
    assert (positive[:, 2 + 4 : 2 + 10] == 1).all() and (positive[:, 2 + 14 : 2 + 20] == -1).all()
    assert (positive != 0).sum() == 90 * 12
    assert not negative.any()  # shuffles, which have the names of their sites
    turned = replace(examples, windows=examples.windows.assign(strand="-"))
    assert (mark_examples(turned, places(4, 10), None)[examples.is_positive, 2 + 14 : 2 + 20] == 1).all()


@pytest.mark.parametrize(
    ("relevant", "irrelevant", "message"),
    [
        (places(4, 10), places(9, 12), r"share bases in 90 windows, first in chr1:0-24.*take such bases out"),
        (None, places(40, 60), r"irrelevant: none of its 90 regions shares a base with a training window"),
        (None, make_regions(["3"], [0], [50]), r"none of its 1 regions .*names of chromosomes"),
        (places(0, 24), None, r"relevant: covers 90 of 90 windows completely"),
    ],
)
def test_masks_that_are_refused(sites: Path, relevant: Any, irrelevant: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        mark_examples(examples_of(sites), relevant, irrelevant)


def test_masks_that_do_nothing_are_told_of(sites: Path, caplog: pytest.LogCaptureFixture) -> None:
    mixed = make_regions(["chr1", "chr1", "chr1"], [0, 304, 50], [24, 310, 60])
    marks = mark_examples(examples_of(sites), None, mixed)
    assert (marks != 0).any(axis=1).sum() == 1
    assert "1 of 3 regions lie outside all windows" in caplog.text
    assert "covers 1 of 2 windows completely, chr1:0-24 among them, where it does nothing" in caplog.text


def test_training_moves_the_map_off_irrelevant_bases(sites: Path) -> None:
    longer = replace(TRAINING, epochs=12, learning_rate=1e-2, mask_weight=3.0, weight_average=0.9)
    shares = {}
    for name, masks in (("plain", {}), ("masked", {"irrelevant": places(14, 20)})):
        model = train(
            sites, training=longer, seed=1, **masks
        ).model  # of the two words, it is TAG that seed 1 settles on
        examples = examples_of(sites)
        rows = examples.rows("test")[:30]
        X = torch.eye(4)[torch.from_numpy(examples.codes[rows, 2:-2].astype(np.int64))].mT
        marks = torch.zeros(len(rows), LENGTH, dtype=torch.int8)
        marks[:, 14:20] = -1
        shares[name] = float(Relevance(model, longer)(X, marks)["irrelevant"].detach())
    assert shares["plain"] > 0.5 and shares["masked"] < 0.25 * shares["plain"]


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_term_that_is_not_finite_is_named_and_the_best_epoch_kept(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    real, out = terms_module.Relevance.__call__, tmp_path / "m.safetensors"
    calls = []

    def broken(self: Any, X: torch.Tensor, marks: torch.Tensor) -> Any:
        calls.append(len(X))
        terms = real(self, X, marks)
        n_batches = 4  # 60 examples, 16 a batch
        return {name: term * (np.nan if len(calls) > n_batches * (epoch - 1) else 1) for name, term in terms.items()}

    monkeypatch.setattr(terms_module.Relevance, "__call__", broken)
    with pytest.raises(TrainingError, match=rf"epoch {epoch} \(attribution of irrelevant bases nan\); lower") as told:
        train(sites, irrelevant=places(14, 20), out=out)
    assert "weight of the masks (1)" in str(told.value)
    if epoch == 1:
        assert not list(tmp_path.iterdir())
    else:
        assert f"{out} has the best epoch before, 1" in str(told.value)
        model, metadata = load_checkpoint(out)
        assert metadata["best_epoch"] == 1 and len(metadata["history"]) == 1
        assert all(value.isfinite().all() for value in model.state_dict().values())
        assert list(tmp_path.iterdir()) == [out]


def test_methods_that_cannot_be_differentiated_again(sites: Path) -> None:
    with pytest.raises(TrainingError, match=r"mask_method: got 'gradient_x_inputs'; did you mean 'gradient_x_input'"):
        train(sites, irrelevant=places(14, 20), training=replace(TRAINING, mask_method="gradient_x_inputs"))
    with pytest.raises(TrainingError, match=r"mask_method: got 'deeplift_shap', expected .*integrated_gradients"):
        train(sites, irrelevant=places(14, 20), training=replace(TRAINING, mask_method="deeplift_shap"))


def test_copies_are_shown_in_both_classes_alike() -> None:
    codes = torch.zeros(40, 12, dtype=torch.uint8)
    copies = torch.zeros(40, 12, dtype=torch.bool)
    is_positive = torch.arange(40) < 20
    codes[is_positive] = 1
    codes[:16, 8:], copies[:16, 8:] = 3, True
    marks = torch.where(copies, -1, 0).to(torch.int8)
    show, generator = Randomiser(codes, copies, is_positive), torch.Generator().manual_seed(0)
    rows = torch.arange(40).repeat(50)
    seen, moved = show(rows, marks, generator)
    has = (seen[:, 8:] == 3).all(dim=1)
    for of_class in (is_positive[rows], ~is_positive[rows]):
        assert float(has[of_class].float().mean()) == pytest.approx(0.5, abs=0.05)
    assert moved is not None and torch.equal((moved[:, 8:] == -1).all(dim=1), has)
    assert torch.equal(seen[:, :8], codes[rows, :8])
    assert (seen[~has & (rows < 16)][:, 8:] == 0).all()  # bases of negatives


def test_what_every_window_has_comes_from_any_other() -> None:
    codes = torch.arange(40)[:, None].repeat(1, 6).to(torch.uint8)
    copies = torch.zeros(40, 6, dtype=torch.bool)
    copies[:, :2] = True
    rows = torch.arange(40).repeat(100)
    seen, marks = Randomiser(codes, copies, torch.arange(40) < 20)(rows, None, torch.Generator().manual_seed(0))
    assert marks is None and torch.equal(seen[:, 2:], codes[rows, 2:])
    of_positives = (seen[:, 0] < 20).float()
    for is_positive in (True, False):
        assert float(of_positives[(rows < 20) == is_positive].mean()) == pytest.approx(0.5, abs=0.05)
