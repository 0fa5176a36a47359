"""Comparing results: rows matched by place, streamed, with every overall value against scipy on everything at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
import scipy.stats
from toys import random_codes
from track_toys import make_attr

from seqsal.agreement import compare, compare_attributions
from seqsal.agreement.compare import AGREEMENT_BP, write_agreement_bigwig
from seqsal.agreement.measures import local_cosine
from seqsal.errors import OutputError, RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.sequence.codes import reverse_complement

N, LENGTH = 23, 60
VALUES = ["pearson", "spearman", "top_overlap", "sign_agreement"]


def pick(attr: Attributions, rows: np.ndarray) -> Attributions:
    return replace(
        attr,
        regions=attr.regions.iloc[rows].reset_index(drop=True),
        codes=attr.codes[rows], track=attr.track[rows], prediction=attr.prediction[rows],
    )  # fmt: skip


def other_strand(attr: Attributions, rows: np.ndarray) -> Attributions:
    """Turn some rows: the same track and bases, told from the other strand."""
    regions, codes, track = attr.regions.copy(), attr.codes.copy(), attr.track.copy()
    regions.loc[rows, "strand"] = "-"
    codes[rows], track[rows] = reverse_complement(codes[rows]), track[rows, ::-1]
    return replace(attr, regions=regions, codes=codes, track=track)


@pytest.fixture
def codes(rng: np.random.Generator) -> np.ndarray:
    return random_codes(rng, N, LENGTH, 0.05)


@pytest.fixture
def first(rng: np.random.Generator, codes: np.ndarray) -> Attributions:
    chrom = np.where(np.arange(N) % 2, "chr1", "chr2")
    return make_attr(rng.normal(size=(N, LENGTH)), codes=codes, chrom=chrom, strand="+")


@pytest.fixture
def second(rng: np.random.Generator, first: Attributions) -> Attributions:
    return replace(first, track=(first.track + rng.normal(size=first.track.shape)).astype(np.float32))


def test_equal_and_opposite(first: Attributions) -> None:
    result = compare_attributions({"one": first, "same": first, "opposite": replace(first, track=-first.track)})
    expected = {("one", "same"): 1, ("one", "opposite"): -1, ("same", "opposite"): -1}
    for row in result.overall.itertuples():
        sign = expected[row.a, row.b]
        assert [row.pearson, row.spearman, row.mean_spearman, row.median_pearson] == pytest.approx([sign] * 4)
        assert row.top_overlap == 1 and row.sign_agreement == (sign > 0)
    np.testing.assert_allclose(result.regions["pearson"].abs(), 1)
    assert len(result.regions) == 3 * N and result.unmatched.empty


def test_values_are_scipys(first: Attributions, second: Attributions) -> None:
    result = compare_attributions({"a": first, "b": second}, top=6)
    known = first.codes < 4
    for i, row in enumerate(result.regions.itertuples()):
        x, y = (attr.track[i, known[i]].astype(np.float64) for attr in (first, second))
        assert row.n_bases == len(x) and row.top_expected == pytest.approx(6 / len(x))
        assert row.pearson == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
        assert row.spearman == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    (overall,) = result.overall.to_dict("records")
    x, y = (attr.track[known].astype(np.float64) for attr in (first, second))
    assert overall["pearson"] == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
    assert overall["spearman"] == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert overall["n_bases"] == overall["n_sampled"] == known.sum() and overall["n_regions"] == N
    for name, column in (("median_spearman", "spearman"), ("median_pearson", "pearson")):
        assert overall[name] == pytest.approx(result.regions[column].median())
    assert overall["top_overlap"] == pytest.approx(result.regions["top_overlap"].mean())


def test_rows_are_matched_by_region(rng: np.random.Generator, first: Attributions, second: Attributions) -> None:
    expected = compare_attributions({"a": first, "b": second})
    shuffled = compare_attributions({"a": first, "b": pick(second, rng.permutation(N))})
    pd.testing.assert_frame_equal(shuffled.regions, expected.regions)
    pd.testing.assert_frame_equal(shuffled.overall, expected.overall)
    reordered = compare_attributions({"a": pick(first, rng.permutation(N)), "b": second})
    assert reordered.overall["pearson"][0] == pytest.approx(expected.overall["pearson"][0])


def test_regions_that_only_one_has(first: Attributions, second: Attributions, caplog: pytest.LogCaptureFixture) -> None:
    result = compare_attributions({"a": pick(first, np.arange(20)), "b": pick(second, np.arange(N)[::-1][:21])})
    assert result.regions["name"].tolist() == first.regions["name"][2:20].tolist()
    assert result.unmatched["result"].tolist() == ["a"] * 2 + ["b"] * 3
    assert "a: 2 of 20 regions are not in all results" in caplog.text
    assert "b: 3 of 21 regions are not in all results and were left out, such as chr" in caplog.text
    whole = compare_attributions({"a": first, "b": second}).regions[2:20].reset_index(drop=True)
    pd.testing.assert_frame_equal(result.regions, whole)


def test_strands_are_turned_to_the_genome(first: Attributions, second: Attributions) -> None:
    expected = compare_attributions({"a": first, "b": second})
    for rows in (np.arange(N), np.arange(0, N, 3)):
        turned = compare_attributions({"a": first, "b": other_strand(second, rows)})
        pd.testing.assert_frame_equal(turned.regions, expected.regions)
        turned = compare_attributions({"a": other_strand(first, rows), "b": second})
        np.testing.assert_allclose(turned.regions[VALUES], expected.regions[VALUES], rtol=1e-9)


def test_own_strand_goes_before_the_other(first: Attributions, second: Attributions) -> None:
    """Both strands of a region in both files, in another order: each matches its own."""
    rows = np.arange(N)
    minus = [other_strand(attr, rows) for attr in (first, second)]

    def both(one: Attributions, other: Attributions) -> Attributions:
        return replace(
            one,
            regions=pd.concat([one.regions, other.regions], ignore_index=True),
            **{
                name: np.concatenate([getattr(one, name), getattr(other, name)])
                for name in ("codes", "track", "prediction")
            },
        )

    result = compare_attributions(
        {"a": both(first, minus[0]), "b": both(minus[1], replace(second, track=-second.track))}
    )
    expected = compare_attributions({"a": first, "b": second}).regions["pearson"]
    np.testing.assert_allclose(result.regions["pearson"][:N], -expected, rtol=1e-9)
    np.testing.assert_allclose(result.regions["pearson"][N:], expected, rtol=1e-9)


def test_a_region_that_is_there_twice(first: Attributions) -> None:
    twice = pick(first, np.array([0, 0, 1]))
    twice = replace(twice, track=twice.track * np.array([[1], [-1], [1]], dtype=np.float32))
    result = compare_attributions({"a": twice, "b": pick(first, np.array([1, 0]))})
    assert result.regions["pearson"].tolist() == pytest.approx([1, 1]) and len(result.unmatched) == 1
    result = compare_attributions({"a": twice, "b": pick(first, np.array([0, 1, 0]))})
    assert result.regions["pearson"].tolist() == pytest.approx([1, -1, 1])


@pytest.mark.parametrize("chunk_bp", [1, 7 * LENGTH, 10**9])
def test_chunks_do_not_matter(
    first: Attributions, second: Attributions, chunk_bp: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "SAMPLE_BP", 400)
    results = {"a": first, "b": second, "c": replace(first, track=second.track - first.track)}
    expected, other = compare_attributions(results), compare_attributions(results, chunk_bp=chunk_bp)
    pd.testing.assert_frame_equal(other.regions, expected.regions, check_exact=True)
    pd.testing.assert_frame_equal(other.overall, expected.overall, check_exact=True)
    assert 200 < expected.overall["n_sampled"][0] < 600
    every = compare_attributions(results, chunk_bp=chunk_bp).overall["spearman"]
    exact = scipy.stats.spearmanr(first.track[first.codes < 4], second.track[first.codes < 4]).statistic
    assert every[0] == pytest.approx(exact, abs=4 / 20)


def test_other_bases_are_told(rng: np.random.Generator, first: Attributions, caplog: pytest.LogCaptureFixture) -> None:
    codes = first.codes.copy()
    codes[:4] = random_codes(rng, 4, LENGTH)
    compare_attributions({"a": first, "b": replace(first, codes=codes)})
    assert "b: 4 of 23 regions have other bases than in a" in caplog.text


def test_constant_tracks_are_not_compared(first: Attributions) -> None:
    result = compare_attributions({"a": first, "flat": replace(first, track=np.zeros_like(first.track))})
    assert result.regions[["pearson", "spearman"]].isna().all(axis=None)
    assert result.overall[["pearson", "spearman", "median_pearson", "mean_spearman"]].isna().all(axis=None)
    assert result.overall["top_overlap"][0] == pytest.approx(result.overall["top_expected"][0])


def test_repr_tells_the_pairs(first: Attributions, second: Attributions) -> None:
    result = compare_attributions({"one": first, "two": second})
    assert repr(result).splitlines()[0] == f"Agreement(2 results, {N} regions × {LENGTH} bp)"
    assert "one ~ two: Pearson 0." in repr(result) and "top 3 overlap" in repr(result)
    assert "<table" in result._repr_html_()


def test_nothing_in_common_is_no_percentage(first: Attributions) -> None:
    half = first.length // 2
    left, right = np.array(first.track), np.array(first.track)
    left[:, half:], right[:, :half] = 0, 0
    agreement = compare_attributions({"a": replace(first, track=left), "b": replace(first, track=right)}, top=1)
    assert "same sign n/a" in repr(agreement) and "nan%" not in repr(agreement)


def test_bigwig_is_the_local_agreement(tmp_path: Path, first: Attributions, second: Attributions) -> None:
    sizes = {"chr1": 5000, "chr2": 5000}
    first = replace(first, chrom_sizes=sizes)
    third = replace(first, track=-first.track)
    results = {"a": first, "b": other_strand(second, np.arange(0, N, 2)), "c": third}
    write_agreement_bigwig(results, tmp_path / "x.bw", chunk_bp=5 * LENGTH)
    known = first.codes < 4
    pairs = [(first, second), (first, third), (second, third)]
    expected = np.mean([local_cosine(a.track, b.track, known, AGREEMENT_BP) for a, b in pairs], axis=0)
    with pyBigWig.open(str(tmp_path / "x.bw")) as bigwig:
        for i, row in first.regions.iterrows():
            values = bigwig.values(row["chrom"], int(row["start"]), int(row["end"]))
            np.testing.assert_allclose(values, np.where(known[i], expected[i], np.nan), rtol=1e-5, atol=1e-6)


def test_bigwig_needs_sizes_and_an_odd_width(tmp_path: Path, first: Attributions) -> None:
    results = {"a": first, "b": first}
    with pytest.raises(OutputError, match="a: holds no chromosome sizes"):
        write_agreement_bigwig(results, tmp_path / "x.bw")
    for width in (1, 20):
        with pytest.raises(UsageError, match=f"width: got {width}, expected an odd number"):
            write_agreement_bigwig(results, tmp_path / "x.bw", width=width)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (lambda a: {"a": a}, {}, UsageError, "got 1 result, expected two or more"),
        (lambda a: {}, {}, UsageError, "got 0 results"),
        (lambda a: {"a": a, "b": make_attr(np.ones((2, 9)))}, {}, UsageError, "60 bp in a, 9 bp in b"),
        (lambda a: {"a": a, "b": a}, {"top": 61}, UsageError, "top: got 61, expected 1 to 60"),
        (lambda a: {"a": a, "b": a}, {"top": 0}, UsageError, "top: got 0"),
        (
            lambda a: {"a": a, "b": replace(a, regions=a.regions.assign(chrom="1"))},
            {}, RegionError, r"no region is in all of a, b \(such as chr2:0-60\(\+\) in a and 1:0-60\(\+\) in b\)",
        ),
        (lambda a: {"a": a, "b": pick(a, np.arange(0))}, {}, RegionError, "and none in b"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(
    first: Attributions,
    change: Callable[[Attributions], dict[str, Attributions]],
    options: dict[str, int],
    error: type[Exception],
    match: str,
) -> None:
    with pytest.raises(error, match=match) as raised:
        compare_attributions(change(first), **options)
    assert "\n" not in str(raised.value)
