"""`seqsal.run` in Python: what the command line cannot give it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Inputs, call, refused
from torch import nn
from toys import random_codes

import seqsal
from seqsal.errors import UsageError
from seqsal.sequence.codes import one_hot


def test_a_module_in_memory_and_windows_in_memory(tmp_path: Path, rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2))
    X = one_hot(random_codes(rng, 12, 40))
    result = seqsal.run(model=module, X=X, target=1, n_controls=20, audit=False, device="cpu", out=tmp_path / "run")
    alone = seqsal.attribute(module, X=X, target=1, n_controls=20, device="cpu")
    np.testing.assert_array_equal(result.attr.track, alone.track)
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    assert said["model"]["class"] == said["parameters"]["model"] == "torch.nn.modules.container.Sequential"
    assert len(said["model"]["weights_sha256"]) == 64
    assert (said["parameters"]["statistic"], said["statistic"]) == ("auto", "joint")
    assert "by joint evidence" in result.summary()
    assert "judged by joint evidence" in (tmp_path / "run" / "report.html").read_text()
    assert 'statistic = "auto"' in (tmp_path / "run" / "run.toml").read_text()
    assert (tmp_path / "run" / "report.html").exists()
    again = call("run", "--config", tmp_path / "run" / "run.toml", "--out", tmp_path / "other")
    refused(again, "torch.nn.modules.container.Sequential", "no such file")


def test_run_refuses_what_it_does_not_know(tmp_path: Path, rng: np.random.Generator) -> None:
    inputs = Inputs.write(tmp_path, rng)
    for name, near in (
        ("fdrr", "fdr"),
        ("motifdb", "motif_db"),
        ("negative", "negatives"),
        ("ncontrols", "n_controls"),
    ):
        with pytest.raises(UsageError, match=f"{name}: no such option; did you mean '{near}'"):
            seqsal.run(inputs.model, out=tmp_path / "run", **{name: 1})
    assert not (tmp_path / "run").exists()
