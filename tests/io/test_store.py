"""The attribution file: round trip, resuming, and every way of being wrong."""

from __future__ import annotations

import errno
import fcntl
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from seqsal.errors import OutputError, StoreError
from seqsal.io import store_writer
from seqsal.io.attributions import Attributions, DiskTable
from seqsal.io.rounding import relative_error, round_bits
from seqsal.io.store import ResultLayout, StoreLayout, read_attributions
from seqsal.io.store_writer import AttributionWriter, ControlsWriter, MemorySink
from seqsal.pipeline.info import describe_file
from seqsal.regions import make_regions

ATTRS = {"method": "saliency", "options": {"rc_average": True}, "seed": 7, "gradient_correction": False}


def layout(n: int = 3, n_controls: int = 2) -> StoreLayout:
    regions = pd.DataFrame(
        {"chrom": ["chr1", "chrÄ", "2"][:n], "start": [-5, 0, 7], "end": [5, 10, 17],
         "name": ["<b>", "x" * 10_000, "."], "score": [np.nan, 1.5, 2], "strand": ["+", "-", "."],
         "summit": [-1, 3, 0], "padded": [True, False, False], "input_row": [0, 1, 3]}
    )  # fmt: skip
    rejected = pd.DataFrame({"chrom": ["chrZ"], "start": [1], "end": [2], "name": ["lost"], "reason": ["unknown"]})
    return StoreLayout(regions, rejected, 10, {"chr1": 100, "2": 50}, n_controls=n_controls)


def fill(writer: AttributionWriter, n_controls: int = 2) -> None:
    tracks = np.arange(30, dtype=np.float32).reshape(3, 10)
    writer.write("main", 0, {"codes": np.ones((3, 10), np.uint8), "track": tracks, "prediction": tracks[:, 0]})
    if n_controls:
        nulls = {"codes": np.zeros((2, 10), np.uint8), "track": -tracks[:2], "prediction": tracks[:2, 1]}
        writer.write("null", 0, {**nulls, "source": np.array([0, 2])})


def test_round_trip(tmp_path: Path) -> None:
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        fill(writer)
        writer.finish()
    back = read_attributions(tmp_path / "A.h5")
    pd.testing.assert_frame_equal(
        back.regions[list(layout().regions.columns)], layout().regions, check_dtype=False, check_column_type=False
    )
    assert back.regions["start"].dtype == np.int64 and back.regions["padded"].dtype == bool
    assert back.rejected["reason"].tolist() == ["unknown"]
    assert back.chrom_sizes == {"chr1": 100, "2": 50}
    assert {key: back.attrs[key] for key in ATTRS} == ATTRS
    np.testing.assert_array_equal(back.controls.source, [0, 2])
    assert repr(back) == ("Attributions(3 regions × 10 bp, method=saliency, output_space=unknown, 2 controls)")


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        time.sleep(1.1)  # HDF5 would stamp objects with the second of their making
        with AttributionWriter(tmp_path / name, layout(), ATTRS) as writer:
            fill(writer)
            writer.finish()
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_missing_rows_are_not_renamed_into_place(tmp_path: Path) -> None:
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        fill(writer, n_controls=0)
        with pytest.raises(
            StoreError, match=r"rows written \{'main': 3, 'null': 0\}, expected \{'main': 3, 'null': 2\}"
        ):
            writer.finish()
    assert not (tmp_path / "A.h5").exists()


def test_unfinished_file_is_picked_up(tmp_path: Path) -> None:
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        fill(writer, n_controls=0)
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        assert writer.done == {"main": 3, "null": 0}
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS, resume=False) as writer:
        assert writer.done == {"main": 0, "null": 0}
    with AttributionWriter(tmp_path / "A.h5", layout(), {**ATTRS, "seed": 8}) as writer:
        assert writer.done == {"main": 0, "null": 0}


def test_a_second_writer_is_refused_and_destroys_nothing(tmp_path: Path) -> None:
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        for resume in (True, False):
            with pytest.raises(OutputError, match=r"A\.h5: another process is writing it"):
                AttributionWriter(tmp_path / "A.h5", layout(), {**ATTRS, "seed": 8}, resume=resume)
        fill(writer)
        writer.finish()
    assert read_attributions(tmp_path / "A.h5").attrs["seed"] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["A.h5"]


