"""Motif matrices, and reading and writing them."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from Bio import motifs as bio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyjaspar import jaspardb

from seqsal.errors import MotifError
from seqsal.experiments.designs import read_elements
from seqsal.motifs.formats import jaspar_releases
from seqsal.motifs.matrices import Motif, read_motifs, write_meme

COUNTS = np.array([[10, 0, 5, 0], [0, 10, 5, 3], [0, 0, 0, 3], [0, 0, 0, 4]], dtype=float)


def write(folder: Path, text: str, name: str = "motifs.txt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def random_counts(rng: np.random.Generator, width: int) -> NDArray[np.float64]:
    return rng.integers(0, 50, size=(4, width)) + np.eye(4)[:, rng.integers(0, 4, width)]


def test_properties_by_hand() -> None:
    motif = Motif("toy", "T1", COUNTS, 10)
    assert motif.width == 4
    assert motif.label == "T1 toy"
    assert motif.ppm[:, 0] == pytest.approx([10.025 / 10.1, 0.025 / 10.1, 0.025 / 10.1, 0.025 / 10.1])
    assert motif.information == pytest.approx([2, 2, 1, 2 - 1.5709505944546684])
    assert motif.consensus == "ACMB"
    assert motif.reverse_complement().consensus == "VKGT"
    assert repr(motif) == "Motif(T1 toy, ACMB, 5.4 bits)"


def test_log_odds_are_against_the_background() -> None:
    background = np.array([0.3, 0.2, 0.2, 0.3])
    motif = Motif("toy", "", COUNTS, 10)
    ppm = (10 * COUNTS / 10 + 0.1 * background[:, None]) / 10.1
    assert motif.pwm(background) == pytest.approx(np.log2(ppm / background[:, None]))
    assert motif.pwm(2 * background) == pytest.approx(motif.pwm(background))
    assert np.isneginf(motif.pwm(pseudocount=0)[1, 0])


def test_unknown_sites_count_as_twenty() -> None:
    assert Motif("toy", "", COUNTS / 10).ppm == pytest.approx(Motif("toy", "", COUNTS / 10, 20).ppm)


def test_counts_cannot_be_changed_from_outside() -> None:
    counts = COUNTS.copy()
    motif = Motif("toy", "", counts)
    counts[0, 0] = 99
    assert motif.counts[0, 0] == 10
    with pytest.raises(ValueError, match="read-only"):
        motif.counts[0, 0] = 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_reverse_complement_twice_is_the_motif(seed: int, width: int) -> None:
    motif = Motif("toy", "", random_counts(np.random.default_rng(seed), width))
    twice = motif.reverse_complement().reverse_complement()
    assert np.array_equal(twice.counts, motif.counts)
    assert np.allclose(motif.reverse_complement().information[::-1], motif.information)


@given(st.integers(0, 2**32 - 1))
def test_consensus_is_that_of_biopython(seed: int) -> None:
    counts = random_counts(np.random.default_rng(seed), 12) * (np.random.default_rng(seed).random((4, 12)) < 0.7)
    counts[0] += counts.sum(axis=0) == 0
    theirs = bio.Motif(counts=dict(zip("ACGT", counts.tolist(), strict=True))).degenerate_consensus
    assert Motif("toy", "", counts).consensus == str(theirs)


@pytest.mark.parametrize(
    ("name", "counts", "message"),
    [
        ("", COUNTS, "without a name"),
        ("toy", COUNTS[:3], r"shape \(3, 4\), expected \(4, W\)"),
        ("toy", np.zeros((4, 0)), r"shape \(4, 0\)"),
        ("toy", -COUNTS, "'toy' has -10.0 for A at position 1"),
        ("toy", COUNTS * [1, np.nan, 1, 1], "has nan for A at position 2"),
        ("toy", COUNTS * [1, 1e300, 1, 1], "expected a number from 0 to 1e\\+12"),
        ("toy", COUNTS * [1, 1, 0, 1], "only zeros at position 3"),
    ],
)
def test_impossible_motifs(name: str, counts: NDArray[np.float64], message: str) -> None:
    with pytest.raises(MotifError, match=message):
        Motif(name, "", counts)


@pytest.mark.parametrize("background", [[0.5, 0.5, 0, 0], [1, 1, 1], [0.25, 0.25, 0.25, np.nan]])
def test_impossible_background(background: list[float]) -> None:
    with pytest.raises(MotifError, match=r"background: got .* expected four positive frequencies"):
        Motif("toy", "", COUNTS).pwm(background)


# --- MEME -----------------------------------------------------------------------------------------------------------


def test_meme_round_trip(tmp_path: Path, rng: np.random.Generator) -> None:
    motifs = [Motif(f"name {i}", f"MA{i:04d}.1" if i % 2 else "", random_counts(rng, 3 + i), 50.0) for i in range(6)]
    path = tmp_path / "motifs.meme"
    write_meme(motifs, path)
    for motif, back in zip(motifs, read_motifs(path), strict=True):
        assert (back.name, back.accession, back.n_sites) == (motif.name.replace(" ", "_"), motif.accession, 50)
        assert back.frequencies == pytest.approx(motif.frequencies, abs=1e-6)


def test_meme_files_are_read_by_others(tmp_path: Path, rng: np.random.Generator) -> None:
    from memelite.io import read_meme

    motifs = [Motif(f"m{i}", "", random_counts(rng, 8), 100.0) for i in range(3)]
    path = tmp_path / "motifs.meme"
    write_meme(motifs, path, background=[0.3, 0.2, 0.2, 0.3])
    record = bio.parse(io.StringIO(path.read_text()), "minimal")
    assert [motif.name for motif in record] == ["m0", "m1", "m2"]
    assert record[0].background == {"A": 0.3, "C": 0.2, "G": 0.2, "T": 0.3}
    theirs = read_meme(str(path))
    for motif in motifs:
        assert np.asarray(theirs[motif.name]) == pytest.approx(motif.frequencies, abs=1e-6)


def test_an_empty_meme_file_has_a_header(tmp_path: Path) -> None:
    write_meme([], tmp_path / "none.meme")
    assert (tmp_path / "none.meme").read_text().startswith("MEME version 4\n\nALPHABET= ACGT\n")
    with pytest.raises(MotifError, match="holds no motif"):
        read_motifs(tmp_path / "none.meme")


def test_one_identifier_for_two_motifs_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(MotifError, match="2 identifiers are those of several motifs, the first 'a'"):
        write_meme([Motif(name, "", COUNTS) for name in "abbaa"], tmp_path / "x.meme")
    assert not list(tmp_path.iterdir())


MEME = """MEME version 5.5.5

