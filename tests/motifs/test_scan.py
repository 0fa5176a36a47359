"""Known motifs in sequences and windows, against a slow scan with exact p-values."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from track_toys import make_attr, slow_track

from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.motifs.matrices import Motif, read_motifs
from seqsal.motifs.scan import BIN_BITS, HIT_COLUMNS, peak_of_spans, scan_codes, scan_motifs
from seqsal.sequence.codes import N_CODE, encode, reverse_complement


def toy_motif(consensus: str, name: str = "toy", n_sites: int = 20) -> Motif:
    counts = np.ones((4, len(consensus)))
    counts[encode(consensus), np.arange(len(consensus))] = n_sites - 3
    return Motif(name, f"{name}.1", counts, n_sites)


MOTIFS = [toy_motif("TTACCCG", "reb"), toy_motif("CACGTG", "box"), toy_motif("GATAAG", "gata", 40)]


@cache
def score_tails(motif: Motif) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distinct scores of random bases, rising, and P(score or more), by dynamic programming."""
    mass = {0.0: 1.0}
    for column in motif.pwm().T:
        grown: dict[float, float] = {}
        for (value, share), step in itertools.product(mass.items(), column):
            key = round(value + step, 9)
            grown[key] = grown.get(key, 0.0) + share / 4
        mass = grown
    scores = np.array(sorted(mass))
    return scores, np.append(np.cumsum([mass[score] for score in scores[::-1]])[::-1], 0.0)


def exact_tail(motif: Motif, score: float) -> float:
    """P(score of random bases ≥ score)."""
    scores, tails = score_tails(motif)
    return float(tails[np.searchsorted(scores, score - 1e-6)])


def slow_hits(
    codes: NDArray[np.uint8], motif: Motif, p_value: float
) -> dict[tuple[int, int, str], tuple[float, float]]:
    """Score and exact p-value of every hit by (row, start, strand)."""
    found = {}
    for strand, matrix in (("+", motif.pwm()), ("-", motif.reverse_complement().pwm())):
        for row, start in itertools.product(range(len(codes)), range(codes.shape[1] - motif.width + 1)):
            word = codes[row, start : start + motif.width]
            if (word == N_CODE).any():
                continue
            score = float(matrix[word, np.arange(motif.width)].sum())
            exact = exact_tail(motif, score)
            if exact < p_value and score > 0:
                found[row, start, strand] = score, exact
    return found


def test_hits_are_those_of_a_slow_scan(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, (6, 150)).astype(np.uint8)
    codes[1, 40:44] = codes[3, :60] = N_CODE
    threshold = 3e-3
    found = scan_codes(codes, MOTIFS, p_value=threshold)
    assert len(found) > 20
    for i, motif in enumerate(MOTIFS):
        ours = found[found["motif_idx"] == i]
        assert (ours["end"] - ours["start"] == motif.width).all()
        expected = slow_hits(codes, motif, threshold)
        margin = BIN_BITS * (motif.width + 2) / 2  # scores are binned for the p-values
        near = {key for key, (score, _) in expected.items() if exact_tail(motif, score - margin) >= threshold}
        keys = set(zip(ours["row"], ours["start"], ours["strand"], strict=True))
        assert keys <= set(slow_hits(codes, motif, 10 * threshold))
        assert set(expected) - near <= keys
        for row in ours.itertuples():
            score, _ = slow_hits(codes[[row.row]], motif, 1.0)[0, row.start, row.strand]
            assert row.score == pytest.approx(score, abs=1e-5)
            assert exact_tail(motif, score + margin) <= row.p_value * 1.0001
            assert row.p_value <= exact_tail(motif, score - margin) * 1.0001


def test_a_score_that_speaks_against_the_motif_is_no_hit(rng: np.random.Generator) -> None:
    strict = toy_motif("ACGTTGCAATCGGATCCATG", n_sites=5000)
    codes = rng.integers(0, 4, (4, 4000)).astype(np.uint8)
    assert len(scan_codes(codes, [strict], p_value=1e-2)) == 0
    codes[2, 100:120] = encode("ACGTTGCAATCGGATCCATG")
    assert scan_codes(codes, [strict], p_value=1e-2)[["row", "start"]].to_numpy().tolist() == [[2, 100]]


