"""`seqsal motifs` and the motifs of `seqsal run`, as a user meets them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from motif_toys import REB1, plant

import seqsal
from seqsal.cli import main
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_narrowpeak
from seqsal.io.store import SCHEMA
from seqsal.motifs import Motif, write_meme
from seqsal.peaks import read_peaks
from seqsal.sequence.codes import encode, one_hot


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def store(attr: Attributions, path: Path) -> None:
    """Write an attribution file by hand, as its layout says."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"schema": SCHEMA, "method": "gradient_x_input", "output_space": "logit"})
        for key in ("chrom", "start", "end", "name", "score", "strand", "summit"):
            values = attr.regions[key].to_numpy()
            file[f"regions/{key}"] = values if values.dtype.kind in "if" else values.astype(object)
        for key in ("codes", "track", "prediction", "hypothetical"):
            file[key] = getattr(attr, key)
        file["null/track"], file["null/codes"] = attr.controls.track, attr.controls.codes
        file["chrom_sizes/chrom"], file["chrom_sizes/size"] = ["chr1"], np.array([attr.chrom_sizes["chr1"]])


@pytest.fixture
def lab(tmp_path: Path, rng: np.random.Generator) -> Path:
    planted = plant(rng, {REB1: (20, 1.0)})
    store(planted.attr, tmp_path / "A.h5")
    write_narrowpeak(planted.peaks, tmp_path / "P.narrowPeak")
    write_meme([Motif("REB1", "MA0363.3", one_hot(encode(REB1)) * 20.0 + 0.1, 20)], tmp_path / "db.meme")
    return tmp_path


def test_motifs_from_files(lab: Path) -> None:
    result = call(
        "motifs", lab / "A.h5", "--peaks", lab / "P.narrowPeak", "--motif-db", lab / "db.meme", "--out", lab / "m"
    )
    assert result.exit_code == 0, result.output
    assert "1 pattern: REB1 (20 instances, q " in result.output
    assert sorted(path.name for path in (lab / "m").iterdir()) == [
        "logos", "motif_usage.tsv", "motifs.h5", "motifs.meme", "motifs.tsv", "seqlets.bed",
    ]  # fmt: skip
    assert [path.name for path in (lab / "m" / "logos").iterdir()] == ["pos_pattern_1.svg"]
    table = pd.read_csv(lab / "m" / "motifs.tsv", sep="\t")
    assert table.loc[0, ["match", "accession", "algorithm"]].tolist() == ["REB1", "MA0363.3", "kmers"]
    python = seqsal.discover_motifs(
        seqsal.read_attributions(lab / "A.h5"), read_peaks(lab / "P.narrowPeak"), motif_db=lab / "db.meme"
    )
    assert list(python.table["n_seqlets"]) == [20]


def test_twice_the_same_bytes(lab: Path) -> None:
    for name in ("one", "two"):
        assert call("motifs", lab / "A.h5", "--peaks", lab / "P.narrowPeak", "--out", lab / name).exit_code == 0
    files = [path.relative_to(lab / "one") for path in (lab / "one").rglob("*") if path.is_file()]
    assert len(files) == 5
    assert all((lab / "one" / file).read_bytes() == (lab / "two" / file).read_bytes() for file in files)


def test_no_peaks_is_a_result(lab: Path) -> None:
    (lab / "none.narrowPeak").write_text("")
    result = call("motifs", lab / "A.h5", "--peaks", lab / "none.narrowPeak", "--out", lab / "m")
    assert result.exit_code == 0, result.output
    assert "no pattern" in result.output
    assert len((lab / "m" / "motifs.tsv").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peaks": "nowhere.narrowPeak"}, ["nowhere.narrowPeak", "no such file"]),
        ({"peaks": "plain.bed"}, ["plain.bed", "no summits", "narrowPeak"]),
        ({"motif-db": "jaspar:1999:fungi"}, ["1999", "2026"]),
        ({"motif-db": "jaspar:2026:martians"}, ["martians", "fungi"]),
        ({"motif-db": "empty.meme"}, ["empty.meme"]),
        ({"out": "db.meme"}, ["db.meme", "is an input as well"]),
        ({"A": "P.narrowPeak"}, ["P.narrowPeak", "HDF5"]),
        ({"peaks": "elsewhere.narrowPeak"}, ["no window covers the summit of x at chr1:199905"]),
    ],
)
def test_bad_input_is_one_line(lab: Path, changes: dict[str, str], words: list[str]) -> None:
    (lab / "plain.bed").write_text("chr1\t100\t200\n")
    (lab / "empty.meme").write_text("")
    (lab / "elsewhere.narrowPeak").write_text("chr1\t199900\t199910\tx\t0\t.\t1\t2\t2\t5\n")
    given = {"A": "A.h5", "peaks": "P.narrowPeak", "motif-db": "db.meme", "out": "m"} | changes
    paths = {key: value if value.startswith("jaspar") else lab / value for key, value in given.items()}
    attributions = paths.pop("A")
    result = call("motifs", attributions, *[word for key, value in paths.items() for word in (f"--{key}", value)])
    lines = [line for line in result.stderr.splitlines() if "warning" not in line]
    assert result.exit_code == 2 and len(lines) == 1, (result.output, result.exception)
    assert all(word in lines[0] for word in words), lines[0]
    assert not (lab / "m").exists()


def test_a_bad_database_stops_a_run_before_any_work(tmp_path: Path) -> None:
    result = call("run", "--model", tmp_path / "none.safetensors", "--fasta", tmp_path / "none.fa", "--out",
                  tmp_path / "out", "--motif-db", "jaspar:2026:martians")  # fmt: skip
    assert result.exit_code == 2 and "martians" in result.stderr
    assert not (tmp_path / "out").exists()
