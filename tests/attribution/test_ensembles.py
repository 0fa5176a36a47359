"""Several models as one: means and spreads of predictions and maps, in memory, on disk, and in what comes after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
import torch
from command_line import call, refused

import seqsal
from seqsal.attribution.controls import attributer, run_of_attributions
from seqsal.attribution.request import read_model, read_model_of
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Results
from seqsal.auditing.parts import load_part
from seqsal.auditing.settings import AuditSettings
from seqsal.errors import ModelError, UsageError
from seqsal.models import CNN, CNNConfig, save_checkpoint
from seqsal.models.ensemble import Ensemble, members_of
from seqsal.sequence.codes import one_hot

L = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    for seed in range(3):
        torch.manual_seed(seed)
        save_checkpoint(folder / f"M{seed}.safetensors", CNN(CNNConfig(L, n_filters=6, stem_kernel=7, n_blocks=1)), {})
    return [str(folder / f"M{seed}.safetensors") for seed in range(3)]


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    return one_hot(np.random.default_rng(1).integers(0, 5, (12, L)).astype(np.uint8))


@pytest.mark.parametrize(
    "more",
    [
        {"method": "gradient_x_input"},
        {"method": "deeplift_shap", "n_references": 3},
        {"method": "ism"},
        {"method": "grad_cam"},
        {"method": "smoothgrad", "n_samples": 3, "rc_average": True, "span": 20},
        {"method": "saliency", "precision": "bf16"},
    ],
    ids=lambda one: str(one["method"]),
)
def test_map_and_prediction_are_means_over_members_and_spread_their_standard_deviation(
    files: list[str], X: np.ndarray, more: dict[str, Any]
) -> None:
    every = [seqsal.attribute(one, X=X, device="cpu", **more) for one in files]
    attr = seqsal.attribute(files, X=X, device="cpu", n_controls=5, **more)
    tracks, predictions = (np.stack([getattr(one, name) for one in every]) for name in ("track", "prediction"))
    size = np.abs(tracks).max()
    np.testing.assert_allclose(attr.track, tracks.mean(0), atol=1e-5 * size)
    np.testing.assert_allclose(attr.track_sd, tracks.std(0, ddof=1), atol=1e-5 * size)
    np.testing.assert_allclose(attr.prediction, predictions.mean(0), atol=1e-5)
    np.testing.assert_allclose(attr.prediction_sd, predictions.std(0, ddof=1), atol=1e-5)
    assert attr.n_controls == 5 and [one["sha256"] for one in attr.attrs["model"]["ensemble"]]


def test_scores_are_those_of_the_mean_with_a_spread(files: list[str], X: np.ndarray) -> None:
    table, every = seqsal.score(files, X=X, device="cpu"), [seqsal.score(one, X=X, device="cpu") for one in files]
    logits = np.stack([one["logit"] for one in every])
    np.testing.assert_allclose(table["logit"], logits.mean(0), atol=1e-6)
    np.testing.assert_allclose(table["logit_sd"], logits.std(0, ddof=1), atol=1e-6)
    np.testing.assert_allclose(table["prediction"], 1 / (1 + np.exp(-logits.mean(0))), atol=1e-6)
    assert "logit_sd" not in every[0]


@pytest.fixture
def given(files: list[str], tmp_path: Path) -> tuple[Any, ...]:
    rng = np.random.default_rng(2)
    (tmp_path / "g.fa").write_text(f">a\n{''.join(rng.choice(list('ACGT'), 600))}\n")
    models = [word for one in files for word in ("--model", one)]
    return *models, "--genome", tmp_path / "g.fa", "--regions", "genome", "--device", "cpu"


@pytest.mark.slow
def test_a_run_shows_the_spread(given: tuple[Any, ...], tmp_path: Path) -> None:
    done = call("run", *given, "--no-audit", "--out", tmp_path / "run", "--controls", 50)
    assert done.exit_code == 0, done.output
    assert "agreement.bw" in done.output and (tmp_path / "run" / "agreement.bw").exists()
    assert "3 models; mean map and prediction are shown" in (tmp_path / "run" / "report.html").read_text()
    assert "logit_sd" in (tmp_path / "run" / "scores.tsv").read_text()


def test_a_file_keeps_the_spread_and_peaks_find_the_members_again(
    files: list[str], given: tuple[Any, ...], tmp_path: Path
) -> None:
    given += ("--controls", 0)
    out = ("--out", tmp_path / "A.h5", "--bigwig", tmp_path / "A.bw")
    done = call("attribute", *given, *out)
    assert done.exit_code == 0, done.output
    attr = seqsal.read_attributions(tmp_path / "A.h5")
    whole = seqsal.attribute(files, genome=tmp_path / "g.fa", regions="genome", device="cpu", progress=False)
    np.testing.assert_array_equal(attr.track_sd, whole.track_sd)
    assert attr[:3].track_sd is not None and len(seqsal.concat([attr[:3], attr[3:5]]).prediction_sd) == 5
    peaks = call("peaks", tmp_path / "A.h5", "--out", tmp_path / "p.narrowPeak", "--max-controls", 1_000)
    assert peaks.exit_code == 0, peaks.output
    attr = seqsal.read_attributions(tmp_path / "A.h5")
    assert attr.n_controls == 1_000  # by the members that the file names
    attribute = attributer(attr, run_of_attributions(attr), most_passes=8)
    assert attribute is not None
    maps = attribute(np.asarray(attr.codes[:5]))
    np.testing.assert_allclose(np.std([track for track, _ in maps], axis=0, ddof=1), attr.track_sd[:5], atol=1e-6)
    for file, (_, scores) in zip(files, maps, strict=True):
        alone = seqsal.attribute(file, X=one_hot(np.asarray(attr.codes[:5])), hypothetical=True, device="cpu")
        np.testing.assert_allclose(scores, alone.hypothetical, atol=1e-6)
    with pyBigWig.open(str(tmp_path / "A.agreement.bw")) as file:
        values = file.values("a", 0, 600, numpy=True)
    assert np.nanmin(values) >= 0 and np.nanmax(values) <= 1 and np.isfinite(values).sum() == 600
    first = attr.track[0, :10], attr.track_sd[0, :10]
    np.testing.assert_allclose(
        values[:10], np.abs(first[0]) / np.sqrt(first[0] ** 2 + 2 / 3 * first[1] ** 2), rtol=1e-4
    )
    words = ("--units", 2, "--ensemble", "--out", tmp_path / "plan")
    assert call("plan", *given, *words).exit_code == 0
    for task in range(2):
        assert call("work", tmp_path / "plan", "--task", task).exit_code == 0
    assert call("merge", tmp_path / "plan", "--out", tmp_path / "B.h5").exit_code == 0
    np.testing.assert_allclose(seqsal.read_attributions(tmp_path / "B.h5").track_sd, attr.track_sd, atol=1e-6)


@pytest.mark.parametrize("part", ["faithfulness", "stability"])
def test_an_audit_takes_an_ensemble(part: str, files: list[str], X: np.ndarray) -> None:
    attr = seqsal.attribute(files[:2], X=X, device="cpu", n_controls=20)
    sizes = AuditSettings().changed({"n_ism_regions": 2, "n_small": 2, "n_steps": 2, "n_draws": 1, "n_bootstrap": 10})
    context = AuditContext(attr, read_model_of(files[:2], attr), settings=sizes, device=torch.device("cpu"))
    assert isinstance(load_part(part).run(context, Results()), load_part(part).result)


def test_targets_contrasts_and_members(X: np.ndarray) -> None:
    torch.manual_seed(0)
    nets = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * L, 3)) for _ in range(2)]
    attr = seqsal.attribute(nets, X=X, device="cpu", target=[0, 2], contrast="1-0", gradient_correction=False)
    for name, weights in zip(attr.results, ([1, 0, 0], [0, 0, 1], [-1, 1, 0]), strict=True):
        maps = [(net[1].weight.detach().T @ torch.tensor(weights).float()).reshape(4, L).numpy() * X for net in nets]
        tracks = np.stack([one.sum(1) for one in maps])
        np.testing.assert_allclose(attr.result(name).track, tracks.mean(0), atol=1e-6)
        np.testing.assert_allclose(attr.result(name).track_sd, tracks.std(0, ddof=1), atol=1e-6)
    both = read_model(nets, device="cpu")
    assert isinstance(both, Ensemble) and len(members_of(both)) == 2 and members_of(both.members[0]) == []


def test_members_of_another_kind_are_refused(files: list[str], tmp_path: Path, X: np.ndarray) -> None:
    save_checkpoint(tmp_path / "long.safetensors", CNN(CNNConfig(60, n_filters=4, stem_kernel=7, n_blocks=0)), {})
    two = CNN(CNNConfig(L, n_filters=4, stem_kernel=7, n_blocks=0, n_targets=2, loss="count"))
    save_checkpoint(tmp_path / "two.safetensors", two, {})
    with pytest.raises(ModelError, match=r"different windows \(bp\) \(.*M0.safetensors: 40, .*long.safetensors: 60\)"):
        seqsal.score([files[0], str(tmp_path / "long.safetensors")], X=X)
    with pytest.raises(ModelError, match="different numbers of targets"):
        seqsal.score([files[0], str(tmp_path / "two.safetensors")], X=X)
    with pytest.raises(ModelError, match="compile: is for one model"):
        seqsal.attribute(files, X=X, compile=True, device="cpu")
    with pytest.raises((ModelError, UsageError), match="expected a model file"):
        seqsal.score([], X=X)
    (tmp_path / "x.fa").write_text(f">a\n{'ACGT' * 10}\n")
    words = ("--model", files[0], "--model", tmp_path / "long.safetensors", "--fasta", tmp_path / "x.fa")
    refused(call("attribute", *words, "--out", tmp_path / "A.h5"), "different windows (bp)")
    assert not (tmp_path / "A.h5").exists()