def test_no_word_is_rarer_than_chance_allows() -> None:
    motifs = read_motifs("jaspar:2026:vertebrates")
    short = [motif for motif in motifs if motif.width <= 8][:60]
    best = np.concatenate([np.append(motif.frequencies.argmax(axis=0), 4) for motif in short]).astype(np.uint8)
    hits = scan_codes(best[None], short, p_value=1e-3)
    width = np.array([motif.width for motif in short])[hits["motif_idx"]]
    assert len(hits) >= len(short) / 2
    assert (hits["p_value"] >= 4.0**-width).all() and (hits["p_value"] <= 1e-3).all()
    assert (width >= 5).all()  # four bases at the most likely are found every 256


def test_many_motifs_are_found_as_each_alone(rng: np.random.Generator) -> None:
    words = ["".join(rng.choice(list("ACGT"), int(rng.integers(4, 22)))) for _ in range(150)]  # several parts of a scan
    motifs = [toy_motif(word, f"motif_{i}") for i, word in enumerate(words)]
    codes = rng.integers(0, 4, (3, 300)).astype(np.uint8)
    codes[:, ::90] = N_CODE
    together = scan_codes(codes, motifs, p_value=1e-2)
    assert len(together) > 500
    for i in (0, 127, 128, 149):
        ours = together[together["motif_idx"] == i].assign(motif_idx=0).reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, scan_codes(codes, motifs[i : i + 1], p_value=1e-2))


def test_the_other_strand_mirrors(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, (3, 400)).astype(np.uint8)
    forward = scan_codes(codes, MOTIFS, p_value=1e-2)
    mirrored = scan_codes(reverse_complement(codes), MOTIFS, p_value=1e-2)
    mirrored = mirrored.assign(
        start=400 - mirrored["end"], end=400 - mirrored["start"], strand=mirrored["strand"].map({"+": "-", "-": "+"})
    )
    mirrored = mirrored.sort_values(["row", "start", "motif_idx", "strand"], ignore_index=True)
    pd.testing.assert_frame_equal(forward, mirrored, check_dtype=False)


def test_rows_are_apart_and_short_ones_are_safe() -> None:
    halves = np.stack([encode("AATTAC"), encode("CCGAAA")])
    assert len(scan_codes(halves, MOTIFS[:1])) == 0
    assert len(scan_codes(halves.reshape(1, -1), MOTIFS[:1])) == 1
    assert len(scan_codes(np.zeros((2, 3), np.uint8), MOTIFS)) == 0
    assert len(scan_codes(np.zeros((0, 30), np.uint8), MOTIFS)) == 0


def tiled_genome(rng: np.random.Generator, *, n: int = 14, length: int = 60, genome_bp: int = 400) -> Attributions:
    """Windows at random places of two chromosomes, on both strands, with a track that depends on the place alone."""
    genome = {chrom: rng.integers(0, 4, genome_bp).astype(np.uint8) for chrom in ("chrA", "chrB")}
    genome["chrA"][90:95] = N_CODE
    for chrom, place in (("chrA", 30), ("chrA", 150), ("chrB", 88), ("chrB", 300)):
        genome[chrom][place : place + 7] = encode("TTACCCG")
    track = {chrom: rng.normal(size=genome_bp).astype(np.float32) for chrom in genome}
    chrom = rng.choice(["chrA", "chrB"], n)
    start = rng.integers(0, genome_bp - length, n)
    strand = rng.choice(["+", "-"], n)
    rows = [slice(s, s + length) for s in start]
    codes = np.stack([genome[c][row] for c, row in zip(chrom, rows, strict=True)])
    values = np.stack([track[c][row] for c, row in zip(chrom, rows, strict=True)])
    minus = strand == "-"
    codes[minus], values[minus] = reverse_complement(codes[minus]), values[minus, ::-1]
    return make_attr(values, start=start, chrom=chrom, strand=strand, codes=codes)


