"""A span of each window: what is kept, written, shuffled and mutated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import seqsal
from seqsal.attribution.controls import make_controls
from seqsal.attribution.methods.registry import METHODS
from seqsal.auditing import AuditSettings
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Results
from seqsal.auditing.parts import load_part
from seqsal.auditing.run import open_audited
from seqsal.errors import SeqsalError, UsageError
from seqsal.io.tracks import write_bedgraph
from seqsal.sequence.codes import N_CODE, encode, one_hot
from seqsal.sequence.draws import window_keys

L, K = 61, 20
START = (L - K) // 2
FEW = {
    "smoothgrad": {"n_samples": 3},
    "integrated_gradients": {"n_steps": 4},
    "expected_gradients": {"n_references": 3},
    "deeplift_shap": {"n_references": 3},
    "tiles": {"tile": 12, "n_shuffles": 2},
}


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 7, padding=3), torch.nn.ReLU(), torch.nn.Conv1d(6, 6, 5, padding=2), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(), torch.nn.Linear(6, 2),
    )  # fmt: skip


@pytest.fixture(scope="module")
def codes() -> np.ndarray[Any, Any]:
    codes = np.random.default_rng(1).integers(0, 4, (3, L)).astype(np.uint8)
    codes[1, START + 3] = codes[1, 2] = N_CODE
    return codes


@pytest.fixture
def genome(tmp_path: Any) -> Any:
    path = tmp_path / "g.fa"
    bases = np.random.default_rng(2).integers(0, 4, 400)
    path.write_text(">chr1\n" + "".join("ACGT"[b] for b in bases) + "\n")
    return path


@pytest.mark.parametrize("rc_average", [False, True])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_spans_map_is_the_cut_of_the_whole_map(
    method: str, rc_average: bool, model: torch.nn.Module, codes: np.ndarray[Any, Any]
) -> None:
    how = {"method": method, "device": "cpu", "rc_average": rc_average, **FEW.get(method, {})}
    whole = seqsal.attribute(model, X=one_hot(codes), **how)
    span = seqsal.attribute(model, X=one_hot(codes), span=K, **how)
    assert span.track.shape == (3, K)
    scale = np.abs(whole.track).max()
    np.testing.assert_allclose(span.track, whole.track[:, START : START + K], atol=2e-6 * scale)
    np.testing.assert_allclose(span.prediction, whole.prediction, rtol=1e-6)
    if whole.hypothetical is not None:
        np.testing.assert_allclose(span.hypothetical, whole.hypothetical[..., START : START + K], atol=2e-6 * scale)
    if whole.completeness_error is not None:
        np.testing.assert_allclose(span.completeness_error, whole.completeness_error, atol=1e-6)
    np.testing.assert_array_equal(span.codes, codes[:, START : START + K])
    np.testing.assert_array_equal(span.window_codes, codes)
    assert span.span == (START, START + K)


def test_ism_mutates_the_span_alone(model: torch.nn.Module, codes: np.ndarray[Any, Any]) -> None:
    seen: list[np.ndarray[Any, Any]] = []

    class Watched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            seen.append(X.detach().numpy().copy())
            return self.inner(X)

    wrapped = seqsal.wrap(Watched(), input_length=L)
    seen.clear()
    seqsal.attribute(wrapped, X=one_hot(codes[:1]), method="ism", span=K, device="cpu")
    given = np.concatenate([X for X in seen if X.shape[2] == L])
    differs = (given != one_hot(codes[:1])).any(axis=1)  # (n, L)
    single = differs.sum(axis=1) == 1
    where = np.flatnonzero(differs[single].any(axis=0))
    assert where.min() >= START and where.max() < START + K
    assert single.sum() <= 3 * K + 12 * 6  # the mutants, and those of the comparison


def test_controls_shuffle_the_span_in_its_window(model: torch.nn.Module, codes: np.ndarray[Any, Any]) -> None:
    attr = seqsal.attribute(model, X=one_hot(codes), span=K, n_controls=6, device="cpu")
    made = attr.controls
    assert made is not None and made.track.shape == (6, K)
    for shuffled, track, prediction, parent in zip(made.codes, made.track, made.prediction, made.source, strict=True):
        window = codes[parent].copy()
        assert sorted(shuffled) == sorted(window[START : START + K])
        window[START : START + K] = shuffled
        alone = seqsal.attribute(model, X=one_hot(window[None]), device="cpu")
        np.testing.assert_allclose(track, alone.track[0, START : START + K], atol=1e-6)
        np.testing.assert_allclose(prediction, alone.prediction[0], rtol=1e-5)
    whole = seqsal.attribute(model, X=one_hot(codes), span=K, n_controls=6, control_shuffle="window", device="cpu")
    full = seqsal.attribute(model, X=one_hot(codes), n_controls=6, device="cpu")
    np.testing.assert_array_equal(whole.controls.codes, full.controls.codes[:, START : START + K])
    np.testing.assert_allclose(whole.controls.track, full.controls.track[:, START : START + K], atol=1e-6)


def test_a_file_holds_the_span_and_its_window_and_controls_come_later(
    model: torch.nn.Module, genome: Any, tmp_path: Any
) -> None:
    regions = ["chr1:100-140", "chr1:200-240(-)"]
    how = {"genome": genome, "regions": regions, "input_length": L, "span": K, "method": ["gradient_x_input", "ism"]}
    made = seqsal.attribute(model, out=tmp_path / "A.h5", device="cpu", **how)
    read = seqsal.read_attributions(tmp_path / "A.h5")
    memory = seqsal.attribute(model, device="cpu", n_controls=4, **how)
    assert read.span == (START, START + K) and read.window_length == L and read.length == K
    np.testing.assert_array_equal(read.window_codes, memory.window_codes)
    np.testing.assert_array_equal(read.track, memory.track)
    assert list(read.regions["end"] - read.regions["start"]) == [K, K]
    # the minus strand is read from its end: the span's bases are where the table says
    with open(genome) as file:
        bases = file.read().split("\n")[1]
    forward = read.regions.iloc[0]
    assert read.codes[0].tolist() == encode(bases[forward.start : forward.end]).tolist()
    reverse = read.regions.iloc[1]
    assert read.codes[1].tolist() == (3 - encode(bases[reverse.start : reverse.end])[::-1]).tolist()
    windows = read.windows
    assert list(windows["end"] - windows["start"]) == [L, L] and "window_start" not in windows
    for attr in (read, made):
        make_controls(attr, model, n_controls=4, device="cpu")
        np.testing.assert_array_equal(attr.controls.codes, memory.controls.codes)
        np.testing.assert_array_equal(np.asarray(attr.controls.track), memory.controls.track)
    assert len(seqsal.call_peaks(read, max_controls=4).columns)


def test_regions_of_several_widths_keep_their_own_bases(model: torch.nn.Module, genome: Any, tmp_path: Any) -> None:
    regions = ["chr1:100-117", "chr1:200-210(-)", "chr1:300-305", "chr2:1-40"]
    attr = seqsal.attribute(model, genome=genome, regions=regions, span="region", input_length=L, device="cpu")
    assert attr.length == 17
    known = np.asarray(attr.codes) != N_CODE
    assert known.sum(axis=1).tolist() == [17, 10, 5]
    assert (np.asarray(attr.track)[~known] == 0).all()
    assert (np.asarray(attr.track)[known] != 0).all()
    write_bedgraph(attr, attr.chrom_sizes, tmp_path / "t.bedgraph")
    covered = {
        i for line in (tmp_path / "t.bedgraph").read_text().splitlines() for i in range(*map(int, line.split()[1:3]))
    }
    assert covered == {*range(100, 117), *range(200, 210), *range(300, 305)}
    wider = seqsal.attribute(
        model, genome=genome, regions=regions[:1], span="region", flank=4, input_length=L, device="cpu"
    )
    assert wider.regions[["start", "end"]].to_numpy().tolist() == [[96, 121]]
    # the window is laid around the region: cut out of it, these are the values of the whole
    whole = seqsal.attribute(model, X=one_hot(np.asarray(attr.window_codes)), device="cpu")
    cut = whole.track[:, slice(*attr.span)]
    np.testing.assert_allclose(attr.track, np.where(known, cut, 0), atol=1e-6)


def test_tiles_are_spans(model: torch.nn.Module, genome: Any) -> None:
    attr = seqsal.attribute(
        model, genome=genome, regions="chr1:100-160", span=K, tile=True, input_length=L, device="cpu"
    )
    assert attr.regions[["start", "end"]].to_numpy().tolist() == [[100, 120], [120, 140], [140, 160]]


def test_region_strings(model: torch.nn.Module, genome: Any) -> None:
    attr = seqsal.attribute(model, genome=genome, regions="chr1:1,00-161", device="cpu")
    assert attr.regions[["chrom", "start", "end", "name"]].to_numpy().tolist() == [["chr1", 100, 161, "chr1:100-161"]]
    with pytest.raises(SeqsalError, match="chrom:start-end"):
        seqsal.attribute(model, genome=genome, regions=["chr1:100-161", "somewhere"], device="cpu")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"span": L + 1}, "wider than the model's window of 61 bp"),
        ({"span": 0}, "expected a number of bases"),
        ({"span": "regions"}, "expected a number of bases, 'region' or 'window'"),
        ({"span": (3, 90)}, "expected a part of the window, 0 to 61"),
        ({"span": "region"}, "expected genome and regions"),
        ({"flank": 3}, "which widens a span"),
        ({"span": K, "flank": 40}, "100 bp with 40 bp on either side"),
        ({"span": K, "control_shuffle": "both"}, "expected 'span' or 'window'"),
    ],
)
def test_bad_spans(given: dict[str, Any], message: str, model: torch.nn.Module, codes: np.ndarray[Any, Any]) -> None:
    with pytest.raises(UsageError, match=message):
        seqsal.attribute(model, X=one_hot(codes), device="cpu", **given)


def test_a_region_wider_than_the_window(model: torch.nn.Module, genome: Any) -> None:
    with pytest.raises(SeqsalError, match="100 bp wide and does not fit into the model's window of 61 bp"):
        seqsal.attribute(model, genome=genome, regions="chr1:100-200", span="region", input_length=L, device="cpu")


def test_spans_with_the_same_bases_get_the_same_shuffles(model: torch.nn.Module, codes: np.ndarray[Any, Any]) -> None:
    other = codes.copy()
    other[:, :5] = 0
    made = [seqsal.attribute(model, X=one_hot(c), span=K, n_controls=3, device="cpu").controls for c in (codes, other)]
    np.testing.assert_array_equal(window_keys(made[0].codes), window_keys(made[1].codes))


def test_a_span_is_audited_in_its_window(codes: np.ndarray[Any, Any]) -> None:
    """The model sees whole windows, whose flanks differ from row to row and stay; changes are in the span alone."""
    seen: list[np.ndarray[Any, Any]] = []

    class Flanked(torch.nn.Module):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            seen.append(X.detach().argmax(1).numpy())
            return X[:, 2, START : START + K].sum(1) + 3 * X[:, 1, :START].sum(1)

    many = np.random.default_rng(4).integers(0, 4, (12, L)).astype(np.uint8)
    model = seqsal.wrap(Flanked(), input_length=L)
    attr = seqsal.attribute(model, X=one_hot(many), span=K, device="cpu")
    seen.clear()
    sizes = {"n_regions": 12, "n_ism_regions": 8, "n_small": 4, "n_draws": 2, "n_bootstrap": 20}
    context, results = AuditContext(attr, model, settings=AuditSettings().changed(sizes)), Results()
    for part in ("faithfulness", "sanity", "stability", "saturation", "composition"):  # what takes long is left out
        results[part] = load_part(part).run(context, results)
    assert results["faithfulness"].ism_spearman > 0.99
    flanks = {bytes(row) for row in np.delete(many, range(START, START + K), axis=1)}
    given = np.concatenate([X for X in seen if X.shape[1] == L and len(X) > 1]).astype(np.uint8)
    given = given[~(given == 0).all(axis=1)]
    known = [bytes(row) in flanks for row in np.delete(given, range(START, START + K), axis=1)]
    behind = L - START - K  # of the other strand
    turned = [bytes(3 - row[::-1]) in flanks for row in np.delete(given, range(behind, behind + K), axis=1)]
    assert (
        np.logical_or(known, turned).mean() > 0.95
    )  # others are random sequences, with which the model itself is looked at


def test_what_is_audited_may_be_narrower(model: torch.nn.Module, codes: np.ndarray[Any, Any], tmp_path: Any) -> None:
    how = {"X": one_hot(codes), "contrast": ["1-0", "0-1"], "device": "cpu", "n_controls": 4}
    whole = seqsal.attribute(model, out=tmp_path / "A.h5", **how)
    span = seqsal.attribute(model, span=K, control_shuffle="window", **how)
    cut = open_audited(tmp_path / "A.h5", span=K, contrast="0 - 1")
    expected = span.result(cut.name)
    assert cut.target == -1 and cut.name == whole.results[1] and cut.span == expected.span
    for name in ("track", "codes", "window_codes", "prediction"):
        np.testing.assert_array_equal(np.asarray(getattr(cut, name)), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(np.asarray(cut.controls.track), expected.controls.track)
    assert cut.regions["start"].tolist() == expected.regions["start"].tolist()
    wide = open_audited(tmp_path / "A.h5", span=K - 6, flank=3, contrast="0 - 1")
    assert wide.span == cut.span
    with pytest.raises(UsageError, match="flank: got 3 bp, which widens a span"):
        open_audited(whole, flank=3)
    with pytest.raises(UsageError, match="'region' for windows that are given directly"):
        open_audited(whole, span="region")
    with pytest.raises(UsageError, match="not of '1' but of 1-0, 0-1"):
        open_audited(whole, contrast="1")
    with pytest.raises(UsageError, match="but the attributions are of all of the output"):
        open_audited(whole, readout_at="region")
    with pytest.raises(UsageError, match="wider than"):
        open_audited(whole, span=L + 1)
