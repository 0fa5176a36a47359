"""Planted motifs come back: their sequence, strand, sign and places on the genome."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from motif_toys import CTCF, REB1, Planted, plant
from toys import random_codes

from seqsal.errors import MotifError, RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.motifs import Motif, MotifResult, discover_motifs
from seqsal.motifs.discover import MODISCO_MIN_SEQLETS, align_modisco, compiling_kernels
from seqsal.motifs.kmers import MIN_SEQLETS, align_kmers
from seqsal.motifs.match import announce_compilation
from seqsal.motifs.patterns import SEQLET_COLUMNS, TABLE_COLUMNS
from seqsal.motifs.seqlets import Alignment, Seqlets, cut_seqlets
from seqsal.sequence.codes import encode, one_hot


def known(word: str) -> Motif:
    return Motif(word, f"id_{word}", one_hot(encode(word)) * 20.0 + 0.1, 20)


def check_places(planted: Planted, result: MotifResult, word: str, pattern_name: str, share: float = 1.0) -> None:
    """Every instance is a planted site of the word, at its place and on its strand; `share` of the sites are found."""
    pattern = result[pattern_name]
    text, sites = pattern.motif.consensus, planted.sites[planted.sites["motif"] == word]
    offset = word.find(text)
    assert offset >= 0, (word, text)
    left = np.where(sites["strand"] == "+", offset, len(word) - offset - len(text))
    starts = sites["start"].to_numpy() + left
    expected = set(zip(starts, starts + len(text), sites["strand"], strict=True))
    found = list(pattern.seqlets[["start", "end", "strand"]].itertuples(index=False, name=None))
    assert len(found) == len(set(found)) == pattern.n_seqlets
    assert set(found) <= expected
    assert len(found) >= share * len(expected)
    assert set(pattern.seqlets["sequence"]) == {text}
    peaks = planted.peaks.set_index("name").loc[pattern.seqlets["name"]]
    assert (peaks["start"].to_numpy() <= pattern.seqlets["start"].to_numpy()).all()
    assert (peaks["end"].to_numpy() >= pattern.seqlets["end"].to_numpy()).all()
    assert pattern.motif.counts.sum(axis=0).tolist() == [pattern.n_seqlets] * len(text)


@pytest.fixture
def small(rng: np.random.Generator) -> Planted:
    return plant(rng, {REB1: (30, 1.0), CTCF: (20, -0.8)})


def test_kmers_find_both_signs_with_places_and_strands(small: Planted, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = discover_motifs(small.attr, small.peaks, motif_db=[known(REB1), known(CTCF), known("ATGACTCAT")])
    assert list(result.table["match"]) == [REB1, CTCF]
    assert list(result.table["sign"]) == ["pos", "neg"]
    assert set(result.table["algorithm"]) == {"kmers"}
    assert (result.table["q_value"] < 0.01).all()
    check_places(small, result, REB1, "pos_pattern_1")
    check_places(small, result, CTCF, "neg_pattern_1")
    assert (
        result["pos_pattern_1"].seqlets["score"].gt(5).all() and result["neg_pattern_1"].seqlets["score"].lt(-5).all()
    )
    assert (result["neg_pattern_1"].cwm.sum(axis=0) < 0).all()
    assert sum("TF-MoDISco needs 100: aligned k-mers" in note for note in result.warnings) == 2
    assert "aligned k-mers were used instead" in caplog.text
    assert result.n_peaks == {"pos": 30, "neg": 20}
    assert result.usage is not None and set(result.usage["motif"]) == {REB1, CTCF, "ATGACTCAT"}


def last_digits_changed(planted: Planted, rng: np.random.Generator) -> tuple[Attributions, pd.DataFrame]:
    """Attributions and peaks as another size of batches gives them: scores differ by 1e-8."""

    def changed(values: Any) -> Any:
        shifted = np.asarray(values, np.float64) * (1 + 1e-8 * rng.normal(size=np.shape(values)))
        return (shifted + 7e-9 * rng.normal(size=np.shape(values))).astype(np.float32)

    attr, peaks = planted.attr, planted.peaks
    assert attr.hypothetical is not None
    scores = changed(attr.hypothetical[:])
    track = (scores * one_hot(attr.codes[:])).sum(axis=1)
    assert not np.array_equal(track, attr.track)
    return replace(attr, track=track, hypothetical=scores), peaks.assign(signal=changed(peaks["signal"]))


def check_same_but_for_last_digits(result: MotifResult, again: MotifResult) -> None:
    assert len(result)
    pd.testing.assert_frame_equal(result.seqlets.drop(columns="score"), again.seqlets.drop(columns="score"))
    exact = result.table.columns.drop("contribution").tolist()
    pd.testing.assert_frame_equal(result.table[exact], again.table[exact], check_exact=True)
    assert again.table["contribution"].to_numpy() == pytest.approx(result.table["contribution"], rel=1e-6)


def test_last_digits_decide_nothing(small: Planted, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Seqlets] = []

    def align(seqlets: Seqlets, *more: Any) -> list[Alignment]:
        looked_at.append(seqlets)
        return align_kmers(seqlets, *more)

    monkeypatch.setattr("seqsal.motifs.discover.align_kmers", align)
    changed = last_digits_changed(small, rng)
    check_same_but_for_last_digits(discover_motifs(small.attr, small.peaks), discover_motifs(*changed))
    first, second, *others = looked_at
    for one, other in zip((first, second), others, strict=True):  # what clusters hang on is the same to the bit
        assert np.array_equal(one.hypothetical, other.hypothetical)
        assert np.array_equal(one.contributions, other.contributions)
    before, after = cut_seqlets(small.attr, small.peaks), cut_seqlets(*changed)
    assert not np.array_equal(before.contributions, after.contributions)


@pytest.mark.slow
def test_modisco_separates_two_motifs(rng: np.random.Generator) -> None:
    planted = plant(rng, {REB1: (80, 1.0), CTCF: (60, 1.0)}, window_strands="+-")  # of 70 it shifts some
    result = discover_motifs(planted.attr, planted.peaks, motif_db=[known(REB1), known(CTCF)])
    assert set(result.table["algorithm"]) == {"modisco"}
    assert list(result.table["match"]) == [REB1, CTCF]
    check_places(planted, result, REB1, "pos_pattern_1", share=0.95)
    check_places(planted, result, CTCF, "pos_pattern_2", share=0.95)
    again = discover_motifs(*last_digits_changed(planted, rng), motif_db=[known(REB1), known(CTCF)])
    check_same_but_for_last_digits(result, again)


@pytest.mark.slow
def test_modisco_takes_our_seqlets_and_no_others(rng: np.random.Generator) -> None:
    planted = plant(rng, {REB1: (MODISCO_MIN_SEQLETS + 60, 1.0)})
    used = planted.peaks.iloc[:MODISCO_MIN_SEQLETS]
    result = discover_motifs(planted.attr, used)
    assert set(result.seqlets["name"]) <= set(used["name"])
    assert result["pos_pattern_1"].algorithm == "modisco"


def test_a_motif_split_by_strand_or_shift_is_one_pattern(small: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    def split(seqlets, background):  # type: ignore[no-untyped-def]
        found = align_kmers(seqlets, background)
        first, second = found[0].take(np.arange(0, len(found[0]), 2)), found[0].take(np.arange(1, len(found[0]), 2))
        return [first, second.flip().window(3, second.width)]

    whole = discover_motifs(small.attr, small.peaks)
    monkeypatch.setattr("seqsal.motifs.discover.align_kmers", split)
    result = discover_motifs(small.attr, small.peaks)
    assert len(result) == len(whole) == 2
    assert list(result.table["n_seqlets"]) == [30, 20]


def test_one_site_under_two_peaks_is_one_instance(small: Planted) -> None:
    shifted = small.peaks.assign(name=small.peaks["name"] + "_b", summit=small.peaks["summit"] - 2)
    twice = discover_motifs(small.attr, pd.concat([small.peaks, shifted], ignore_index=True), algorithm="kmers")
    assert list(twice.table["n_seqlets"]) == [30, 20]


def test_overlapping_windows_give_one_instance(rng: np.random.Generator) -> None:
    planted = plant(rng, {REB1: (20, 1.0)}, window_strands="+")
    attr = planted.attr
    rows = np.repeat(np.arange(len(attr)), 2)
    doubled = replace(
        attr,
        **{name: getattr(attr, name)[rows] for name in ("codes", "track", "prediction", "hypothetical")},
        regions=attr.regions.iloc[rows].reset_index(drop=True),
    )
    once, both = (discover_motifs(a, planted.peaks) for a in (attr, doubled))
    pd.testing.assert_frame_equal(once.seqlets, both.seqlets)


def test_turning_every_window_changes_nothing(rng: np.random.Generator) -> None:
    planted = plant(rng, {REB1: (25, 1.0)}, window_strands="+")
    attr = planted.attr
    turned = replace(
        attr,
        codes=3 - attr.codes[:, ::-1],
        track=attr.track[:, ::-1],
        hypothetical=attr.hypothetical[:, ::-1, ::-1],
        regions=attr.regions.assign(strand="-"),
    )
    expected, found = (discover_motifs(a, planted.peaks) for a in (attr, turned))
    pd.testing.assert_frame_equal(found.table, expected.table)
    pd.testing.assert_frame_equal(found.seqlets, expected.seqlets)


def test_instances_stay_on_the_chromosome(rng: np.random.Generator) -> None:
    planted = plant(rng, {REB1: (20, 1.0)}, window_strands="-")
    first = int(planted.sites["start"].iloc[0])
    shift = first + 4  # the first site now hangs over the start of the chromosome
    attr = replace(planted.attr, regions=planted.attr.regions.assign(
        start=planted.attr.regions["start"] - shift, end=planted.attr.regions["end"] - shift))  # fmt: skip
    peaks = planted.peaks.assign(start=planted.peaks["start"] - shift, end=planted.peaks["end"] - shift)
    last = int(peaks["end"].iloc[-1])
    result = discover_motifs(replace(attr, chrom_sizes={"chr1": last - 4}), peaks)
    assert result["pos_pattern_1"].n_seqlets == 18
    assert (result.seqlets["start"] >= 0).all() and (result.seqlets["end"] <= last - 4).all()


def test_patterns_read_as_their_match(small: Planted) -> None:
    forward = discover_motifs(small.attr, small.peaks, motif_db=[known(REB1)])["pos_pattern_1"]
    turned = Motif("turned", "", known(REB1).reverse_complement().counts)
    backward = discover_motifs(small.attr, small.peaks, motif_db=[turned])["pos_pattern_1"]
    assert forward.motif.consensus in REB1
    np.testing.assert_array_equal(backward.motif.counts, forward.motif.counts[::-1, ::-1])
    np.testing.assert_array_equal(backward.cwm, forward.cwm[::-1, ::-1])
    assert (backward.seqlets["strand"] != forward.seqlets["strand"]).all()
    assert list(backward.flip().seqlets["sequence"]) == list(forward.seqlets["sequence"])


@pytest.mark.parametrize("n", [0, 1, MIN_SEQLETS - 1])
def test_too_few_peaks_is_a_result(rng: np.random.Generator, n: int) -> None:
    planted = plant(rng, {REB1: (MIN_SEQLETS, 1.0)})
    result = discover_motifs(planted.attr, planted.peaks.iloc[:n], motif_db=[known(REB1)])
    assert len(result) == 0 and result.summary() == "no pattern"
    assert list(result.table.columns) == list(TABLE_COLUMNS) and len(result.table) == 0
    assert list(result.seqlets.columns) == list(SEQLET_COLUMNS) and len(result.seqlets) == 0
    assert len(result.warnings) == 1
    assert {0: "no peaks", 1: "1 peak raises"}.get(n, f"{n} peaks raise") in result.warnings[0]


def test_noise_has_no_pattern(rng: np.random.Generator) -> None:
    """At most one data set in a hundred should have one: none of ten."""
    for _ in range(10):
        planted = plant(rng, {"ACGT": (60, 0.0)}, noise=1.0)
        table = planted.peaks.assign(sign="pos", signal=1.0)
        random_words = random_codes(rng, 60, 150)
        attr = replace(planted.attr, codes=random_words, regions=planted.attr.regions.assign(strand="+"))
        result = discover_motifs(attr, table)
        assert len(result) == 0
        assert any("nothing recurs" in note for note in result.warnings)


def test_low_complexity_of_the_background_is_no_motif(rng: np.random.Generator) -> None:
    """Runs of A that are as common in the controls are not what recurs."""
    planted = plant(rng, {REB1: (25, 1.0)})
    shares = np.array([0.45, 0.05, 0.05, 0.45])
    biased = rng.choice(4, size=(300, 150), p=shares).astype(np.uint8)
    attr = replace(planted.attr, controls=replace(planted.attr.controls, codes=biased))
    found = discover_motifs(attr, planted.peaks, motif_db=[known(REB1)]).patterns
    assert [pattern.motif.consensus in REB1 for pattern in found] == [True]


def test_degenerate_gapped_sites_align(rng: np.random.Generator) -> None:
    """Two halves with a variable middle, as of ABF1."""
    planted = plant(rng, {f"TCACT{middle}ACGA": (1, 1.0) for middle in
                          ("".join(rng.choice(list("ACGT"), 5)) for _ in range(40))})  # fmt: skip
    result = discover_motifs(planted.attr, planted.peaks, motif_db=[known("TCACTNNNNNACGA")])
    assert len(result) == 1
    assert result.patterns[0].n_seqlets == 40
    assert re.fullmatch("(TC)?ACT[^ACGT]*[ACGTN]?[^ACGT]*ACGA?", result.patterns[0].motif.consensus)


def test_without_hypothetical_scores_modisco_says_so(small: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsal.motifs.discover.align_modisco", lambda seqlets: [])
    result = discover_motifs(replace(small.attr, hypothetical=None), small.peaks, algorithm="modisco")
    assert any("--hypothetical" in note for note in result.warnings)
    assert len(result) == 0


def test_kmers_stand_in_where_modisco_finds_nothing(small: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsal.motifs.discover.MODISCO_MIN_SEQLETS", 25)
    monkeypatch.setattr("seqsal.motifs.discover.align_modisco", lambda seqlets: [])
    result = discover_motifs(small.attr, small.peaks)
    assert list(result.table["n_seqlets"]) == [30, 20]
    assert any("found nothing in the 30 peaks that" in note for note in result.warnings)


def test_seqlets_that_modisco_cannot_cluster(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = plant(rng, {REB1: (120, 1.0)})
    seqlets = cut_seqlets(planted.attr, planted.peaks)
    with pytest.raises(MotifError, match=r"^seqlets: TF-MoDISco cannot cluster these 120 .* --algorithm kmers$"):
        align_modisco(seqlets.take(np.zeros(120, dtype=np.int64)))


@pytest.mark.parametrize("error", [ValueError("all alike"), BaseException("Cannot accept NaN weights.")])
def test_kmers_stand_in_where_modisco_fails(
    small: Planted, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(**given: object) -> None:
        raise error

    monkeypatch.setattr("seqsal.motifs.discover.MODISCO_MIN_SEQLETS", 1)
    monkeypatch.setattr("modiscolite.tfmodisco.seqlets_to_patterns", fail)
    result = discover_motifs(small.attr, small.peaks)
    assert set(result.table["algorithm"]) == {"kmers"}
    assert any(
        "TF-MoDISco cannot cluster these" in text and "k-mers were used instead" in text for text in result.warnings
    )
    with pytest.raises(MotifError, match="TF-MoDISco cannot cluster these"):
        discover_motifs(small.attr, small.peaks, algorithm="modisco")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, TypeError])
def test_what_is_not_about_the_seqlets_stops_the_run(
    small: Planted, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def stop(**given: object) -> None:
        raise error

    monkeypatch.setattr("modiscolite.tfmodisco.seqlets_to_patterns", stop)
    with pytest.raises(error):
        discover_motifs(small.attr, small.peaks, algorithm="modisco")


def test_instances_that_modisco_drops_join_their_pattern(small: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    def fifth(seqlets):  # type: ignore[no-untyped-def]
        found = align_kmers(seqlets, small.attr.controls.codes)[0]
        return [found.take(np.arange(0, len(found), 5))]

    monkeypatch.setattr("seqsal.motifs.discover.MODISCO_MIN_SEQLETS", 25)
    monkeypatch.setattr("seqsal.motifs.discover.align_modisco", fifth)
    assert list(discover_motifs(small.attr, small.peaks, algorithm="modisco").table["n_seqlets"]) == [6]
    result = discover_motifs(small.attr, small.peaks, motif_db=[known(REB1), known(CTCF)])
    assert list(result.table["n_seqlets"]) == [30, 20]
    check_places(small, result, REB1, "pos_pattern_1")


def test_refused(small: Planted) -> None:
    with pytest.raises(UsageError, match="algorithm: got 'magic', expected one of auto, modisco, kmers"):
        discover_motifs(small.attr, small.peaks, algorithm="magic")
    with pytest.raises(MotifError, match="release '1999'"):
        discover_motifs(small.attr, small.peaks, motif_db="jaspar:1999:fungi")
    with pytest.raises(RegionError, match="no window covers"):
        discover_motifs(small.attr, small.peaks.assign(start=lambda t: t["start"] + 250, end=lambda t: t["end"] + 250))


def test_reprs_say_what_was_found(small: Planted) -> None:
    result = discover_motifs(small.attr, small.peaks, motif_db=[known(REB1), known(CTCF)])
    assert repr(result).startswith("MotifResult(2 patterns from the peaks: 30 pos, 20 neg)")
    assert f"30 instances, {REB1} (q" in repr(result)
    assert result.summary().startswith(f"2 patterns: {REB1} (30 instances, q ")
    with pytest.raises(KeyError):
        result["pos_pattern_9"]


def test_kmer_alignments_do_not_share_seqlets(rng: np.random.Generator) -> None:
    planted = plant(rng, {REB1: (30, 1.0), CTCF: (25, 1.0)})
    found = align_kmers(cut_seqlets(planted.attr, planted.peaks), planted.attr.controls.codes)
    assert len(found) == 2
    assert all(not set(a.rows) & set(b.rows) for a, b in pairwise(found))


def test_modisco_of_nothing_in_common_is_empty_or_small(rng: np.random.Generator) -> None:
    planted = plant(rng, {"ACGT": (30, 0.0)}, noise=0.5)
    seqlets = cut_seqlets(planted.attr, planted.peaks.assign(sign="pos"))
    assert sum(len(alignment) for alignment in align_modisco(seqlets)) <= len(seqlets)


def test_kernels_are_compiled_without_looking_into_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("open('was_run', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr("seqsal.motifs.discover.COMPILE_CODE", "import sys; sys.path.append(sys.argv[1]); import numpy")
    with compiling_kernels() as process:
        assert process.wait(60) == 0
    monkeypatch.undo()
    assert not (tmp_path / "was_run").exists()


def test_compilation_is_announced_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    announce_compilation.cache_clear()
    for _ in range(2):
        announce_compilation("memelite", "FIMO", 60)
    assert [record.getMessage() for record in caplog.records] == [
        "motifs: compiling FIMO, once after installation: about 60 s"
    ]
