"""Peak calls: planted peaks, invariances, calibration, and the ways to refuse."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from track_toys import bump, make_attr, noise

from seqsal.errors import StoreError, UsageError
from seqsal.io import attributions
from seqsal.io.attributions import Attributions, Controls, DiskTable
from seqsal.io.bed import write_narrowpeak
from seqsal.io.store import StoreLayout, read_attributions
from seqsal.io.store_writer import AttributionWriter
from seqsal.io.sweep import Axis, Scale
from seqsal.peaks import PEAK_COLUMNS, call_peaks, pool, write_peaks_tsv
from seqsal.peaks.controls import choose_scale, window_scale
from seqsal.peaks.pool import Pool, SignCount, benjamini_hochberg, sign_weights

LENGTH = 600
FDR_OF_SITES = 0.1  # those of `sites` pass it by the luck of 100 controls
PLANTED = ((100, 10, 6.0), (250, 14, -5.0), (400, 8, 8.0), (500, 10, -7.0))  # centre, half width, height


@pytest.fixture
def controls(rng: np.random.Generator) -> NDArray[np.float32]:
    return 0.3 * noise(rng, 60, LENGTH)


def planted(rng: np.random.Generator, n: int = 4) -> NDArray[np.float32]:
    return np.asarray(0.3 * noise(rng, n, LENGTH) + sum(bump(LENGTH, *shape) for shape in PLANTED), dtype=np.float32)


def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(a, b, check_exact=False, rtol=1e-9)


def test_planted_peaks_of_both_signs(rng: np.random.Generator, controls: NDArray[np.float32]) -> None:
    track = planted(rng)
    peaks = call_peaks(make_attr(track, controls=controls), fdr=1e-3)
    assert list(peaks.columns) == list(PEAK_COLUMNS)
    assert len(peaks) == 4 * len(PLANTED)
    for i in range(4):
        for centre, half_width, height in PLANTED:
            where = i * (LENGTH + 10) + centre
            (hit,) = peaks[(peaks["start"] <= where) & (where < peaks["end"])].itertuples()
            assert abs(hit.start + hit.summit - where) <= 3
            assert hit.sign == ("pos" if height > 0 else "neg")
            assert hit.end - hit.start <= 2 * half_width + 6
            offset = i * (LENGTH + 10)
            total = track[i, hit.start - offset : hit.end - offset].sum(dtype=np.float64)
            assert hit.signal == pytest.approx(total)
    assert (peaks["q_value"] <= 1e-3).all()
    assert (peaks["q_value"] >= peaks["p_value"]).all()
    assert peaks["score"].between(0, 1000).all()
    assert peaks.attrs["best_q"] == peaks["q_value"].min()


def test_names_count_from_the_strongest_and_rows_follow_the_genome() -> None:
    ripple = 0.01 * np.where(np.arange(200) % 2, 1, -1)  # the same level in every window, lost in the smoothing
    track = np.stack([ripple + bump(200, 100, 10, h) for h in (3, -9, 5, -2)])
    attr = make_attr(track, chrom=["b", "a", "a", "b"], start=[0, 900, 300, 500], controls=_spiky())
    peaks = call_peaks(attr, fdr=1)
    peaks = peaks[peaks["signal"].abs() > 1].reset_index(drop=True)
    assert peaks["name"].tolist() == ["pos_1", "neg_1", "pos_2", "neg_2"]
    assert peaks["chrom"].tolist() == ["a", "a", "b", "b"]
    assert (np.sign(peaks["signal"]) == [1, -1, 1, -1]).all()


def _spiky() -> NDArray[np.float32]:
    return np.asarray(0.1 * noise(np.random.default_rng(5), 20, 200), dtype=np.float32)


@pytest.mark.parametrize("sign", ["pos", "neg"])
def test_one_sign_is_tested_alone(rng: np.random.Generator, controls: NDArray[np.float32], sign: str) -> None:
    attr = make_attr(planted(rng), controls=controls)
    both, one = call_peaks(attr, fdr=1e-3), call_peaks(attr, fdr=1e-3, sign=sign)
    assert set(one["sign"]) == {sign}
    assert one["name"].tolist() == both.loc[both["sign"] == sign, "name"].tolist()
    assert one.attrs["n_candidates"] < both.attrs["n_candidates"]


def test_strand_and_order_of_the_windows_do_not_matter(rng: np.random.Generator, controls: NDArray[np.float32]) -> None:
    track = planted(rng, 6)
    forward = call_peaks(make_attr(track, controls=controls))
    start = np.arange(6) * (LENGTH + 10)
    order, strand = np.array([3, 0, 5, 1, 4, 2]), np.array(["+", "-", "-", ".", "+", "-"])
    turned = np.where(strand[:, None] == "-", track[:, ::-1], track)
    same(forward, call_peaks(make_attr(turned[order], start=start[order], strand=strand[order], controls=controls)))


def test_reversal_mirrors_the_calls(rng: np.random.Generator, controls: NDArray[np.float32]) -> None:
    track = planted(rng, 5)
    codes = rng.choice(5, size=track.shape, p=[0.24, 0.25, 0.25, 0.25, 0.01])
    starts = np.arange(5) * 350  # neighbours overlap
    attr = make_attr(track, start=starts, codes=codes, controls=controls)
    total = int(starts[-1]) + LENGTH
    mirrored = make_attr(track[:, ::-1], start=total - LENGTH - starts, codes=codes[:, ::-1], controls=controls)
    peaks, mirror = call_peaks(attr), call_peaks(mirrored)
    assert len(peaks) > 5
    expected = peaks.assign(
        start=total - peaks["end"],
        end=total - peaks["start"],
        summit=peaks["end"] - peaks["start"] - 1 - peaks["summit"],
    )
    by_place = ["start", "end", "name"]
    same(expected.sort_values(by_place, ignore_index=True), mirror.sort_values(by_place, ignore_index=True))


@pytest.mark.parametrize("chunk_bp", [1, 601, 3000])
def test_chunks_do_not_matter(rng: np.random.Generator, controls: NDArray[np.float32], chunk_bp: int) -> None:
    starts = np.concatenate([np.arange(10) * 200, 10_000 + np.arange(5) * 590])
    attr = make_attr(planted(rng, 15), start=starts, controls=controls)
    whole, small = call_peaks(attr), call_peaks(attr, chunk_bp=chunk_bp)
    pd.testing.assert_frame_equal(whole, small, check_exact=True)
    assert whole.attrs == small.attrs
    assert len(whole) > 0


def test_places_in_a_file_are_those_in_memory(
    rng: np.random.Generator, controls: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    attr = make_attr(planted(rng, 20), controls=controls)
    whole = call_peaks(attr, kept_fdr=0.9)
    monkeypatch.setattr(pool, "IN_MEMORY", 1)
    monkeypatch.setattr(pool, "PLACES", 3)
    assert len(whole) > 10
    pd.testing.assert_frame_equal(call_peaks(attr, kept_fdr=0.9, chunk_bp=1500), whole)


@pytest.mark.parametrize("n_different", [1, 30, 4000])
def test_counted_p_values_have_the_q_values_of_each(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, n_different: int
) -> None:
    p_values = (1 + rng.integers(n_different, size=3000) ** 2) / (1 + n_different**2)
    q_values = benjamini_hochberg(p_values, 2000)
    monkeypatch.setattr(pool, "COUNTED", 500)
    ranking = pool._Ranking.of(iter(np.array_split(p_values, 17)), 2000)
    assert ranking.smallest == q_values.min()
    for rate in (*np.quantile(q_values, [0, 0.3, 0.9]), 0.5 * q_values.min(), 1.0):
        assert ranking.n_called(rate) == (q_values <= rate).sum()
        np.testing.assert_array_equal(p_values <= ranking.largest_p(rate), q_values <= rate)
    assert pool._Ranking.of(iter(()), 5).n_called(1) == 0 and pool._Ranking.of(iter(()), 5).smallest == np.inf


def test_the_table_of_a_file_on_disk_is_never_read_whole(
    rng: np.random.Generator, controls: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    attr = make_attr(planted(rng, 30), chrom=["b"] * 20 + ["a"] * 10, controls=controls)
    layout = StoreLayout(attr.regions, attr.regions.iloc[:0], LENGTH, {}, n_controls=len(controls))
    with AttributionWriter(tmp_path / "A.h5", layout, {"method": "simulated"}) as writer:
        writer.write("main", 0, {"codes": attr.codes, "track": attr.track, "prediction": attr.prediction})
        zeros, source = np.zeros(controls.shape, np.uint8), np.zeros(len(controls), np.int64)
        writer.write("null", 0, {"codes": zeros, "track": controls, "source": source, "prediction": source})
        writer.finish()
    monkeypatch.setattr(attributions, "ROWS_AT_ONCE", 7)
    on_disk = read_attributions(tmp_path / "A.h5", in_memory=False)
    monkeypatch.setattr(DiskTable, "frame", None)  # what reads it
    peaks = call_peaks(on_disk)
    assert len(peaks) > 10
    pd.testing.assert_frame_equal(call_peaks(attr), peaks)


def test_tiles_give_the_calls_of_one_long_window(rng: np.random.Generator, controls: NDArray[np.float32]) -> None:
    long = planted(rng, 8).reshape(1, -1)
    tile, step = 400, 150
    starts = np.arange(0, long.shape[1] - tile + 1, step)
    covered = int(starts[-1]) + tile
    tiles = np.stack([long[0, s : s + tile] for s in starts])
    wide_null = np.tile(controls, (1, 8))[:, : long.shape[1]]
    from_tiles = call_peaks(make_attr(tiles, start=starts, controls=controls[:, :tile]), fdr=1e-3)
    from_long = call_peaks(make_attr(long[:, :covered], start=[0], controls=wide_null[:, :covered]), fdr=1e-3)
    assert not from_tiles.attrs["relative"] and not from_long.attrs["relative"]
    assert len(from_tiles) == len(from_long) >= 28
    assert from_tiles["sign"].tolist() == from_long["sign"].tolist()
    for column in ("start", "end"):
        assert (from_tiles[column] - from_long[column]).abs().max() <= 2
    np.testing.assert_allclose(from_tiles["signal"], from_long["signal"], rtol=0.05)
    assert from_tiles["n_windows"].max() == 3
    assert (from_long["n_windows"] == 1).all()


def test_where_windows_lie_lower_than_controls_their_scale_does_not_matter(
    rng: np.random.Generator, controls: NDArray[np.float32]
) -> None:
    track, gains = planted(rng), np.array([[0.01], [1.0], [7.0], [300.0]], dtype=np.float32)
    plain = call_peaks(make_attr(track, controls=controls * 1000))
    gained = call_peaks(make_attr(track * gains, controls=controls * 5000))
    assert plain.attrs["relative"] and gained.attrs["relative"] and len(plain) > 10
    columns = ["chrom", "start", "end", "summit", "sign", "n_windows"]
    pd.testing.assert_frame_equal(plain[columns], gained[columns])
    np.testing.assert_allclose(plain["q_value"], gained["q_value"], rtol=1e-3)


def test_where_windows_lie_higher_heights_are_taken_as_they_are(
    rng: np.random.Generator, controls: NDArray[np.float32]
) -> None:
    track = 2 * planted(rng)
    peaks = call_peaks(make_attr(track, controls=controls))
    assert not peaks.attrs["relative"]
    both = call_peaks(make_attr(7 * track, controls=7 * controls))
    np.testing.assert_allclose(both["q_value"], peaks["q_value"], rtol=1e-4)
    taller = call_peaks(make_attr(7 * track, controls=controls))
    assert taller["q_value"].min() < peaks["q_value"].min()


def _scale_of(attr: Attributions) -> Scale | None:
    return choose_scale(attr, Axis.of(attr))


def test_the_scale_is_chosen_by_medians_of_known_windows(controls: NDArray[np.float32]) -> None:
    level = np.abs(controls).max()
    track, codes = np.full((5, LENGTH), level), np.zeros((5, LENGTH), np.uint8)
    track[:2] *= 1e-3
    assert _scale_of(make_attr(track, controls=controls)) is None
    codes[2:4] = 4
    assert _scale_of(make_attr(track, codes=codes, controls=controls)) is window_scale
    codes[:] = 4
    assert _scale_of(make_attr(track, codes=codes, controls=controls)) is None


def _coarse(track: NDArray[np.float32], controls: NDArray[np.float32], at: tuple[int, ...]) -> Attributions:
    hills = np.asarray(sum(bump(LENGTH, centre, 40, 1.0) for centre in at), dtype=np.float32)
    null_hills = np.tile(bump(LENGTH, 300, 80, 1.0), (len(controls), 1))
    return make_attr(np.tile(hills, (len(track), 1)), controls=null_hills)


def test_seeds_grow_to_the_peaks_under_them(rng: np.random.Generator, controls: NDArray[np.float32]) -> None:
    track = planted(rng)
    attr, coarse = make_attr(track, controls=controls), _coarse(track, controls, (110, 390))
    everything, seeded = call_peaks(attr), call_peaks(attr, seeds=coarse)
    assert 0 < seeded.attrs["n_candidates"] < everything.attrs["n_candidates"] / 3
    assert 0 < seeded.attrs["n_null_candidates"] < everything.attrs["n_null_candidates"] / 3
    assert set(seeded["sign"]) == {"pos"}  # the coarse map has no negative seeds
    summit = (seeded["start"] + seeded["summit"]) % (LENGTH + 10)
    assert all(min(abs(s - 100), abs(s - 400)) <= 3 for s in summit)
    spans = ["chrom", "start", "end", "summit", "sign"]
    assert len(seeded.merge(everything, on=spans)) == len(seeded) == 8


@pytest.mark.parametrize("chunk_bp", [601, 3000])
def test_seeds_do_not_depend_on_chunks(rng: np.random.Generator, controls: NDArray[np.float32], chunk_bp: int) -> None:
    starts = np.arange(12) * 250
    track = planted(rng, 12)
    attr = make_attr(track, start=starts, controls=controls)
    wide = rng.normal(size=(12, LENGTH)).cumsum(axis=1)
    coarse = make_attr(wide, start=starts, controls=rng.normal(size=controls.shape).cumsum(axis=1))
    whole, small = call_peaks(attr, seeds=coarse, fdr=0.5), call_peaks(attr, seeds=coarse, fdr=0.5, chunk_bp=chunk_bp)
    pd.testing.assert_frame_equal(whole, small, check_exact=True)
    assert len(whole) > 0


def test_seeds_of_something_else_are_refused(rng: np.random.Generator, controls: NDArray[np.float32]) -> None:
    track = planted(rng)
    codes = np.zeros(controls.shape, np.uint8)
    attr = make_attr(track, controls=controls, control_codes=codes)
    with pytest.raises(UsageError, match="is the track that is called, expected a coarser map"):
        call_peaks(attr, seeds=attr)
    with pytest.raises(StoreError, match="are about other windows"):
        call_peaks(attr, seeds=make_attr(track[:3], controls=controls, control_codes=codes))
    with pytest.raises(StoreError, match="are about other windows"):
        call_peaks(attr, seeds=make_attr(track, start=np.arange(4) * 5, controls=controls, control_codes=codes))
    for other in (
        {"controls": controls[:9], "control_codes": codes[:9]},
        {"controls": controls, "control_codes": codes + 1},
    ):
        with pytest.raises(StoreError, match="have other shuffled controls"):
            call_peaks(attr, seeds=make_attr(track, **other))
    with pytest.raises(StoreError, match="have no shuffled controls"):
        call_peaks(attr, seeds=make_attr(track))
    with pytest.raises(StoreError, match="about other sequences"):
        call_peaks(attr, seeds=make_attr(track, codes=codes[:4] + 1, controls=controls, control_codes=codes))
    with pytest.raises(StoreError, match="has no result 'grad_cam'"):
        call_peaks(attr, seeds="grad_cam")


def test_windows_that_contradict_each_other_are_told_of(
    rng: np.random.Generator, controls: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    track = planted(rng)
    both, starts = np.concatenate([track, -0.9 * track]), np.tile(np.arange(4) * (LENGTH + 10), 2)
    with caplog.at_level("WARNING"):
        call_peaks(make_attr(np.concatenate([track, track]), start=starts, controls=controls))
        assert not caplog.records
        call_peaks(make_attr(both, start=starts, controls=controls))
    assert "where windows overlap, 95 % of their attribution cancels" in caplog.text  # 0.1 of 1.9 is left


@pytest.mark.parametrize(("side", "words"), [(-3, "below 0"), (3, "above 0")])
def test_what_all_bases_share_is_taken_off_a_one_sided_map(
    rng: np.random.Generator, controls: NDArray[np.float32], caplog: pytest.LogCaptureFixture, side: int, words: str
) -> None:
    promised = {"completeness_error": np.zeros(4)}
    plain = dataclasses.replace(make_attr(planted(rng), controls=controls), **promised)
    far = make_attr(plain.track + np.float32(side), controls=controls + np.float32(side))
    with caplog.at_level("WARNING"):
        raw, peaks = call_peaks(far), call_peaks(plain)  # of a method that promises no sum, and a map of both signs
        assert not caplog.records and raw.attrs["subtracted"] == peaks.attrs["subtracted"] == 0
        corrected = call_peaks(dataclasses.replace(far, **promised))
    assert re.search(rf"controls: (9\d|100) % of their bases .* {words}, .* the controls' median of", caplog.text)
    assert corrected.attrs["subtracted"] == pytest.approx(side + np.median(controls), abs=1e-5)
    assert len(peaks) >= 8 and peaks["name"].tolist() == corrected["name"].tolist()
    assert (peaks["start"] - corrected["start"]).abs().max() <= 1 and len(raw) < len(peaks)


def test_a_peak_at_the_edge_of_a_window_is_whole(rng: np.random.Generator, controls: NDArray[np.float32]) -> None:
    track = 0.3 * noise(rng, 3, LENGTH) + bump(LENGTH, 3, 10, 8.0) - bump(LENGTH, LENGTH - 4, 10, 8.0)
    peaks = call_peaks(make_attr(track, controls=controls), fdr=0.01)
    first, last = peaks[peaks["sign"] == "pos"], peaks[peaks["sign"] == "neg"]
    offset = np.arange(3) * (LENGTH + 10)
    assert first["start"].tolist() == offset.tolist()
    assert last["end"].tolist() == (offset + LENGTH).tolist()


def test_one_region_is_enough(rng: np.random.Generator, controls: NDArray[np.float32]) -> None:
    assert len(call_peaks(make_attr(planted(rng, 1), controls=controls))) >= 4


def test_window_scale_is_the_mean_of_the_lower_three_quarters(rng: np.random.Generator) -> None:
    values = rng.normal(size=(5, 41)).astype(np.float32)
    known = rng.random((5, 41)) < 0.8
    known[3] = False
    values[4] = 0
    values[4, :3] = 2.0
    known[4] = True
    expected = []
    for row, mask in zip(values, known, strict=True):
        magnitude = np.sort(np.abs(row[mask]))
        low = magnitude[: max(len(magnitude) * 3 // 4, 1)]
        expected.append(low.mean() if low.any() else magnitude.mean() if magnitude.any() else 1.0)
    np.testing.assert_allclose(window_scale(values, known), expected, rtol=1e-6)


def test_unknown_bases_and_padding_are_never_called_nor_bridged(
    rng: np.random.Generator, controls: NDArray[np.float32]
) -> None:
    track, codes = planted(rng, 2), np.zeros((2, LENGTH), np.uint8)
    codes[:, 90:111] = 4  # on the first planted peak
    codes[:, 400] = 4  # inside the third
    codes[0, :60] = 4  # padding
    track[0, :60] = 50
    peaks = call_peaks(make_attr(track, codes=codes, start=[-60, 5000], controls=controls))
    unknown = {start + int(j) for start, row in zip((-60, 5000), codes, strict=True) for j in np.flatnonzero(row == 4)}
    assert len(peaks) > 4
    assert all(unknown.isdisjoint(range(p.start, p.end)) for p in peaks.itertuples())
    assert (peaks["start"] >= 0).all()


def test_overlapping_windows_count_a_base_once(controls: NDArray[np.float32]) -> None:
    one = bump(LENGTH, 300, 10, 5.0)[None]
    single = call_peaks(make_attr(one, controls=controls))
    triple = call_peaks(make_attr(np.repeat(one, 3, axis=0), start=[0, 0, 0], controls=controls))
    same(single.drop(columns="n_windows"), triple.drop(columns="n_windows"))
    assert triple["n_windows"].tolist() == [3]


def test_no_peak_is_a_result(rng: np.random.Generator, controls: NDArray[np.float32], tmp_path: Path) -> None:
    peaks = call_peaks(make_attr(0.3 * noise(rng, 3, LENGTH), controls=controls), fdr=1e-9)
    assert len(peaks) == 0
    assert list(peaks.columns) == list(PEAK_COLUMNS)
    assert 1e-9 < peaks.attrs["best_q"] <= 1
    write_peaks_tsv(peaks, tmp_path / "p.tsv")
    write_narrowpeak(peaks, tmp_path / "p.narrowPeak")
    assert (tmp_path / "p.tsv").read_text() == "\t".join([*PEAK_COLUMNS, "output_space"]) + "\n"
    assert (tmp_path / "p.narrowPeak").read_text() == ""


def test_tables_are_written_and_read_back(
    rng: np.random.Generator, controls: NDArray[np.float32], tmp_path: Path
) -> None:
    peaks = call_peaks(make_attr(planted(rng), controls=controls))
    write_peaks_tsv(peaks, tmp_path / "p.tsv")
    written = pd.read_csv(tmp_path / "p.tsv", sep="\t")
    assert set(written.pop("output_space")) == {peaks.attrs["output_space"]}
    pd.testing.assert_frame_equal(written, peaks, check_exact=False, rtol=1e-5)
    write_narrowpeak(peaks, tmp_path / "p.narrowPeak")
    fields = [line.split("\t") for line in (tmp_path / "p.narrowPeak").read_text().splitlines()]
    assert {len(line) for line in fields} == {10}
    assert [line[3] for line in fields] == peaks["name"].tolist()


def test_a_track_with_nothing_to_call_is_refused(controls: NDArray[np.float32]) -> None:
    with pytest.raises(StoreError, match="no shuffled controls"):
        call_peaks(make_attr(np.ones((1, LENGTH))))
    for value in (0, 2):
        with pytest.raises(StoreError, match=f"cannot have peaks, the track is {value} at every base"):
            call_peaks(make_attr(np.full((2, LENGTH), value), controls=controls))
    with pytest.raises(StoreError, match="has no known base"):
        call_peaks(make_attr(np.ones((1, LENGTH)), codes=np.full((1, LENGTH), 4), controls=controls))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fdr": 0}, "fdr: got 0, expected a rate above 0"),
        ({"fdr": 1.5}, "fdr: got 1.5"),
        ({"sign": "up"}, "sign: got 'up', expected both, pos or neg"),
        ({"smooth_bp": 4}, "smooth_bp: got 4"),
        ({"min_width": 9, "max_width": 8}, "min_width, max_width: got 9 and 8"),
    ],
)
def test_arguments_out_of_range(options: dict[str, float], message: str, controls: NDArray[np.float32]) -> None:
    with pytest.raises(UsageError, match=message):
        call_peaks(make_attr(np.ones((1, LENGTH)), controls=controls), **options)  # type: ignore[arg-type]


@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=30), st.integers(0, 20))
@settings(deadline=None)
def test_benjamini_hochberg_is_its_definition(p: list[float], n_more: int) -> None:
    p_values, m = np.array(p), len(p) + n_more
    q = benjamini_hochberg(p_values, m)
    for i, value in enumerate(p_values):
        at_least = [m * t / (p_values <= t).sum() for t in p_values if t >= value]
        assert q[i] == pytest.approx(min(1.0, min(at_least)))
    if not n_more:
        np.testing.assert_allclose(q, stats.false_discovery_control(p_values))


P_LISTS = st.lists(st.floats(0.001, 1), max_size=40)


def _counted(pos: list[float], neg: list[float]) -> Pool:
    counted = Pool(0.05, {})
    for sign, p in (("pos", pos), ("neg", neg)):
        counted.counts[sign] = SignCount(len(p), sum(value > 0.5 for value in p), min(p, default=1.0))
    return counted


@given(P_LISTS, P_LISTS)
@settings(deadline=None)
def test_weights_and_the_number_of_nulls_are_their_definitions(pos: list[float], neg: list[float]) -> None:
    counted = _counted(pos, neg)
    m = len(pos) + len(neg)
    if not m:
        assert (
            sign_weights(counted.counts) == {"pos": 1.0, "neg": 1.0}
            and counted.n_nulls == 0
            and counted.best_q() == 1.0
        )
        return
    share = {
        sign: min(1, (2 + sum(value > 0.5 for value in p)) / (0.5 * len(p))) if p else 1.0
        for sign, p in (("pos", pos), ("neg", neg))
    }
    scale = m / (len(pos) * (1.2 - share["pos"]) + len(neg) * (1.2 - share["neg"]))
    weights = {sign: min(2.0, (1.2 - share[sign]) * scale) for sign in share}
    assert sign_weights(counted.counts) == pytest.approx(weights)
    assert len(pos) * weights["pos"] + len(neg) * weights["neg"] <= m * (1 + 1e-9)
    high = weights["pos"] * sum(v > 0.5 for v in pos) + weights["neg"] * sum(v > 0.5 for v in neg)
    n_nulls = min(m, max((max(weights.values()) + high) / 0.5, m / 2))
    assert counted.n_nulls == pytest.approx(n_nulls)
    smallest = min(value / weights[sign] for sign, p in (("pos", pos), ("neg", neg)) for value in p)
    assert counted.best_q() == pytest.approx(min(1.0, smallest * max(n_nulls, 1)))


def test_a_sign_with_much_to_say_is_heard_more(rng: np.random.Generator) -> None:
    nothing = rng.uniform(size=400).tolist()
    weights = sign_weights(_counted([*rng.uniform(0, 0.01, 200).tolist(), *nothing], nothing).counts)
    assert weights["pos"] > 1.2 and weights["neg"] < 0.7
    even = sign_weights(_counted(nothing, rng.uniform(size=400).tolist()).counts)
    assert even == pytest.approx({"pos": 1.0, "neg": 1.0}, abs=0.3)


def test_one_sign_alone_has_no_weight() -> None:
    assert sign_weights({"pos": SignCount(100, 20, 1e-4)}) == {"pos": 1.0}


@pytest.mark.parametrize("fdr", [0.05, 0.2])
def test_candidates_that_are_forgotten_change_no_call(
    rng: np.random.Generator, controls: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, fdr: float
) -> None:
    attr = make_attr(planted(rng, 6), controls=controls)
    peaks = call_peaks(attr, fdr=fdr)
    monkeypatch.setattr(pool, "KEPT", np.inf)
    same(call_peaks(attr, fdr=fdr), peaks)
    assert len(peaks)


def _null_data(seed: int, window_sd: float, n: int, n_controls: int) -> Attributions:
    rng = np.random.default_rng(seed)
    return make_attr(noise(rng, n, 300, window_sd=window_sd), controls=noise(rng, n_controls, 300, window_sd=window_sd))


@pytest.mark.slow
@pytest.mark.parametrize("window_sd", [0.0, 0.5])
@pytest.mark.parametrize(("n", "n_controls"), [(5, 200), (40, 40)])
def test_noise_is_seldom_called(window_sd: float, n: int, n_controls: int) -> None:
    """Wald's sequential test of 5 % of sets called against 10 %: it may err in 5 % of either, and needs few sets."""
    evidence, error, sets = 0.0, 0.05, itertools.count()
    while evidence > np.log(error / (1 - error)):
        is_called = len(call_peaks(_null_data(next(sets), window_sd, n, n_controls))) > 0
        evidence += np.log(0.1 / 0.05) if is_called else np.log(0.9 / 0.95)
        assert evidence < np.log((1 - error) / error)


