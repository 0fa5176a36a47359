"""BED and narrowPeak: every form that is read, every error with its line, and the round trips."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import bioframe
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqsal.errors import BedError, FastaError, OutputError
from seqsal.io import content
from seqsal.io.bed import parse_bed, read_bed, write_bed, write_narrowpeak
from seqsal.io.fasta import Genome
from seqsal.regions import COLUMNS, make_regions

PEAK = "chr1\t10\t60\tp1\t900\t.\t5.5\t3\t2\t25\n"

rows = st.tuples(
    st.sampled_from(["chr1", "2", "chrUn_GL000195v1", "HLA-A*01:01"]),
    st.integers(0, 10**9),
    st.integers(1, 10**6),
    st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=12),
    st.one_of(st.just("."), st.integers(0, 1000).map(str), st.floats(0, 1e6).map(lambda x: f"{x:.4g}")),
    st.sampled_from("+-."),
)


def write(folder: Path, text: str | bytes, name: str = "regions.bed") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def parse_slowly(text: str) -> list[tuple[str, int, int, str, float, str]]:
    """Line by line, with string methods only."""
    regions = []
    for line in text.splitlines():
        chrom, start, end, *more = line.split("\t")
        name = more[0] if more else f"region_{len(regions) + 1}"
        score = float(more[1]) if len(more) > 1 and more[1] != "." else float("nan")
        strand = more[2] if len(more) > 2 else "."
        regions.append((chrom, int(start), int(end), name, score, strand))
    return regions


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, min_size=1, max_size=8), st.integers(3, 6))
def test_any_bed_equals_a_slow_parser(tmp_path: Path, table: list[tuple], n_columns: int) -> None:
    lines = [(c, str(s), str(s + n), name, score, strand)[:n_columns] for c, s, n, name, score, strand in table]
    text = "".join("\t".join(line) + "\n" for line in lines if not line[0].startswith(("track", "browser")))
    regions = read_bed(write(tmp_path, text))
    columns = list(COLUMNS[:6])
    expected = pd.DataFrame(parse_slowly(text), columns=columns)
    pd.testing.assert_frame_equal(regions[columns], expected, check_dtype=False)
    assert (regions["summit"] == -1).all()
    pd.testing.assert_frame_equal(read_bed(write(tmp_path, gzip.compress(text.encode()), "r.bed.gz")), regions)


PLAIN = "chr1\t10\t20\ta\t1\t+\nchr2\t30\t40\tb\t2\t-\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.rstrip("\n"),
        "\ufeff" + PLAIN,
        "# made by hand\ntrack name=x description='y z'\nbrowser position chr1:1-2\n\n" + PLAIN + "\n   \n",
        PLAIN.replace("\nchr2", "\n#between\ntrack name=two\n\nchr2"),
        "chrom\tstart\tend\tname\tscore\tstrand\n" + PLAIN,
        "#chrom\tchromStart\tchromEnd\n" + PLAIN,
        PLAIN.replace("\t", " "),
        PLAIN.replace("\t", "  \t "),
        PLAIN.replace("+\n", "+\t10\t20\t255,0,0\t1\t10,\t0,\textra\tmore\n"),
        PLAIN.replace("\n", "\t\n"),
    ],
    ids=(
        "crlf cr no-last-newline bom top-lines between-lines header hash-header blanks mixed-blanks wide trailing-tab"
    ).split(),
)
def test_forms_of_the_same_regions(tmp_path: Path, text: str) -> None:
    expected = make_regions(["chr1", "chr2"], [10, 30], [20, 40], name=["a", "b"], score=[1, 2], strand=["+", "-"])
    pd.testing.assert_frame_equal(read_bed(write(tmp_path, text)), expected)


def test_bed12_equals_bioframe(tmp_path: Path) -> None:
    line = "chr7\t127471196\t127495720\tName {}\t{}\t{}\t127471196\t127472363\t255,0,0\t2\t10,20,\t0,100,\n"
    path = write(tmp_path, "".join(line.format(i, i * 100, "+-"[i % 2]) for i in range(9)))
    oracle = bioframe.read_table(str(path), schema="bed12")
    regions = read_bed(path)
    for key in ("chrom", "start", "end", "name", "score", "strand"):
        assert regions[key].tolist() == oracle[key].tolist()


def test_names_scores_and_strands_that_are_missing(tmp_path: Path) -> None:
    regions = read_bed(write(tmp_path, "chr1\t0\t5\nchr1\t5\t9\t.\t.\t.\nchr1\t5\t9\tx y\tNA\t*\n"))
    assert regions["name"].tolist() == [".", ".", "x y"]
    assert regions["score"].isna().all()
    assert regions["strand"].tolist() == [".", ".", "."]


def test_chromosomes_named_like_top_lines_are_kept(tmp_path: Path) -> None:
    regions = read_bed(write(tmp_path, "tracks1\t0\t5\nbrowserine\t0\t5\nNA\t0\t5\nnan\t0\t5\n1\t0\t5\n"))
    assert regions["chrom"].tolist() == ["tracks1", "browserine", "NA", "nan", "1"]


class TestNarrowPeak:
    @pytest.mark.parametrize("name", ["a.narrowPeak", "a.NARROWPEAK", "a.bed", "a.narrowPeak.txt"])
    def test_summit_and_values(self, tmp_path: Path, name: str) -> None:
        regions = read_bed(write(tmp_path, PEAK + PEAK.replace("\t3\t2\t25", "\t-1\t-1\t-1"), name))
        assert regions["summit"].tolist() == [25, -1]
        assert regions["signal"].tolist() == [5.5, 5.5]
        np.testing.assert_allclose(regions["p_value"], [1e-3, np.nan])
        np.testing.assert_allclose(regions["q_value"], [1e-2, np.nan])

    @pytest.mark.parametrize(
        "line",
        [
            PEAK.replace("\t25", "\t50"),  # a summit beyond the region
            PEAK.replace("\t25", "\t2.5"),
            PEAK.replace("\t2\t25", "\t255,0,0\t1"),  # itemRgb
            PEAK.replace("\t25", ""),
            PEAK.replace("\n", "\t1\n"),
        ],
    )
    def test_other_bed_has_no_summits(self, tmp_path: Path, line: str) -> None:
        regions = read_bed(write(tmp_path, line))
        assert regions["summit"].tolist() == [-1]
        assert tuple(regions.columns) == COLUMNS

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (PEAK.replace("\t25", "\t50"), r"a\.narrowPeak:2: summit \(column 10\) lies outside the region"),
            (PEAK.replace("\t25", "\tx"), r"a\.narrowPeak:2: summit \(column 10\) lies outside the region"),
            (PEAK.replace("\t25", ""), r"a\.narrowPeak:2: too few columns, expected the 10 columns of narrowPeak"),
        ],
    )
    def test_errors(self, tmp_path: Path, line: str, message: str) -> None:
        with pytest.raises(BedError, match=message):
            read_bed(write(tmp_path, PEAK + line, "a.narrowPeak"))


@pytest.mark.parametrize(
    "blocks", ["2 20,15 0", "2 20,15 0,130", "2 20,15 5,135", "2 20,15 0,10", "2 a,15 0,135", "2 20,-5 0,145", "1 9 0"]
)
def test_blocks_that_do_not_fill_their_region(tmp_path: Path, blocks: str) -> None:
    path = write(tmp_path, "chr1 10 160 g 0 + 10 160 0 2 20,15, 0,135,\nchr1 10 150 g 0 + 10 150 0 ".replace(
        " ", "\t") + blocks.replace(" ", "\t"))  # fmt: skip
    with pytest.raises(BedError, match=r"regions.bed:2: blocks \(columns 10 to 12\) do not fill the region"):
        parse_bed(content.read_content(path, "BED file", BedError), blocks=True)


class TestErrors:
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("chr1\t20\t20", "start 20 is not below end 20, expected 0-based half-open"),
            ("chr1\t20\t10", "start 20 is not below end 10"),
            ("chr1\t-1\t10", "start -1 is negative, expected 0 or more"),
            ("chr1\tten\t20", "start is 'ten', expected an integer"),
            ("chr1\t10\t20.5", "end is '20.5', expected an integer"),
            ("chr1\t1,000\t2,000", "start is '1,000', expected an integer"),
            ("chr1\t\t20", "start is '', expected an integer"),
            ("chr1\t0x10\t20", "start is '0x10', expected an integer"),
            ("chr1\t10\t99999999999999999999", "end is '99999999999999999999', expected an integer"),
            ("chr1\t10", "too few columns, expected chrom, start, end"),
            ("chr1", "too few columns"),
            ("\t10\t20", "no chromosome name"),
        ],
    )
    def test_the_line_is_named(self, tmp_path: Path, line: str, message: str) -> None:
        text = f"# comment\r\n\r\nchr1\t0\t5\r\n{line}\r\nchr1\t7\t9\r\n"
        with pytest.raises(BedError, match=rf"regions\.bed:4: {message}"):
            read_bed(write(tmp_path, text))

    def test_a_first_line_without_numbers_is_no_header(self, tmp_path: Path) -> None:
        with pytest.raises(BedError, match=r"regions\.bed:1: start is 'abc'"):
            read_bed(write(tmp_path, "chr1\tabc\t20\nchr1\t1\t2\n"))

    def test_more_offenders_are_counted(self, tmp_path: Path) -> None:
        with pytest.raises(BedError, match=r":1: start 5 is not below end 5 \(and 2 more\)"):
            read_bed(write(tmp_path, "chr1\t5\t5\n" * 3))

    @pytest.mark.parametrize("text", ["", "\n\n", "# only\ntrack name=x\n", "chrom\tstart\tend\n"])
    def test_no_regions(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(BedError, match=r"regions\.bed: holds no regions"):
            read_bed(write(tmp_path, text))

    def test_missing_folder_and_unreadable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(BedError, match="no such file"):
            read_bed(tmp_path / "absent.bed")
        with pytest.raises(BedError, match=r"cannot be read \(Is a directory\)"):
            read_bed(tmp_path)

        def refuse(path: str, flags: int) -> int:
            raise PermissionError(13, "Permission denied", path)

        (tmp_path / "a.bed").write_text(PLAIN)
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(BedError, match=r"cannot be read \(Permission denied\)"):
            read_bed(tmp_path / "a.bed")

    @pytest.mark.parametrize("cut", [3, 12, -1, -9])
    def test_truncated_gzip(self, tmp_path: Path, cut: int) -> None:
        data = gzip.compress(PLAIN.encode() * 50)
        with pytest.raises(BedError, match="gzip data is truncated or damaged"):
            read_bed(write(tmp_path, data[:cut]))

    @pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0", PLAIN.encode("utf-16"), b"chr1\t1\t2\tna\xefve\n"])
    def test_not_text(self, tmp_path: Path, data: bytes) -> None:
        with pytest.raises(BedError, match="is not text, expected BED as UTF-8"):
            read_bed(write(tmp_path, data))


class TestWriting:
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(table=st.lists(rows, min_size=1, max_size=8), suffix=st.sampled_from([".bed", ".bed.gz"]))
    def test_bed_round_trip(self, tmp_path: Path, table: list[tuple], suffix: str) -> None:
        chrom, start, length, name, score, strand = map(list, zip(*table, strict=True))
        regions = make_regions(
            chrom,
            start,
            np.add(start, length),
            name=name,
            score=[float(x) if x != "." else np.nan for x in score],
            strand=strand,
        )
        path = tmp_path / f"out{suffix}"
        write_bed(regions, path)
        pd.testing.assert_frame_equal(read_bed(path), regions)
        before = path.read_bytes()
        write_bed(regions, path)
        assert path.read_bytes() == before

    def test_windows_over_the_start_and_odd_names(self, tmp_path: Path) -> None:
        write_bed(make_regions(["chr1"], [-5], [10], name=["a\tb\nc"]), tmp_path / "o.bed")
        assert (tmp_path / "o.bed").read_text() == "chr1\t0\t10\ta_b_c\t.\t.\n"

    def test_narrowpeak_round_trip(self, tmp_path: Path) -> None:
        peaks = make_regions(
            "chr1", [10, 30, 50], [20, 40, 60], name=["pos_1", "neg_1", "pos_2"], score=[1000, 0, 7], summit=[0, 9, -1]
        ).assign(signal=[1.25, -3.5, 1e-7], p_value=[1e-12, 0.5, np.nan], q_value=[1e-9, 1.0, np.nan])
        path = tmp_path / "p.narrowPeak"
        write_narrowpeak(peaks.astype({"score": int}), path)
        pd.testing.assert_frame_equal(read_bed(path), peaks, rtol=1e-4)
        lines = [line.split("\t") for line in path.read_text().splitlines()]
        assert lines[0] == ["chr1", "10", "20", "pos_1", "1000", ".", "1.25", "12", "9", "0"]
        assert lines[1][7:] == ["0.30103", "0", "9"] and lines[2][7:] == ["-1", "-1", "-1"]
        oracle = bioframe.read_table(str(path), schema="narrowPeak")
        assert oracle["relSummit"].tolist() == [0, 9, -1]

    def test_a_p_value_of_zero_is_finite(self, tmp_path: Path) -> None:
        peak = make_regions(["chr1"], [-4], [20], score=[5], summit=[6]).assign(signal=1.0, p_value=0.0, q_value=1e-300)
        write_narrowpeak(peak, tmp_path / "p.narrowPeak")
        columns = (tmp_path / "p.narrowPeak").read_text().split()
        assert columns[7:9] == ["323.306", "300"]
        assert (int(columns[1]), int(columns[9])) == (0, 2)  # still base 2 of the chromosome

    def test_no_peaks_make_an_empty_file(self, tmp_path: Path) -> None:
        peaks = make_regions([], [], []).assign(signal=[], p_value=[], q_value=[])
        write_narrowpeak(peaks, tmp_path / "p.narrowPeak")
        assert (tmp_path / "p.narrowPeak").read_bytes() == b""

    def test_a_failure_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(OutputError, match="does not exist"):
            write_bed(make_regions(["chr1"], [0], [5]), tmp_path / "absent" / "o.bed")

        def fill(self: Path, data: bytes) -> int:
            self.touch()
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(Path, "write_bytes", fill)
        with pytest.raises(OutputError, match="no space left"):
            write_bed(make_regions(["chr1"], [0], [5]), tmp_path / "o.bed")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.yeast
def test_yeast_sites(yeast: dict[str, Path]) -> None:
    regions = read_bed(yeast["Reb1"])
    lines = [line.split() for line in yeast["Reb1"].read_text().splitlines()]
    assert list(zip(regions["chrom"], regions["start"], regions["end"], strict=True)) == [
        (line[0], int(line[1]), int(line[2])) for line in lines
    ]


# --- tables that name their columns, strands in other spellings, pipes ---------------------------------------------

EXPECTED = [("chr1", 100, 121, "-"), ("chr2", 200, 221, "+")]
TABLES = {
    "granges": "seqnames\tstart\tend\twidth\tstrand\nchr1\t101\t121\t21\t-\nchr2\t201\t221\t21\t+\n",
    "granges as R writes it": '"seqnames" "start" "end" "width" "strand"\n"1" "chr1" 101 121 21 "-"\n'
    '"2" "chr2" 201 221 21 "+"\n',
    "granges without widths": "seqnames,start,end,strand\nchr1,101,121,-\nchr2,201,221,+\n",
    "macs": "# This file is generated by MACS\n# d = 200\n\nchr\tstart\tend\tlength\tabs_summit\tstrand\n"
    "chr1\t101\t121\t21\t105\t-\nchr2\t201\t221\t21\t205\t+\n",
    "ucsc": "#chrom\tchromStart\tchromEnd\tname\tstrand\nchr1\t100\t121\ta\t-\nchr2\t200\t221\tb\t+\n",
    "ucsc genes": "#name\tchrom\tstrand\ttxStart\ttxEnd\na\tchr1\t-\t100\t121\nb\tchr2\t+\t200\t221\n",
    "homer": "#PeakID\tchr\tstart\tend\tstrand\tscore\np1\tchr1\t101\t121\t-\t3\np2\tchr2\t201\t221\t+\t4\n",
    "saf": "GeneID\tChr\tStart\tEnd\tStrand\ng1\tchr1\t101\t121\t-\ng2\tchr2\t201\t221\t+\n",
    "pandas csv": ",chrom,start,end,strand\n0,chr1,100,121,-\n1,chr2,200,221,+\n",
    "pandas tsv": "\tstart\tend\tstrand\tchrom\n0\t100\t121\t-\tchr1\n1\t200\t221\t+\tchr2\n",
    "quoted": 'chrom,start,end,strand,name\n"chr1",100,121,"minus","a, b"\n"chr2",200,221,"plus","c"\n',
    "widths from 0": "chrom start end width strand\nchr1 100 121 21 -\nchr2 200 221 21 +\n",
    "csv without names": "chr1,100,121,a,0,-\nchr2,200,221,b,0,+\n",
    "strands as numbers": "chr1\t100\t121\ta\t0\t-1\nchr2\t200\t221\tb\t0\t1\n",
    "strands as words": "chr1\t100\t121\ta\t0\tminus\nchr2\t200\t221\tb\t0\tPlus\n",
    "strands in column 5": "chr1\t100\t121\ta\t-\nchr2\t200\t221\tb\t+\n",
    "strands in column 4": "chr1\t100\t121\t-\nchr2\t200\t221\t+\n",
    "strands in column 7": "chr1\t100\t121\ta\t0\t.\t-\nchr2\t200\t221\tb\t0\t.\t+\n",
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_tables_of_other_programs(tmp_path: Path, kind: str, newline: str) -> None:
    regions = read_bed(write(tmp_path, TABLES[kind].replace("\n", newline), "table.txt"))
    found = list(zip(regions["chrom"], regions["start"], regions["end"], regions["strand"], strict=True))
    assert found == EXPECTED
    if kind == "macs":
        assert regions["summit"].tolist() == [4, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t100\t121\ta\t0\t-\nchr1\t100\t121\ta\t0\tx\n", ":2: strand is 'x', expected"),
        ("chrom\tstart\tend\tstrand\nchr1\t100\t121\tx\n", ":2: strand is 'x'"),
        ("seqnames start end width\nchr1 101 121 21\nchr1 100 121 21\n", "cannot be told whether positions count from"),
        ("what\tstart\twhere\nchr1\t1\t2\n", "its columns are 'what', 'start', 'where', expected names such as chrom"),
        ("chrom,start,end\nchr1,1\n", "rows have 2 columns, but 3 are named"),
        ("chrom,start,end\nchr1,1,x\n", ":2: end is 'x', expected an integer"),
        ("chrom,start,end,abs_summit\nchr1,1,5,9\n", ":2: summit lies outside the region"),
    ],
)
def test_tables_that_cannot_be_read_right(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BedError, match=message):
        read_bed(write(tmp_path, text, "table.txt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t100\t121\ta\t0\tgene\n", "column 6 is no strand ('gene'), so no region has one"),
        ("chr1\t100\t121\ta\t-1\nchr1\t100\t121\ta\t1\n", "column 5 holds 1 and -1, which are not read as strands"),
        ("chr1\t100\t121\ta\t-\n", "the strand is read from column 5"),
        ("chrom,sense,start,end\nchr1,-,1,9\n", "the strand is read from column 2, since none is named so"),
        ("chrom,x,start,end\nchr1,1,1,9\nchr1,-1,1,9\n", "column 2 holds 1 and -1, which are not read as strands"),
        ("chr\tstart\tend\nchr1\t1\t2\n", "positions are read as counted from 0, half-open"),
        ("chr1\t0\t90\ta\t0\t+\t0\t90\t0\t2\t5,5\t0,80\n", "1 of 1 region have several blocks; the whole span"),
    ],
)
def test_what_is_not_read_is_told(tmp_path: Path, text: str, message: str, caplog: pytest.LogCaptureFixture) -> None:
    read_bed(write(tmp_path, text, "table.txt"))
    assert message in caplog.text


def test_pipes_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(PLAIN,))
    writer.start()
    regions = read_bed(pipe)
    writer.join()
    assert regions.equals(read_bed(write(tmp_path, PLAIN.encode())))
    monkeypatch.setattr(content, "PATIENCE", 0.1)
    with pytest.raises(BedError, match="nobody wrote to this pipe"):
        read_bed(pipe)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_devices_are_refused(device: str) -> None:
    with pytest.raises(BedError, match=f"{device}: is a device, expected a BED file"):
        read_bed(device)
    with pytest.raises(FastaError, match=f"{device}: is a device, expected a FASTA file"):
        Genome(device)


def test_gzip_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "SMALL_BYTES", 1 << 20)
    (tmp_path / "bomb.bed.gz").write_bytes(gzip.compress(b"chr1\t1\t2\n" * 2_000_000))
    with pytest.raises(BedError, match=r"unpack to more than .* expected a BED file"):
        read_bed(tmp_path / "bomb.bed.gz")
