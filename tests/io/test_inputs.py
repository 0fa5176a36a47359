"""Inputs from files: what is read for each row, where it lies, what is set aside, and every refusal."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqsal.errors import BedError, FastaError, RegionError, UsageError
from seqsal.io import inputs
from seqsal.io.fasta import Genome
from seqsal.io.inputs import open_codes, open_input
from seqsal.io.store import StoreLayout
from seqsal.io.store_writer import fingerprint
from seqsal.regions import COLUMNS, format_region, make_regions, resize_regions, tile_regions
from seqsal.sequence.codes import decode, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle

SIZES = {"chr1": 300, "chr2": 120}


@pytest.fixture(scope="module")
def sequences() -> dict[str, str]:
    rng = np.random.default_rng(1)
    return {name: decode(rng.integers(0, 5, size).astype(np.uint8)) for name, size in SIZES.items()}


@pytest.fixture
def genome(tmp_path: Path, sequences: dict[str, str]) -> Path:
    return write_fasta(tmp_path / "genome.fa", sequences)


def write_fasta(path: Path, records: dict[str, str]) -> Path:
    lines = [f">{name}\n" + "".join(s[i : i + 50] + "\n" for i in range(0, len(s), 50)) for name, s in records.items()]
    path.write_text("".join(lines))
    return path


def write_bed(path: Path, *lines: str) -> Path:
    path.write_text("".join(line.replace(" ", "\t") + "\n" for line in lines))
    return path


class TestGenome:
    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        table=st.lists(
            st.tuples(st.sampled_from(list(SIZES)), st.integers(0, 110), st.integers(1, 90), st.sampled_from("+-.")),
            max_size=9,
        ),
        length=st.integers(1, 80),
        data=st.data(),
    )
    def test_each_row_holds_its_region(
        self, genome: Path, table: list[tuple], length: int, data: st.DataObject
    ) -> None:
        chrom, start, size, strand = map(list, zip(("chr1", 100, 50, "+"), *table, strict=True))  # one that is usable
        regions = make_regions(
            chrom, start, np.add(start, size), strand=strand, name=[f"r{i}" for i in range(len(chrom))]
        )
        with open_input(genome=genome, regions=regions, length=length) as source, Genome(genome) as oracle:
            assert len(source) + len(source.rejected) == len(regions)
            windows = source.windows
            assert windows["input_row"].is_monotonic_increasing
            resized = resize_regions(regions, length).iloc[windows["input_row"]].reset_index(drop=True)
            pd.testing.assert_frame_equal(windows[list(COLUMNS)], resized)
            codes = source.read(slice(None))
            for window, row in zip(windows.itertuples(), codes, strict=True):
                assert np.array_equal(row, oracle.read(window.chrom, window.start, window.end, window.strand))
                assert window.padded == (window.start < 0 or window.end > SIZES[window.chrom])
            rows = np.array(data.draw(st.lists(st.integers(0, len(source) - 1), max_size=5)), dtype=np.int64)
            assert np.array_equal(source.read(rows), codes[rows])
            assert np.array_equal(source.read(slice(1, 3)), codes[1:3])

    def test_files_lengths_and_provenance(self, genome: Path, tmp_path: Path) -> None:
        bed = write_bed(tmp_path / "r.bed", "chr1 10 60 a 1 -", "chr2 0 50 b 2 +")
        with open_input(genome=str(genome), regions=str(bed)) as source:
            assert source.length == 50 and source.chrom_sizes == SIZES
            assert tuple(source.windows.columns) == (*COLUMNS, "padded", "input_row")
            provenance = json.loads(json.dumps(source.provenance))
        assert provenance == {
            "genome": {
                "file": str(genome),
                "n_bytes": genome.stat().st_size,
                "sha256": hashlib.sha256(genome.read_bytes()).hexdigest(),
                "n_records": 2,
            },
            "regions": {
                "file": str(bed),
                "n_bytes": bed.stat().st_size,
                "sha256": hashlib.sha256(bed.read_bytes()).hexdigest(),
                "n_records": 2,
            },
            "n_windows": 2,
            "n_padded": 0,
            "n_rejected": 0,
            "length": 50,
        }

    def test_a_large_genome_is_known_by_samples_and_windows(
        self, genome: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inputs, "_HASHED_WHOLE_BYTES", 10)
        monkeypatch.setattr(inputs, "_SAMPLE_BYTES", 1)
        monkeypatch.setattr(inputs, "_N_SAMPLES", 3)

        def describe() -> dict[str, object]:
            with open_input(genome=genome, regions=make_regions(["chr1"], [0], [9])) as source:
                assert source.provenance["regions"] == {"file": None, "n_records": 1}
                layout = StoreLayout(source.windows, source.rejected, 9, source.chrom_sizes)
                return source.provenance["genome"] | {"file of": fingerprint(layout, {"genome": source.provenance})}

        before, text = describe(), genome.read_text()
        at = text.index("\n") + 3  # a base under the window, between the samples
        genome.write_text(text[:at] + ("A" if text[at] != "A" else "C") + text[at + 1 :])
        after = describe()
        assert before["samples_sha256"] == after["samples_sha256"]
        assert before["windows_sha256"] != after["windows_sha256"]
        assert before["file of"] != after["file of"]  # so that no file is resumed with another genome

    def test_a_genome_and_regions_from_pipes(self, genome: Path, tmp_path: Path) -> None:
        bed = b"chr1\t10\t30\n"
        pipes = {"genome": (tmp_path / "g", genome.read_bytes()), "regions": (tmp_path / "r", bed)}
        for path, data in pipes.values():
            os.mkfifo(path)
            threading.Thread(target=path.write_bytes, args=(data,), daemon=True).start()
        with open_input(genome=pipes["genome"][0], regions=pipes["regions"][0]) as source:
            codes = source.read(slice(0, 1))
            found = {key: source.provenance[key]["sha256"] for key in pipes}
        assert found == {key: hashlib.sha256(data).hexdigest() for key, (_, data) in pipes.items()}
        with open_input(genome=genome, regions=make_regions(["chr1"], [10], [30])) as source:
            assert np.array_equal(codes, source.read(slice(0, 1)))

    def test_summits_are_centres(self, genome: Path, tmp_path: Path) -> None:
        peaks = write_bed(tmp_path / "p.narrowPeak", "chr1 100 200 p 5 . 1 2 3 80", "chr1 100 200 q 5 . 1 2 3 -1")
        with open_input(genome=genome, regions=peaks, length=20) as source:
            assert source.windows["start"].tolist() == [170, 140]
            assert source.windows["summit"].tolist() == [10, -1]

    def test_long_regions_are_told_or_tiled(self, genome: Path, caplog: pytest.LogCaptureFixture) -> None:
        regions = make_regions("chr1", [10, 200, 250], [75, 230, 280], strand=["-", ".", "."], summit=[-1, -1, 3])
        with open_input(genome=genome, regions=regions, length=20) as source:
            assert len(source) == 3
        told = "2 of 3 regions are longer than the window of 20 bp, and 55 of their 95 bp, at their ends, are not read"
        assert f"{told}; --tile (tile=True) covers them with 6 windows" not in caplog.text and told in caplog.text
        open_input(genome=genome, regions=regions, length=20, tile=False).close()
        assert f"{told}; --tile (tile=True) covers them with 6 windows" in caplog.text
        caplog.clear()
        with open_input(genome=genome, regions=regions, length=20, tile=True) as source, Genome(genome) as oracle:
            rows = source.windows
            assert rows["start"].tolist() == [10, 30, 50, 55, 200, 210, 250, 260]
            assert rows["input_row"].tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
            assert rows["name"].tolist()[:5] == ["region_1.1", "region_1.2", "region_1.3", "region_1.4", "region_2.1"]
            assert (rows["end"] - rows["start"] == 20).all() and (rows["summit"] == -1).all()
            codes = source.read(slice(None))
            np.testing.assert_array_equal(codes[3], oracle.read("chr1", 55, 75, "-"))
        assert not caplog.records
        same = make_regions("chr1", [10, 40], [30, 55])
        pd.testing.assert_frame_equal(tile_regions(same, 20), resize_regions(same, 20))

    @pytest.mark.parametrize("tile", [False, True])
    def test_blocks_are_spliced(
        self, genome: Path, tmp_path: Path, tile: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        line = "chr1 10 150 {} 7 {} 10 150 0 3 20,15,5, 0,90,135,"
        bed = write_bed(tmp_path / "g.bed", line.format("g", "+"), line.format("g", "-"))
        with open_input(genome=genome, regions=bed, length=30, tile=tile, blocks=True) as source:
            with Genome(genome) as oracle:
                exons = [oracle.read("chr1", *span) for span in ((10, 30), (100, 115), (145, 150))]
            forward = np.concatenate(exons)
            both = [forward, reverse_complement(forward)]
            expected = [g[cut] for g in both for cut in ((slice(30), slice(10, 40)) if tile else (slice(5, 35),))]
            np.testing.assert_array_equal(source.read(slice(None)), expected)
            assert source.chrom_sizes == {"g": 40, "g_2": 40}
            assert source.windows["chrom"].tolist() == ([*["g"] * 2, *["g_2"] * 2] if tile else ["g", "g_2"])
        assert "1 of 2 regions have the name of another; numbered, such as 'g_2'" in caplog.text
        with open_input(genome=genome, regions=bed, length=50, blocks=True) as source:
            np.testing.assert_array_equal(source.read(slice(0, 1)), [[4] * 5 + forward.tolist() + [4] * 5])
        with pytest.raises(RegionError, match="has no blocks, expected the 12 columns of BED12"):
            open_input(genome=genome, regions=write_bed(tmp_path / "r.bed", "chr1 1 9"), length=8, blocks=True)
        with pytest.raises(UsageError, match="blocks: are those of regions"):
            open_input(fasta=genome, blocks=True)

    def test_strand_can_be_ignored(self, genome: Path) -> None:
        regions = make_regions(["chr1", "chr1"], [10, 10], [60, 60], strand=["-", "+"])
        with open_input(genome=genome, regions=regions, ignore_strand=True) as source:
            codes = source.read(slice(None))
            assert np.array_equal(codes[0], codes[1])
            assert source.windows["strand"].tolist() == [".", "."]
        with open_input(genome=genome, regions=regions) as source:
            codes = source.read(slice(None))
            assert np.array_equal(codes[0], reverse_complement(codes[1]))

    def test_unusable_regions_are_named_and_kept_aside(
        self, genome: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        bed = write_bed(tmp_path / "r.bed", "chr1 10 60 a", "chr9 10 60 lost", "chr2 200 250 far", "chr2 100 150 edge")
        with caplog.at_level(logging.WARNING), open_input(genome=genome, regions=bed) as source:
            assert source.windows["name"].tolist() == ["a", "edge"]
            assert source.windows["padded"].tolist() == [False, True]
            assert source.rejected["name"].tolist() == ["lost", "far"]
            assert source.provenance["n_rejected"] == 2 and source.provenance["n_padded"] == 1
        (message,) = caplog.messages
        assert message == (
            f"{bed}: 2 of 4 regions cannot be used: lost chr9:10-60 (no chromosome chr9 in the genome); "
            "far chr2:200-250 (beyond the end of chr2 (120 bp))"
        )

    def test_many_unusable_regions_are_counted(self, genome: Path, caplog: pytest.LogCaptureFixture) -> None:
        regions = make_regions(["chr1"] * 9, [0] + [1000] * 8, [50] + [1050] * 8)
        open_input(genome=genome, regions=regions).close()
        assert "; and 3 more" in caplog.text

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            (["1 10 60"], r"r\.bed: its chromosomes are named 1, those of .*genome\.fa chr1, chr2; .*sed 's/\^/chr/'"),
            (
                ["chr1 900 950", "chr2 900 950"],
                r"none of 2 regions can be used: region_1 chr1:900-950 \(beyond the end",
            ),
            (["chr1 10 60", "chr1 10 70"], "lengths from 50 to 60 bp, expected one length; give the window length"),
        ],
    )
    def test_refusals(self, genome: Path, tmp_path: Path, lines: list[str], message: str) -> None:
        with pytest.raises(RegionError, match=message):
            open_input(genome=genome, regions=write_bed(tmp_path / "r.bed", *lines))

    def test_errors_of_the_files_come_through(self, genome: Path, tmp_path: Path) -> None:
        with pytest.raises(BedError, match="no such file"):
            open_input(genome=genome, regions=tmp_path / "absent.bed")
        with pytest.raises(FastaError, match="no such file"):
            open_input(genome=tmp_path / "absent.fa", regions=make_regions(["chr1"], [0], [9]))
        with pytest.raises(RegionError, match="holds no regions"):
            open_input(genome=genome, regions=make_regions([], [], []))
        with pytest.raises(RegionError, match="length: got 0 bp"):
            open_input(genome=genome, regions=make_regions(["chr1"], [0], [9]), length=0)

    @pytest.mark.parametrize("given_keys", [(), ("genome",), ("regions",), ("genome", "fasta"), ("regions", "fasta")])
    def test_neither_or_both_ways(self, given_keys: tuple[str, ...]) -> None:
        got = " and ".join(given_keys) or "nothing"
        with pytest.raises(UsageError, match=f"input: got {got}, expected genome and regions, or fasta alone"):
            open_input(**dict.fromkeys(given_keys, "x"))  # type: ignore[arg-type]


class TestFasta:
    @pytest.fixture
    def regions(self) -> pd.DataFrame:
        return make_regions(["chr1", "chr2", "chr1"], [20, 0, 250], [60, 40, 290], strand=["+", "-", "."])

    @pytest.fixture
    def fasta(self, tmp_path: Path, genome: Path, regions: pd.DataFrame) -> Path:
        """What bedtools getfasta -s writes for the regions."""
        with Genome(genome) as source:
            records = {
                format_region(r.chrom, r.start, r.end, r.strand): decode(source.read(r.chrom, r.start, r.end, r.strand))
                for r in regions.itertuples()
            }
        return write_fasta(tmp_path / "windows.fa", records)

    @pytest.mark.parametrize("length", [None, 40, 39, 21, 1])
    @pytest.mark.parametrize("ignore_strand", [False, True])
    def test_both_routes_agree(
        self, genome: Path, fasta: Path, regions: pd.DataFrame, length: int | None, ignore_strand: bool
    ) -> None:
        # the middle of a span of even length moves by one base when it is read from the other end
        if length in (39, 21, 1):
            regions = regions[regions["strand"] != "-"]
        options = {"length": length, "ignore_strand": ignore_strand}
        with (
            open_input(genome=genome, regions=regions, **options) as one,  # type: ignore[arg-type]
            open_input(fasta=fasta, **options) as other,  # type: ignore[arg-type]
        ):
            rows = np.flatnonzero(other.windows["input_row"].isin(regions.index))
            columns = ["chrom", "start", "end", "strand", "padded"]
            pd.testing.assert_frame_equal(other.windows.loc[rows, columns].reset_index(drop=True), one.windows[columns])
            assert np.array_equal(one.read(slice(None)), other.read(rows))
            assert other.chrom_sizes == {"chr1": 290, "chr2": 40}

    @pytest.mark.parametrize("length", [39, 40, 41, 55])
    def test_windows_say_where_their_bases_are(self, genome: Path, fasta: Path, length: int) -> None:
        with open_input(fasta=fasta, length=length) as source, Genome(genome) as oracle:
            for window, codes in zip(source.windows.itertuples(), source.read(slice(None)), strict=True):
                expected = oracle.read(window.chrom, window.start, window.end, window.strand)
                inside = codes < 4  # a record holds no bases beyond its own
                assert np.array_equal(codes[inside], expected[inside])
                assert window.padded == (length > 40)
                assert window.end - window.start == length

    def test_other_records_are_contigs_of_their_own(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        records = {
            "seqA": "ACGTACGT",
            "chr1:10-18": "AAAACCCC",
            "peak::chr1:20-28(-)": "GGGGTTTT",
            "chr1:1-8": "ACACACAC",
        }
        with open_input(fasta=write_fasta(tmp_path / "x.fa", records)) as source:
            windows = source.windows
            assert list(zip(windows["chrom"], windows["start"], windows["end"], windows["strand"], strict=True)) == [
                ("seqA", 0, 8, "."), ("chr1", 10, 18, "."), ("chr1", 20, 28, "-"), ("chr1:1-8", 0, 8, ".")
            ]  # fmt: skip
            assert windows["name"].tolist() == list(records)
            assert [decode(row) for row in source.read(slice(None))] == list(records.values())
            assert source.chrom_sizes == {"seqA": 8, "chr1": 28, "chr1:1-8": 8}
            assert source.provenance["fasta"]["n_records"] == 4
        assert "1 record names hold a colon but are not chrom:start-end" in caplog.text

    def test_short_and_long_records_are_centred(self, tmp_path: Path) -> None:
        path = write_fasta(tmp_path / "x.fa", {"a": "ACGT", "b": "TTTTACGTGG", "c": "ACGTAC"})
        with open_input(fasta=path, length=6) as source:
            assert [decode(row) for row in source.read(slice(None))] == ["NACGTN", "TTACGT", "ACGTAC"]
            assert source.windows["start"].tolist() == [-1, 2, 0]
            assert source.windows["padded"].tolist() == [True, False, False]
            assert len(source.rejected) == 0 and "reason" in source.rejected

    @pytest.mark.parametrize("text", ["chr1:10-2o", "chr1:10-", "chr1:1e3-2e3", "chr1:10-20(x)"])
    def test_a_place_that_is_misspelled_is_no_missing_file(self, genome: Path, text: str) -> None:
        with pytest.raises(RegionError, match=r"region '.*': not understood, expected chrom:start-end"):
            open_input(genome=genome, regions=text)
        with pytest.raises(BedError, match="no such file"):
            open_input(genome=genome, regions=f"{text}.bed")

    def test_records_shorter_than_the_window_are_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = write_fasta(tmp_path / "x.fa", {"a": "ACGT", "b": "TTTTACGTGG", "c": "ACGTAC"})
        for length, n_short in ((6, 1), (8, 2), (4, 0)):
            caplog.clear()
            with open_input(fasta=path, length=length, tile=False) as source:
                assert int(source.windows["padded"].sum()) == n_short
            said = [text for text in caplog.messages if "filled up with N" in text]
            assert len(said) == bool(n_short)
            assert all(f"{n_short} of 3 windows are longer ({length} bp)" in text for text in said)

    @pytest.mark.parametrize("as_fasta", [False, True])
    def test_places_are_no_windows(self, tmp_path: Path, genome: Path, as_fasta: bool) -> None:
        places = make_regions(["chr1", "chr2"], [20, 30], [21, 31])
        fasta = write_fasta(tmp_path / "x.fa", {"a": "A", "b": "C"})
        given: dict[str, object] = {"fasta": fasta} if as_fasta else {"genome": genome, "regions": places}
        with pytest.raises(RegionError, match=r"all 2 regions are 1 bp wide, places and no windows; give the window"):
            open_input(**given)  # type: ignore[arg-type]
        with open_input(**given, length=9) as source:  # type: ignore[arg-type]
            assert source.length == 9 and len(source.windows) == 2

    def test_refusals(self, tmp_path: Path) -> None:
        with pytest.raises(RegionError, match="lengths from 2 to 4 bp"):
            open_input(fasta=write_fasta(tmp_path / "x.fa", {"a": "ACGT", "b": "AC"}))
        with pytest.raises(FastaError, match="the record a has no sequence"):
            open_input(fasta=write_fasta(tmp_path / "y.fa", {"a": "", "b": "AC"}))


class TestCodes:
    def test_in_memory(self, rng: np.random.Generator) -> None:
        codes = rng.integers(0, 5, (3, 7)).astype(np.uint8)
        with open_codes(codes) as source:
            assert len(source) == 3 and source.length == 7
            assert np.array_equal(source.read(np.array([2, 0])), codes[[2, 0]])
            assert source.chrom_sizes == {"sequence_1": 7, "sequence_2": 7, "sequence_3": 7}
            names = list(source.chrom_sizes)
            pd.testing.assert_frame_equal(
                source.windows[list(COLUMNS)], make_regions(names, [0] * 3, [7] * 3, name=names)
            )
        regions = make_regions("chr1", [0, 7, 9], [7, 14, 16])
        assert open_codes(codes, regions).chrom_sizes == {"chr1": 16}

    def test_refusals(self) -> None:
        with pytest.raises(RegionError, match=r"codes: got shape \(5,\)"):
            open_codes(np.zeros(5, np.uint8))
        with pytest.raises(RegionError, match="regions: 1 given for 2 sequences of 5 bp"):
            open_codes(np.zeros((2, 5), np.uint8), make_regions(["chr1"], [0], [5]))


@pytest.mark.yeast
def test_yeast_sites(yeast: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "sacCer3.fa.gz"
    shutil.copy(yeast["genome"], path)
    with open_input(genome=path, regions=yeast["Reb1"], length=200) as source:
        codes = source.read(slice(None))
    assert codes.shape == (len(source.windows), 200)

    def share(windows: np.ndarray) -> float:
        """Of windows with the core of Reb1's motif (JASPAR MA0363.3)."""
        return float(np.mean(["TTACCCG" in decode(row) or "CGGGTAA" in decode(row) for row in windows]))

    assert share(codes) > 5 * share(dinucleotide_shuffle(codes, seed=0))