def growing(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, usual: int) -> None:
    """Let the usual number of controls be this, more be noise, and eight times as many the limit."""

    def more(attr: Attributions, model: object, *, n_controls: int, **how: object) -> None:
        assert attr.controls is not None
        new = noise(rng, n_controls - attr.n_controls, attr.length)
        attr.keep(controls=Controls(np.concatenate([attr.controls.track, new])))

    monkeypatch.setattr("seqsal.attribution.controls.make_controls", more)
    monkeypatch.setattr("seqsal.attribution.controls.most_controls", lambda attr: 8 * usual)
    monkeypatch.setattr("seqsal.peaks.call.default_n_controls", lambda n_windows, length: usual)


def sites(rng: np.random.Generator, height: float) -> NDArray[np.float32]:
    """Sixty windows of noise, each with the same site: all or none of them pass a rate."""
    return noise(rng, 60, 100) + bump(100, 50, 8, height)


def test_controls_grow_until_the_calls_do_not_hang_on_their_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    track, n_fixed, n_grown = sites(np.random.default_rng(0), 2.4), [], []
    for seed in range(2):
        rng = np.random.default_rng(100 + seed)
        growing(rng, monkeypatch, 100)
        attr = make_attr(track, controls=noise(rng, 100, 100))
        n_fixed.append(len(call_peaks(attr, max_controls=100, fdr=FDR_OF_SITES)))
        assert attr.n_controls == 100
        peaks = call_peaks(attr, fdr=FDR_OF_SITES)
        n_grown.append(len(peaks))
        assert attr.n_controls == peaks.attrs["n_controls"]
        assert peaks.attrs["is_settled"] or attr.n_controls == 800
    assert min(n_fixed) == 0 < max(n_fixed), "the luck of the draw"
    assert min(n_grown) > 0


