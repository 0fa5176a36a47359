"""Damaged inputs: exit code 0 or 2, one line, nothing left behind; `damaged_inputs.py` by itself tries thousands."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from attack.damaged_inputs import KINDS, attack, damaged, make_good_files

from seqsal.attribution.controls import make_controls
from seqsal.errors import SeqsalError, StoreError
from seqsal.interop.scores import open_scores
from seqsal.io.bed import read_bed
from seqsal.io.bigwig import read_bigwig, summarize_bigwig
from seqsal.io.config import read_config
from seqsal.io.fasta import Genome, read_fasta_records
from seqsal.io.store import read_attributions
from seqsal.models.checkpoint import load_checkpoint
from seqsal.motifs.matrices import read_motifs
from seqsal.pipeline.info import describe_file

OTHER_MOTIFS = {
    "m.homer": ">ACGT\tone(ETS)\t6.0\n0.7 0.1 0.1 0.1\n0.1 0.7 0.1 0.1\n",
    "m.cb": ">one\n7 1 1 1\n1 7 1 1\n1 1 7 1\n0 0 1 9\n>two\n7 1 1 1\n1 7 1 1\n",
    "m.transfac": "AC  M1\nXX\nID  one\nP0  A C G T\n01  1 2 3 4\n02  4 3 2 1\nXX\n//\n",
    "m.xms": '<motifset><motif><name>one</name><weightmatrix alphabet="DNA" columns="1"><column pos="0">'
    + "".join(f'<weight symbol="{one}">0.25</weight>' for one in ("adenine", "cytosine", "guanine", "thymine"))
    + "</column></weightmatrix></motif></motifset>",
}
TABLES = {
    "t.csv": "chrom,start,end,strand,name\nchr1,10,50,-,a\nchr2,20,60,+,b\n",
    "t.granges": "seqnames start end width strand\nchr1 11 50 40 -\nchr2 21 60 40 +\n",
    "t.bed12": "chr1\t10\t150\tg\t0\t+\t10\t150\t0\t2\t20,15,\t0,125,\n" * 3,
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("good")
    files = make_good_files(folder)
    for name, text in (OTHER_MOTIFS | TABLES).items():
        files[name] = folder / name
        files[name].write_text(text)
    with h5py.File(folder / "c.h5", "w") as file:
        file["raw/seq"] = np.eye(4, dtype=np.int8)[np.newaxis].repeat(3, axis=0)
        file.create_dataset("shap/seq", data=np.ones((3, 4, 4), np.float16), chunks=(1, 4, 4), compression="gzip")
    return files | {"c.h5": folder / "c.h5"}


def read_genome(path: Path) -> None:
    with Genome(path, cache_dir=path.parent / "cache") as genome:
        for chrom, size in genome.chrom_sizes.items():
            genome.read(chrom, 0, max(size, 1))
    list(read_fasta_records(path))


def read_store(path: Path) -> None:
    attr = read_attributions(path)
    assert len(attr) == len(attr.track) == len(attr.regions)
    describe_file(path)


def read_scores(path: Path) -> None:
    scores = open_scores(path)
    for rows in (scores.values, *([scores.one_hot] if scores.one_hot else [])):
        assert sum(len(some) for some in rows.read(4)) == len(rows)


def read_checkpoint(path: Path) -> None:
    load_checkpoint(path)
    describe_file(path)


def read_track(path: Path) -> None:
    sizes = summarize_bigwig(path).chrom_sizes
    list(read_bigwig(path, ["chr1", "chr2"], np.array([0, 500]), 200, sizes, 1))


READERS: dict[str, tuple[Callable[[Path], Any], int]] = {
    **dict.fromkeys(("r.bed", "p.narrowPeak", *TABLES), (read_bed, 60)),  # 300 in all
    **dict.fromkeys(("m.meme", "m.jaspar", *OTHER_MOTIFS), (read_motifs, 60)),  # 360 in all
    "g.fa": (read_genome, 200),
    "c.toml": (lambda path: read_config(path, "score"), 300),
    "A.h5": (read_store, 200),
    **dict.fromkeys(("s.npz", "s.npy", "c.h5"), (read_scores, 100)),
    "m.safetensors": (read_checkpoint, 200),
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_names_what_is_wrong(name: str, good: dict[str, Path], tmp_path: Path) -> None:
    read, n_seeds = READERS[name]
    content, n_refused = good[name].read_bytes(), 0
    for seed in range(n_seeds):
        path = tmp_path / name
        path.write_bytes(damaged(content, np.random.default_rng([seed, len(name)])))
        try:
            read(path)
        except SeqsalError as error:
            n_refused += 1
            assert str(error).isprintable() and len(str(error)) < 1500
        left = {one.name for one in tmp_path.iterdir()} - {name, f"{name}.fai", "cache"}
        assert not left
        (tmp_path / f"{name}.fai").unlink(missing_ok=True)
    assert n_refused > n_seeds // 20


@pytest.mark.slow
def test_a_damaged_bigwig_is_one_line(good: dict[str, Path], tmp_path: Path) -> None:
    for seed in range(20):  # each starts two processes
        (tmp_path / "A.bw").write_bytes(damaged(good["A.bw"].read_bytes(), np.random.default_rng(seed)))
        try:
            read_track(tmp_path / "A.bw")
        except SeqsalError as error:
            assert str(error).isprintable()


def test_a_file_that_can_be_read_and_not_added_to(good: dict[str, Path], tmp_path: Path) -> None:
    path, said = tmp_path / "A.h5", []
    content = good["A.h5"].read_bytes()
    for tree in re.finditer(b"TREE", content):
        at = tree.start() + 35  # where the names of a group are looked for
        path.write_bytes(damage := content[:at] + b"\x5a" * 30 + content[at + 30 :])
        with contextlib.suppress(SeqsalError):
            attr = read_attributions(path, in_memory=False)
            try:
                make_controls(attr, n_controls=30)
            except StoreError as error:
                said.append(str(error))
                assert path.read_bytes() == damage and {one.name for one in tmp_path.iterdir()} == {"A.h5"}
    assert any(one.startswith(f"{path}: nothing can be added to it") for one in said)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_line_whatever_the_damage(kind: str, good: dict[str, Path]) -> None:
    assert [failure for seed in range(8) for failure in attack(kind, good, seed)] == []
