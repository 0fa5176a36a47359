"""From aligned seqlets to patterns: trimming, distinct instances; and the files they are written to."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from motif_toys import CTCF, REB1, plant

from seqsal.browser import read_motif_instances
from seqsal.errors import OutputError
from seqsal.io.bed import read_bed
from seqsal.motifs import Motif, MotifResult, discover_motifs, read_motifs, write_motifs
from seqsal.motifs.patterns import MIN_WIDTH, make_pattern, trim
from seqsal.motifs.seqlets import Alignment, Seqlets
from seqsal.sequence.codes import encode, one_hot

CONTEXT = 40


def seqlets_with(contributions: np.ndarray, codes: np.ndarray | None = None) -> Seqlets:
    n = len(contributions)
    bases = np.zeros((n, CONTEXT), np.uint8) if codes is None else codes
    table = pd.DataFrame({"chrom": "chr1", "start": np.arange(n) * 100, "name": "p", "sign": "pos"})
    table["end"] = table["start"] + CONTEXT
    track = contributions.astype(np.float32)
    return Seqlets(table, bases, one_hot(bases) * track[:, None], track, False)


def all_rows(n: int, start: int, width: int) -> Alignment:
    return Alignment(np.arange(n), np.full(n, start), np.zeros(n, bool), width)


@pytest.mark.parametrize(("first", "last"), [(12, 20), (10, 30), (15, 16), (10, 11), (29, 30)])
def test_trim_keeps_the_contributing_columns(first: int, last: int) -> None:
    track = np.zeros((3, CONTEXT))
    track[:, first:last] = 1.0
    track[:, 10:30] += 0.1  # below a fifth
    kept = trim(all_rows(3, 10, 20), seqlets_with(track))
    assert kept.width == max(MIN_WIDTH, last - first)
    assert 10 <= kept.start[0] <= first and last <= kept.start[0] + kept.width <= 30


def test_trim_leaves_what_contributes_nothing() -> None:
    assert trim(all_rows(2, 10, 20), seqlets_with(np.zeros((2, CONTEXT)))).width == 20


def test_the_stronger_of_two_instances_at_one_place_stays() -> None:
    seqlets = seqlets_with(np.outer([1.0, 3.0, 2.0], np.ones(CONTEXT)))
    seqlets.table["start"] = [0, 2, 7]  # instances of 10 bp: the first two share 8 bases, the last two 5
    seqlets.table["end"] = seqlets.table["start"] + CONTEXT
    pattern = make_pattern(all_rows(3, 10, 10), seqlets, "pos_pattern_1", "kmers", {})
    assert pattern is not None
    assert list(pattern.seqlets["start"]) == [12]
    assert pattern.motif.counts.sum() == 10
    np.testing.assert_allclose(pattern.cwm.sum(axis=0), 3.0)


def test_nothing_complete_is_no_pattern() -> None:
    seqlets = seqlets_with(np.ones((2, CONTEXT)), np.full((2, CONTEXT), 4, np.uint8))
    assert make_pattern(all_rows(2, 10, 10), seqlets, "x", "kmers", {}) is None
    assert make_pattern(all_rows(1, 10, 10), seqlets_with(np.ones((1, CONTEXT))), "x", "kmers", {"chr1": 19}) is None


@pytest.fixture
def result(rng: np.random.Generator) -> MotifResult:
    planted = plant(rng, {REB1: (20, 1.0), CTCF: (15, -0.8)})
    database = [Motif(word, f"MA_{word}", one_hot(encode(word)) * 20.0 + 0.1, 20) for word in (REB1, CTCF)]
    return discover_motifs(planted.attr, planted.peaks, motif_db=database)


def test_files_hold_the_patterns(result: MotifResult, tmp_path: Path) -> None:
    written = write_motifs(result, tmp_path)
    assert [path.name for path in written] == ["motifs.meme", "motifs.tsv", "seqlets.bed", "motif_usage.tsv"]
    motifs = read_motifs(tmp_path / "motifs.meme")
    assert [(motif.accession, motif.name) for motif in motifs] == [("pos_pattern_1", REB1), ("neg_pattern_1", CTCF)]
    for motif, pattern in zip(motifs, result.patterns, strict=True):
        np.testing.assert_allclose(motif.frequencies, pattern.motif.frequencies, atol=1e-6)
        assert motif.n_sites == pattern.n_seqlets
    table = pd.read_csv(tmp_path / "motifs.tsv", sep="\t")
    assert list(table["pattern"]) == ["pos_pattern_1", "neg_pattern_1"]
    assert list(table["n_seqlets"]) == [20, 15] and list(table["match"]) == [REB1, CTCF]
    assert {"sign", "q_value", "accession", "algorithm"} <= set(table.columns)
    usage = pd.read_csv(tmp_path / "motif_usage.tsv", sep="\t")
    assert set(usage["motif"]) == {REB1, CTCF}


def test_seqlets_bed_is_bed_of_every_instance(result: MotifResult, tmp_path: Path) -> None:
    write_motifs(result, tmp_path)
    bed = read_bed(tmp_path / "seqlets.bed")
    seqlets = result.seqlets
    assert len(bed) == 35 and bed["score"].between(0, 1000).all()
    for column in ("chrom", "start", "end", "strand"):
        assert list(bed[column]) == list(seqlets[column])
    assert list(bed["name"]) == list(seqlets["pattern"])
    assert (tmp_path / "seqlets.bed").read_text().splitlines()[0].startswith("#chrom\tstart\tend\tname\tscore\tstrand")
    assert set(bed["strand"]) == {"+", "-"}


def test_same_result_same_bytes(result: MotifResult, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_motifs(result, tmp_path)]
    assert first == [path.read_bytes() for path in write_motifs(result, tmp_path)]


def test_no_pattern_gives_headers(tmp_path: Path) -> None:
    write_motifs(MotifResult((), {"pos": 0, "neg": 0}), tmp_path)
    assert len((tmp_path / "motifs.tsv").read_text().splitlines()) == 1
    assert len((tmp_path / "seqlets.bed").read_text().splitlines()) == 1
    assert (tmp_path / "motifs.meme").read_text().startswith("MEME version 4")
    assert not (tmp_path / "motif_usage.tsv").exists()


def test_without_a_database_patterns_are_called_by_their_consensus(rng: np.random.Generator, tmp_path: Path) -> None:
    planted = plant(rng, {REB1: (20, 1.0)})
    found = discover_motifs(planted.attr, planted.peaks)
    write_motifs(found, tmp_path)
    assert read_motifs(tmp_path / "motifs.meme")[0].name == found.patterns[0].motif.consensus
    table = pd.read_csv(tmp_path / "motifs.tsv", sep="\t")
    assert table["match"][0] == "." and np.isnan(table["q_value"][0])


def test_a_folder_that_is_not_there(result: MotifResult, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        write_motifs(result, tmp_path / "missing")


def test_matches_that_are_not_certain_name_nothing(result: MotifResult, tmp_path: Path) -> None:
    match = {"match": "SP1", "accession": "MA0079", "p_value": 0.01, "q_value": 0.11}
    doubtful = replace(result, patterns=tuple(replace(pattern, match=match) for pattern in result.patterns))
    first = doubtful.patterns[0]
    assert first.label == first.motif.consensus
    assert "SP1" not in doubtful.summary() + repr(doubtful) and "SP1" not in doubtful._repr_html_()
    write_motifs(doubtful, tmp_path)
    assert "SP1" not in (tmp_path / "motifs.meme").read_text() and "SP1" in (tmp_path / "motifs.tsv").read_text()
    named = replace(first, match={**match, "q_value": 0.1})
    assert named.label == "SP1" and named.title.startswith("SP1 (")


def test_gimmemotifs_reads_the_matrices(result: MotifResult, tmp_path: Path) -> None:
    write_motifs(result, tmp_path)
    found: dict[str, list[list[float]]] = {}
    lines = iter((tmp_path / "motifs.meme").read_text().splitlines())
    for line in lines:
        if line.startswith("MOTIF"):  # as its reader goes about it: fields are split at every single space
            while not next(lines).startswith("letter"):
                continue
            rows = iter(lambda: next(lines, "").strip(), "")
            found[line.split(" ")[1]] = [[float(value) for value in re.split(r"\s", row)] for row in rows]
    assert list(found) == [pattern.name for pattern in result.patterns]
    for pattern in result.patterns:
        np.testing.assert_allclose(found[pattern.name], pattern.motif.frequencies.T, atol=1e-6)


def test_quotes_in_names_come_back(result: MotifResult, tmp_path: Path) -> None:
    match = {"match": 'a"b', "accession": "", "p_value": 1e-9, "q_value": 1e-9}
    patterns = tuple(
        replace(pattern, match=match, seqlets=pattern.seqlets.assign(chrom='chr"1', name='"ab'))
        for pattern in result.patterns
    )
    write_motifs(replace(result, patterns=patterns), tmp_path)
    found = read_motif_instances(tmp_path)
    assert set(found["chrom"]) == {'chr"1'} and len(found) == len(result.seqlets)
    assert set(found["match"]) == {match["match"]} and found["contribution"].notna().all()
