"""References of the user's own, and maps that miss the sum that is promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from nets import Body, random_X
from torch import nn

import seqsal
from seqsal.attribution.methods import deeplift_shap, expected_gradients
from seqsal.cli import main
from seqsal.errors import MethodError
from seqsal.sequence.codes import codes_from_one_hot, decode

METHODS = ["deeplift_shap", "expected_gradients"]
X, R = random_X(3, seed=1), random_X(4, seed=2)


def attribute(method: str, **options: Any) -> Any:
    return seqsal.attribute(Body(), X=X, method=method, device="cpu", **options)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A genome whose contig holds the references one after the other, these as FASTA and as BED, and the windows."""
    letters = [decode(codes) for codes in codes_from_one_hot(R.numpy())]
    (tmp_path / "g.fa").write_text(">c\n" + "".join(letters) + "\n")
    (tmp_path / "r.fa").write_text("".join(f">r{i}\n{one}\n" for i, one in enumerate(letters)))
    (tmp_path / "r.bed").write_text("".join(f"c\t{30 * i}\t{30 * i + 30}\n" for i in range(4)))
    return tmp_path


@pytest.mark.parametrize("method", METHODS)
def test_one_set_for_all_windows_is_what_the_formula_takes(method: str, files: Path) -> None:
    formula = {"deeplift_shap": deeplift_shap, "expected_gradients": expected_gradients}[method]
    model = seqsal.wrap(Body(), input_length=30)
    with model.frozen():
        expected = formula(model, X, references=R.expand(3, 4, 4, 30)).track(X).detach().numpy()
    for given in (R, R.numpy(), np.stack([R.numpy()] * 3), str(files / "r.fa"), files / "r.fa"):
        found = attribute(method, references=given)
        np.testing.assert_allclose(found.track, expected, rtol=1e-4, atol=1e-5)
    assert found.attrs["options"]["references"].startswith("r.fa (4, 4, 30) sha256 ")
    assert found.attrs["options"]["n_references"] == 4


def test_each_window_has_its_own_wherever_it_stands() -> None:
    own = torch.stack([R[:2], R[1:3], R[2:]])  # (3, 2, 4, L)
    together = attribute("deeplift_shap", references=own).track
    for i in (2, 0, 1):
        alone = seqsal.attribute(Body(), X=X[i : i + 1], method="deeplift_shap", references=own[i], device="cpu").track
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-4, atol=1e-6)
    with pytest.raises(MethodError, match=r"given window by window, .* \(a shuffled control.*one set \(K, 4, L\)"):
        attribute("deeplift_shap", references=own, n_controls=2)


def test_on_the_command_line(files: Path) -> None:
    torch.save(Body().state_dict(), files / "w.pt")
    base = ["attribute", "--model", "nets:Body", "--weights", str(files / "w.pt"), "--genome", str(files / "g.fa"),
            "--regions", str(files / "r.bed"), "--input-length", "30", "--method", "deeplift_shap"]  # fmt: skip
    for name in ("r.fa", "r.bed"):
        result = CliRunner().invoke(
            main, [*base, "--references", str(files / name), "--out", str(files / f"{name}.h5")]
        )
        assert result.exit_code == 0, result.output
    tracks = [seqsal.read_attributions(files / f"{name}.h5").track[:] for name in ("r.fa", "r.bed")]
    np.testing.assert_array_equal(*tracks)
    result = CliRunner().invoke(main, [*base, "--references", "shufle", "--out", str(files / "x.h5")])
    assert result.exit_code == 2 and "or a FASTA or BED file" in result.output and not (files / "x.h5").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("shufle", "got 'shufle', expected shuffle, .* or a FASTA or BED file"),
        (5, "got 5, expected shuffle"),
        (np.zeros((4, 30)), r"got an array of shape \(4, 30\), expected \(K, 4, L\)"),
        (np.zeros((2, 4, 29)), r"have shape \(2, 4, 29\) for 1 windows of 30 bp"),
        (np.zeros((2, 1, 4, 30)), r"have shape \(2, 1, 4, 30\) for 3 windows"),
    ],
)
def test_references_that_will_not_do(given: Any, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        attribute("deeplift_shap", references=given)


class Jump(nn.Module):
    """A step, which no quadrature of gradients sees, next to a small slope, which it does."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        z = X[:, 0].sum(1)
        return 0.1 * z + 50 * torch.sigmoid(1e6 * (z - 8.1234)).detach() * (1 + 0 * z)


def test_a_sum_that_is_missed_by_more_than_a_tenth_is_refused_unless_allowed() -> None:
    windows = torch.zeros(2, 4, 30)
    windows[:, 1] = 1
    windows[0, :, :12] = torch.tensor([1.0, 0, 0, 0])[:, None]
    given: dict[str, Any] = {"X": windows, "method": "integrated_gradients", "device": "cpu"}
    with pytest.raises(MethodError, match=r"expected f\(X\) - f\(reference\) = .*raise n_steps.*--allow-incomplete"):
        seqsal.attribute(Jump(), **given)
    kept = seqsal.attribute(Jump(), allow_incomplete=True, **given)
    assert kept.completeness_error.max() > 0.1 and kept.attrs["options"]["allow_incomplete"] is True
    assert seqsal.attribute(Jump(), **given | {"X": windows[1:]}).completeness_error.max() < 0.01


def test_a_sum_of_nothing_is_no_reason_to_refuse() -> None:
    """Contributions that cancel: the promised sum is 1e-7 of them, and rounding misses it."""
    windows = torch.zeros(1, 4, 30)
    windows[0, 0, ::2], windows[0, 1, 1::2] = 1, 1

    class Cancels(nn.Module):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return ((X[:, 0] - X[:, 1]) * torch.linspace(1, 2, 30)).tanh().sum(1)

    seqsal.attribute(Cancels(), X=windows, method="integrated_gradients", n_steps=2, device="cpu")


def test_of_a_weighted_profile_no_sum_is_promised() -> None:
    class Profile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolution = nn.Conv1d(4, 2, 5)

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return 5 * self.convolution(X)

    for method in ("deeplift_shap", "integrated_gradients"):
        attr = seqsal.attribute(Profile(), X=X, method=method, reduce="profile_both", device="cpu")
        assert attr.completeness_error.max() > 0.1
