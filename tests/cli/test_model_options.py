"""A model that is not built in, told how to be read on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import command_line
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from command_line import Inputs
from torch import nn
from toys import random_codes

import seqsal
from seqsal.cli import main
from seqsal.cli.options import model_options
from seqsal.errors import ModelError
from seqsal.models.readout import LAYOUTS, REDUCTIONS, TRACK_LAYOUTS, Readout
from seqsal.sequence.codes import decode, one_hot

LENGTH = 40
FACTORY = """
import torch
from torch import nn


class Profile(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv1d(4, 3, 5)

    def forward(self, X):  # (N, L, 4), channels T G C A
        return {"tracks": (torch.sigmoid(self.stem(X.transpose(1, 2)).transpose(1, 2)),)}
"""


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Sequences and a factory, in the current folder."""
    (tmp_path / "my_profile_model.py").write_text(FACTORY)
    records = [f">s{i}\n{decode(row)}\n" for i, row in enumerate(random_codes(rng, 6, LENGTH))]
    (tmp_path / "s.fa").write_text("".join(records))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_profile_model", None)


READING = ["--layout", "NLC", "--channel-order", "TGCA", "--output", "tracks.0", "--reduce", "sum",
           "--track-layout", "NLT", "--target", "2"]  # fmt: skip


def call(verb: str, *options: str) -> Result:
    given = [verb, "--model", "my_profile_model:Profile", "--fasta", "s.fa", "--device", "cpu", "--quiet", *options]
    return CliRunner().invoke(main, given)


def by_hand(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed logits (N,) of the last track, and their gradients times the input, summed over bases."""
    module = sys.modules["my_profile_model"].Profile()
    lines = (folder / "s.fa").read_text().split()[1::2]
    codes = np.array([["ACGTN".index(base) for base in line] for line in lines], dtype=np.uint8)
    X = torch.from_numpy(one_hot(codes)).requires_grad_()
    values = module.stem(X.flip(1))[:, 2].sum(dim=-1)
    (gradient,) = torch.autograd.grad(values.sum(), X)
    return values.detach(), (gradient * X).sum(dim=1).detach()


def test_score_and_attribute_read_what_they_are_told_to(folder: Path) -> None:
    result = call("attribute", *READING, "--no-gradient-correction", "--controls", "3", "--out", "A.h5")
    assert result.exit_code == 0, result.output
    values, track = by_hand(folder)
    with h5py.File("A.h5") as file:
        np.testing.assert_allclose(file["track"][:], track.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(file["prediction"][:], values.numpy(), rtol=1e-5)
        assert file.attrs["output_space"] == "logit"
        assert json.loads(file.attrs["reading"]) == {
            "layout": "NLC", "channel_order": "TGCA", "output": "tracks.0", "reduce": "sum", "track_layout": "NLT",
        }  # fmt: skip
    assert call("score", *READING, "--out", "s.tsv").exit_code == 0
    table = pd.read_csv("s.tsv", sep="\t")
    np.testing.assert_allclose(table["logit"], values.numpy(), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "it works on (2, 40, 4): give layout='NLC'"),
        (READING[:2], "choose one by output: tracks"),
        (READING[:6], "reduce the profile by reduce='sum'"),
        ([*READING[:5], "scores", *READING[6:]], "output: 'scores' is not in what the model gives"),
        ([*READING[:-1], "3"], "target: 3 is out of range, the model has 3 outputs (0 to 2)"),
        (["--channel-order", "AC"], "channel_order: got 'AC'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line_before_any_file_is_there(
    folder: Path, options: list[str], words: str
) -> None:
    result = call("attribute", *options, "--out", "A.h5")
    assert result.exit_code == 2, (result.output, result.exception)
    assert words in result.stderr and result.stderr.count("\n") == 1
    assert not [path.name for path in folder.iterdir() if "A.h5" in path.name]


def test_choices_and_defaults_are_those_of_the_library() -> None:
    options = {option.name: option for option in click.command()(model_options(lambda: None)).params}
    for name, choices in (("layout", LAYOUTS), ("track_layout", TRACK_LAYOUTS), ("reduce", REDUCTIONS)):
        kind = options[name].type
        assert isinstance(kind, click.Choice) and tuple(kind.choices) == choices
    for name, default in asdict(Readout()).items():
        assert name == "bins" or default is None or options[name].show_default == default, name  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", ["attribute", "score", "run", "audit", "report"])
def test_models_are_loaded_for_the_device_of_the_run(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an exported model holds does not move there afterwards."""
    lab, asked = Inputs.write(tmp_path, np.random.default_rng(0)), []

    def refuse(spec: object, **reading: Any) -> None:
        asked.append(str(reading["device"]))
        raise ModelError("model: seen enough")

    monkeypatch.setattr("seqsal.attribution.request.load_model", refuse)
    model = ["--model", lab.model, "--device", "cpu"]
    given = [*model, "--genome", tmp_path / "genome.fa", "--regions", tmp_path / "regions.bed"]
    if verb in ("audit", "report"):
        codes = np.zeros((1, command_line.LENGTH), dtype=np.uint8)
        path = tmp_path / "A.h5"
        seqsal.attribute(nn.Sequential(nn.Flatten(), nn.Linear(4 * command_line.LENGTH, 1)), X=one_hot(codes), out=path)
        given = [path, *model]
    out = {"attribute": "B.h5", "score": "s.tsv", "run": "run", "audit": "a.json", "report": "r.html"}[verb]
    result = CliRunner().invoke(main, [verb, *map(str, given), "--out", str(tmp_path / out)])
    assert "seen enough" in result.stderr and asked == ["cpu"]


def takes_names() -> list[str]:
    """Commands that take names of outputs."""
    return [verb for verb in main.list_commands(click.Context(main))
            if any("--target-names" in option.opts for option in main.get_command(click.Context(main), verb).params)]  # type: ignore[union-attr]  # fmt: skip


@pytest.mark.parametrize("verb", takes_names())
def test_another_number_of_names_is_refused(verb: str, tmp_path: Path, rng: np.random.Generator) -> None:
    inputs, names, vcf = Inputs.write(tmp_path, rng), tmp_path / "names.txt", tmp_path / "v.vcf"
    out = tmp_path / f"out{ {'run': '', 'plan': '', 'attribute': '.h5'}.get(verb, '.tsv') }"
    names.write_text("liver\nheart\n")
    at = (tmp_path / "genome.fa").read_text().split()[1].index("A", 200)
    vcf.write_text(f"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
                   f"chr1\t{at + 1}\t.\tA\tC\t.\t.\t.\n")  # fmt: skip
    motifs: list[object] = ["--motifs", "TTACCC", "--motifs", "GATAAG"]
    given: dict[str, list[object]] = {
        "variants": ["--vcf", vcf], "insert": motifs, "remove": motifs, "pair": motifs,
        "swap": ["--a", "GATTACA", *motifs], "space": ["--a", "TTACCC", "--b", "GATAAG"],
    }  # fmt: skip
    windows = [] if verb == "variants" else ["--regions", tmp_path / "regions.bed"]
    result = command_line.call(
        verb, "--model", inputs.model, "--genome", tmp_path / "genome.fa", "--device", "cpu", *windows,
        *given.get(verb, []), "--target-names", names, "--out", out,
    )  # fmt: skip
    command_line.refused(result, "target_names: got 2 names, the model has 1 output;", "a name for each")
    assert not out.exists()
