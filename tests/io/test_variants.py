"""VCF, BCF and tables of variants, as files give them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from seqsal.errors import VariantError
from seqsal.io.variants import VariantReader

pysam = pytest.importorskip("pysam")
pysam_tools = pytest.importorskip("pysam.bcftools")
HEADER = "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
RECORDS = (
    "chr1\t30\trs1\tA\tG,T\t.\t.\t.\n"
    "chr1\t10\t.\tAC\tA\t.\t.\t.\n"  # not in order
    "chr1\t40\t.\tA\t<DEL>,C,*\t.\t.\t.\n"
    "chr1\t50\t.\tA\t.\t.\t.\t.\n"
    "chr1\t60\t.\tG\tG]chr1:20]\t.\t.\t.\n"
    "chr9\t5\t.\tn\tNa\t.\t.\t.\n"  # a contig that the header does not name
)
EXPECTED = ["chr1:30 A>G", "chr1:30 A>T", "chr1:10 AC>A", "chr1:40 A>C", "chr9:5 n>Na"]


def listed(path: Path) -> list[str]:
    with VariantReader(path) as reader:
        first = [str(one) for chunk in reader.chunks(2) for one in chunk]
        assert first == [str(one) for chunk in reader.chunks() for one in chunk]  # as often as wanted
        if reader.is_vcf:
            kinds = {kind.split()[0]: count for kind, (count, _) in reader.skipped.items()}
            assert kinds == {"symbolic": 1, "whose": 1, "without": 1, "breakend": 1}
            assert "symbolic allele (chr1:40 A><DEL>)" in reader.describe_skipped()
    return first


def test_every_form_of_a_vcf_gives_the_same_variants(tmp_path: Path) -> None:
    plain = tmp_path / "v.vcf"
    plain.write_text(HEADER + RECORDS)
    (tmp_path / "v.txt").write_text(HEADER + RECORDS)  # told by its content
    with gzip.open(tmp_path / "v.vcf.gz", "wt") as file:
        file.write(HEADER + RECORDS)
    pysam.tabix_compress(str(plain), str(tmp_path / "b.vcf.gz"))
    whole = tmp_path / "whole.vcf"
    whole.write_text(HEADER.replace("chr1>", "chr1>\n##contig=<ID=chr9>") + RECORDS)
    pysam_tools.view("-Ob", "-o", str(tmp_path / "v.bcf"), str(whole), catch_stdout=False)
    for name in ("v.vcf", "v.txt", "v.vcf.gz", "b.vcf.gz", "v.bcf"):
        assert listed(tmp_path / name) == EXPECTED, name


def test_tables_name_their_columns(tmp_path: Path) -> None:
    (tmp_path / "v.tsv").write_text("ALT\tREF\tpos\t#CHROM\trsid\nG,T\tA\t30\tchr1\trs1\n")
    assert listed(tmp_path / "v.tsv") == EXPECTED[:2]
    with VariantReader(tmp_path / "v.tsv") as reader:
        assert [(one.id, one.record) for one in next(reader.chunks())] == [("rs1", 0), ("rs1", 0)]
    table = pd.DataFrame({"chrom": ["chr1"], "pos": [7], "ref": ["A"], "alt": ["a"]})
    reader = VariantReader(table)
    assert not list(reader.chunks()) and "whose ALT is REF" in reader.describe_skipped()


@pytest.mark.parametrize("alt, is_scored", [("R", False), ("n", False), ("AN", False), ("C", True), ("GU", True)])
@pytest.mark.parametrize("as_vcf", [False, True])
def test_an_allele_that_is_not_known_has_no_score(tmp_path: Path, alt: str, is_scored: bool, as_vcf: bool) -> None:
    path = tmp_path / ("v.vcf" if as_vcf else "v.tsv")
    record = f"chr1\t30\t.\tA\t{alt}\t.\t.\t.\n"
    path.write_text(HEADER + record if as_vcf else f"chrom\tpos\tid\tref\talt\n{record[:-7]}\n")
    with VariantReader(path) as reader:
        assert len([one for chunk in reader.chunks() for one in chunk]) == is_scored
        assert ("whose ALT has unknown bases" in reader.describe_skipped()) is not is_scored


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("v.vcf", RECORDS, ("has no header", "#CHROM")),
        ("v.vcf", HEADER + "chr1\tten\t.\tA\tG\t.\t.\t.\n", ("record 1 cannot be read", "bcftools view")),
        ("v.vcf", HEADER + RECORDS + "chr1\t30\n", ("record 7 cannot be read",)),
        ("v.vcf.gz", "\x1f\x8b\x08", ("cannot be read",)),
        ("v.tsv", "", ("no column chrom",)),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, name: str, text: str, words: tuple[str, ...]) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(VariantError) as error, VariantReader(tmp_path / name) as reader:
        list(reader.chunks())
    for word in words:
        assert word in str(error.value)


def test_without_pysam_a_vcf_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v.vcf").write_text(HEADER + RECORDS)
    monkeypatch.setitem(__import__("sys").modules, "pysam", None)
    with pytest.raises(VariantError, match=r"pip install 'seqsal\[variants\]'"):
        list(VariantReader(tmp_path / "v.vcf").chunks())
