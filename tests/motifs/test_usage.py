"""Which known motifs a model uses: counts by hand, tests against scipy, and models whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import fisher_exact, mannwhitneyu
from track_toys import make_attr

from seqsal.errors import OutputError, RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_tsv
from seqsal.io.sweep import Axis
from seqsal.motifs.matrices import Motif, read_motifs
from seqsal.motifs.scan import iter_hits
from seqsal.motifs.usage import (
    USAGE_COLUMNS,
    _bin_of,
    _fisher,
    _likeness,
    _mann_whitney,
    make_decoys,
    motif_usage,
)
from seqsal.sequence.codes import encode, reverse_complement


def toy_motif(consensus: str, name: str) -> Motif:
    counts = np.ones((4, len(consensus)))
    counts[encode(consensus), np.arange(len(consensus))] = 37
    return Motif(name, f"{name}.1", counts, 40)


USED, IGNORED, REPRESSING = (
    toy_motif("TTACCCGGA", "used"), toy_motif("GATAAGCAT", "ignored"), toy_motif("CACTTGAGT", "repressing"),
)  # fmt: skip
TOYS = [IGNORED, REPRESSING, USED]


def planted(rng: np.random.Generator, n: int = 80, length: int = 200) -> tuple[Attributions, pd.DataFrame]:
    """Windows with one site of each toy, and the track and peaks of a model that ignores one of them."""
    codes = rng.integers(0, 4, (n, length)).astype(np.uint8)
    track = rng.normal(size=(n, length)).astype(np.float32)
    spans = []
    for row in range(n):
        for motif, place, effect in ((USED, 30, 1.0), (IGNORED, 90, 0.0), (REPRESSING, 150, -1.0)):
            word = encode(motif.consensus)
            place += int(rng.integers(0, 20))
            codes[row, place : place + 9] = word if rng.random() < 0.5 else reverse_complement(word)
            track[row, place : place + 9] += effect
            if effect:
                spans.append((row * (length + 10) + place, row * (length + 10) + place + 8))
    start, end = np.array(spans).T
    return make_attr(track, codes=codes), pd.DataFrame({"chrom": "chr1", "start": start, "end": end})


def test_a_model_is_seen_to_use_what_it_uses(rng: np.random.Generator) -> None:
    attr, peaks = planted(rng)
    usage = motif_usage(attr, peaks, TOYS).set_index("motif")
    assert list(usage.reset_index().columns) == list(USAGE_COLUMNS)
    for name, mean in (("used", 9), ("repressing", -9), ("ignored", 0)):
        assert usage.loc[name, "n_hits"] == pytest.approx(85, abs=8)
        assert usage.loc[name, "mean_attribution"] == pytest.approx(mean, abs=1.5)
    assert usage.index[2] == "ignored"
    assert (usage.loc[["used", "repressing"], "q_value"] < 1e-10).all()
    assert (usage.loc[["used", "repressing"], "enrichment"] > 5).all()
    assert usage.loc["ignored", "q_value"] > 0.05
    assert usage.loc["ignored", "attribution_q_value"] > 0.01
    assert usage.loc["used", "auc"] > 0.95
    assert usage.loc["repressing", "auc"] < 0.05
    assert (usage.loc[["used", "repressing"], "attribution_q_value"] < 1e-10).all()


def test_a_track_that_means_nothing_uses_nothing(rng: np.random.Generator) -> None:
    motifs = read_motifs("jaspar:2026:fungi")
    codes = rng.choice(4, size=(300, 300), p=[0.15, 0.35, 0.35, 0.15]).astype(np.uint8)
    track = np.repeat(rng.normal(size=(300, 100)), 3, axis=1)
    start = np.arange(300) * 310 + rng.integers(0, 280, 300)
    peaks = pd.DataFrame({"chrom": "chr1", "start": start, "end": start + 12})
    usage = motif_usage(make_attr(track, codes=codes), peaks, motifs)
    for column in ("p_value", "attribution_p_value"):
        assert (usage[column] < 0.05).mean() < 0.09
    assert usage["q_value"].min() > 0.01
    assert usage["attribution_q_value"].min() > 0.01


def test_a_liking_for_bases_is_not_a_liking_for_a_motif(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, (400, 250)).astype(np.uint8)
    strong = np.isin(codes, encode("CG"))
    track = np.where(strong, 1.0, -1.0) + rng.normal(0, 0.3, codes.shape)
    rich_places = np.argwhere(np.lib.stride_tricks.sliding_window_view(strong, 20, axis=1).mean(axis=2) > 0.7)
    start = rich_places[:, 0] * 260 + rich_places[:, 1] + 7
    peaks = pd.DataFrame({"chrom": "chr1", "start": start, "end": start + 6})
    rich = [motif for motif in read_motifs("jaspar:2026:fungi") if motif.frequencies[1:3].sum() > 0.8 * motif.width]
    assert len(rich) > 5
    usage = motif_usage(make_attr(track, codes=codes), peaks, rich, p_value=1e-3)
    usage = usage[usage["n_hits"] >= 20]
    assert len(usage) > 10
    by_chance = _share_of_random_spans(peaks, n_rows=400, row_bp=260, width=8)
    assert (usage["n_hits_in_peaks"] / usage["n_hits"]).mean() > 1.4 * by_chance
    assert usage["enrichment"].between(0.6, 1.9).all()
    assert (usage["q_value"] > 0.01).all()


def _share_of_random_spans(peaks: pd.DataFrame, n_rows: int, row_bp: int, width: int) -> float:
    """Share of all spans of a width, within windows 10 bp apart, that touch a peak."""
    under = np.zeros(n_rows * row_bp, dtype=bool)
    for start, end in zip(peaks["start"], peaks["end"], strict=True):
        under[start:end] = True
    rows = under.reshape(n_rows, row_bp)[:, : row_bp - 10]
    return float(np.lib.stride_tricks.sliding_window_view(rows, width, axis=1).any(axis=2).mean())


def test_counts_by_hand() -> None:
    codes = np.zeros((2, 100), np.uint8)
    codes[0, 10:19] = codes[0, 50:59] = encode("TTACCCGGA")
    codes[1, 30:39] = reverse_complement(encode("TTACCCGGA"))
    attr = make_attr(np.tile(np.arange(100.0), (2, 1)), codes=codes)
    peaks = pd.DataFrame({"chrom": ["chr1", "chr1"], "start": [18, 148], "end": [25, 160]})
    row = motif_usage(attr, peaks, [USED], p_value=1e-4).iloc[0]
    assert (row["motif"], row["accession"], row["n_hits"], row["n_hits_in_peaks"]) == ("used", "used.1", 3, 2)
    assert row["mean_attribution"] == pytest.approx(9 * (14 + 54 + 34) / 3)
    assert row["n_decoy_hits"] == 0
    assert row["enrichment"] == pytest.approx(1)  # no decoy hit to tell
    assert row[["p_value", "q_value", "attribution_p_value"]].tolist() == [1, 1, 1]
    assert np.isnan(row["auc"])
    assert np.isnan(row["mean_decoy_attribution"])


def test_enrichment_is_drawn_towards_none(rng: np.random.Generator) -> None:
    attr, peaks = planted(rng, n=40)
    for row in motif_usage(attr, peaks, TOYS).itertuples():
        a, n, b, m = row.n_hits_in_peaks, row.n_hits, row.n_decoy_hits_in_peaks, row.n_decoy_hits
        both = (a + b) / (n + m)
        assert row.enrichment == pytest.approx(((a + both) / (n + 1)) / ((b + both) / (m + 1)))
    without = motif_usage(attr, peaks[:0], TOYS)
    assert without["enrichment"].isna().all()
    assert (without["p_value"] == 1).all()
    assert set(without["motif"][:2]) == {"used", "repressing"}
    assert (without["attribution_q_value"][:2] < 1e-6).all()


def test_a_palindrome_and_a_repeat_are_one_place() -> None:
    codes = np.full((1, 120), 1, np.uint8)
    codes[0, 10:18] = encode("TCACGTGA")
    codes[0, 40:60] = encode("TATATATATATATATATATA")
    motifs = [toy_motif("TCACGTGA", "palindrome"), toy_motif("TATATATA", "repeat")]
    attr = make_attr(np.ones((1, 120)), codes=codes)
    usage = motif_usage(attr, _no_peaks(), motifs, p_value=1e-3).set_index("motif")
    assert sum(map(len, iter_hits(attr, Axis.of(attr), motifs, p_value=1e-3))) >= 2 + 7
    assert usage["n_hits"].to_dict() == {"palindrome": 1, "repeat": 1}


def _no_peaks() -> pd.DataFrame:
    return pd.DataFrame({"chrom": pd.Series(dtype=str), "start": pd.Series(dtype=int), "end": pd.Series(dtype=int)})


def slow_places(hits: pd.DataFrame) -> set[tuple[int, int, str]]:
    """Best hit of each set of hits of one motif that hang together, found one pair at a time."""
    kept = set()
    for motif, rows in hits.groupby("motif_idx"):
        left = list(rows.itertuples())
        while left:
            cluster = [left.pop(0)]
            grown = True
            while grown:
                joining = [h for h in left if any(h.start < c.end and c.start < h.end for c in cluster)]
                cluster += joining
                left = [h for h in left if not any(h is j for j in joining)]
                grown = bool(joining)
            best = min(cluster, key=lambda h: (h.p_value, h.start, h.strand))
            kept.add((motif, best.start, best.strand))
    return kept


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 150, 500, 10**6]))
def test_places_do_not_depend_on_chunks(seed: int, chunk_bp: int) -> None:
    rng = np.random.default_rng(seed)
    start = np.sort(rng.integers(0, 300, 12))
    genome = rng.choice(4, size=400, p=[0.4, 0.1, 0.1, 0.4]).astype(np.uint8)
    codes = np.stack([genome[s : s + 80] for s in start])
    attr = make_attr(rng.normal(size=codes.shape), start=start, codes=codes)
    motifs = [toy_motif("TATATA", "ta"), toy_motif("AAAAAAA", "a"), toy_motif("ATTA", "hox")]
    peaks = pd.DataFrame({"chrom": "chr1", "start": start[::4], "end": start[::4] + 9})
    whole = motif_usage(attr, peaks, motifs, p_value=2e-2, n_decoys=3)
    chunked = motif_usage(attr, peaks, motifs, p_value=2e-2, n_decoys=3, chunk_bp=chunk_bp)
    pd.testing.assert_frame_equal(chunked, whole)
    places = slow_places(pd.concat(list(iter_hits(attr, Axis.of(attr), motifs, p_value=2e-2))))
    expected = {motif.name: sum(place[0] == i for place in places) for i, motif in enumerate(motifs)}
    assert whole.set_index("motif")["n_hits"].to_dict() == expected


def test_fisher_is_that_of_scipy(rng: np.random.Generator) -> None:
    n, m = rng.integers(1, 60, 40), rng.integers(0, 60, 40)
    a, b = rng.integers(0, n + 1), rng.integers(0, m + 1)
    ours = _fisher(a, n, b, m)
    for i in range(40):
        table = [[a[i], n[i] - a[i]], [b[i], m[i] - b[i]]]
        assert ours[i] == pytest.approx(fisher_exact(table, alternative="greater").pvalue)


def binned(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.bincount(_bin_of(values), minlength=2 * 64 * 20 + 1)[None]


def test_mann_whitney_is_that_of_scipy(rng: np.random.Generator) -> None:
    for shift in (0.0, 0.5, -2.0):
        x, y = rng.laplace(size=70) + shift, rng.laplace(size=150)
        auc, p_value = _mann_whitney(binned(x), binned(y))
        theirs = mannwhitneyu(_bin_of(x), _bin_of(y), method="asymptotic")
        assert auc[0] == pytest.approx(theirs.statistic / (70 * 150))
        assert p_value[0] == pytest.approx(theirs.pvalue)
        assert auc[0] == pytest.approx(mannwhitneyu(x, y).statistic / (70 * 150), abs=0.01)


def test_mann_whitney_of_nothing_says_nothing() -> None:
    auc, p_value = _mann_whitney(binned(np.zeros(0)), binned(np.ones(3)))
    assert np.isnan(auc[0])
    assert p_value[0] == 1
    assert _mann_whitney(binned(np.ones(5)), binned(np.ones(3))) == (pytest.approx([0.5]), pytest.approx([1.0]))


@given(st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=30))
def test_bins_keep_the_order(values: list[float]) -> None:
    array = np.sort(np.array(values))
    bins = _bin_of(array)
    assert (np.diff(bins) >= 0).all()
    assert np.array_equal(_bin_of(-array), 2 * 64 * 20 - bins)


def test_decoys_are_the_motif_in_another_order() -> None:
    motif = toy_motif("TTACCCGGATTT", "m")
    decoys = make_decoys(motif, 5, seed=3)
    columns = sorted(map(tuple, motif.counts.T))
    assert len(decoys) == 5
    for decoy in decoys:
        assert sorted(map(tuple, decoy.counts.T)) == columns
        assert not np.array_equal(decoy.counts, motif.counts)
    likeness = [slow_likeness(motif, decoy) for decoy in make_decoys(motif, 32, seed=3)]
    assert max(likeness) < 0.6 * slow_likeness(motif, motif.reverse_complement())
    counts = np.random.default_rng(0).integers(0, 50, (4, 9)) + 1.0
    orders = np.argsort(np.random.default_rng(1).random((6, 9)), axis=1)
    slow = [slow_likeness(Motif("m", "", counts), Motif("m", "", counts[:, order])) for order in orders]
    assert _likeness(Motif("m", "", counts).frequencies - 0.25, orders) == pytest.approx(slow)
    assert np.array_equal(make_decoys(motif, 2, seed=3)[1].counts, decoys[1].counts)
    assert not np.array_equal(make_decoys(motif, 1, seed=4)[0].counts, decoys[0].counts)


def slow_likeness(motif: Motif, other: Motif) -> float:
    found = []
    for matrix in (motif.frequencies, motif.frequencies[::-1, ::-1]):
        for shift in range(-motif.width + 1, motif.width):
            total = 0.0
            for j in range(motif.width):
                if 0 <= j + shift < motif.width:
                    total += float((matrix[:, j + shift] - 0.25) @ (other.frequencies[:, j] - 0.25))
            found.append(total)
    return max(found)


def test_the_table_is_written_as_text(tmp_path: Path, rng: np.random.Generator) -> None:
    attr, peaks = planted(rng, n=5)
    usage = motif_usage(attr, peaks, TOYS)
    write_tsv(usage, tmp_path / "motif_usage.tsv", missing="nan")
    back = pd.read_csv(tmp_path / "motif_usage.tsv", sep="\t")
    pd.testing.assert_frame_equal(back, usage, rtol=1e-5, check_dtype=False)
    with pytest.raises(OutputError, match="does not exist"):
        write_tsv(usage, tmp_path / "absent" / "motif_usage.tsv")


def test_bad_arguments(rng: np.random.Generator) -> None:
    attr, peaks = planted(rng, n=2)
    with pytest.raises(UsageError, match="motifs: got none"):
        motif_usage(attr, peaks, [])
    for n_decoys in (0, 33):
        with pytest.raises(UsageError, match=f"n_decoys: got {n_decoys}, expected 1 to 32"):
            motif_usage(attr, peaks, TOYS, n_decoys=n_decoys)
    with pytest.raises(RegionError, match="peaks: chromosome chrX has no window"):
        motif_usage(attr, peaks.assign(chrom="chrX"), TOYS)
