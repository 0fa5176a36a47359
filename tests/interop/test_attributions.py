"""Attributions of others: what was exported comes back bit for bit, and what does not fit is named."""

from __future__ import annotations

import logging
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pandas as pd
import pyBigWig
import pytest
from interop_toys import Case, make_case

from seqsal.errors import RegionError, StoreError, UsageError
from seqsal.interop.attributions import ImportedScores, import_attributions, write_controls
from seqsal.interop.modisco import write_chrombpnet_h5, write_modisco_npz
from seqsal.interop.scores import open_scored_windows
from seqsal.io.attributions import Attributions
from seqsal.io.tracks import write_bigwig
from seqsal.peaks import call_peaks
from seqsal.sequence.codes import one_hot
from seqsal.sequence.draws import dinucleotide_shuffle


@pytest.fixture
def case(tmp_path: Path, rng: np.random.Generator) -> Case:
    return make_case(tmp_path, rng, overhang=True)


def same(found: Attributions, case: Case, scores: Any, track: Any) -> None:
    codes = case.forward()[0]
    np.testing.assert_array_equal(np.asarray(found.codes), codes)
    np.testing.assert_array_equal(np.asarray(found.track), track)
    if scores is None:
        assert found.hypothetical is None
    else:
        np.testing.assert_array_equal(np.asarray(found.hypothetical), scores)
    for key in ("chrom", "start", "end"):
        assert found.regions[key].tolist() == case.attr.regions[key].tolist()
    assert np.isnan(np.asarray(found.prediction)).all()
    assert (found.method, found.n_controls) == ("imported", 0)


