"""Tile perturbation: shuffle a stretch, see what changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import stats

import seqsal
from seqsal.attribution.methods import tiles
from seqsal.attribution.methods.registry import make_method
from seqsal.cli import main
from seqsal.errors import MethodError, UsageError
from seqsal.models import CNN, CNNConfig, save_checkpoint
from seqsal.sequence.codes import N_CODE, encode, one_hot
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number

LENGTH = 60


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 7, padding=3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(),
        torch.nn.Linear(6, 2),
    ).double().eval().requires_grad_(False)  # fmt: skip


@pytest.fixture(scope="module")
def codes() -> np.ndarray[Any, Any]:
    codes = np.random.default_rng(1).integers(0, 4, (3, LENGTH)).astype(np.uint8)
    codes[1, 13:16] = codes[2, :20] = N_CODE
    return codes


def test_a_tile_has_the_mean_effect_of_its_shuffles_by_a_slow_loop(
    model: torch.nn.Module, codes: np.ndarray[Any, Any]
) -> None:
    tile, n_shuffles = 16, 4
    scores = tiles(
        lambda X: model(X)[:, 0], torch.from_numpy(one_hot(codes)).double(), tile=tile, n_shuffles=n_shuffles
    )
    track = scores.track(torch.from_numpy(one_hot(codes)).double())
    for row, window in enumerate(codes):
        own = model(torch.from_numpy(one_hot(window[None])).double())[0, 0]
        for start, end in ((0, 14), (14, 30), (30, 46), (46, 60)):  # from the middle, both ways
            known = window[start:end] < N_CODE
            values = []
            for k in range(n_shuffles):
                changed = window.copy()
                draw = draw_number("tiles", k)
                changed[start:end] = dinucleotide_shuffle(window[None, start:end], seed=0, draw=draw)[0]
                values.append(float(model(torch.from_numpy(one_hot(changed[None])).double())[0, 0]))
            effect = float(own) - np.mean(values)
            assert float(track[row, start:end].sum()) == pytest.approx(effect, abs=1e-12)
            assert torch.unique(track[row, start:end][known]).numel() <= 1
            noise = scores.noise[row, start:end].numpy() * known.sum()
            expected = np.std(values, ddof=1) * np.sqrt(1 + 1 / n_shuffles)
            np.testing.assert_allclose(noise[known], expected, atol=1e-12)
    assert (track[2, :20] == 0).all() and (track[1, 13:16] == 0).all()


def test_track_over_noise_is_a_t_where_nothing_matters_and_stands_out_where_something_does() -> None:
    """Random windows with one planted word, of a model that counts it and some random ones."""
    rng = np.random.default_rng(0)
    word, n, width = encode("TGACTCAGGTCA"), 100, 50
    codes = rng.integers(0, 4, (n, 4 * width)).astype(np.uint8)
    codes[:, width + 20 : width + 20 + len(word)] = word
    filters = torch.from_numpy(np.concatenate([one_hot(word[None]), rng.normal(0, 0.3, (8, 4, len(word)))])).float()

    def model(X: torch.Tensor) -> torch.Tensor:
        found = torch.nn.functional.conv1d(X, filters).relu()
        return (found[:, :1] - 8).relu().sum((1, 2)) + found[:, 1:].mean((1, 2))

    attr = seqsal.attribute(_Module(model), X=one_hot(codes), method="tiles", tile=width, device="cpu")
    t = (attr.track / attr.noise)[:, ::width]  # (n, 4)
    p = 2 * stats.t.sf(np.abs(t), df=4)
    elsewhere = p[:, [0, 2, 3]].ravel()
    assert (p[:, 1] < 0.05).all()
    assert stats.kstest(elsewhere, "uniform").pvalue > 0.01


class _Module(torch.nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.function(X)


def test_noise_is_kept_in_files_and_goes_with_its_rows(
    model: torch.nn.Module, codes: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    how: dict[str, Any] = {"X": one_hot(codes), "method": ["tiles", "ism"], "tile": 16, "span": 20, "device": "cpu"}
    seqsal.attribute(model, out=tmp_path / "A.h5", n_controls=3, **how)
    read, memory = seqsal.read_attributions(tmp_path / "A.h5"), seqsal.attribute(model, **how)
    assert memory.noise.shape == (3, 20) and read.result("ism").noise is None
    np.testing.assert_array_equal(read.noise, memory.noise)
    np.testing.assert_array_equal(read[[2, 0]].noise, memory.noise[[2, 0]])
    np.testing.assert_array_equal(seqsal.concat([read, read[[1]]]).noise, memory.noise[[0, 1, 2, 1]])
    assert read.controls is not None and read.controls.track.shape == (3, 20)
    both = seqsal.attribute(model, rc_average=True, target=[0, 1], **how)
    assert both.result("tiles.target1").noise.shape == (3, 20)


def test_tiles_from_the_command_line(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "M.safetensors", CNN(CNNConfig(40, n_filters=4, stem_kernel=5)), {})
    (tmp_path / "G.fa").write_text(">chr1\n" + "ACGTTGCAAC" * 20 + "\n")
    (tmp_path / "R.bed").write_text("chr1\t50\t90\nchr1\t100\t140\n")
    given = ["attribute", "--model", f"{tmp_path}/M.safetensors", "--genome", f"{tmp_path}/G.fa", "--regions"]
    given += [f"{tmp_path}/R.bed", "--out", f"{tmp_path}/A.h5", "--device", "cpu"]
    told = CliRunner().invoke(main, [*given, "--method", "tiles", "--tile", "10"])
    assert told.exit_code == 0, told.output
    attr = seqsal.read_attributions(tmp_path / "A.h5")
    assert attr.attrs["options"]["tile"] == 10 and (np.diff(attr.track.reshape(2, 4, 10)) == 0).all()
    for more, message in (
        (["--method", "tiles", "--tile", "50"], "tile: got 50 bp, wider than the windows of 40 bp"),
        (["--method", "tiles"], "tile: got 500 bp, wider than the windows of 40 bp"),
        (["--tile", "50"], "a number is the width of a tile of method='tiles'"),
        (["--method", "tiles", "--tile", "0"], "0 is not in the range"),
        (["--method", "tiles", "--tile", "many"], "not a valid integer"),
    ):
        told = CliRunner().invoke(main, [*given, *more])
        assert told.exit_code == 2 and message in told.output, told.output
    told = CliRunner().invoke(main, [*given, "--tile", "--span", "20"])  # the flag that it always was
    assert told.exit_code == 0 and len(seqsal.read_attributions(tmp_path / "A.h5").track) == 4, told.output


def test_shuffles_too_few_and_numbers_where_there_are_no_tiles_are_refused() -> None:
    with pytest.raises(MethodError, match="n_shuffles: got 1, expected 2 or more"):
        make_method("tiles", n_shuffles=1)
    with pytest.raises(UsageError, match="tile: got 50, expected True or False"):
        seqsal.score(torch.nn.Flatten(), X=np.zeros((1, 4, 8)), tile=50)
