"""Signal as the target: learnt, held out and read back; against bpnet-lite's network and losses; what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pybigtools
import pytest
import torch
from click.testing import CliRunner
from signal_toys import CHROMS, SignalData, make_signal, write_track

import seqsal
from seqsal.cli import main
from seqsal.errors import ModelError, RegionError, SeqsalError, TrainingError, UsageError
from seqsal.io.bed import read_bed
from seqsal.models import CNN, CNNConfig, wrap
from seqsal.models.checkpoint import load_checkpoint
from seqsal.models.load import load_model
from seqsal.training.examples import Examples
from seqsal.training.fit import View, _Loss
from seqsal.training.settings import TrainConfig
from seqsal.training.signal import find_strand_pairs, profile_scores, read_tracks
from seqsal.training.train import TrainResult, _Scale, train_model

WIDTH = 120
SIZES = {"n_filters": 12, "n_blocks": 1, "stem_kernel": 11, "profile_kernel": 25}
TRAINING = TrainConfig(epochs=14, batch_size=8, learning_rate=1e-2, max_shift=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SignalData:
    return make_signal(tmp_path_factory.mktemp("signal"), n_each=80, width=WIDTH)


@pytest.fixture(scope="module")
def trained(data: SignalData, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, Path]:
    out = tmp_path_factory.mktemp("model") / "M.safetensors"
    config = CNNConfig.for_profile(WIDTH, n_targets=2, **SIZES)
    signal = [data.plus, data.minus]
    return train(data, config=config, signal=signal, training=TRAINING, out=out), out


def train(data: SignalData, **options: Any) -> TrainResult:
    given: dict[str, Any] = {"genome": data.genome, "device": "cpu", **options}
    return train_model(given.pop("regions", data.regions), **given)


def test_profile_and_counts_are_learnt_and_told(trained: tuple[TrainResult, Path]) -> None:
    result, _ = trained
    test = result.test_metrics
    assert all(value > 0.5 for value in test["pearson"]), test
    assert all(value > 0.5 for value in test["profile_pearson"]), test
    assert all(value < 0.4 for value in test["profile_jsd"]), test
    assert result.metadata["target_names"] == ["plus", "minus"]
    assert result.metadata["inputs"]["strands"] == ["plus and minus"]
    assert "test profile Jensen-Shannon divergence: plus 0." in result.summary()


def test_the_checkpoint_opens_everywhere(trained: tuple[TrainResult, Path], data: SignalData) -> None:
    result, path = trained
    regions = read_bed(data.regions).head(6)
    for options, space in (({"target": 1}, "log"), ({"output": "profile", "target": 1}, "logit")):
        model = load_model(path, **options)
        assert (model.n_targets, model.output_space, model.target_names) == (2, space, ("plus", "minus"))
        attr = seqsal.attribute(model, genome=data.genome, regions=regions, device="cpu")
        assert attr.track.shape == (6, WIDTH) and np.abs(attr.track).max() > 0
    model = load_model(path)
    X = torch.eye(4)[torch.arange(WIDTH) % 4].T[None]
    _, counts = result.model(X)
    torch.testing.assert_close(model.predict(X), counts[:, 0].exp())  # 1 + the counts


def test_retrain_refuses_in_one_line_and_says_what_works(
    trained: tuple[TrainResult, Path], data: SignalData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("read_audit", "read_shortcuts"):
        monkeypatch.setattr(f"seqsal.pipeline.retrain.{name}", lambda _: [])
    with pytest.raises(TrainingError, match=r"is a profile model of 2 target.*seqsal train --irrelevant") as caught:
        seqsal.retrain(trained[1], "audit.json", data.regions, genome=data.genome, out=tmp_path / "M2.safetensors")
    assert "\n" not in str(caught.value)
    marks = read_bed(data.regions).assign(start=lambda table: table["end"] - 9)
    config = CNNConfig.for_profile(WIDTH, **SIZES)
    result = train(data, config=config, signal=[data.both], irrelevant=marks, training=replace(TRAINING, epochs=1))
    assert 0 < result.metadata["history"][0]["irrelevant_loss"] < 1


@pytest.mark.parametrize("n_controls", [0, 2])
def test_the_network_is_that_of_bpnetlite(n_controls: int) -> None:
    """The same weights give the same logits and counts; log counts of one track, controls of two strands."""
    bpnetlite = pytest.importorskip("bpnetlite")
    torch.manual_seed(0)
    theirs = bpnetlite.BPNet(n_filters=6, n_layers=3, n_outputs=2, n_control_tracks=n_controls, trimming=50)
    ours = CNN(CNNConfig.for_profile(
        200, output_length=100, n_filters=6, n_blocks=3, n_targets=2, n_controls=n_controls
    ))  # fmt: skip
    names = {"stem.0": "iconv", "profile": "fconv", **{f"blocks.{i}.convolution.0": f"rconvs.{i}" for i in range(3)}}
    state = {f"{a}.{kind}": theirs.state_dict()[f"{b}.{kind}"] for a, b in names.items() for kind in ("weight", "bias")}
    # theirs has one count and one feature of all controls, log(1 + Σ): with one of two controls empty they are the same
    weight = theirs.linear.weight.detach().repeat(2, 1)
    weight = torch.cat([weight[:, :6], weight[:, 6:].repeat(1, n_controls)], dim=1) if n_controls else weight
    state |= {"head.weight": weight, "head.bias": theirs.linear.bias.detach().repeat(2)}
    ours.load_state_dict(state)
    X = torch.eye(4)[torch.randint(0, 4, (3, 200))].transpose(1, 2)
    controls = torch.poisson(torch.full((3, n_controls, 200), 0.3))
    controls[:, 1:] = 0
    logits, counts = ours(X, *[controls] * bool(n_controls))
    expected = theirs(X, *[controls] * bool(n_controls))
    torch.testing.assert_close(logits, expected[0])
    torch.testing.assert_close(counts, expected[1].repeat(1, 2))


def test_losses_and_measures_are_those_of_bpnetlite() -> None:
    mixture_loss = pytest.importorskip("bpnetlite.losses")._mixture_loss
    calculate_performance_measures = pytest.importorskip("bpnetlite.performance").calculate_performance_measures

    torch.manual_seed(1)
    y, logits, counts = torch.poisson(torch.rand(5, 1, 90) * 2), torch.randn(5, 1, 90), torch.rand(5, 1) * 5
    profile, _, whole = mixture_loss(y, logits, counts, 0.7)
    loss = _Loss("profile", y.sum(-1), TrainConfig(count_weight=0.7))
    scores = profile_scores(logits, y)
    constant = scores["profile_log_likelihood"] + scores["cross_entropy"]  # of the counts alone, which trains nothing
    torch.testing.assert_close(loss((logits, counts), y).double() - constant.mean(), whole.double())
    assert float(-scores["profile_log_likelihood"].mean()) == pytest.approx(float(profile), rel=1e-5)
    theirs = calculate_performance_measures(
        logits.log_softmax(-1), y, counts, smooth_true=True, measures=["profile_pearson"]
    )
    torch.testing.assert_close(scores["profile_pearson"].float(), theirs["profile_pearson"], rtol=1e-4, atol=1e-5)
    jsd = calculate_performance_measures(logits.log_softmax(-1), y, counts, measures=["profile_jsd"])["profile_jsd"]
    torch.testing.assert_close(scores["profile_jsd"].float(), jsd, rtol=1e-4, atol=1e-5)


def test_counts_have_a_say_and_start_where_no_constant_is_better(rng: np.random.Generator) -> None:
    targets = rng.lognormal(3, 2, (200, 2)).astype(np.float32) * [1, 9]  # skewed, as reads are
    parts = np.repeat(["train", "test"], [150, 50])
    examples = Examples(np.zeros((200, 9), np.uint8), targets, parts, parts == "train", parts)
    start = _Scale.of(examples, "profile").start
    worse = [np.square(np.log1p(targets[:150]) - start - off).mean(axis=0) for off in (-0.1, 0, 0.1)]
    assert (worse[1] < worse[0]).all() and (worse[1] < worse[2]).all()
    # Avsec et al. 2021: the squared error weighs half the mean count, which is where a Poisson's log-likelihood of the
    # counts, n (x - 1 - log x) at the ratio x of what is expected, bends as much
    weight = _Loss("profile", torch.from_numpy(targets[:150]), TrainConfig()).weight
    n, log_x = targets[:150].mean(axis=0), 1e-2
    np.testing.assert_allclose(weight * log_x**2, n * (np.exp(log_x) - 1 - log_x), rtol=5e-3)


def test_a_window_without_reads_has_no_measure() -> None:
    scores = profile_scores(torch.zeros(2, 1, 8), torch.tensor([[[0.0] * 8], [[1.0] * 8]]))
    assert scores["cross_entropy"][0] == 0 and torch.isnan(scores["profile_jsd"][0]).all()
    assert scores["profile_jsd"][1] == pytest.approx(0)


def test_strands_change_places_with_the_strand() -> None:
    values = torch.arange(24.0).reshape(1, 2, 12)
    view = View(torch.tensor([2]), torch.tensor([True]))
    assert torch.equal(view.along(values, 8, (1, 0)), values[:, [1, 0], 2:10].flip(-1))
    assert torch.equal(view.along(values, 8, (0, 1)), values[:, :, 2:10].flip(-1))
    still = View(torch.tensor([0]), torch.tensor([False]))
    assert torch.equal(still.along(values, 8, (1, 0)), values[..., :8])


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["a_plus.bw", "a_minus.bw"], (1, 0)),
        (["fwd.bw", "b.bw", "rev.bw"], (2, 1, 0)),
        (["Reb1.neg.bw", "Reb1.pos.bw", "Abf1.pos.bw", "Abf1.neg.bw"], (1, 0, 3, 2)),
        (["a+.bw", "a-.bw"], (1, 0)),
        (["liver.bw", "heart.bw"], (0, 1)),
        (["a_plus.bw", "b_minus.bw"], (0, 1)),
        (["composite.bw", "positron.bw"], (0, 1)),
    ],
)
def test_strands_are_known_by_words_in_names(names: list[str], pairs: tuple[int, ...]) -> None:
    assert find_strand_pairs(names) == pairs


def test_a_window_on_minus_reads_tracks_from_its_other_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tracks = [{"chr1": rng.poisson(1, 100).astype(np.float32)} for _ in range(2)]
    paths = [write_track(tmp_path / f"{i}.bw", track) for i, track in enumerate(tracks)]
    windows = pd.DataFrame({"chrom": "chr1", "start": [10, 10], "end": [30, 30], "strand": ["+", "-"], "name": "w"})
    found = read_tracks(paths, windows, 10, {"chr1": 100}, swap=(1, 0))
    expected = np.stack([track["chr1"][15:25] for track in tracks])
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], expected[::-1, ::-1])


@pytest.mark.parametrize(("loss", "reduce"), [("count", np.sum), ("regression", np.mean)])
def test_a_number_a_window_is_the_sum_or_mean_of_each_track(loss: str, reduce: Any, data: SignalData) -> None:
    config = CNNConfig(WIDTH, n_targets=2, loss=loss, n_filters=4)
    result = train(data, config=config, signal=[data.plus, data.minus], training=replace(TRAINING, epochs=1))
    assert len(result.test_metrics["pearson"]) == 2 and "profile_jsd" not in result.test_metrics
    windows = read_bed(data.regions)
    swap, sizes = (1, 0), {chrom: 10**6 for chrom in CHROMS}
    dense = read_tracks([data.plus], windows, WIDTH, {}, swap=(0,))[:, 0]
    told = read_tracks([data.plus, data.minus], windows, WIDTH, {}, swap=swap, reduce=reduce.__name__)
    np.testing.assert_allclose(told[:, 0], reduce(dense, axis=1), rtol=1e-5)
    with pytest.raises(RegionError, match="bp, but 1,000,000 in the genome"):
        read_tracks([data.plus], windows, WIDTH, sizes, swap=(0,))


def test_controls_and_an_exponential_first_layer(data: SignalData, tmp_path: Path) -> None:
    config = CNNConfig.for_profile(WIDTH, n_targets=1, n_controls=1, stem_activation="exp", **SIZES)
    out, short = tmp_path / "C.safetensors", replace(TRAINING, epochs=1)
    first = train(data, config=config, signal=[data.plus], control=[data.minus], training=short, out=out)
    model = load_model(out, output="profile")
    X = torch.eye(4)[torch.arange(WIDTH) % 4].T[None]
    assert torch.equal(model.positions(X), first.model(X)[0])  # explained without controls
    again = train(data, config=config, signal=[data.plus], control=[data.plus], training=short)
    assert not torch.equal(again.model.head.weight, first.model.head.weight)
    assert wrap(first.model).output_space == "log" and isinstance(first.model.stem[2](X), torch.Tensor)
    assert torch.equal(first.model.stem[2](X), X.exp())


def tampered(kind: str, data: SignalData, folder: Path) -> dict[str, Any]:
    """Return options for a training that is to be refused."""
    table = read_bed(data.regions)
    size = {chrom: 82 * (WIDTH + 40) for chrom in CHROMS}
    ones = {chrom: np.ones(n, np.float32) for chrom, n in size.items()}
    path = folder / "x.bw"
    if kind == "lacks a chromosome":
        write_track(path, {chrom: ones[chrom] for chrom in CHROMS[:3]})
    elif kind == "other genome":
        write_track(path, {chrom: np.ones(n + 7, np.float32) for chrom, n in size.items()})
    elif kind == "other names":
        write_track(path, {chrom.removeprefix("chr"): one for chrom, one in ones.items()})
    elif kind == "negative":
        ones["chr2"][1000] = -2
        write_track(path, ones)
    elif kind == "minus below the axis":
        write_track(path, {chrom: -one for chrom, one in ones.items()})
    elif kind in ("infinite", "NaN"):
        ones["chr1"][986] = np.inf if kind == "infinite" else np.nan
        rows = ((chrom, i, i + 1, float(value)) for chrom, one in ones.items() for i, value in enumerate(one[:1000]))
        pybigtools.open(str(path), "w").write(size, rows)
    elif kind == "no signal":
        write_track(path, {chrom: np.eye(1, n, dtype=np.float32)[0] for chrom, n in size.items()})
    elif kind == "no bigWig":
        path.write_text("chr1\t0\t10\t1\n")
    elif kind == "outside":
        write_track(path, ones)
        return {"signal": [path], "regions": table.assign(start=-100, end=-100 + WIDTH)}
    elif kind == "odd strands":
        return {"signal": [data.plus], "stranded": True}
    elif kind == "no genome":
        return {"signal": [data.plus], "genome": None}
    elif kind == "no track":
        return {"config": CNNConfig.for_profile(WIDTH)}
    elif kind == "other number":
        return {"signal": [data.plus], "config": CNNConfig.for_profile(WIDTH, n_targets=2)}
    return {"signal": [path]}


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("lacks a chromosome", RegionError, r"x.bw: has no value on chr4, where 80 of 320 windows lie"),
        ("other genome", RegionError, r"chr1 has 13,127 bp, but 13,120 in the genome; give the track of the same"),
        ("other names", RegionError, r"chromosomes are named chr1.* those of .*x.bw 1"),
        ("negative", TrainingError, r"x.bw: is -2 at chr2:1000, expected counts of 0 or more; .*--loss regression"),
        ("minus below the axis", TrainingError, r"is -1 at chr1:\d+, .*a minus strand drawn below the axis"),
        ("infinite", TrainingError, r"is inf at chr1:986, expected a number"),
        ("NaN", TrainingError, r"x.bw: holds values that are NaN"),
        ("no signal", TrainingError, r"x.bw has no signal in any of the 320 windows"),
        ("missing", TrainingError, r"x.bw: no such file, expected a bigWig"),
        ("no bigWig", TrainingError, r"x.bw: is no bigWig, expected a bigWig file"),
        ("outside", SeqsalError, r"reach over an end of their chromosome|regions"),
        ("odd strands", TrainingError, r"got 1 track, expected an even number, as they come in pairs"),
        ("no genome", UsageError, r"signal: is read at regions of a genome"),
        ("no track", UsageError, r"loss: a profile is learnt from tracks, but none is given"),
        ("other number", TrainingError, r"1 track and 0 controls for a profile model of 2 targets"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    kind: str, error: type[SeqsalError], said: str, data: SignalData, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said) as caught:
        train(data, training=TRAINING, out=tmp_path / "M.safetensors", **tampered(kind, data, tmp_path))
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"x.bw"}  # nothing half-written


def test_windows_over_an_end_are_left_out_and_told(data: SignalData, caplog: pytest.LogCaptureFixture) -> None:
    table = read_bed(data.regions)
    table.loc[0, ["start", "end"]] = [-40, -40 + WIDTH]
    config = CNNConfig.for_profile(WIDTH, output_length=60, **SIZES)
    result = train(data, regions=table, config=config, signal=[data.plus], training=replace(TRAINING, epochs=1))
    assert "1 of 320 windows reach over an end of their chromosome, first" in caplog.text
    assert result.metadata["inputs"]["n_outside"] == 1


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"output_length": 61}, "even number of bases less"),
        ({"output_length": 400}, "1 to 120 bp"),
        ({"stem_pool": 2}, "a value for each base"),
        ({"loss": "count"}, "0 but for a profile"),
        ({"stem_activation": "tanh"}, "relu or gelu or exp"),
    ],
)
def test_sizes_that_make_no_profile(sizes: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        CNNConfig.for_profile(WIDTH, **sizes)


def test_the_command_learns_two_strands(data: SignalData, tmp_path: Path) -> None:
    arguments = ["train", "--regions", data.regions, "--genome", data.genome, "--signal", data.plus, "--signal",
                 data.minus, "--control", data.plus, "--filters", 4, "--blocks", 1, "--epochs", 1, "--output-length",
                 40, "--stem-activation", "exp", "--unstranded", "--out", tmp_path / "M.safetensors"]  # fmt: skip
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    assert "test profile Jensen-Shannon divergence: plus" in result.output
    config = load_checkpoint(tmp_path / "M.safetensors")[0].config
    assert (config.output_length, config.n_controls, config.n_targets, config.stem_activation) == (40, 1, 2, "exp")
