"""Export for TF-MoDISco and Fi-NeMo: every value against the attributions, and places against the genome."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from interop_toys import make_case
from numpy.typing import NDArray

from seqsal.errors import OutputError, RegionError, StoreError
from seqsal.interop.modisco import write_chrombpnet_h5, write_modisco_npz, write_window_regions
from seqsal.io.fasta import Genome
from seqsal.sequence.codes import one_hot


def centred_spans(path: Path, half_width: int) -> list[tuple[str, int, int]]:
    """Spans of a regions file as Fi-NeMo takes them: start + summit, and as many bases on both sides."""
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    assert all(len(row) == 10 for row in rows)
    middles = [(row[0], int(row[1]) + int(row[9])) for row in rows]
    return [(chrom, middle - half_width, middle + half_width) for chrom, middle in middles]


@pytest.mark.parametrize("length", [60, 61])
def test_chrombpnet_layout(tmp_path: Path, rng: np.random.Generator, length: int) -> None:
    case = make_case(tmp_path, rng, length=length, strand="mixed", overhang=True)
    paths = write_chrombpnet_h5(case.attr, tmp_path / "X.h5", chunk_bp=1000)
    assert [path.name for path in paths] == ["X.h5", "X.regions.bed"]
    codes, scores, track = case.forward()
    rounded = scores.astype(np.float16)
    with h5py.File(paths[0]) as file:
        found = {name: file[name][...] for name in ("raw/seq", "shap/seq", "projected_shap/seq")}
    assert [values.dtype for values in found.values()] == [np.int8, np.float16, np.float16]
    np.testing.assert_array_equal(found["raw/seq"], one_hot(codes))
    np.testing.assert_array_equal(found["shap/seq"], rounded)
    np.testing.assert_array_equal(found["projected_shap/seq"].sum(axis=1), track.astype(np.float16))


@pytest.mark.parametrize("length", [60, 61])
def test_regions_lie_where_the_readers_look(tmp_path: Path, rng: np.random.Generator, length: int) -> None:
    case = make_case(tmp_path, rng, length=length, strand="mixed", overhang=True)
    path = write_window_regions(case.attr, tmp_path / "X.regions.bed")
    codes = case.forward()[0]
    half, middle = 25, length // 2
    with Genome(case.genome) as genome:
        for row, (chrom, start, end) in enumerate(centred_spans(path, half)):
            np.testing.assert_array_equal(codes[row, middle - half : middle + half], genome.read(chrom, start, end))
    starts, ends = np.loadtxt(path, dtype=str, usecols=(1, 2)).astype(int).T
    assert starts.min() == 0 and ends.max() <= 3000


def test_npz_holds_every_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    case = make_case(tmp_path, rng, strand="mixed")
    for stem in ("X", "Y.npz"):
        paths = write_modisco_npz(case.attr, tmp_path / stem, chunk_bp=1000)
    assert [path.name for path in paths] == ["Y.ohe.npz", "Y.shap.npz", "Y.regions.bed"]
    codes, scores, _ = case.forward()
    arrays = [np.load(path) for path in paths[:2]]
    assert [array.files for array in arrays] == [["arr_0"], ["arr_0"]]
    np.testing.assert_array_equal(arrays[0]["arr_0"], one_hot(codes).astype(np.int8))
    assert arrays[1]["arr_0"].dtype == np.float32
    np.testing.assert_array_equal(arrays[1]["arr_0"].view(np.uint32), scores.view(np.uint32))
    for kind in ("ohe.npz", "shap.npz", "regions.bed"):
        assert (tmp_path / f"X.{kind}").read_bytes() == (tmp_path / f"Y.{kind}").read_bytes()


def test_modisco_lite_takes_the_members_as_they_are(tmp_path: Path, rng: np.random.Generator) -> None:
    from modiscolite import cli

    case = make_case(tmp_path, rng)
    for path in write_modisco_npz(case.attr, tmp_path / "X")[:2]:
        loaded = cli._load_input(path)
        np.testing.assert_array_equal(loaded, np.load(path)["arr_0"])


def test_track_stands_in_only_when_asked(tmp_path: Path, rng: np.random.Generator) -> None:
    case = make_case(tmp_path, rng)
    bare = replace(case.attr, hypothetical=None)
    for write in (write_chrombpnet_h5, write_modisco_npz):
        with pytest.raises(StoreError, match=r"hypothetical scores of all four bases.*--hypothetical.*--approximate"):
            write(bare, tmp_path / "X.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["genome.fa", "genome.fa.fai"] or not list(tmp_path.glob("X*"))
    paths = write_modisco_npz(bare, tmp_path / "X", approximate=True)
    written: NDArray[np.float32] = np.load(paths[1])["arr_0"]
    np.testing.assert_array_equal(written, one_hot(case.attr.codes) * case.attr.track[:, None])


def test_scores_that_float16_cannot_hold(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    attr = make_case(tmp_path, rng).attr
    assert attr.hypothetical is not None
    large, small = (
        replace(attr, hypothetical=attr.hypothetical * 1e5),
        replace(attr, hypothetical=attr.hypothetical * 1e-7),
    )
    with pytest.raises(StoreError, match=r"float16 ends at 65,504; use --format npz"):
        write_chrombpnet_h5(large, tmp_path / "X.h5")
    assert not (tmp_path / "X.h5").exists()
    with caplog.at_level(logging.WARNING, "seqsal"):
        write_chrombpnet_h5(attr, tmp_path / "X.h5")
        assert not caplog.records
        write_chrombpnet_h5(small, tmp_path / "X.h5")
    assert "chrombpnet's float16 changes the scores by" in caplog.text


def test_scores_that_are_not_finite(tmp_path: Path, rng: np.random.Generator) -> None:
    attr = make_case(tmp_path, rng).attr
    attr.hypothetical[4, 2, 7] = np.nan  # type: ignore[index]
    with pytest.raises(StoreError, match="r4 has scores that are not finite"):
        write_modisco_npz(attr, tmp_path / "X", chunk_bp=500)
    assert not list(tmp_path.glob("*.npz"))


def test_windows_without_a_middle(tmp_path: Path, rng: np.random.Generator) -> None:
    attr = make_case(tmp_path, rng).attr
    regions = attr.regions.assign(start=attr.regions["start"] - 200, end=attr.regions["end"] - 200)
    with pytest.raises(RegionError, match=r"the middle of r0 \(chr1:-100--39\) lies before its chromosome"):
        write_window_regions(replace(attr, regions=regions), tmp_path / "X.regions.bed")


def test_place_that_cannot_be_written(tmp_path: Path, rng: np.random.Generator) -> None:
    attr = make_case(tmp_path, rng).attr
    with pytest.raises(OutputError, match="does not exist"):
        write_modisco_npz(attr, tmp_path / "nowhere" / "X")