def test_what_is_plain_needs_no_more_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear sites never; nothing seldom, as noise comes near a call by chance at times."""
    n_grown = {"sites": 0, "noise": 0}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        growing(rng, monkeypatch, 100)
        for kind, track in (("sites", sites(rng, 8.0)), ("noise", noise(rng, 10, 100))):
            attr = make_attr(track, controls=noise(rng, 100, 100))
            settled = call_peaks(attr).attrs["is_settled"]
            assert settled or attr.n_controls == 800
            n_grown[kind] += attr.n_controls > 100
    assert n_grown["sites"] == 0 and n_grown["noise"] <= 2, n_grown


def test_controls_grow_until_so_many_candidates_can_reach_the_rate(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(3)
    growing(rng, monkeypatch, 100)
    many, few = (make_attr(noise(rng, n, 100), controls=noise(rng, 100, 100)) for n in (1000, 20))
    caplog.clear()
    peaks = call_peaks(many)
    assert many.n_controls == 800 and len(peaks) == 0
    n_needed = peaks.attrs["n_needed"]
    assert n_needed == pytest.approx(1000 / 800 / 0.05 * 2, rel=0.2)  # of both signs together
    assert f"800 controls reach q ≤ 0.05 by count only for {n_needed} peaks or more" in caplog.text
    assert f"for one {800 * n_needed:,}" in caplog.text
    caplog.clear()
    assert call_peaks(few, max_controls=100).attrs["n_needed"] <= 10 and "by count only" not in caplog.text


def test_a_number_of_controls_that_was_asked_for_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(2)
    growing(rng, monkeypatch, 100)
    attr = make_attr(sites(rng, 2.4), controls=noise(rng, 90, 100))
    peaks = call_peaks(attr, fdr=FDR_OF_SITES)
    assert attr.n_controls == 90 and not peaks.attrs["is_settled"]
    assert "depends on which 90 controls were drawn (--seed)" in caplog.text
    assert "more controls, such as --controls 360 (`seqsal peaks`: --max-controls), or more regions tell" in caplog.text


@pytest.mark.parametrize("n", [4, 40])
def test_growing_makes_no_call_where_there_is_nothing(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n_called, n_sets = 0, 20
    for seed in range(n_sets):
        rng = np.random.default_rng(1000 + seed)
        growing(rng, monkeypatch, 20)
        attr = make_attr(noise(rng, n, 100), controls=noise(rng, 20, 100))
        n_called += len(call_peaks(attr)) > 0
    assert n_called <= stats.binom.isf(0.001, n_sets, 0.05)