def test_a_file_killed_before_it_had_its_name_gets_the_same_bytes(tmp_path: Path) -> None:
    for name in ("A.h5", "B.h5"):
        (tmp_path / f".{name}.controls.partial").touch()  # of a file that is replaced
        with AttributionWriter(tmp_path / name, layout(), ATTRS) as writer:
            fill(writer)
            if name == "B.h5":
                writer.close()
                writer = AttributionWriter(tmp_path / name, layout(), ATTRS)
                assert writer.done == {"main": 3, "null": 2}
            writer.finish()
    assert (tmp_path / "A.h5").read_bytes() == (tmp_path / "B.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.h5", "B.h5"]


def test_rows_of_long_windows_are_packed_and_read_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any step of it, the file is finished by the next writer, with the same bytes."""
    with AttributionWriter(tmp_path / "short.h5", layout(), ATTRS) as writer:
        fill(writer)
        writer.finish()
    monkeypatch.setattr(store_writer, "LONG", 8)
    for name in ("A.h5", "B.h5", "C.h5"):
        with AttributionWriter(tmp_path / name, layout(), ATTRS) as writer:
            fill(writer)
            if name == "B.h5":  # killed while it packed
                writer.partial.with_name(f"{writer.partial.name}.packed").write_bytes(b"torn")
            if name == "C.h5":  # killed before the packed file had its name
                writer._pack()
            if name != "A.h5":
                writer.close()
                writer = AttributionWriter(tmp_path / name, layout(), ATTRS)
                assert writer.done == {"main": 3, "null": 2}
            writer.finish()
    assert (tmp_path / "A.h5").read_bytes() == (tmp_path / "B.h5").read_bytes() == (tmp_path / "C.h5").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4
    with h5py.File(tmp_path / "A.h5") as file:
        for name, chunks in (("track", (1, 8)), ("codes", (1, 8)), ("null/track", (1, 8)), ("prediction", None)):
            one = file[name]
            assert (one.chunks, one.compression, one.shuffle) == (chunks, "gzip" if chunks else None, bool(chunks))
    packed, plain = (read_attributions(tmp_path / name, in_memory=False) for name in ("A.h5", "short.h5"))
    np.testing.assert_array_equal(packed.track[[2, 0]], plain.track[[2, 0]])
    for ours, theirs in ((packed, plain), (packed.controls, plain.controls)):
        np.testing.assert_array_equal(ours.codes[:], theirs.codes[:])
        np.testing.assert_array_equal(ours.track[:], theirs.track[:])
    with ControlsWriter(tmp_path / "A.h5", ["saliency"], 1) as controls:
        controls.write("null", 0, {"codes": np.zeros((1, 10), np.uint8), "track": np.ones((1, 10), np.float32),
                                   "prediction": np.ones(1), "source": np.zeros(1)})  # fmt: skip
        controls.finish()
    with h5py.File(tmp_path / "A.h5") as file:
        assert file["null/track"].chunks == (1, 8) and file["null/track"][...].tolist() == [[1.0] * 10]


def test_bases_are_packed_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a writer that goes on, and where controls are added later."""
    monkeypatch.setattr(store_writer, "PACKED_BYTES", 20)
    with AttributionWriter(tmp_path / "A.h5", layout(n_controls=0), ATTRS) as writer:
        rows = np.arange(30, dtype=np.uint8).reshape(3, 10) % 5
        for first, last in ((0, 1), (1, 3)):
            some = {
                "codes": rows[first:last],
                "track": np.ones((last - first, 10)),
                "prediction": np.ones(last - first),
            }
            writer.write("main", first, some)
            if last == 1:
                writer.close()
                writer = AttributionWriter(tmp_path / "A.h5", layout(n_controls=0), ATTRS)
                assert writer.done == {"main": 1, "null": 0}
        writer.finish()
    with ControlsWriter(tmp_path / "A.h5", ["saliency"], 3) as controls:
        controls.write("null", 0, {"codes": rows[::-1], "track": np.ones((3, 10)), "prediction": np.ones(3),
                                   "source": np.zeros(3)})  # fmt: skip
        controls.finish()
    with h5py.File(tmp_path / "A.h5") as file:
        assert (file["codes"].dtype, file["codes"].chunks, file["codes"].compression) == (np.uint8, (3, 10), "gzip")
        np.testing.assert_array_equal(file["codes"][...], rows)
        np.testing.assert_array_equal(file["null/codes"][...], rows[::-1])