def slow_genome_hits(attr: Attributions, p_value: float) -> pd.DataFrame:
    """Hits of stretches put together base by base."""
    values = slow_track(attr)
    letters: dict[tuple[str, int], int] = {}
    for row in attr.regions.itertuples():
        codes = attr.codes[row.Index]
        forward = reverse_complement(codes) if row.strand == "-" else codes
        for offset in np.flatnonzero(forward != N_CODE):
            letters[row.chrom, row.start + offset] = int(forward[offset])
    rows = []
    for chrom in ("chrA", "chrB"):
        codes = np.full(500, N_CODE, np.uint8)
        for (where, position), letter in letters.items():
            if where == chrom:
                codes[position] = letter
        for hit in scan_codes(codes[None], MOTIFS, p_value=p_value).itertuples():
            total = sum(values[chrom, position] for position in range(hit.start, hit.end))
            rows.append((chrom, hit.start, hit.end, MOTIFS[hit.motif_idx].name, hit.strand, total))
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "motif", "strand", "attribution"])


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 70, 200, 100_000]))
def test_a_hit_under_several_windows_counts_once(seed: int, chunk_bp: int) -> None:
    attr = tiled_genome(np.random.default_rng(seed))
    hits = scan_motifs(attr, MOTIFS, p_value=5e-3, chunk_bp=chunk_bp)
    assert list(hits.columns) == list(HIT_COLUMNS)
    keys = ["chrom", "start", "end", "motif", "strand"]
    expected = slow_genome_hits(attr, 5e-3).sort_values(keys, ignore_index=True)
    ours = hits.sort_values(keys, ignore_index=True)[[*keys, "attribution"]]
    pd.testing.assert_frame_equal(ours, expected, check_dtype=False, rtol=1e-4, atol=1e-5)
    assert hits[["chrom", "start", "end"]].apply(tuple, axis=1).is_monotonic_increasing


def test_hits_name_their_peak() -> None:
    codes = np.zeros((2, 60), np.uint8)
    codes[0, 10:17] = codes[0, 40:47] = codes[1, 20:27] = encode("TTACCCG")
    attr = make_attr(np.ones((2, 60)), codes=codes, chrom=["chr1", "chr2"], start=[100, 500])
    peaks = pd.DataFrame(
        {"chrom": ["chr2", "chr1", "chr1"], "start": [526, 100, 117], "end": [540, 111, 140], "name": ["c", "a", "b"]}
    )
    hits = scan_motifs(attr, MOTIFS[:1], peaks=peaks)
    assert hits[["chrom", "start", "peak"]].to_numpy().tolist() == [
        ["chr1", 110, "a"], ["chr1", 140, ""], ["chr2", 520, "c"],
    ]  # fmt: skip
    assert hits["attribution"].to_numpy() == pytest.approx([7, 7, 7])
    assert (scan_motifs(attr, MOTIFS[:1], peaks=peaks[:0])["peak"] == "").all()
    assert (scan_motifs(attr, MOTIFS[:1])["peak"] == "").all()
    with pytest.raises(RegionError, match=r"peaks: chromosome chr9 has no window among those attributed \(chr1, chr2"):
        scan_motifs(attr, MOTIFS, peaks=peaks.assign(chrom="chr9"))


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=8),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=8),
)
def test_peak_of_spans_is_one_that_overlaps(peaks: list[tuple[int, int]], spans: list[tuple[int, int]]) -> None:
    table = np.array([(start, start + width) for start, width in peaks], dtype=np.int64).reshape(-1, 2).T
    start, end = np.array([(start, start + width) for start, width in spans]).T
    for first, last, found in zip(start, end, peak_of_spans(start, end, table), strict=True):
        overlapping = [i for i in range(table.shape[1]) if table[0, i] < last and first < table[1, i]]
        assert found in overlapping or (found == -1 and not overlapping)


def test_no_hit_is_an_empty_table() -> None:
    hits = scan_motifs(make_attr(np.ones((2, 50))), MOTIFS)
    assert len(hits) == 0
    assert list(hits.columns) == list(HIT_COLUMNS)
    unknown = make_attr(np.ones((2, 50)), codes=np.full((2, 50), N_CODE))
    assert len(scan_motifs(unknown, MOTIFS)) == 0


def test_bad_arguments() -> None:
    codes = np.zeros((1, 50), np.uint8)
    with pytest.raises(UsageError, match="motifs: got none, expected at least one"):
        scan_codes(codes, [])
    for p_value in (0, 1, -1):
        with pytest.raises(UsageError, match=f"p_value: got {p_value}, expected a probability between 0 and 1"):
            scan_codes(codes, MOTIFS, p_value=p_value)
    with pytest.raises(UsageError, match=r"codes: got shape \(50,\), expected \(N, L\)"):
        scan_codes(codes[0], MOTIFS)
    with pytest.raises(UsageError, match="motifs: got none"):
        scan_motifs(make_attr(np.ones((1, 50))), [])
