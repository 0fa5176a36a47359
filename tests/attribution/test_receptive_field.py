"""Receptive fields against what is known of them: the law of linear stacks, arithmetic of strides, whole windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from torch import nn

import seqsal
from seqsal.auditing.parts.field import audit_field
from seqsal.errors import UsageError
from tests.audit_cases import context_of
from tests.toys import random_codes

L = 160


def uniform(n_layers: int, width: int, n_channels: int = 1) -> list[nn.Module]:
    layers = []
    for i in range(n_layers):
        layer = nn.Conv1d(n_channels if i else 4, n_channels, width, padding=width // 2)
        nn.init.constant_(layer.weight, 0.3)
        layers.append(layer)
    return layers


def measure(*layers: nn.Module, **settings: object) -> pd.DataFrame:
    n_channels = next(layer.out_channels for layer in reversed(layers) if isinstance(layer, nn.Conv1d))
    head = (nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(n_channels, 1))
    torch.manual_seed(0)
    return seqsal.receptive_field(nn.Sequential(*layers, *head), **{"input_length": L, "device": "cpu", **settings})


@pytest.mark.parametrize("width", [3, 7])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_sigma_of_a_uniform_linear_stack_is_that_of_one_kernel_times_the_root_of_its_depth(
    width: int, n_channels: int
) -> None:
    field = measure(*uniform(8, width, n_channels))
    layers = field[field["depth"] > 0]
    one = np.sqrt((width**2 - 1) / 12)
    np.testing.assert_allclose(layers["sigma_bp"], one * np.sqrt(layers["depth"]), rtol=1e-5)
    assert list(layers["field_bp"]) == [1 + depth * (width - 1) for depth in range(1, 9)]
    assert field.attrs["sqrt_slope"] == pytest.approx(one, rel=1e-5)
    assert field.attrs["sqrt_r2"] == pytest.approx(1)
    assert field.attrs["field_r2"] < 0.95  # which grows faster


def test_fields_of_strides_dilations_and_pools_are_those_of_arithmetic() -> None:
    torch.manual_seed(1)
    field = measure(
        nn.Conv1d(4, 24, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4), nn.BatchNorm1d(24), nn.Conv1d(24, 24, 1),
        nn.Conv1d(24, 24, 3, dilation=2, padding=2), nn.ReLU(), nn.Conv1d(24, 24, 5, stride=2), n_windows=16,
    )  # fmt: skip
    layers = field[field["depth"] > 0]
    assert list(layers["field_bp"]) == [9, 9 + 3, 12 + 4 * 4, 28 + 4 * 4]
    assert list(layers["layer"]) == ["0", "max_pool1d", "5", "7"]
    assert list(layers["n_positions"]) == [L, L // 4, L // 4, 18]
    assert not layers["is_cut"].any()


class Residual(nn.Module):
    """Blocks that add to what they read, positions last or before the channels, and attention if wanted."""

    def __init__(self, attends: bool = False) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(4 if i == 0 else 16, 16, 5, padding=2) for i in range(3))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True) if attends else None
        self.head = nn.Linear(16, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = X
        for i, convolution in enumerate(self.convolutions):
            h = convolution(h) if i == 0 else h + torch.relu(convolution(h))
        h = h.transpose(1, 2)
        if self.attention is not None:
            h = h + self.attention(h, h, h, need_weights=False)[0]
        return self.head(h.mean(1))


def test_what_a_block_adds_to_is_measured_with_it() -> None:
    field = seqsal.receptive_field(Residual(), input_length=L, device="cpu")
    assert list(field["field_bp"]) == [5, 9, 13, L]
    assert list(field["layer"][:3]) == [f"convolutions.{i}" for i in range(3)]
    assert (np.diff(field["sigma_bp"]) > 0).all()


def test_attention_looks_at_the_whole_window() -> None:
    field = seqsal.receptive_field(Residual(attends=True), input_length=L, device="cpu")
    last = field[field["depth"] > 0].iloc[-1]
    assert last["field_bp"] == L and last["is_cut"]
    assert list(field["field_bp"][:3]) == [5, 9, 13]


class Cropped(nn.Module):
    """Reads the middle only."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(4, 6, 3)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.convolution(X[..., 60:100])).sum((1, 2))


def test_the_output_tells_what_it_reads_and_so_does_the_audit() -> None:
    torch.manual_seed(0)
    assert seqsal.receptive_field(seqsal.wrap(Cropped(), input_length=L), device="cpu")["field_bp"].iloc[-1] == 40
    result = audit_field(context_of(Cropped(), random_codes(np.random.default_rng(0), 4, L)))
    assert (result.output_bp, result.length_bp, result.layer_bp) == (40, L, 3)
    assert any("40 of the window's 160 bases only" in warning for warning in result.warnings)


@pytest.mark.parametrize("scripted", [torch.jit.script, lambda model: torch.jit.trace(model, torch.zeros(1, 4, L))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_of_a_scripted_model_the_output_is_left(scripted: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    field = seqsal.receptive_field(scripted(Residual().eval()), input_length=L, device="cpu")
    assert field["field_bp"].iloc[-1] == L and field["layer"].iloc[-1] == "output"


def test_nothing_of_the_model_changes() -> None:
    model = Residual().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, again = (seqsal.receptive_field(model, input_length=L, device="cpu") for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_command_prints_a_line_a_layer_and_writes_picture_or_table(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "toy_field.py").write_text(
        "from torch import nn\n\n\ndef make():\n"
        "    return nn.Sequential(nn.Conv1d(4, 4, 7), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 1))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("erf.svg", "erf.tsv"):
        done = call(
            "erf", "--model", "toy_field:make", "--input-length", 50, "--out", tmp_path / name, "--device", "cpu"
        )
        assert done.exit_code == 0, done.output
        lines = done.output.splitlines()
        assert lines[0].startswith("0 ") and lines[0].endswith("bp  field 7 bp")
        assert lines[1].startswith("output") and "field 50 bp" in lines[1]
    assert "<svg" in (tmp_path / "erf.svg").read_text()
    assert list(pd.read_table(tmp_path / "erf.tsv")["field_bp"]) == [7, 50]


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(UsageError, match="n_windows: got 0, expected 1 or more"):
        measure(nn.Conv1d(4, 4, 3), n_windows=0)