@pytest.mark.parametrize("keep_bits", [7, 15, 20])
def test_rounded_scores_are_packed_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_bits: int
) -> None:
    """By one writer, by one that goes on within a slot, in memory, and where controls are added later."""
    monkeypatch.setattr(store_writer, "PACKED_BYTES", 20)
    given = replace(layout(n_controls=0), hypothetical=True, noise=True, keep_bits=keep_bits)
    attrs = {**ATTRS, "seqsal_version": "1", "keep_bits": keep_bits, "rounding_error": relative_error(keep_bits)}
    rng = np.random.default_rng(0)
    scores = {"track": rng.normal(size=(3, 10)), "hypothetical": rng.normal(size=(3, 4, 10)),
              "noise": rng.normal(size=(3, 10))}  # fmt: skip
    arrays = {name: one.astype(np.float32) for name, one in {**scores, "prediction": rng.normal(size=3)}.items()}
    arrays["codes"] = rng.integers(0, 5, (3, 10)).astype(np.uint8)
    for name, step in (("A.h5", 3), ("B.h5", 2), ("C.h5", 1)):
        for i in range(0, 3, step):
            with AttributionWriter(tmp_path / name, given, attrs) as writer:
                assert writer.done["main"] == i
                writer.write("main", i, {name: one[i : i + step] for name, one in arrays.items()})
                if i + step >= 3:
                    writer.finish()
    assert (tmp_path / "A.h5").read_bytes() == (tmp_path / "B.h5").read_bytes() == (tmp_path / "C.h5").read_bytes()
    memory = MemorySink(given)
    memory.write("main", 0, arrays)
    back = read_attributions(tmp_path / "A.h5")
    for name in scores:
        np.testing.assert_array_equal(getattr(back, name), round_bits(arrays[name], keep_bits))
        np.testing.assert_array_equal(getattr(back, name), memory.fields(None)[name])
    np.testing.assert_array_equal(back.prediction, arrays["prediction"])
    with ControlsWriter(tmp_path / "A.h5", ["saliency"], 3) as controls:
        controls.write("null", 0, {"codes": arrays["codes"], "track": arrays["track"], "prediction": np.ones(3),
                                   "source": np.zeros(3)})  # fmt: skip
        controls.finish()
    with h5py.File(tmp_path / "A.h5") as file:
        for name in ("track", "null/track", "noise", "hypothetical"):
            assert (file[name].compression == "gzip") == (keep_bits < 16)
        np.testing.assert_array_equal(file["null/track"][...], back.track)
    facts = describe_file(tmp_path / "A.h5").facts
    assert (facts["keep_bits"], facts["rounding_error"]) == (keep_bits, 2.0 ** -(keep_bits + 1))
    assert f"scores rounded to {keep_bits} bits of mantissa" in repr(back)


def test_rounding_makes_the_file_smaller_and_less_space_is_asked_for(tmp_path: Path) -> None:
    n, length = 40, 5_000
    start = np.arange(n) * length
    regions = make_regions(["chr1"] * n, start, start + length)
    track = np.random.default_rng(0).normal(size=(n, length)).astype(np.float32)
    sizes, asked = [], []
    for keep_bits in (None, 15, 7):
        given = StoreLayout(regions, regions[:0], length, {"chr1": n * length}, keep_bits=keep_bits)
        asked.append((given.n_bytes() - n * length - 4 * n) / track.size)
        with AttributionWriter(tmp_path / "A.h5", given, ATTRS, resume=False) as writer:
            writer.write("main", 0, {"codes": np.zeros((n, length), np.uint8), "track": track,
                                     "prediction": track[:, 0]})  # fmt: skip
            writer.finish()
        with h5py.File(tmp_path / "A.h5") as file:
            sizes.append(file["track"].id.get_storage_size() / track.size)
    assert asked == [4, 3, 2]
    np.testing.assert_allclose(sizes, [4, 3, 2], atol=0.1)


def test_damaged_unfinished_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".A.h5.partial").write_bytes(b"torn")
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        assert writer.done == {"main": 0, "null": 0}


def test_full_disk_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_writer.os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="no space left on the device"):
        AttributionWriter(tmp_path / "A.h5", layout(), ATTRS)
    assert not list(tmp_path.iterdir())


def test_more_than_the_disk_holds(tmp_path: Path) -> None:
    huge = StoreLayout(layout().regions, layout().rejected, 10**15, {"chr1": 100})
    with pytest.raises(OutputError, match=r"no space left on the device, [\d.,]+ MB are needed"):
        AttributionWriter(tmp_path / "A.h5", huge, ATTRS)
    assert not list(tmp_path.iterdir())


def test_disk_that_fills_while_writing(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="no space left"),
        AttributionWriter(tmp_path / "A.h5", layout(), ATTRS),
    ):
        raise OutputError("A.h5: no space left on the device")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("folder", "match"), [("nowhere", "does not exist"), ("file", "is not a folder")])