ALPHABET= ACGT

strands: + -

MOTIF MA0001.1 AGL3
letter-probability matrix: alength= 4 w= 2 nsites= 17 E= 4.1e-009
 1.0 0.0 0.0 0.0
 0.2 0.3 0.1 0.4
URL http://example.org

MOTIF GATTACA MEME-1	width =   3  sites =  20  llr = 12  E-value = 1e-3
log-odds matrix: alength= 4 w= 1 E= 0
  -100 200 3 4
letter-probability matrix: alength= 4 w= 3
 0.25 0.25 0.25 0.25
 0.25\t0.25\t0.25\t0.25
 0.97 0.01 0.01 0.01
MOTIF MA0002.1 MA0002.1.RUNX1
letter-probability matrix:
0 0 0 1
"""


def test_meme_variants(tmp_path: Path) -> None:
    first, second, third = read_motifs(write(tmp_path, MEME))
    assert (first.name, first.accession, first.n_sites, first.consensus) == ("AGL3", "MA0001.1", 17, "AN")
    assert (second.name, second.accession, second.n_sites, second.consensus) == ("GATTACA", "", None, "NNA")
    assert (third.name, third.accession, third.consensus) == ("RUNX1", "MA0002.1", "T")


def test_custom_dna_alphabet_and_gzip(tmp_path: Path) -> None:
    text = MEME.replace("ALPHABET= ACGT", 'ALPHABET "DNA" DNA-LIKE\nA "Adenine" ~ T\nEND ALPHABET')
    path = tmp_path / "motifs.meme.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert [motif.name for motif in read_motifs(path)] == ["AGL3", "GATTACA", "RUNX1"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ALPHABET= ACGT", "ALPHABET= ACDEFGHIKLMNPQRSTVWY", "line 3: the alphabet .* is a protein alphabet"),
        ("ALPHABET= ACGT", "ALPHABET= AB", "line 3: the alphabet 'AB' is not that of DNA"),
        ("alength= 4 w= 2", "alength= 20 w= 2", r"line 8: a matrix of 20 letters \(protein\)"),
        ("MOTIF MA0001.1 AGL3", "MOTIF", "line 7: a motif without a name"),
        ("MOTIF MA0001.1 AGL3\n", "", "line 7: a matrix without a MOTIF line"),
        ("alength= 4 w= 2", "alength= 4 w= 3", r"line 8: the matrix has 2 rows, expected 3 \(w=\)"),
        ("alength= 4 w= 2", "alength= 4 w= two", "line 8: got 'w= two', expected numbers"),
        (" 0.2 0.3 0.1 0.4", " 0.2 0.3 0.5", "line 10: got 3 values, expected 4"),
        (" 0.2 0.3 0.1 0.4", " 0.2 0.3 x 0.4", "line 10: got '0.2 0.3 x 0.4', expected numbers"),
        (" 0.2 0.3 0.1 0.4", " 0.2 0.3 0.9 0.4", "line 10: the probabilities sum to 1.8, expected 1"),
        (" 0.2 0.3 0.1 0.4", " 0.2 nan 0.1 0.4", "line 10: .*expected numbers of 0 or more"),
        (" 0.2 0.3 0.1 0.4", " 0.9 0.3 -.2 0.0", "line 10: .*expected numbers of 0 or more"),
        ("letter-probability matrix:\n0 0 0 1\n", "", "line 20: .*RUNX1' has no letter-probability matrix"),
    ],
)
def test_malformed_meme(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MEME
    path = write(tmp_path, MEME.replace(old, new))
    with pytest.raises(MotifError, match=message) as caught:
        read_motifs(path)
    assert str(caught.value).startswith(f"{path}, line ")
    assert "\n" not in str(caught.value)


# --- JASPAR, HOMER, TRANSFAC ----------------------------------------------------------------------------------------

JASPAR = """>MA0004.1 Arnt
A  [     4     19      0 ]
C  [    16      0     20 ]
G  [     0      1      0 ]
T  [     0      0      0.5 ]
>MA0006.1\tAhr::Arnt
3 0 0 9 1
8 0 23 0 1
2 23 0 23 1
11 1 1 1 1
>lonely
1 0
0 1
0 0
0 0
"""
HOMER = """>ASTTCC\tPU.1(ETS)/ThioMac/Homer\t6.1\t-100\t0
0.9\t0.1\t0.0\t0.0
0.0\t0.5\t0.5\t0.0
0.0\t0.0\t0.0\t1.0
0.0\t0.0\t0.0\t1.0
>GATA\tGata4\t5.0
0.0\t0.0\t1.0\t0.0
1.0\t0.0\t0.0\t0.0
"""
TRANSFAC = """VV  EXAMPLE
XX
//
AC  M00001
XX
ID  V$TOY_01
XX
NA  Toy
XX
P0      A      C      G      T
01      1      2      2      0      S
02      2      1      2      0      R
XX
BA  5 sites
//
AC  M00002
PO\tA\tC\tG\tT
1\t0.0\t0.0\t7.0\t0.0
//
"""


def test_jaspar_file_as_biopython_reads_it(tmp_path: Path) -> None:
    path = write(tmp_path, JASPAR)
    first, second, third = read_motifs(path)
    theirs = bio.parse(io.StringIO("\n".join(JASPAR.splitlines()[:5])), "jaspar")[0]
    assert (first.name, first.accession) == (theirs.name, theirs.matrix_id)
    assert np.array_equal(first.counts, [theirs.counts[base] for base in "ACGT"])
    assert first.n_sites == 20.5
    assert (second.name, second.accession, second.width) == ("Ahr::Arnt", "MA0006.1", 5)
    assert np.array_equal(second.counts[1], [8, 0, 23, 0, 1])
    assert (third.name, third.accession, third.consensus) == ("lonely", "", "AC")


def test_bare_matrices_of_four_positions_are_read_as_the_file_shows(tmp_path: Path) -> None:
    square = np.array([[8, 1, 1, 0], [2, 6, 1, 1], [0, 3, 7, 0], [4, 4, 1, 1]])  # each row sums to 10
    text = "\n".join(" ".join(map(str, row)) for row in square)
    by_position = square.T
    (motif,) = read_motifs(write(tmp_path, f">m\n{text}\n"))
    assert np.array_equal(motif.counts, by_position)
    (motif,) = read_motifs(write(tmp_path, ">m\n" + "\n".join(" ".join(map(str, row)) for row in square.T)))
    assert np.array_equal(motif.counts, square.T)
    even = "1 0 0 0\n0 1 0 0\n0 0 0 1\n0 0 1 0"  # sums to 1 both ways; the other motif tells
    first, _ = read_motifs(write(tmp_path, f">e\n{even}\n>long\n1 0 0 0\n0 1 0 0\n0 0 0 1\n0 0 1 0\n0 0 1 0\n"))
    assert first.consensus == "ACTG"
    _, second = read_motifs(write(tmp_path, f">wide\n1 0\n0 1\n0 0\n0 0\n>e\n{even.replace('0 0 0 1', '0 0 0 1')}\n"))
    assert second.consensus == "ACTG"
    with pytest.raises(MotifError, match=r"line 1: motif 'e' is 4 × 4 .* write the rows as A \["):
        read_motifs(write(tmp_path, f">e\n{even}\n"))


def test_cluster_buster_and_xms_as_biopython_reads_them(tmp_path: Path) -> None:
    text = ">AbdA\n# GAP 4\n1 3 0 14\n0 0 0 18\n16 0 0 2\n18 0 0 0\n1 0 0 17\n"
    (motif,) = read_motifs(write(tmp_path, text))
    theirs = bio.parse(io.StringIO(text), "clusterbuster")[0]
    assert np.array_equal(motif.counts, [theirs.counts[base] for base in "ACGT"])
    names = ("adenine", "cytosine", "guanine", "thymine")
    columns = ""
    for column in ([0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0]):
        weights = (f'<weight symbol="{name}">{v}</weight>' for name, v in zip(names, column, strict=True))
        columns += f"<column>{''.join(weights)}</column>"
    (motif,) = read_motifs(write(tmp_path, f"<motifset><motif><name>x1</name>{columns}</motif></motifset>"))
    assert motif.name == "x1"
    assert motif.counts == pytest.approx(np.array([[0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0]]).T)
    with pytest.raises(MotifError, match="cannot be read as XMS"):
        read_motifs(write(tmp_path, "<motifset><motif>"))


@pytest.mark.parametrize("accession", ["", "M1 "])
def test_equal_names_are_numbered_with_a_warning(
    tmp_path: Path, accession: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["same", "same_2", "same", "other", "same"]
    text = "".join(f">{accession}{name}\nA [ 1 2 ]\nC [ 1 2 ]\nG [ 3 4 ]\nT [ 3 5 ]\n" for name in names)
    motifs = read_motifs(write(tmp_path, text))
    assert [motif.name for motif in motifs] == ["same", "same_2", "same_3", "other", "same_4"]
    assert "2 motifs have the name of another, the first 'same' (line 11); numbered, such as 'same_3'" in caplog.text


def test_a_motif_of_impossible_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MotifError, match="line 1: motif 'wide' has 3,000 positions, expected at most 1,000"):
        read_motifs(write(tmp_path, ">wide\n" + "1 0 0 0\n" * 3000))


def test_homer_file(tmp_path: Path) -> None:
    first, second = read_motifs(write(tmp_path, HOMER))
    assert (first.name, first.accession, first.consensus) == ("PU.1(ETS)/ThioMac/Homer", "", "ASTT")
    assert first.n_sites is None
    assert second.consensus == "GA"


def test_positions_as_rows_under_a_bare_name(tmp_path: Path) -> None:
    (motif,) = read_motifs(write(tmp_path, "# made by hand\n>GM.5.0.1\n1 0 0 0\n0 0 0 1\n"))
    assert (motif.name, motif.consensus) == ("GM.5.0.1", "AT")


def test_transfac_file_as_biopython_reads_it(tmp_path: Path) -> None:
    first, second = read_motifs(write(tmp_path, TRANSFAC))
    theirs = bio.parse(io.StringIO(TRANSFAC.partition("AC  M00002")[0]), "transfac")[0]
    assert (first.name, first.accession) == ("Toy", theirs["AC"])
    assert np.array_equal(first.counts, [theirs.counts[base] for base in "ACGT"])
    assert (second.name, second.accession, second.consensus, second.n_sites) == ("M00002", "", "G", 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (JASPAR.replace(">MA0004.1 Arnt", ">"), "line 1: a motif without a name"),
        (JASPAR.replace("T  [     0 ", "D  [     0 "), "line 5: a row of 'D', expected A, C, G or T; protein"),
        (JASPAR.replace("T  [     0 ", "G  [     0 "), "line 5: a second row of G"),
        (JASPAR.replace("G  [     0      1      0 ]\n", ""), "line 1: got rows of A, C, T, expected A, C, G and T"),
        (JASPAR.replace("G  [     0 ", "G  [ "), "line 4: got 2 values, expected 3"),
        (JASPAR.replace("0      1      0 ]", "0      1      x ]"), "line 4: .*expected numbers"),
        (JASPAR.replace("11 1 1 1 1\n", ""), "line 6: a matrix of 3 rows, expected 4"),
        (JASPAR.replace("11 1 1 1 1", "11 1 1 1"), "line 10: got 4 values, expected 5"),
        (JASPAR.replace("0.5 ]", "-2 ]"), "line 5: .*expected numbers of 0 or more"),
        (JASPAR.replace("16      0 ", "16      0 ").replace("19", "0").replace("1      0 ]", "0      0 ]"),
         "line 1: motif 'Arnt' has only zeros at position 2"),
        (JASPAR + ">MA0007.1 Last\n", "line 16: motif 'MA0007.1 Last' has no matrix"),
        (HOMER.replace("Gata4", ""), "line 6: a motif without a name; write it after the consensus"),
        (HOMER.replace("0.0\t0.5\t0.5\t0.0", "0.0\t0.5\t0.5"), "line 3: got 3 values, expected 4"),
        (TRANSFAC.replace("AC  M00002\n", ""), "line 16: a motif without a name"),
        (TRANSFAC.replace("A      C      G      T", "A      R      N      D"), "line 10: columns .* protein"),
        (TRANSFAC.replace("02      2      1      2      0      R", "02  2  1"), "line 12: got 2 values, expected 4"),
        (TRANSFAC.replace("02      2      1", "02      2      x"), "line 12: .*expected numbers"),
        (TRANSFAC.replace("1\t0.0\t0.0\t7.0\t0.0\n", ""), "line 16: motif 'M00002' has no rows of counts"),
        (TRANSFAC.replace("1\t0.0\t0.0\t7.0\t0.0\n", "a 1 2 3 4\n"), "line 18: got 'a 1 2 3 4', expected a numbered"),
        (TRANSFAC[: TRANSFAC.rindex("//")], "line 16: an entry without // at its end"),
        ("hello world\n", "line 1: starts with 'hello world', expected MEME, JASPAR, TRANSFAC, HOMER, cluster"),
    ],
)  # fmt: skip
def test_malformed_files(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MotifError, match=message) as caught:
        read_motifs(path)
    assert str(caught.value).startswith(f"{path}, line ")


@pytest.mark.parametrize("text", ["", "\n \n", "# a comment\n"])
def test_empty_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(MotifError, match="is empty; expected motifs"):
        read_motifs(write(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MotifError, match="no such file; expected a motif file, or jaspar:RELEASE:TAXGROUP"):
        read_motifs(tmp_path / "absent.meme")
    with pytest.raises(MotifError, match="cannot be read"):
        read_motifs(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x9c")
    with pytest.raises(MotifError, match="is not text"):
        read_motifs(tmp_path / "binary")
    packed = gzip.compress(MEME.encode())
    for damaged in (packed[:40], packed[:10] + b"\xff" * 40 + packed[50:]):
        (tmp_path / "damaged.gz").write_bytes(damaged)
        with pytest.raises(MotifError, match="gzip data is truncated or damaged"):
            read_motifs(tmp_path / "damaged.gz")


# --- JASPAR releases ------------------------------------------------------------------------------------------------


def test_jaspar_is_read_in_either_case() -> None:
    expected = read_motifs("jaspar:2026:fungi")
    for text in ("JASPAR:2026:fungi", "Jaspar:JASPAR2026:Fungi"):
        assert [motif.accession for motif in read_motifs(text)] == [motif.accession for motif in expected]
        assert len(read_elements(text)) == len(expected)
    with pytest.raises(MotifError, match="JASPAR:fungi: expected jaspar:RELEASE:TAXGROUP"):
        read_motifs("JASPAR:fungi")


@pytest.mark.parametrize(("release", "group"), [("2014", "fungi"), ("2024", "insects"), ("2026", "fungi")])
def test_jaspar_is_what_pyjaspar_fetches(release: str, group: str) -> None:
    database = jaspardb(release=f"JASPAR{release}")
    theirs = {motif.matrix_id: motif for motif in database.fetch_motifs(collection="CORE", tax_group=[group])}
    database.conn.close()
    ours = read_motifs(f"jaspar:{release}:{group}")
    assert [motif.accession for motif in ours] == sorted(theirs)
    for motif in ours:
        their = theirs[motif.accession]
        assert motif.name == their.name
        assert np.array_equal(motif.counts, [their.counts[base] for base in "ACGT"])


@pytest.mark.parametrize(
    ("spec", "base_id", "name"),
    [
        ("jaspar:2026:fungi", "MA0363", "REB1"),
        ("jaspar:2026:fungi", "MA0265", "ABF1"),
        ("jaspar:2024:fungi", "MA0363", "REB1"),
        ("jaspar:JASPAR2026:Vertebrates", "MA0139", "CTCF"),
    ],
)
def test_known_factors_are_there(spec: str, base_id: str, name: str) -> None:
    found = [motif for motif in read_motifs(spec) if motif.accession.startswith(base_id)]
    assert [motif.name for motif in found] == [name]


def test_unknown_jaspar_lists_the_known() -> None:
    assert jaspar_releases()[0] == "2026"
    with pytest.raises(MotifError, match=r"release '1999' is not known; expected one of 2026, 2024, .*2014"):
        read_motifs("jaspar:1999:fungi")
    with pytest.raises(MotifError, match=r"tax group 'mammals' is not in JASPAR 2018; expected one of fungi, insects"):
        read_motifs("jaspar:2018:mammals")
    for spec in ("jaspar:2026", "jaspar:", "jaspar:2026:fungi:CORE"):
        with pytest.raises(MotifError, match=r"expected jaspar:RELEASE:TAXGROUP.*the releases are 2026"):
            read_motifs(spec)
