"""Windows of a genome against pyfaidx and string slices, the index, and every way a FASTA can be wrong."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyfaidx
import pytest
from Bio import bgzf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqsal.errors import FastaError, RegionError
from seqsal.io import fasta as fasta_module
from seqsal.io import fasta_index
from seqsal.io.fasta import Genome, read_fasta_records
from seqsal.io.fasta_index import EOF_BLOCK
from seqsal.regions import make_regions
from seqsal.sequence.codes import decode, encode

LETTERS = "ACGTacgtNnRYSWu-"
SEQUENCES = {
    "chr1": "ACGTNacgtnRYKMacgtacgtaCCGGTT" * 7,
    "chr2": "TTTTGGGGCCCCAAAA",
    "short": "A",
    "chrX": "GATTACA" * 40,
}
COMPLEMENT = str.maketrans("ACGT", "TGCA")
patient = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fasta_text(sequences: dict[str, str], width: int = 13, newline: str = "\n") -> bytes:
    parts = []
    for name, sequence in sequences.items():
        lines = [sequence[i : i + width] for i in range(0, len(sequence), width)]
        parts += [f">{name} a description", *lines]
    return (newline.join(parts) + newline).encode()


def write_fasta(folder: Path, data: bytes, *, compress: bool = False, name: str = "genome.fa") -> Path:
    path = folder / (name + ".gz" * compress)
    if not compress:
        path.write_bytes(data)
        return path
    with bgzf.BgzfWriter(str(path)) as writer:
        for i in range(0, len(data), 150):  # many small blocks, so that windows cross them
            writer.write(data[i : i + 150])
            writer.flush()
    return path


def read_slowly(sequences: dict[str, str], chrom: str, start: int, end: int, strand: str) -> str:
    """Base by base, N beyond the ends and for every letter other than A, C, G and T (or U)."""
    sequence = sequences[chrom].upper().replace("U", "T")
    letters = [sequence[i] if 0 <= i < len(sequence) and sequence[i] in "ACGT" else "N" for i in range(start, end)]
    text = "".join(letters)
    return text.translate(COMPLEMENT)[::-1] if strand == "-" else text


@st.composite
def genomes_and_windows(draw: st.DrawFn) -> tuple[dict[str, str], int, str, pd.DataFrame]:
    sequences = {f"c{i}": draw(st.text(LETTERS, min_size=1, max_size=120)) for i in range(draw(st.integers(1, 4)))}
    width, newline = draw(st.sampled_from([1, 7, 60, 200])), draw(st.sampled_from(["\n", "\r\n"]))
    length = draw(st.integers(1, 50))
    spans = draw(
        st.lists(
            st.tuples(st.sampled_from(list(sequences)), st.integers(-60, 180), st.sampled_from("+-.")), max_size=12
        )
    )
    chrom, start, strand = (list(column) for column in zip(*spans, strict=True)) if spans else ([], [], [])
    return sequences, width, newline, make_regions(chrom, start, np.add(start, length), strand=strand)


class TestReading:
    @pytest.mark.parametrize("compress", [False, True], ids=["plain", "bgzip"])
    @patient
    @given(case=genomes_and_windows(), step=st.integers(1, 400))
    def test_any_windows_equal_string_slices(self, tmp_path: Path, compress: bool, case: tuple, step: int) -> None:
        sequences, width, newline, windows = case
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        path = write_fasta(folder, fasta_text(sequences, width, newline), compress=compress)
        with pytest.MonkeyPatch.context() as patch, Genome(path) as genome:
            patch.setattr(fasta_module, "_CHUNK_BP", step)
            assert genome.chrom_sizes == {name: len(sequence) for name, sequence in sequences.items()}
            codes = genome.read_windows(windows)
            expected = [read_slowly(sequences, w.chrom, w.start, w.end, w.strand) for w in windows.itertuples()]
            assert [decode(row) for row in codes] == expected
            for window, text in zip(windows.itertuples(), expected, strict=True):
                assert decode(genome.read(window.chrom, window.start, window.end, window.strand)) == text
        shutil.rmtree(folder)

    @pytest.mark.parametrize("compress", [False, True], ids=["plain", "bgzip"])
    def test_windows_equal_pyfaidx(self, tmp_path: Path, compress: bool, rng: np.random.Generator) -> None:
        sequences = {f"chr{i}": decode(rng.integers(0, 5, 200_000).astype(np.uint8)) for i in range(3)}
        path = write_fasta(tmp_path, fasta_text(sequences, 60), compress=False)
        if compress:
            data = path.read_bytes()
            with bgzf.BgzfWriter(f"{path}.gz") as writer:
                for i in range(0, len(data), 0xFF00):  # the blocks of htslib; pyfaidx fails at the end of longer ones
                    writer.write(data[i : i + 0xFF00])
                    writer.flush()
            path = Path(f"{path}.gz")
        chrom, start = rng.choice(list(sequences), 500), rng.integers(0, 199_000, 500)
        with Genome(path) as genome:
            codes = genome.read_windows(make_regions(chrom, start, start + 1_000))
        oracle = pyfaidx.Fasta(str(path), as_raw=True)
        for row, c, s in zip(codes, chrom, start, strict=True):
            assert decode(row) == oracle[c][int(s) : int(s) + 1_000]
        oracle.close()

    def test_the_result_can_be_written_to(self, tmp_path: Path) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES))
        n_bases = sum(map(len, SEQUENCES.values()))
        with Genome(path) as genome:
            assert genome.read("chr2", 0, 5).flags.writeable
            assert repr(genome) == f"Genome('{path}', 4 records, {n_bases} bp)"

    def test_odd_layouts(self, tmp_path: Path) -> None:
        text = b"; a comment\n\n>a\nACG\nACG\nA\n\n>empty\n>b one line\nACGTACGT\n>c\nAC\nA"
        with Genome(write_fasta(tmp_path, text)) as genome:
            assert genome.chrom_sizes == {"a": 7, "empty": 0, "b": 8, "c": 3}
            spans = {("a", 2, 7): "GACGA", ("empty", 0, 2): "NN", ("b", 3, 8): "TACGT", ("c", 1, 4): "CAN"}
            assert {span: decode(genome.read(*span)) for span in spans} == spans

    @pytest.mark.parametrize("name", ["genome.fa.gz", "genome.fasta"])
    @pytest.mark.parametrize("compress", [False, True])
    def test_the_name_does_not_matter(self, tmp_path: Path, name: str, compress: bool) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES), compress=compress, name="x").rename(tmp_path / name)
        with Genome(path) as genome:
            assert decode(genome.read("chr2", 0, 16)) == SEQUENCES["chr2"]

    def test_wrong_regions_are_named(self, tmp_path: Path) -> None:
        with Genome(write_fasta(tmp_path, fasta_text(SEQUENCES))) as genome:
            with pytest.raises(RegionError, match="has no chromosome chr9, but chr1, chr2, short, chrX"):
                genome.read("chr9", 0, 5)
            with pytest.raises(RegionError, match="got 5 with end 5"):
                genome.read("chr1", 5, 5)
            with pytest.raises(RegionError, match="lengths from 4 to 5 bp"):
                genome.read_windows(make_regions(["chr1", "chr1"], [0, 0], [4, 5]))


class TestIndex:
    @pytest.mark.parametrize("compress", [False, True], ids=["plain", "bgzip"])
    def test_it_is_kept_beside_the_file_and_used_again(self, tmp_path: Path, compress: bool) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES), compress=compress)
        Genome(path).close()
        names = {path.name, f"{path.name}.fai"} | ({f"{path.name}.gzi"} if compress else set())
        assert {p.name for p in tmp_path.iterdir()} == names
        before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
        Genome(path).close()
        assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before

    @pytest.mark.parametrize("compress", [False, True], ids=["plain", "bgzip"])
    def test_it_is_what_pyfaidx_writes(self, tmp_path: Path, compress: bool) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES), compress=compress)
        Genome(path).close()
        ours = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
        for suffix in (".fai", ".gzi"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        pyfaidx.Faidx(str(path)).close()
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ours

    @pytest.mark.parametrize("compress", [False, True], ids=["plain", "bgzip"])
    def test_it_goes_to_the_cache_where_the_folder_is_read_only(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool
    ) -> None:
        folder, cache = tmp_path / "data", tmp_path / "cache"
        folder.mkdir()
        path = write_fasta(folder, fasta_text(SEQUENCES), compress=compress)
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        make_folder = fasta_index.tempfile.TemporaryDirectory

        def refuse(*, dir: Path, prefix: str) -> object:
            if dir == folder:
                raise PermissionError(13, "Permission denied", str(dir))
            return make_folder(dir=dir, prefix=prefix)

        monkeypatch.setattr(fasta_index.tempfile, "TemporaryDirectory", refuse)
        for _ in range(2):
            with Genome(path) as genome:
                assert genome.index_path.parent == cache / "seqsal"
                assert decode(genome.read("chr2", 0, 16)) == SEQUENCES["chr2"]
        assert [p.name for p in folder.iterdir()] == [path.name]
        assert len(list((cache / "seqsal").iterdir())) == 1 + compress
        # an edited file is another file to the cache
        edited = write_fasta(folder, fasta_text({"chr2": "CCCC"}), compress=compress)
        with Genome(edited, cache_dir=tmp_path / "other") as genome:
            assert genome.chrom_sizes == {"chr2": 4}
            assert genome.index_path.parent == tmp_path / "other"

    def test_a_folder_without_write_permission_stays_as_it_is(self, tmp_path: Path) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        path = write_fasta(folder, fasta_text(SEQUENCES))
        folder.chmod(0o555)  # would not stop root
        try:
            with Genome(path, cache_dir=tmp_path / "cache") as genome:
                assert genome.index_path.parent == tmp_path / "cache"
            assert [p.name for p in folder.iterdir()] == [path.name]
        finally:
            folder.chmod(0o755)

    def test_no_place_for_an_index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES))

        def refuse(**options: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(fasta_index.tempfile, "TemporaryDirectory", refuse)
        with pytest.raises(
            FastaError, match=r"cannot be written next to it or in .*\(Read-only file system\); set XDG"
        ):
            Genome(path, cache_dir=tmp_path / "cache")

    def test_the_default_cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert fasta_index.default_cache_dir() == tmp_path / ".cache" / "seqsal"


def open_and_close(path: Path) -> None:
    Genome(path).close()


class TestStaleIndex:
    """An index must never give wrong bases."""

    @staticmethod
    def edit(path: Path, sequences: dict[str, str], *, compress: bool, seconds: float) -> None:
        """Rewrite the FASTA behind its index, dated `seconds` after the index."""
        write_fasta(path.parent, fasta_text(sequences), compress=compress)
        then = Path(f"{path}.fai").stat().st_mtime_ns + int(seconds * 1e9)
        os.utime(path, ns=(then, then))

    @pytest.mark.parametrize("compress", [False, True], ids=["plain", "bgzip"])
    def test_by_date(self, tmp_path: Path, compress: bool) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES), compress=compress)
        open_and_close(path)
        self.edit(path, {**SEQUENCES, "chr2": "A" * 16}, compress=compress, seconds=5)
        with Genome(path) as genome:  # makes the index anew
            assert decode(genome.read("chr2", 0, 16)) == "A" * 16
        self.edit(path, {"chr2": "C" * 9}, compress=compress, seconds=5)
        path.parent.chmod(0o555)  # would not stop root
        try:
            with Genome(path, cache_dir=tmp_path / "cache") as genome:
                assert genome.index_path.parent == tmp_path / "cache"
                assert decode(genome.read("chr2", 0, 9)) == "C" * 9
        finally:
            path.parent.chmod(0o755)

    @pytest.mark.parametrize("compress", [False, True], ids=["plain", "bgzip"])
    @pytest.mark.parametrize(
        "edited",
        [
            {**SEQUENCES, "chr1": SEQUENCES["chr1"][1:]},
            {**SEQUENCES, "chrX": SEQUENCES["chrX"][:-1]},
            {**SEQUENCES, "chrX": SEQUENCES["chrX"] + "AC"},
            {**SEQUENCES, "chrY": "ACGT"},
            {"chr1": SEQUENCES["chr1"]},
            {"chr3" if name == "chr2" else name: sequence for name, sequence in SEQUENCES.items()},
            {"chr1": SEQUENCES["chr1"], "short": "A", "chr2": SEQUENCES["chr2"], "chrX": SEQUENCES["chrX"]},
        ],
        ids="shorter-first shorter-last longer-last new-record fewer renamed swapped".split(),
    )
    def test_by_layout_where_the_date_does_not_tell(self, tmp_path: Path, compress: bool, edited: dict) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES), compress=compress)
        open_and_close(path)
        self.edit(path, edited, compress=compress, seconds=-5)
        with pytest.raises(FastaError, match=r"(does not fit its index .*\.fai|edited after its index .*\.gzi)"):
            Genome(path)

    def test_lines_of_another_width(self, tmp_path: Path) -> None:
        path = write_fasta(tmp_path, b">a\nACGT\nACGT\n>b\nAC\n")
        open_and_close(path)
        path.write_bytes(b">a\nACG\nACGTA\n>b\nAC\n")  # the records are where they were
        os.utime(path, ns=(0, 0))
        with pytest.raises(FastaError, match=r"lines of record a do not have the length that the index says"):
            Genome(path)
        path = write_fasta(tmp_path, b">a\n" + b"ACGT\n" * 9, name="b.fa")
        open_and_close(path)
        path.write_bytes(b">a\n" + b"ACGT\n" * 2 + b"ACG\nACGTA\n" + b"ACGT\n" * 5)  # only some lines are looked at
        os.utime(path, ns=(0, 0))
        with Genome(path) as genome, pytest.raises(FastaError, match=r"its lines are not where the index .* says"):
            genome.read("a", 8, 12)

    @pytest.mark.parametrize("blanks", [" ", "\t", " \t ", " \r"])
    def test_blanks_at_the_end_of_lines_are_no_bases(self, tmp_path: Path, blanks: str) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES, newline=blanks + "\n"))
        for _ in range(2):
            with Genome(path) as genome:
                assert genome.chrom_sizes == {name: len(sequence) for name, sequence in SEQUENCES.items()}
                assert decode(genome.read("chrX", 5, 60)) == SEQUENCES["chrX"][5:60]
        wrong = write_fasta(tmp_path, fasta_text(SEQUENCES, newline=blanks + "\n"), name="wrong.fa")
        with pyfaidx.Faidx(str(wrong)):  # counts blanks as bases
            pass
        with pytest.raises(FastaError, match="does not fit its index"):
            Genome(wrong)

    @pytest.mark.parametrize("n_blank", [1, 2])
    def test_blank_lines_around_records(self, tmp_path: Path, n_blank: int) -> None:
        blank = b"\n" * n_blank
        path = write_fasta(tmp_path, blank + b">a" + blank + b"\nACG\nAC\n" + blank + b">b\nACGT\n" + blank)
        for _ in range(2):
            with Genome(path) as genome:
                assert genome.chrom_sizes == {"a": 5, "b": 4}
                assert decode(genome.read("a", 0, 5)) == "ACGAC"
                assert decode(genome.read("b", 0, 4)) == "ACGT"

    @given(st.integers(0, 2**32 - 1))
    @patient
    def test_lines_in_pieces_of_any_size(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        text = fasta_text({f"c{i}": "ACGTN" * int(rng.integers(1, 9)) for i in range(4)}, int(rng.integers(1, 12)))
        cuts = np.sort(rng.integers(0, len(text) + 1, 5)).tolist()
        pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
        assert fasta_index._scan(Path("x"), iter(pieces)) == fasta_index._scan(Path("x"), iter([text]))

    def test_a_path_that_is_not_utf8(self, tmp_path: Path) -> None:
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/g\xff"))
        folder.mkdir()
        path = write_fasta(folder, fasta_text(SEQUENCES))
        with Genome(path) as genome:
            assert genome.chrom_sizes["chr2"] == 16
        folder.chmod(0o555)
        path.with_name("genome.fa.fai").unlink()
        try:
            open_and_close(path)
        finally:
            folder.chmod(0o755)

    @pytest.mark.parametrize(
        "index",
        [
            "",
            "chr1\t10",
            "chr1\tx\t1\t2\t3",
            "chr1\t10\t6\t0\t1",
            "chr1\t-5\t6\t10\t11",
            f"chr1\t{2**63}\t6\t1\t2",
            f"chr1\t5\t6\t{2**62}\t{2**62}",
        ],
    )
    def test_a_damaged_fai(self, tmp_path: Path, index: str) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES))
        Path(f"{path}.fai").write_text(index)
        with pytest.raises(FastaError, match=r"genome\.fa\.fai: is not a complete \.fai index; delete it"):
            Genome(path)

    def test_an_incomplete_fai(self, tmp_path: Path) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES))
        open_and_close(path)
        index = Path(f"{path}.fai")
        index.write_text("".join(index.read_text().splitlines(keepends=True)[:-1]))
        with pytest.raises(FastaError, match="record short is not the last one"):
            Genome(path)

    @pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: b"", lambda data: data[:8] + data[:0:-1]])
    def test_a_damaged_gzi(self, tmp_path: Path, damage: object) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES), compress=True)
        open_and_close(path)
        index = Path(f"{path}.gzi")
        index.write_bytes(damage(index.read_bytes()))  # type: ignore[operator]
        with pytest.raises(FastaError, match=r"\.gzi: .*delete it"):
            Genome(path)


class TestBadFiles:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "is empty, expected FASTA"),
            (b"chr1\t0\t5\n", r"is not FASTA, got b'chr1\\t0\\t5\\n' first, expected a line that begins with '>'"),
            (b">a\nAC\0GT\n", "is not FASTA"),
            (b">a\nACGTN\nMKLVEEPQ\n", "holds 'MKLVEEPQ', a protein as it seems; expected DNA"),
            (bytes(range(128, 256)), "is not FASTA"),
            (b">a\nAC\xff\xfeGT\n", "holds bytes that are not text"),
            (b"\xef\xbb\xbf>a\nACGT\n", "byte order mark"),
            (b">a\nACGT\n>b\nAC\n>a\nACGT\n", "the record name a occurs twice"),
            (
                b">a\nACGT\nAC\nACGT\n",
                r":3: a has lines of different lengths \(its first has 4 bases\); give all lines",
            ),
            (b">a\nACGT\nACGTACGT\n", r":3: a has lines of different lengths"),
            (b">a\nACGT \nACGT\nACGT \n", r":3: a has lines of different lengths"),
            (b">a\nACGT\n\nACGT\n", r":3: a has lines of different lengths"),
            (b">a\nACGT\n>\nAC\n", ":3: a record without a name"),
            (b">a\nAC GT\n", ":2: holds a blank among the bases"),
            (b">a\n1 ACGT\n", ":2: holds '1' among the bases"),
            (b">a\nACGT\n; no\nACGT\n", ":3: a comment inside a record"),
            (b">a\rACGT\rAC\r", "its lines end in CR alone"),
            (b">a\nACGT\n>b\n", "the last record b has no sequence; the file is truncated"),
            (b">a\nACGT\n>b", "the last record b has no sequence; the file is truncated"),
            (gzip.compress(b">a\nACGT\n", mtime=0), r"is gzip but not bgzip.*gunzip -c genome\.fa \| bgzip"),
            (b"BZh91AY", "is compressed with bzip2"),
            (b"PK\x03\x04", "is compressed with zip"),
            (b"; only a comment\n", "holds no record"),
        ],
    )
    def test_each_is_one_line_and_leaves_no_index(self, tmp_path: Path, data: bytes, message: str) -> None:
        path = write_fasta(tmp_path, data)
        with pytest.raises(FastaError, match=message) as caught:
            Genome(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
        leftover = {p.name for p in tmp_path.iterdir()} - {path.name}
        assert leftover <= ({"genome.fa.fai"} if "no sequence" in message else set())

    def test_missing_folder_and_unreadable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(FastaError, match="no such file"):
            Genome(tmp_path / "absent.fa")
        with pytest.raises(FastaError, match=r"cannot be read \(Is a directory\)"):
            Genome(tmp_path)

        def refuse(path: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(FastaError, match=r"cannot be read \(Permission denied\)"):
            Genome(tmp_path / "a.fa")

    @pytest.mark.parametrize("cut", [1, 28, 29, 200])
    def test_truncated_bgzip(self, tmp_path: Path, cut: int) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES), compress=True)
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(FastaError, match="without its end marker, so it is truncated"):
            Genome(path)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]

    def test_truncated_plain_file_with_an_index(self, tmp_path: Path) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES))
        open_and_close(path)
        date = path.stat().st_mtime_ns
        path.write_bytes(path.read_bytes()[:-40])
        os.utime(path, ns=(date, date))
        with pytest.raises(FastaError, match=r"does not fit its index .*edited or truncated after it was indexed"):
            Genome(path)

    @pytest.mark.parametrize("indexed", [False, True])
    def test_damaged_bgzip(self, tmp_path: Path, indexed: bool) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES), compress=True)
        data = bytearray(path.read_bytes())
        if indexed:
            open_and_close(path)
        data[60] ^= 0xFF  # inside the first block
        path.write_bytes(data)
        os.utime(path, ns=(0, 0))
        with pytest.raises(FastaError, match="damaged"):
            Genome(path)

    def test_bytes_lost_from_the_middle_of_bgzip(self, tmp_path: Path) -> None:
        path = write_fasta(tmp_path, fasta_text(SEQUENCES), compress=True)
        data = path.read_bytes()
        assert data.endswith(EOF_BLOCK)
        path.write_bytes(data[:100] + data[150:])
        with pytest.raises(FastaError, match=r"damaged|cannot be indexed"):
            Genome(path)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]


class TestRecords:
    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    @pytest.mark.parametrize("compress", [None, gzip.compress, "bgzip"])
    def test_records_in_order(self, tmp_path: Path, newline: str, compress: object) -> None:
        data = b"; comment\n" + fasta_text(SEQUENCES, 11, newline)
        path = write_fasta(tmp_path, data, compress=compress == "bgzip")
        if callable(compress):
            path.write_bytes(compress(data))
        records = list(read_fasta_records(path))
        assert [name for name, _ in records] == list(SEQUENCES)
        for (_, codes), sequence in zip(records, SEQUENCES.values(), strict=True):
            assert np.array_equal(codes, encode(sequence))
        assert [p.name for p in tmp_path.iterdir()] == [path.name]

    def test_lines_may_differ_in_length(self, tmp_path: Path) -> None:
        path = write_fasta(tmp_path, b">a\nAC\n\nACGT\nA\n>b\n>c\nG")
        assert [(name, decode(codes)) for name, codes in read_fasta_records(path)] == [
            ("a", "ACACGTA"), ("b", ""), ("c", "G")
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "holds no record"),
            (b"; nothing\n", "holds no record"),
            (b"ACGT\n", r"genome\.fa:1: is not FASTA, got b'ACGT'"),
            (b">a\nAC\n>b\nAC\n>a\nAC\n", r"genome\.fa:5: a second record a"),
            (b">a\nAC\n> \nAC\n", r"genome\.fa:3: a record without a name"),
            (b">a\nACGTN\n>b\nmklveepq\n", r"genome\.fa: holds 'mklveepq', a protein as it seems; expected DNA"),
            (gzip.compress(b">a\n" + b"ACGT\n" * 99, mtime=0)[:-9], "gzip data is truncated or damaged"),
            (gzip.compress(b">a\nACGT\n", mtime=0)[:14] + b"abcdef", "gzip data is truncated or damaged"),
        ],
    )
    def test_errors(self, tmp_path: Path, data: bytes, message: str) -> None:
        path = write_fasta(tmp_path, data)
        with pytest.raises(FastaError, match=message):
            list(read_fasta_records(path))

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FastaError, match="no such file"):
            list(read_fasta_records(tmp_path / "absent.fa"))
        with pytest.raises(FastaError, match="Is a directory"):
            list(read_fasta_records(tmp_path))


def test_many_sorted_windows_equal_pyfaidx(tmp_path: Path, rng: np.random.Generator) -> None:
    sequence = decode(rng.integers(0, 4, 2_000_000).astype(np.uint8))
    path = write_fasta(tmp_path, fasta_text({"chr1": sequence}, 60))
    start = np.sort(rng.integers(0, 1_999_000, 4_000))
    windows = make_regions("chr1", start, start + 1_000)
    oracle = pyfaidx.Fasta(str(path), as_raw=True)
    with Genome(path) as genome:
        codes = genome.read_windows(windows)
    peer = [encode(oracle["chr1"][s : s + 1_000]) for s in start.tolist()]
    oracle.close()
    assert np.array_equal(codes, peer)


@pytest.mark.yeast
def test_yeast_genome(yeast: dict[str, Path], tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "sacCer3.fa.gz"
    shutil.copy(yeast["genome"], path)
    with Genome(path) as genome:
        assert len(genome.chrom_sizes) == 17 and sum(genome.chrom_sizes.values()) == 12_157_105
        start = rng.integers(0, 200_000, 200)
        codes = genome.read_windows(make_regions("chrIV", start, start + 300, strand="-"))
    oracle = pyfaidx.Fasta(str(path))
    for row, s in zip(codes, start.tolist(), strict=True):
        assert decode(row) == str(oracle["chrIV"][s : s + 300].reverse.complement).upper()
    oracle.close()
