"""2bit against py2bit, and what the format cannot hold."""

from __future__ import annotations

import gzip
from pathlib import Path

import py2bit
import pytest
from bundle_checks import check_twobit
from hypothesis import given, settings
from hypothesis import strategies as st

from seqsal.browser.assembly import write_twobit
from seqsal.errors import FastaError


def write_fasta(path: Path, sequences: dict[str, str]) -> Path:
    path.write_text("".join(f">{name} about it\n{text}\n" for name, text in sequences.items()))
    return path


@settings(max_examples=40)
@given(st.lists(st.text("ACGTNacgtnRy", min_size=1, max_size=70), min_size=1, max_size=4))
def test_every_base_and_mask_reads_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("twobit")
    sequences = {f"chr{i}": text for i, text in enumerate(texts)}
    write_twobit(write_fasta(folder / "g.fa", sequences), list(sequences), folder / "g.2bit")
    check_twobit(folder / "g.2bit", sequences)


def test_compressed_and_on_several_lines(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "g.fa.gz", "wt") as file:
        file.write(">a\nACGT\nNNac\n>b\r\nT\r\nG\r\n")
    write_twobit(tmp_path / "g.fa.gz", ["a", "b"], tmp_path / "g.2bit")
    check_twobit(tmp_path / "g.2bit", {"a": "ACGTNNac", "b": "TG"})


def test_hard_and_soft_masks_are_runs(tmp_path: Path) -> None:
    write_twobit(write_fasta(tmp_path / "g.fa", {"a": "NNACgtaNNnT"}), ["a"], tmp_path / "g.2bit")
    with py2bit.open(str(tmp_path / "g.2bit"), True) as twobit:
        assert twobit.hardMaskedBlocks("a") == [(0, 2), (7, 10)]
        assert twobit.softMaskedBlocks("a") == [(4, 7), (9, 10)]


def test_refusals(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "g.fa", {"a": "ACGT", "b" * 256: "AC"})
    with pytest.raises(FastaError, match="has 256 bytes, and 2bit takes 255"):
        write_twobit(fasta, ["a", "b" * 256], tmp_path / "g.2bit")
    with pytest.raises(FastaError, match=r"record 2 is b+, expected other records"):
        write_twobit(fasta, ["a", "c"], tmp_path / "g.2bit")
    assert [path.name for path in tmp_path.iterdir()] == ["g.fa"]