def test_place_that_cannot_be_written(tmp_path: Path, folder: str, match: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=match):
        AttributionWriter(tmp_path / folder / "A.h5", layout(), ATTRS)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        read_attributions(tmp_path / "A.h5")
    with pytest.raises(StoreError, match="is a folder"):
        read_attributions(tmp_path)
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(StoreError, match="cannot be read as HDF5"):
        read_attributions(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match="not an attribution file, regions, codes, track, prediction missing"):
        read_attributions(tmp_path / "other.h5")


def test_truncated_file(tmp_path: Path) -> None:
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        fill(writer)
        writer.finish()
    data = (tmp_path / "A.h5").read_bytes()
    (tmp_path / "A.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError, match="damaged or truncated"):
        read_attributions(tmp_path / "A.h5")


def test_a_file_without_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise PermissionError(13, "Permission denied")  # what h5py raises where the mode does not stop root

    path = tmp_path / "A.h5"
    path.touch()
    monkeypatch.setattr("seqsal.io.store.h5py.File", refuse)
    with pytest.raises(StoreError, match=r"A\.h5: cannot be read \(Permission denied\); expected a readable"):
        read_attributions(path)


def test_newer_schema_says_who_wrote_it(tmp_path: Path) -> None:
    with AttributionWriter(tmp_path / "A.h5", layout(), {**ATTRS, "seqsal_version": "9.1"}) as writer:
        fill(writer)
        writer.finish()
    with h5py.File(tmp_path / "A.h5", "r+") as file:
        file.attrs["schema"] = 99
    with pytest.raises(StoreError, match=r"schema 99 written by seqsal 9\.1.*upgrade"):
        read_attributions(tmp_path / "A.h5")


def test_rows_must_match_regions() -> None:
    regions = layout().regions
    with pytest.raises(StoreError, match="track: got 2 rows, expected one for each of the 3 regions"):
        Attributions(regions, np.zeros((3, 5), np.uint8), np.zeros((2, 5)), np.zeros(3))


@pytest.mark.parametrize(
    ("attrs", "unit"),
    [({"output_space": "logit"}, "contribution to the logit"),
     ({"output_space": "logit", "signed": False}, "influence on the logit"),
     ({"output_space": "log"}, "contribution to the log output"),
     ({"output_space": "linear"}, "contribution to the output (linear)"),
     ({}, "contribution to the output")],
)  # fmt: skip
def test_unit_says_what_the_track_is_about(attrs: dict[str, object], unit: str) -> None:
    regions = layout().regions
    assert Attributions(regions, np.zeros((3, 5), np.uint8), np.zeros((3, 5)), np.zeros(3), attrs=attrs).unit == unit


def test_results_are_read_by_name(tmp_path: Path) -> None:
    further = ResultLayout({"method": "ism", "target": 4, "options": {"n": 1}}, completeness_error=True)
    attrs = {**ATTRS, "result": "saliency", "results": ["saliency", "ism"], "target": 0}
    with AttributionWriter(tmp_path / "A.h5", replace(layout(), results={"ism": further}), attrs) as writer:
        tracks = np.ones((3, 10), np.float32)
        writer.write("main", 0, {"track": tracks, "codes": np.zeros((3, 10), np.uint8)}, complete=False)
        assert writer.done == {"main": 0, "null": 0}
        writer.write("main", 0, {"track": 2 * tracks, "completeness_error": tracks[:, 0]}, result="ism")
        writer.write("null", 0, {"track": tracks[:2]}, complete=False)
        writer.write("null", 0, {"track": 3 * tracks[:2]}, result="ism")
        assert writer.done == {"main": 3, "null": 2}
        writer.finish()
    root = read_attributions(tmp_path / "A.h5", in_memory=False)
    ism = root.result("ism")
    assert (root.method, root.target, root.completeness_error) == ("saliency", 0, None)
    assert (ism.method, ism.target, ism.attrs["options"], ism.attrs["seed"]) == ("ism", 4, {"n": 1}, 7)
    assert np.asarray(ism.track).min() == 2 and np.asarray(ism.controls.track).min() == 3
    assert ism.completeness_error is not None and ism.results == root.results == ("saliency", "ism")
    assert ism.result("saliency").name == "saliency"
    alone = Attributions(root.regions, root.codes, root.track, root.prediction, attrs=root.attrs)
    with pytest.raises(StoreError, match="result 'ism' was left behind; read the file again"):
        alone.result("ism")


@pytest.mark.parametrize("n_controls", [0, 1, 4])
def test_another_number_of_controls_keeps_the_windows(tmp_path: Path, n_controls: int) -> None:
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        fill(writer)
    with AttributionWriter(tmp_path / "A.h5", layout(n_controls=n_controls), ATTRS) as writer:
        assert writer.done == {"main": 3, "null": 0}
        nulls = {"codes": np.ones((n_controls, 10), np.uint8), "track": np.ones((n_controls, 10), np.float32)}
        more = {"prediction": np.ones(n_controls, np.float32), "source": np.zeros(n_controls, np.int64)}
        if n_controls:
            writer.write("null", 0, {**nulls, **more})
        writer.finish()
    back = read_attributions(tmp_path / "A.h5")
    assert back.n_controls == n_controls and np.asarray(back.track).max() == 29


@pytest.mark.parametrize("n_bytes", [0, 10, 900, 3000])
def test_an_unfinished_file_that_cannot_be_read_is_begun_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, n_bytes: int
) -> None:
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        fill(writer)
    partial = tmp_path / ".A.h5.partial"
    partial.write_bytes(partial.read_bytes()[:n_bytes])
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        assert writer.done == {"main": 0, "null": 0}
        fill(writer)
        writer.finish()
    assert "starting afresh" in caplog.text and read_attributions(tmp_path / "A.h5").n_controls == 2


