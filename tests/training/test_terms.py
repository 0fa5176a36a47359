"""What is added to a loss: each term against its definition and finite differences, its weight, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import call, refused

from seqsal.errors import TrainingError
from seqsal.models.checkpoint import save_checkpoint
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.sequence.codes import decode
from seqsal.training.distill import Teacher, read_teacher
from seqsal.training.examples import Examples
from seqsal.training.priors import CHANGES, changed, composition_term, fourier_term, map_distance
from seqsal.training.settings import TrainConfig
from seqsal.training.terms import Shown, Terms
from seqsal.training.train import train_model

LENGTH = 24
CONFIG = CNNConfig(LENGTH, n_filters=4, stem_kernel=5, stem_pool=2, n_blocks=1, activation="gelu", dropout=0.0)
TRAINING = TrainConfig(epochs=2, max_shift=2, negatives_per_positive=1, batch_size=16)


def network(seed: int, **changes: Any) -> CNN:
    torch.manual_seed(seed)
    if changes.get("loss") == "profile":
        changes |= {"stem_pool": 1, "output_length": 10, "profile_kernel": 5}
    return CNN(replace(CONFIG, **changes)).double()


def windows(n: int, seed: int = 0) -> torch.Tensor:
    codes = torch.randint(4, (n, LENGTH), generator=torch.Generator().manual_seed(seed))
    return torch.eye(4, dtype=torch.float64)[codes].mT.contiguous()


def examples(**arrays: Any) -> Examples:
    none = np.zeros((0, LENGTH), np.uint8)
    return Examples(none, none[:, :1], none[:, 0].astype(str), none[:, 0] > 0, none[:, 0].astype(str), **arrays)


CASES = {
    "fourier": ("binary", {"priors": ("fourier",)}, False),
    "consistency": ("binary", {"priors": ("consistency",)}, False),
    "composition": ("binary", {}, False),
    "teacher": ("binary", {"temperature": 2.0}, True),
    "teacher count": ("count", {}, True),
    "teacher regression": ("regression", {}, True),
    "teacher profile": ("profile", {"temperature": 2.0}, True),
    "maps": ("binary", {"match_maps": 1.0}, True),
}


@pytest.mark.parametrize(("case", "step"), [*((case, 0) for case in CASES), ("consistency", 1), ("consistency", 2)])
def test_gradients_of_each_term_against_finite_differences(case: str, step: int) -> None:
    loss, settings, is_taught = CASES[case]
    name = case.split()[0]
    model = network(0, loss=loss).train()
    for module in model.modules():  # statistics of the batch would move between evaluations
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = 0.0
    teacher = Teacher([network(1, loss=loss), network(2, loss=loss)], settings.get("temperature", 1.0))
    kinds = np.random.default_rng(0).integers(0, 4, (4, 6, LENGTH), dtype=np.uint8) if name == "composition" else None
    terms = Terms(model, examples(neutral=kinds), TrainConfig(**settings), torch.device("cpu"),
                  teacher if is_taught else None, 10)  # fmt: skip
    if terms.neutral is not None:
        model.float()
    X = windows(6).to(next(model.parameters()).dtype)
    targets = torch.tensor([1, 0, 1, 0, 0, 1])[:, None]

    def value() -> torch.Tensor:
        return terms(Shown(X, None, targets, model(X), torch.Generator().manual_seed(3), step))[name]

    value().backward()
    assert model.training
    is_double = X.dtype == torch.float64
    size, rel = (1e-5, 1e-4) if is_double else (1e-2, 2e-2)
    for weight in (model.stem[0].weight, model.blocks[0].convolution[0].weight, model.head.weight):
        at = (0,) * (weight.ndim - 1) + (1,)
        assert weight.grad is not None
        values = []
        for change in (size, -size):
            with torch.no_grad():
                weight[at] += change
                values.append(float(value().detach()))
                weight[at] -= change
        expected = (values[0] - values[1]) / (2 * size)
        assert float(weight.grad[at]) == pytest.approx(expected, rel=rel, abs=1e-8 if is_double else 1e-5)


def test_the_fourier_term_tells_single_bases_from_stretches() -> None:
    single, stretch = torch.zeros(1, 200), torch.zeros(1, 200)
    single[0, torch.arange(3, 200, 7)] = torch.rand(29, generator=torch.Generator().manual_seed(0))
    stretch[0, 90:110] = 1.0
    assert float(fourier_term(stretch)) < 0.5 * float(fourier_term(single))
    assert float(fourier_term(-3 * stretch)) == pytest.approx(float(fourier_term(stretch)), abs=1e-5)
    assert torch.isfinite(fourier_term(torch.zeros(1, 200)))


def test_changes_that_mean_nothing() -> None:
    X, generator = windows(5), torch.Generator().manual_seed(0)
    track = torch.rand(5, LENGTH, generator=generator)
    for kind in CHANGES:
        other, back, same = changed(X, track, kind, generator)
        assert (other.sum(dim=1) == 1).all()
        by_base = other.flip(1) if kind == "strand" else other
        brought = torch.stack([back(by_base[:, base]) for base in range(4)], dim=1)
        assert torch.equal(brought.permute(0, 2, 1)[same], X.permute(0, 2, 1)[same])
        if kind == "mutations":
            assert ((~same).sum(dim=1) == 1).all() and (other != X).any(dim=1).equal(~same)
            least = track.argsort(dim=1).argsort(dim=1) < LENGTH // 2
            assert not (~same & ~least).any()


def test_a_map_that_ignores_the_change_costs_nothing() -> None:
    track = torch.rand(3, LENGTH)
    assert float(map_distance(track, 2 * track)) == pytest.approx(0, abs=1e-6)
    assert float(map_distance(track, -track)) == pytest.approx(2, abs=1e-6)
    assert float(composition_term(torch.tensor([[1.0, 1.0], [3.0, 3.0]]))) == 1
    generator = torch.Generator().manual_seed(0)
    for apart in (0.0, 1.0):  # what is expected does not depend on the spread within kinds
        middle = torch.tensor([0.0, 0.0, 2 * apart, 2 * apart])[:, None]
        drawn = [composition_term(middle + 3 * torch.randn(4, 8, generator=generator)) for _ in range(4_000)]
        assert float(torch.stack(drawn).mean()) == pytest.approx(apart**2, abs=0.12)  # 0.84 more with that left in


@torch.no_grad()
def test_a_student_equal_to_its_teacher_is_at_no_distance() -> None:
    X = windows(4)
    for loss in ("profile", "binary", "count", "regression"):
        model = network(4, loss=loss).eval()
        assert float(Teacher([model], 1.0).distance(model(X), X)) == pytest.approx(0, abs=1e-9)
    values = Teacher([model]).prepare(np.array([2.0], np.float32), np.array([4.0], np.float32), torch.device("cpu"))
    assert float(values.distance((model(X) - 2) / 4, X)) == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    codes = np.random.default_rng(0).integers(0, 4, (60, LENGTH), dtype=np.uint8)
    codes[:, 8:14] = [3, 3, 0, 1, 1, 1]
    path = tmp_path_factory.mktemp("terms") / "sites.fa"
    path.write_text(
        "".join(f">chr{1 + i % 3}:{i}00-{i}24\n{decode(row)}\n" for i, row in enumerate(codes)), encoding="utf-8"
    )
    return path


def test_a_run_with_every_term_repeats_and_says_what_it_was(sites: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "t.safetensors", CNN(CONFIG), {})
    runs = [
        train_model(
            sites, config=CONFIG, training=replace(TRAINING, priors=("fourier:0.5", "consistency"), match_maps=0.5),
            valid_chroms=["chr2"], test_chroms=["chr3"], device="cpu", teachers=[tmp_path / "t.safetensors"],
        )
        for _ in range(2)
    ]  # fmt: skip
    assert {"fourier_loss", "consistency_loss", "teacher_loss", "maps_loss"} <= set(runs[0].metadata["history"][0])
    assert runs[0].metadata["inputs"]["teachers"] == [str(tmp_path / "t.safetensors")]
    assert runs[0].metadata["history"] == runs[1].metadata["history"]


def test_a_term_that_is_not_finite_is_named(sites: Path) -> None:
    wild = replace(TRAINING, priors=("fourier:1e38",), learning_rate=1e3, mask_warmup=0)
    with pytest.raises(TrainingError, match=r"or the weight of the prior fourier \(1e\+38\)"):
        train_model(sites, config=CONFIG, training=wild, valid_chroms=["chr2"], test_chroms=["chr3"], device="cpu")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--prior", "fourrier"], ["prior: got 'fourrier'", "fourier"]),
        (["--prior", "fourier:-1"], ["prior: got 'fourier:-1'", "weight above 0"]),
        (["--prior", "fourier:nan"], ["weight above 0"]),
        (["--prior", "fourier", "--prior", "fourier:2"], ["each once"]),
        (["--match-maps", "1"], ["match_maps: got 1.0 without a teacher", "--teacher"]),
        (["--temperature", "2"], ["temperature: got 2.0 without a teacher"]),
        (["--temperature", "0"], ["temperature: got 0.0, expected a number above 0"]),
        (["--teacher", "none.safetensors"], ["none.safetensors"]),
    ],
)
def test_what_is_refused(sites: Path, tmp_path: Path, more: list[str], said: list[str]) -> None:
    refused(call("train", "--positives", sites, "--out", tmp_path / "m.safetensors", "--device", "cpu", *more), *said)
    assert not list(tmp_path.iterdir())


def test_teachers_of_other_targets_or_length_are_refused(sites: Path, tmp_path: Path) -> None:
    for name, changes in (("long", {"input_length": 30}), ("many", {"n_targets": 2}), ("count", {"loss": "count"})):
        save_checkpoint(tmp_path / f"{name}.safetensors", CNN(replace(CONFIG, **changes)), {})
    for name, said in (("long", "window length is 30, expected 24"), ("many", "number of targets is 2, expected 1"),
                       ("count", "loss is count, expected binary")):  # fmt: skip
        with pytest.raises(TrainingError, match=rf"teacher .*{name}.safetensors: its {said}"):
            read_teacher([tmp_path / f"{name}.safetensors"], CONFIG, TRAINING)
    refused(call("train", "--positives", sites, "--out", tmp_path / "m.safetensors", "--device", "cpu", "--teacher",
                 tmp_path / "long.safetensors"), "long.safetensors: its window length is 30, expected 24")  # fmt: skip
    assert not (tmp_path / "m.safetensors").exists()
    with pytest.raises(TrainingError, match="temperature: got 2 for a count model"):
        read_teacher([tmp_path / "count.safetensors"], replace(CONFIG, loss="count"), replace(TRAINING, temperature=2))
