"""Tracks against a slow oracle, read back by pyBigWig; score tables; disks that fill."""

from __future__ import annotations

import io
import pickle
import resource
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pybigtools
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from track_toys import make_attr, slow_track

from seqsal.errors import OutputError, RegionError, StoreError, UsageError
from seqsal.io import bigwig_writer as bw
from seqsal.io import sweep
from seqsal.io.attributions import Attributions, DiskArray
from seqsal.io.bigwig import _JOBS
from seqsal.io.sweep import Axis, sweep_track
from seqsal.io.tracks import write_bedgraph, write_bigwig, write_scores
from seqsal.regions import make_regions

SIZES = {"chr2": 60, "chr1": 80}


@contextmanager
def full_after(n_bytes: int) -> Iterator[None]:
    """No file may grow beyond `n_bytes`, as on a disk that fills."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def swept(attr: Attributions, chunk_bp: int = 1 << 20) -> dict[tuple[str, int], float]:
    axis = Axis.of(attr)
    found: dict[tuple[str, int], float] = {}
    last = -1
    for block in sweep_track(attr, axis, chunk_bp=chunk_bp):
        if not len(block.positions):
            continue
        assert block.positions[0] > last and np.all(np.diff(block.positions) > 0)
        last = int(block.positions[-1])
        chrom_idx, position = axis.locate(block.positions)
        found |= {(axis.chroms[c], int(p)): v for c, p, v in zip(chrom_idx, position, block.values, strict=True)}
    return found


def read_bigwig(path: Path) -> dict[tuple[str, int], float]:
    found = {}
    with pyBigWig.open(str(path)) as bigwig:
        for chrom in bigwig.chroms():
            for start, end, value in bigwig.intervals(chrom) or ():
                found |= {(chrom, position): value for position in range(start, end)}
    return found


def read_bedgraph(path: Path) -> dict[tuple[str, int], float]:
    found: dict[tuple[str, int], float] = {}
    for line in path.read_text().splitlines():
        chrom, start, end, value = line.split("\t")
        for position in range(int(start), int(end)):
            assert (chrom, position) not in found
            found[chrom, position] = float(np.float32(value))
    return found


@st.composite
def attributions(draw: st.DrawFn) -> Attributions:
    n, length = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return make_attr(
        rng.choice([-1.5, 0, 0.1, 2, 1e-20], size=(n, length)),
        start=rng.integers(-5, 40, size=n),
        chrom=rng.choice(["chr1", "chr2"], size=n),
        strand=rng.choice(["+", "-", "."], size=n),
        codes=rng.choice([0, 1, 2, 3, 4], size=(n, length)),
    )


@given(attributions(), st.integers(1, 40))
@settings(deadline=None)
def test_sweep_is_the_slow_average_whatever_the_chunks(attr: Attributions, chunk_bp: int) -> None:
    expected = slow_track(attr)
    found = swept(attr, chunk_bp)
    assert found.keys() == expected.keys()
    for where, value in expected.items():
        assert found[where] == pytest.approx(value, rel=1e-12, abs=1e-30)
    assert found == swept(attr)


@given(attributions(), st.integers(1, 40), st.booleans())
@settings(deadline=None, max_examples=30)
def test_a_compiled_sweep_is_the_same_to_the_bit(attr: Attributions, chunk_bp: int, is_scaled: bool) -> None:
    blocks = []
    for many in (sweep.MANY, 0):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sweep, "MANY", many)
            scale = (lambda values, known: 0.3 + np.abs(values).max(axis=1).astype(np.float64)) if is_scaled else None
            blocks.append(list(sweep_track(attr, Axis.of(attr), scale=scale, chunk_bp=chunk_bp)))
    for one, other in zip(*blocks, strict=True):
        for column, expected in zip(vars(one).values(), vars(other).values(), strict=True):
            np.testing.assert_array_equal(column, expected, strict=True)


@pytest.mark.parametrize("many", [sweep.MANY, 0])
def test_even_tiles_of_known_bases_next_to_uneven_ones(
    many: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "MANY", many)
    start = np.append(3 * np.arange(40), [118, 130, *range(140, 200, 3)])
    codes = rng.integers(0, 4, (len(start), 7))
    codes[[20, -1], 3] = 4
    attr = make_attr(rng.normal(size=codes.shape), start=start, codes=codes)
    expected = slow_track(attr)
    for chunk_bp in (7, 28, 1000):
        found = swept(attr, chunk_bp)
        assert found.keys() == expected.keys()
        assert found == pytest.approx(expected, rel=1e-12)


@given(attr=attributions())
@settings(deadline=None, max_examples=20)
def test_files_hold_the_track_inside_the_chromosomes(
    attr: Attributions, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tracks")
    expected = slow_track(attr, SIZES)
    write_bigwig(attr, SIZES, folder / "a.bw")
    write_bedgraph(attr, SIZES, folder / "a.bedgraph", chunk_bp=20)
    for found in (read_bigwig(folder / "a.bw"), read_bedgraph(folder / "a.bedgraph")):
        assert found.keys() == expected.keys()
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-30)


def test_windows_over_spans_are_found_in_blocks(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsal.io.attributions.ROWS_AT_ONCE", 7)
    chrom = np.array(["chr2", "chr1", "chr3"], dtype=object)[rng.integers(0, 3, 60)]
    attr = make_attr(np.zeros((60, 5)), start=rng.integers(-3, 300, 60), chrom=chrom)
    start = rng.integers(-20, 300, 25)
    spans = make_regions(
        rng.choice(["chr1", "chr3", "chr9"], 25).astype(object), start, start + rng.integers(1, 40, 25)
    )
    windows = attr.regions
    expected = [
        row for row, (name, a, b) in enumerate(zip(windows["chrom"], windows["start"], windows["end"], strict=True))
        if ((spans["chrom"] == name) & (spans["start"] < b) & (spans["end"] > a)).any()
    ]  # fmt: skip
    assert 5 < len(expected) < 40
    assert sweep.rows_over(attr, spans).tolist() == expected
    assert sweep.rows_over(attr, spans.iloc[:0]).tolist() == []


def test_bigwig_equals_a_track_on_disk_to_the_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    n, length = 30, 500
    track = rng.normal(size=(n, length)).astype(np.float32)
    codes = rng.choice(5, size=(n, length), p=[0.24, 0.25, 0.25, 0.25, 0.01]).astype(np.uint8)
    start = rng.permutation(n) * 600
    strand = rng.choice(["+", "-", "."], size=n)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        attr = Attributions(
            regions=make_regions(["chr1"] * n, start, start + length, strand=strand),
            codes=DiskArray(file.create_dataset("codes", data=codes)),
            track=DiskArray(file.create_dataset("track", data=track)),
            prediction=np.zeros(n, np.float32),
        )
        write_bigwig(attr, {"chr1": n * 600}, tmp_path / "a.bw", chunk_bp=1700)
    with pyBigWig.open(str(tmp_path / "a.bw")) as bigwig:
        for i in range(n):
            values = bigwig.values("chr1", int(start[i]), int(start[i]) + length, numpy=True)
            expected = np.where(codes[i] == 4, np.nan, track[i])
            np.testing.assert_array_equal(values, expected[::-1] if strand[i] == "-" else expected)
        assert bigwig.header()["nBasesCovered"] == int((codes != 4).sum())


def test_two_libraries_read_every_section_and_scale_of_a_bigwig(tmp_path: Path, rng: np.random.Generator) -> None:
    sizes = {f"c{i}": 900 for i in range(600)} | {"long": 400_000}  # trees of two levels
    parts = {f"c{i}": [(i, rng.normal(size=3))] for i in range(600)}
    flat, noisy = np.repeat(rng.normal(size=900), 37), rng.normal(size=150_000)
    parts["long"] = [(5, noisy), (150_005, flat), (190_000, np.zeros(1)), (200_001, noisy[:99])]
    stretches = [bw.Stretch(chrom, at, v.astype(np.float32)) for chrom in sizes for at, v in parts[chrom]]
    n_bases = sum(len(one.values) for one in stretches)
    assert bw.write_bigwig(tmp_path / "a.bw", sizes, stretches) == n_bases
    everything = np.concatenate([one.values for one in stretches]).astype(np.float64)
    with pyBigWig.open(str(tmp_path / "a.bw")) as file, pybigtools.open(str(tmp_path / "a.bw")) as other:
        assert file.chroms() == other.chroms() == sizes
        head = file.header()
        told = other.info()["summary"]
        assert head["nBasesCovered"] == told["basesCovered"] == n_bases
        assert (told["min"], told["max"]) == (everything.min(), everything.max())
        assert told["sum"] == pytest.approx(everything.sum())
        for chrom in ("c0", "c255", "c256", "c599", "long"):
            expected = np.full(sizes[chrom], np.nan, np.float32)
            for at, values in parts[chrom]:
                expected[at : at + len(values)] = values
            np.testing.assert_array_equal(file.values(chrom, 0, sizes[chrom], numpy=True), expected)
            np.testing.assert_array_equal(other.values(chrom, fillna=None).astype(np.float32), expected)
        kept = expected[~np.isnan(expected)].astype(np.float64)
        assert other.zooms()[:2] == [128, 512] and head["nLevels"] == len(other.zooms()) >= 6
        for level in other.zooms():
            found = pd.DataFrame([{"start": a, **of} for a, _, of in other.zoom_records(level, "long")])
            assert (found["bases_covered"].sum(), found["min_val"].min(), found["max_val"].max()) == (
                len(kept), *np.float32([kept.min(), kept.max()]))  # fmt: skip
            assert found["sum"].sum() == pytest.approx(kept.sum(), abs=1e-2)
            assert found["sum_squares"].sum() == pytest.approx(np.square(kept).sum(), rel=1e-5)
            assert (np.diff(found["start"]) > 0).all() and len(found) <= 400_000 / level + 1
        for kind, exact in (("mean", kept.mean()), ("max", kept.max()), ("coverage", len(kept) / 400_000)):
            assert file.stats("long", 0, 400_000, type=kind) == [pytest.approx(exact, rel=1e-4, abs=1e-6)]


def test_rounded_values_and_runs_are_packed(tmp_path: Path, rng: np.random.Generator) -> None:
    values = {"full": rng.normal(size=100_000), "rounded": rng.normal(size=100_000).astype(np.float16)}
    values["runs"] = np.repeat(values["full"][:5000], 20)
    n_bytes = {}
    for name, one in values.items():
        bw.write_bigwig(tmp_path / name, {"chr1": 100_000}, [bw.Stretch("chr1", 0, one.astype(np.float32))])
        n_bytes[name] = (tmp_path / name).stat().st_size / 100_000
        with pyBigWig.open(str(tmp_path / name)) as file:
            np.testing.assert_array_equal(file.values("chr1", 0, 100_000, numpy=True), one.astype(np.float32))
    assert n_bytes["full"] < 4.5 and n_bytes["rounded"] < 3.2 and n_bytes["runs"] < 1


def test_bigwig_bytes_do_not_depend_on_the_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    values = rng.normal(size=700_000).astype(np.float32)
    for n_threads, n_waiting in ((1, 1), (8, 16)):
        monkeypatch.setattr(bw, "N_THREADS", n_threads)
        monkeypatch.setattr(bw, "N_WAITING", n_waiting)
        bw.write_bigwig(tmp_path / f"{n_threads}.bw", {"c": 700_000}, [bw.Stretch("c", 0, values)])
    assert (tmp_path / "1.bw").read_bytes() == (tmp_path / "8.bw").read_bytes()


def test_many_contigs_and_the_order_of_the_sizes(tmp_path: Path) -> None:
    names = [f"contig{i}" for i in range(50)]
    attr = make_attr(np.arange(250).reshape(50, 5), start=np.zeros(50, int), chrom=names)
    sizes = dict.fromkeys(reversed(names), 5)
    write_bigwig(attr, sizes, tmp_path / "a.bw")
    write_bedgraph(attr, sizes, tmp_path / "a.bedgraph")
    assert read_bigwig(tmp_path / "a.bw") == slow_track(attr) == read_bedgraph(tmp_path / "a.bedgraph")
    lines = (tmp_path / "a.bedgraph").read_text().splitlines()
    assert list(dict.fromkeys(line.split("\t")[0] for line in lines)) == list(sizes)


def test_bedgraph_joins_equal_neighbours_over_chunks_with_short_numbers(tmp_path: Path) -> None:
    attr = make_attr([[0.1] * 4, [0.1] * 4, [1e-7, 0, 0, 3]], start=[0, 4, 10])
    write_bedgraph(attr, {"chr1": 20}, tmp_path / "a.bedgraph", chunk_bp=4)
    expected = "chr1\t0\t8\t0.1\nchr1\t10\t11\t1e-07\nchr1\t11\t13\t0.0\nchr1\t13\t14\t3.0\n"
    assert (tmp_path / "a.bedgraph").read_text() == expected


def test_a_track_without_any_base_is_a_valid_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    attr = make_attr(np.ones((2, 5)), codes=np.full((2, 5), 4))
    write_bigwig(attr, {"chr1": 50}, tmp_path / "a.bw")
    write_bedgraph(attr, {"chr1": 50}, tmp_path / "a.bedgraph")
    assert "no position has a value" in caplog.text
    assert read_bigwig(tmp_path / "a.bw") == {} == read_bedgraph(tmp_path / "a.bedgraph")


@pytest.mark.parametrize("limit", [300, 100_000, 1_000_000, 1_700_000])
def test_a_disk_that_fills_leaves_nothing(
    tmp_path: Path, rng: np.random.Generator, limit: int, capfd: pytest.CaptureFixture[str]
) -> None:
    attr = make_attr(rng.normal(size=(200, 2000)))
    write_bigwig(attr, {"chr1": 500_000}, tmp_path / "whole.bw")
    assert (tmp_path / "whole.bw").stat().st_size > 1_700_000
    (tmp_path / "whole.bw").unlink()
    with (
        full_after(limit),
        pytest.raises(OutputError, match=r"a\.bw: cannot be written"),
    ):
        write_bigwig(attr, {"chr1": 500_000}, tmp_path / "a.bw", chunk_bp=20_000)
    with full_after(limit), pytest.raises(OutputError, match=r"a\.bedgraph: cannot be written"):
        write_bedgraph(attr, {"chr1": 500_000}, tmp_path / "a.bedgraph")
    assert list(tmp_path.iterdir()) == []


def test_what_the_library_lost_without_a_word_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    rows = [("chr1", at, at + 5, f"r{at}\t{at}\t+") for at in range(0, 90_000, 10)]
    schema = 'table t "t" (string chrom; "c" uint s; "s" uint e; "e" string n; "n" uint x; "x" char[1] y; "y")'
    real = pybigtools.open
    wrong = b"-1\n"

    def write(lose: Callable[[bytes], bytes]) -> bytes:
        path, answer = tmp_path / "t.bb", io.BytesIO()

        def opened(path: str, mode: str = "r") -> object:
            if mode == "r":
                return real(path)
            lost = lambda *given, **more: (real(path, "w").write(*given, **more), _rewrite(Path(path), lose))  # noqa: E731
            return SimpleNamespace(write=lost)

        monkeypatch.setattr(pybigtools, "open", opened)
        source = io.BytesIO(b"".join(map(pickle.dumps, (rows, None))))
        try:
            _JOBS["bigbed"](source, answer, str(path), {"chr1": 100_000}, schema, 6)
        except BaseException as error:  # a panic, which the process tells of
            assert isinstance(error, Exception) or "Panic" in type(error).__name__
            return wrong
        return answer.getvalue()

    assert write(lambda data: data) == b"%d\n" % len(rows)
    data = (tmp_path / "t.bb").read_bytes()
    assert write(lambda data: data[:-4]) == wrong
    n_levels, _, data_at, index_at = struct.unpack_from("<HQQQ", data, 6)
    for at in rng.integers(data_at + 16, index_at, 6):  # a block of 16 bytes is a hole
        assert write(lambda data, at=at: data[:at] + bytes(16) + data[at + 16 :]) == wrong
    for level in range(n_levels):  # the summaries of a level end early
        (zoom_at,) = struct.unpack_from("<Q", data, 64 + 24 * level + 8)
        assert write(lambda data, at=zoom_at: data[: at + 20]) == wrong


def _rewrite(path: Path, lose: Callable[[bytes], bytes]) -> None:
    path.write_bytes(lose(path.read_bytes()))


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    attr = make_attr(np.ones((1, 5)))
    with pytest.raises(RegionError, match=r"chromosome chr1 .* not among the chromosome sizes given \(1"):
        write_bigwig(attr, {"1": 100}, tmp_path / "a.bw")
    wrong = Attributions(attr.regions.assign(end=7), attr.codes, attr.track, attr.prediction)
    with pytest.raises(RegionError, match="spans 7 bp, expected the 5 bp"):
        write_bedgraph(wrong, {"chr1": 100}, tmp_path / "a.bedgraph")
    with pytest.raises(StoreError, match="region_1 has values that are not finite"):
        write_bedgraph(make_attr([[1, np.nan]]), {"chr1": 100}, tmp_path / "a.bedgraph")
    with pytest.raises(OutputError, match="does not exist"):
        write_bigwig(attr, {"chr1": 100}, tmp_path / "absent" / "a.bw")
    assert list(tmp_path.iterdir()) == []


def scores(kind: type = np.float32) -> pd.DataFrame:
    table = make_regions(["b", "a", "a"], [-5, 10, 15], [20, 20, 25], name=["x", "y", "z"], strand=["+", "-", "."])
    return table.assign(prediction=np.array([0.1, 0.5, 0.25], dtype=kind), padded=[True, False, False])


def test_scores_as_tsv_keep_rows_and_values(tmp_path: Path) -> None:
    write_scores(scores(), tmp_path / "s.tsv")
    back = pd.read_csv(tmp_path / "s.tsv", sep="\t")
    assert back.columns.tolist() == scores().columns.tolist()
    np.testing.assert_array_equal(back["prediction"].to_numpy(np.float32), scores()["prediction"])
    assert back["start"].tolist() == [-5, 10, 15]
    assert "NA" in (tmp_path / "s.tsv").read_text()


def test_scores_as_bed_hold_the_prediction_in_the_order_of_the_rows(tmp_path: Path) -> None:
    write_scores(scores(), tmp_path / "s.bed", chrom_sizes={"a": 22, "b": 30})
    expected = "b\t0\t20\tx\t0.1\t+\na\t10\t20\ty\t0.5\t-\na\t15\t22\tz\t0.25\t.\n"
    assert (tmp_path / "s.bed").read_text() == expected


def test_scores_as_bedgraph_are_sorted_and_averaged(tmp_path: Path) -> None:
    write_scores(scores(), tmp_path / "s.bedGraph")
    expected = "a\t10\t15\t0.5\na\t15\t20\t0.375\na\t20\t25\t0.25\nb\t0\t20\t0.1\n"
    assert (tmp_path / "s.bedGraph").read_text() == expected


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.integers(1, 12), st.floats(-1e3, 1e3, width=32)),
        min_size=1,
        max_size=12,
    )
)
@settings(deadline=None, max_examples=20)
def test_score_bedgraph_is_the_slow_average(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int, float]]
) -> None:
    chrom, start, width, value = (list(column) for column in zip(*rows, strict=True))
    table = make_regions(chrom, start, np.add(start, width)).assign(prediction=np.array(value, np.float64))
    path = tmp_path_factory.mktemp("scores") / "s.bedgraph"
    write_scores(table, path)
    covering: dict[tuple[str, int], list[float]] = {}
    for name, first, n_bases, score in rows:
        for position in range(first, first + n_bases):
            covering.setdefault((name, position), []).append(score)
    expected = {where: sum(values) / len(values) for where, values in covering.items()}
    found = read_bedgraph(path)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert all(found[where] == values[0] for where, values in covering.items() if len(values) == 1)


def test_score_formats_are_listed_and_the_prediction_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown extension \.txt, expected one of \.tsv, \.bed, \.bedgraph"):
        write_scores(scores(), tmp_path / "s.txt")
    with pytest.raises(UsageError, match="no column prediction"):
        write_scores(scores().drop(columns="prediction"), tmp_path / "s.tsv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("order", ["sorted", "by chromosome", "two files", "any"])
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_windows_come_in_the_order_of_the_axis(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, order: str, block: int
) -> None:
    n, length = 60, 10
    chrom = np.sort(rng.choice(["chr10", "chr2", "chr1"], n))
    start = rng.integers(-5, 60, n)  # some at one place
    by = {"sorted": (start, chrom), "by chromosome": (start, chrom == "chr10", chrom == "chr2"),
          "two files": (start, chrom, start >= 20), "any": (rng.random(n),)}[order]  # fmt: skip
    rows = np.lexsort(by)
    attr = make_attr(np.zeros((n, length)), chrom=chrom[rows], start=start[rows])
    for module in ("attributions", "sweep"):
        monkeypatch.setattr(f"seqsal.io.{module}.ROWS_AT_ONCE", block)
    axis = Axis.of(attr, ["chr2", "chr10", "chr1"])
    assert (axis.runs is None) == (order == "any")
    first, last = ([pick(start[chrom == name]) for name in axis.chroms] for pick in (min, max))
    base = np.append(0, np.cumsum(np.subtract(last, first) + length + 1)[:-1])
    number = np.array([axis.chroms.index(name) for name in chrom[rows]])
    place = base[number] + start[rows] - np.array(first)[number]
    expected = np.argsort(place, kind="stable")
    found = list(axis.in_order(7))
    assert [len(one) for one, _ in found] == [7] * 8 + [4]
    np.testing.assert_array_equal(np.concatenate([one for one, _ in found]), expected)
    np.testing.assert_array_equal(np.concatenate([starts for _, starts in found]), place[expected])
    np.testing.assert_array_equal(axis.order, expected)
    np.testing.assert_array_equal(axis.window_start, place)
    np.testing.assert_array_equal(axis.rows_at(np.array([59, 0, 30])), expected[[59, 0, 30]])

    at = rng.integers(-8, 66, 200)
    spans = make_regions(rng.choice(["chr1", "chr2", "chr10", "chr7"], 200), at, at + rng.integers(1, 13, 200))
    row, offset = axis.windows_over(spans, length)
    for i, (name, begin, end) in enumerate(zip(spans["chrom"], spans["start"], spans["end"], strict=True)):
        here = (chrom[rows] == name) & (start[rows] <= begin) & (end <= start[rows] + length)
        assert (row[i] >= 0) == here.any()
        if here.any():
            off_middle = np.abs(2 * start[rows] + length - begin - end)
            assert here[row[i]] and off_middle[row[i]] == off_middle[here].min()
            assert offset[i] == begin - start[rows][row[i]]