def test_a_file_in_use_is_not_called_damaged(tmp_path: Path) -> None:
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        fill(writer)
        writer.finish()
    with (tmp_path / "A.h5").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as HDF5 does for another process
        for read in (read_attributions, describe_file):
            with pytest.raises(StoreError, match=r"A\.h5: in use by another process.*; wait, or close it"):
                read(tmp_path / "A.h5")


@pytest.mark.parametrize(
    ("name", "value"),
    [("track", np.zeros((3, 9), np.float32)), ("codes", np.zeros(3, np.uint8)), ("prediction", np.zeros(2, np.float32)),
     ("null/codes", np.zeros((2, 9), np.uint8)), ("null/source", np.zeros(3, np.int64)), ("regions/start", [1, 2]),
     ("track", ["a", "b"])],
)  # fmt: skip
def test_arrays_that_do_not_belong_together(tmp_path: Path, name: str, value: Any) -> None:
    with AttributionWriter(tmp_path / "A.h5", layout(), ATTRS) as writer:
        fill(writer)
        writer.finish()
    with h5py.File(tmp_path / "A.h5", "r+") as file:
        del file[name]
        file[name] = value
    with pytest.raises(StoreError, match=r"A\.h5: damaged or not an attribution file \(.*; make it again"):
        read_attributions(tmp_path / "A.h5")


def test_text_that_repeats_is_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsal.io.attributions.ROWS_AT_ONCE", 8)
    names = [f"n{i}" for i in range(40)] + ["", "é", "n1"]
    chroms = ["chr1" * 9, "chr2" * 9] * 21 + ["chr1" * 9]
    with h5py.File(tmp_path / "t.h5", "w") as file:
        for name, values in {"chrom": chroms, "name": names, "none": []}.items():
            file.create_dataset(name, data=np.array(values, dtype=h5py.string_dtype()))
        table = DiskTable(file, list(file), StoreError)
        read = {name: table.column(name) for name in file}
    assert read["name"].tolist() == names and read["chrom"].tolist() == chroms and not len(read["none"])
    assert len({id(one) for one in read["chrom"]}) == 2


def test_many_rows_of_a_table_are_picked_as_few_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsal.io.attributions.ROWS_AT_ONCE", 8)
    rows = [39, 3, -1, 3, 17, 0, 8, 7]
    with h5py.File(tmp_path / "t.h5", "w") as file:
        names = np.array([f"n{i}" for i in range(40)], dtype=h5py.string_dtype("utf-8", 4))
        file.create_dataset("name", data=names)
        file.create_dataset("start", data=np.arange(40) * 3)
        table = DiskTable(file, ["name", "start"], StoreError)
        found = []
        for many in (100, 2):
            monkeypatch.setattr("seqsal.io.attributions.MANY_ROWS", many)
            found.append(table.frame(rows))
    assert found[0]["start"].tolist() == [117, 9, 117, 9, 51, 0, 24, 21]
    pd.testing.assert_frame_equal(*found)


def test_text_that_repeats_is_encoded_once_and_is_the_same() -> None:
    names = np.array(["chr1"] * 99 + ["chrÄ"], dtype=object)
    for texts in (names, np.array([*names, None], dtype=object), names[-1:], names[:0]):
        expected = np.array([str(one).encode() for one in texts], dtype=np.bytes_)
        np.testing.assert_array_equal(store_writer._encoded(texts), expected, strict=True)