@pytest.mark.parametrize("strand", [".", "mixed"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_npz_comes_back_to_the_bit(tmp_path: Path, rng: np.random.Generator, strand: str, on_disk: bool) -> None:
    case = make_case(tmp_path, rng, strand=strand, overhang=True)
    ohe, shap, bed = write_modisco_npz(case.attr, tmp_path / "X")
    found = import_attributions(
        shap, sequences=ohe, regions=bed, genome=case.genome, out=tmp_path / "B.h5" if on_disk else None,
        output_space="logit",
    )  # fmt: skip
    _, scores, track = case.forward()
    same(found, case, scores, track)
    assert found.chrom_sizes == case.attr.chrom_sizes and found.output_space == "logit"
    assert found.attrs["imported"]["scores"] == {"file": str(shap), "format": "numpy"}


def test_chrombpnet_comes_back_as_it_was_rounded(tmp_path: Path, case: Case) -> None:
    path, bed = write_chrombpnet_h5(case.attr, tmp_path / "X.h5")
    _, scores, _ = case.forward()
    rounded = scores.astype(np.float16).astype(np.float32)
    same(import_attributions(path, regions=bed, genome=case.genome), case, rounded,
         (one_hot(case.attr.codes) * rounded).sum(axis=1))  # fmt: skip


def test_chrombpnet_own_compression_and_peaks(tmp_path: Path, case: Case) -> None:
    """Blosc as PyTables writes it, and a region list of other widths with points for what is not known."""
    with h5py.File(tmp_path / "x_scores.h5", "w") as file:
        for name, values in (
            ("raw/seq", one_hot(case.attr.codes).astype(np.int8)),
            ("shap/seq", case.attr.hypothetical),
        ):
            file.create_dataset(name, data=values, chunks=(4, 4, 61), **hdf5plugin.Blosc("blosclz", 9))
    table = case.attr.regions
    middle = table["start"] + 30
    rows = [f"{chrom}\t{max(at - 7, 0)}\t{at + 90}\t.\t.\t.\t.\t.\t.\t{at - max(at - 7, 0)}\n"
            for chrom, at in zip(table["chrom"], middle, strict=True)]  # fmt: skip
    (tmp_path / "peaks.bed").write_text("".join(rows))
    found = import_attributions(tmp_path / "x_scores.h5", regions=tmp_path / "peaks.bed", genome=case.genome)
    same(found, case, case.attr.hypothetical, case.attr.track)


def test_bigwig_comes_back_to_the_bit(tmp_path: Path, case: Case, caplog: pytest.LogCaptureFixture) -> None:
    write_bigwig(case.attr, case.attr.chrom_sizes, tmp_path / "a.bw")
    with caplog.at_level(logging.WARNING, "seqsal"):
        found = import_attributions(tmp_path / "a.bw", regions=case.attr.regions, genome=case.genome)
    same(found, case, None, case.attr.track)
    assert not caplog.records
    wider = import_attributions(tmp_path / "a.bw", regions=case.attr.regions[1:-1], genome=case.genome, length=71)
    np.testing.assert_array_equal(np.asarray(wider.track)[:, 5:66], case.attr.track[1:-1])
    assert (
        f"has no value at {(np.asarray(wider.codes) != 4).sum() - (case.attr.codes[1:-1] != 4).sum()} bases"
        in caplog.text
    )


def test_arrays_without_any_file(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    X = one_hot(case.attr.codes)
    alone = import_attributions(case.attr.hypothetical, sequences=X)
    np.testing.assert_array_equal(alone.hypothetical, case.attr.hypothetical)
    assert alone.regions["chrom"].tolist()[:2] == ["sequence_1", "sequence_2"]
    assert "no genome was given, so its sequences were not compared with one" in caplog.text
    placed = import_attributions(case.attr.track, regions=case.attr.regions, genome=case.genome)
    same(placed, case, None, case.attr.track)
    without = import_attributions(case.attr.hypothetical, sequences=X, regions=case.attr.regions)
    assert without.regions["start"].tolist() == case.attr.regions["start"].tolist()


def test_scores_of_present_bases_are_no_hypothetical_ones(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    X = one_hot(case.attr.codes)
    found = import_attributions(X * case.attr.hypothetical, sequences=X, regions=case.attr.regions, genome=case.genome)
    same(found, case, None, case.attr.track)
    assert "scores only the base that is there" in caplog.text
    with pytest.raises(StoreError, match=r"sequence_1 .* has scores for bases that are not in its sequence"):
        import_attributions(X * case.attr.hypothetical, sequences=np.roll(X, 1, axis=2))


def test_stranded_rows(tmp_path: Path, rng: np.random.Generator) -> None:
    case = make_case(tmp_path, rng, strand="mixed")
    attr, X = case.attr, one_hot(case.attr.codes)
    given: dict[str, Any] = {"sequences": X, "regions": attr.regions, "genome": case.genome}
    found = import_attributions(attr.hypothetical, stranded=True, **given)
    np.testing.assert_array_equal(found.track, attr.track)
    assert found.regions["strand"].tolist() == attr.regions["strand"].tolist()
    with pytest.raises(RegionError, match=r"sequence of r1 .*it is the reverse complement: give --stranded"):
        import_attributions(attr.hypothetical, **given)


def test_rejected_regions_keep_rows_in_step(case: Case) -> None:
    table = case.attr.regions.copy()
    table.loc[3, "chrom"] = "chrUn"
    found = import_attributions(
        case.attr.hypothetical, sequences=one_hot(case.attr.codes), regions=table, genome=case.genome
    )
    keep = np.delete(np.arange(12), 3)
    np.testing.assert_array_equal(found.track, case.attr.track[keep])
    assert found.regions["name"].tolist() == [f"r{i}" for i in keep]
    assert found.rejected["name"].tolist() == ["r3"] and "chrUn" in found.rejected["reason"][0]


@pytest.mark.parametrize(
    ("shift", "message"),
    [(1, "it lies one base to the left: correct the regions"), (-1, "one base to the right: correct"),
     (40, "give the genome that was scored and the regions in the order of the scores")],
)  # fmt: skip
def test_sequences_must_be_the_genome_s(case: Case, shift: int, message: str) -> None:
    table = case.attr.regions.assign(start=case.attr.regions["start"] + shift, end=case.attr.regions["end"] + shift)
    table = table[1:-1]
    with pytest.raises(
        RegionError, match=rf"the sequence of r1 \(chr2:.*differs from the genome's at \d+ of 61.*{message}"
    ):
        import_attributions(
            case.attr.hypothetical[1:-1],  # type: ignore[index]
            sequences=one_hot(case.attr.codes[1:-1]),
            regions=table,
            genome=case.genome,
        )


def test_shapes_and_values_that_cannot_be(tmp_path: Path, case: Case) -> None:
    scores, X = np.asarray(case.attr.hypothetical), one_hot(case.attr.codes)
    with pytest.raises(StoreError, match=r"scores: has shape \(12, 61, 4\), which is \(N, L, 4\).*transpose"):
        import_attributions(scores.transpose(0, 2, 1), sequences=X)
    with pytest.raises(StoreError, match=r"sequences: has shape \(12, 61, 4\).*transpose\(0, 2, 1\)"):
        import_attributions(scores, sequences=X.transpose(0, 2, 1))
    with pytest.raises(StoreError, match=r"has shape \(12, 3, 61\), expected \(N, 4, L\)"):
        import_attributions(scores[:, :3], sequences=X)
    with pytest.raises(StoreError, match=r"sequences of shape \(11, 4, 61\), expected \(12, 4, 61\)"):
        import_attributions(scores, sequences=X[:11])
    with pytest.raises(StoreError, match=r"sequences: sequence_1 .*expected a single 1 and zeros.*not the scores"):
        import_attributions(scores, sequences=scores)
    doubled = X.copy()
    doubled[2, :, 5] = 1
    with pytest.raises(StoreError, match=r"sequence_3 .*\[1\.0, 1\.0, 1\.0, 1\.0\] at position 5"):
        import_attributions(scores, sequences=doubled)
    broken = scores.copy()
    broken[3, :, case.attr.codes[3] != 4] = np.nan
    with pytest.raises(StoreError, match=r"sequence_4 .* and 0 more have scores that are not finite"):
        import_attributions(broken, sequences=X)
    unknown = np.where((case.attr.codes == 4)[:, None], np.nan, scores).astype(np.float32)
    np.testing.assert_array_equal(import_attributions(unknown, sequences=X).track, case.attr.track)


def test_regions_must_be_as_many(case: Case) -> None:
    X = one_hot(case.attr.codes)
    for genome in (None, case.genome):
        with pytest.raises(RegionError, match="12 scores of 61 bp, but 11 regions of 61 bp; give the regions that"):
            import_attributions(case.attr.hypothetical, sequences=X, regions=case.attr.regions[1:], genome=genome)


def test_what_is_missing_or_too_much(tmp_path: Path, case: Case) -> None:
    scores, X = case.attr.hypothetical, one_hot(case.attr.codes)
    with pytest.raises(UsageError, match="sequences: none given, and scores holds none; give one-hot"):
        import_attributions(scores)
    with pytest.raises(UsageError, match="null_sequences: given without null"):
        import_attributions(scores, sequences=X, null_sequences=X)
    with pytest.raises(UsageError, match="null_sequences: none given"):
        import_attributions(scores, sequences=X, null=scores)
    with pytest.raises(UsageError, match="expected genome and regions"):
        import_attributions(scores, sequences=X, genome=case.genome)
    path, _ = write_chrombpnet_h5(case.attr, tmp_path / "X.h5")
    with pytest.raises(UsageError, match=r"X\.h5 holds its own; leave them out"):
        import_attributions(path, sequences=X)
    write_bigwig(case.attr, case.attr.chrom_sizes, tmp_path / "a.bw")
    with pytest.raises(UsageError, match="windows of a bigWig need a place"):
        import_attributions(tmp_path / "a.bw", sequences=X)
    with pytest.raises(UsageError, match="got nothing, expected genome and regions"):
        import_attributions(tmp_path / "a.bw")


def test_files_of_another_kind(tmp_path: Path, case: Case) -> None:
    with pytest.raises(StoreError, match=r"none\.h5: no such file"):
        import_attributions(tmp_path / "none.h5")
    (tmp_path / "x.h5").write_text("hello")
    with pytest.raises(StoreError, match=r"is neither HDF5, \.npz, \.npy nor bigWig"):
        import_attributions(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["raw/seq"] = np.zeros((2, 4, 5))
    with pytest.raises(StoreError, match="has no shap/seq, expected chrombpnet's"):
        import_attributions(tmp_path / "y.h5")
    with h5py.File(tmp_path / "z.h5", "w") as file:
        file["codes"] = file["track"] = np.zeros((2, 5))
    with pytest.raises(StoreError, match="it is an attribution file of seqsal, use it as it is"):
        import_attributions(tmp_path / "z.h5")
    (tmp_path / "b.bw").write_bytes(b"\x26\xfc\x8f\x88" + bytes(100))
    with pytest.raises(StoreError, match="cannot be read as bigWig"):
        import_attributions(tmp_path / "b.bw", regions=case.attr.regions, genome=case.genome)


def test_bigwig_of_another_assembly_or_place(tmp_path: Path, case: Case) -> None:
    write_bigwig(case.attr, {"chr1": 3100, "chr2": 2000}, tmp_path / "long.bw")
    with pytest.raises(RegionError, match="chr1 has 3,100 bp, but 3,000 in the genome"):
        import_attributions(tmp_path / "long.bw", regions=case.attr.regions, genome=case.genome)
    write_bigwig(case.attr, case.attr.chrom_sizes, tmp_path / "a.bw")
    away = pd.DataFrame({"chrom": ["chr1", "chr1"], "start": [360, 2900], "end": [421, 2961], "name": ["r", "away"]})
    with pytest.raises(StoreError, match=r"away .* and 0 more have no value at all.*give only regions"):
        import_attributions(tmp_path / "a.bw", regions=away, genome=case.genome)


def test_a_bigwig_without_any_entry_has_no_value(tmp_path: Path, case: Case) -> None:
    with pyBigWig.open(str(tmp_path / "header.bw"), "w") as file:
        file.addHeader([("chr1", 3000), ("chr2", 2000)])
    unknown = Attributions(case.attr.regions, np.full_like(case.attr.codes, 4), case.attr.track, case.attr.prediction)
    write_bigwig(unknown, case.attr.chrom_sizes, tmp_path / "n.bw")
    for name in ("header.bw", "n.bw"):
        with pytest.raises(StoreError, match=rf"{name}: .* {len(case.attr) - 1} more have no value at all"):
            import_attributions(tmp_path / name, regions=case.attr.regions, genome=case.genome)


def controls_of(case: Case, folder: Path, n: int) -> tuple[Path, np.ndarray]:
    fasta, _ = write_controls(folder / "c.fa", genome=case.genome, regions=case.attr.regions, n_controls=n, seed=3)
    letters = [line for line in fasta.read_text().splitlines() if not line.startswith(">")]
    return fasta, np.array([["ACGTN".index(base) for base in row] for row in letters], dtype=np.uint8)


@pytest.mark.parametrize("kind", ["numpy", "fasta", "chrombpnet", "bigwig"])
def test_controls_come_back(tmp_path: Path, rng: np.random.Generator, kind: str) -> None:
    case = make_case(tmp_path, rng, length=120)
    fasta, codes = controls_of(case, tmp_path, 30)
    scores = rng.normal(size=(30, 4, 120)).astype(np.float16).astype(np.float32)
    track = (one_hot(codes) * scores).sum(axis=1)
    null: dict[str, Any] = {"null": scores, "null_sequences": one_hot(codes)}
    if kind == "fasta":
        null["null_sequences"] = fasta
    if kind == "chrombpnet":
        with h5py.File(tmp_path / "n.h5", "w") as file:
            file["raw/seq"], file["shap/seq"] = one_hot(codes), scores
        null = {"null": tmp_path / "n.h5"}
    if kind == "bigwig":
        names = [f"control_{i + 1}" for i in range(30)]
        table = pd.DataFrame({"chrom": names, "start": 0, "end": 120, "name": names, "strand": "."})
        attr = Attributions(table, codes, track, track[:, 0])
        write_bigwig(attr, dict.fromkeys(names, 120), tmp_path / "n.bw")
        null = {"null": tmp_path / "n.bw", "null_sequences": fasta}
    found = import_attributions(
        case.attr.hypothetical, sequences=one_hot(case.attr.codes), regions=case.attr.regions, genome=case.genome,
        out=tmp_path / "A.h5", **null,
    )  # fmt: skip
    np.testing.assert_array_equal(np.asarray(found.controls.codes), codes)
    np.testing.assert_array_equal(np.asarray(found.controls.track), track)
    parents = np.arange(30) % 12
    np.testing.assert_array_equal(np.asarray(found.controls.source), parents)
    shuffles = dinucleotide_shuffle(case.attr.codes[parents], seed=3, draw=np.arange(30) // 12)
    np.testing.assert_array_equal(codes, shuffles)
    assert call_peaks(found, fdr=1.0).attrs["n_candidates"] > 0


def test_controls_must_be_shuffles_of_the_windows(tmp_path: Path, rng: np.random.Generator, case: Case) -> None:
    X = one_hot(case.attr.codes)
    other = one_hot(rng.integers(0, 4, size=(5, 61), dtype=np.uint8))
    with pytest.raises(StoreError, match=r"sequence 0 \(from 0\) is not a dinucleotide-preserving shuffle"):
        import_attributions(case.attr.hypothetical, sequences=X, null=rng.normal(size=(5, 4, 61)), null_sequences=other)
    with pytest.raises(StoreError, match="controls of 60 bp, expected 61 bp as the windows"):
        import_attributions(
            case.attr.hypothetical, sequences=X, null=rng.normal(size=(5, 60)), null_sequences=other[:, :, :60]
        )


def test_no_controls_no_peaks(case: Case) -> None:
    found = import_attributions(case.attr.hypothetical, sequences=one_hot(case.attr.codes))
    with pytest.raises(StoreError, match=r"imported attributions have no shuffled controls.*`seqsal controls`.*--null"):
        call_peaks(found)


def test_controls_are_the_ones_that_attribute_makes(tmp_path: Path, case: Case) -> None:
    import torch
    from toys import Linear

    import seqsal

    native = seqsal.attribute(
        seqsal.wrap(Linear(torch.randn(4, 61))), genome=case.genome, regions=case.attr.regions, n_controls=20, seed=3
    )
    np.testing.assert_array_equal(native.controls.codes, controls_of(case, tmp_path, 20)[1])
    with pytest.raises(UsageError, match=r"c\.txt: unknown extension, expected \.fa or \.fasta"):
        write_controls(tmp_path / "c.txt", genome=case.genome, regions=case.attr.regions)


def test_rows_come_in_chunks(tmp_path: Path, case: Case) -> None:
    rows = np.arange(20_000) % 12
    arrays = {
        key: np.asarray(getattr(case.attr, key))[rows] for key in ("codes", "track", "prediction", "hypothetical")
    }
    attr = replace(case.attr, regions=case.attr.regions.iloc[rows].reset_index(drop=True), **arrays)
    tracemalloc.start()
    ohe, shap, _ = write_modisco_npz(attr, tmp_path / "X", chunk_bp=50_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < arrays["hypothetical"].nbytes
    sizes: list[int] = []

    class Counter:
        def write(self, part: str, start: int, arrays: Any) -> None:
            assert start == sum(sizes)
            sizes.append(len(arrays["track"]))

    windows = open_scored_windows(shap, ohe)
    with windows.source:
        ImportedScores(windows).stream(Counter(), chunk_bp=50_000)
    assert sum(sizes) == 20_000 and max(sizes) == 50_000 // (4 * 61)
