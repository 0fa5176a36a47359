"""Instances of patterns are found in the seqlets that were not clustered, at the site and on its strand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from motif_toys import CTCF, REB1, Planted, plant

from seqsal.cli.motifs import motifs_command
from seqsal.errors import MotifError, UsageError
from seqsal.motifs import discover_motifs
from seqsal.motifs.discover import MAX_CLUSTERED, leiden_runs
from seqsal.motifs.instances import FLANK, MOST_SHARE, REACH, with_instances
from seqsal.motifs.kmers import align_kmers
from seqsal.motifs.patterns import core_columns
from seqsal.motifs.seqlets import Alignment, Seqlets, cut_seqlets
from seqsal.sequence.codes import decode, encode, one_hot, reverse_complement

WIDTH, BEFORE = 24, 6  # of the alignments made here, and their bases before the word


def true_alignment(planted: Planted, seqlets: Seqlets, word: str) -> Alignment:
    """All seqlets of one word, aligned at its planted place."""
    sites = planted.sites.assign(name=planted.peaks["name"]).set_index("name").loc[seqlets.table["name"]]
    rows = np.flatnonzero((sites["motif"] == word).to_numpy())
    sites, reverse = sites.iloc[rows], (sites["strand"] == "-").to_numpy()[rows]
    first = sites["start"].to_numpy() - seqlets.table["start"].to_numpy()[rows]
    return Alignment(rows, np.where(reverse, first + len(word) + BEFORE - WIDTH, first - BEFORE), reverse, WIDTH)


def as_set(alignment: Alignment) -> set[tuple[int, int, bool]]:
    return set(zip(alignment.rows.tolist(), alignment.start.tolist(), alignment.reverse.tolist(), strict=True))


@pytest.fixture
def mixed(rng: np.random.Generator) -> tuple[Seqlets, list[Alignment], Planted]:
    """Seqlets of two words, and of a third that is another in every peak: nothing that recurs."""
    other = {"".join("ACGT"[i] for i in rng.integers(0, 4, 8)): (1, 1.0) for _ in range(30)}
    planted = plant(rng, {REB1: (60, 1.0), CTCF: (45, 0.7), **other})
    seqlets = cut_seqlets(planted.attr, planted.peaks).rounded()
    return seqlets, [true_alignment(planted, seqlets, word) for word in (REB1, CTCF)], planted


def test_all_sites_and_no_others(mixed: tuple[Seqlets, list[Alignment], Planted]) -> None:
    seqlets, true, _ = mixed
    clustered = [one.take(np.arange(0, len(one), 3)) for one in true]
    found = with_instances(clustered, seqlets, len(seqlets) // 3)
    assert [as_set(one) for one in found] == [as_set(one) for one in true]
    assert [np.array_equal(a.rows[: len(b)], b.rows) for a, b in zip(found, clustered, strict=True)] == [True, True]


def slow_odds(one: Alignment, seqlets: Seqlets, base: np.ndarray[Any, Any], row: int) -> tuple[float, int, bool]:
    """Summed odds of one seqlet, and its best start and strand, straight from the definition."""
    cwm = one.cwm(seqlets)
    low, high = core_columns(cwm)
    low, high = max(low - FLANK, 0), min(high + FLANK, one.width)
    core = one.window(low, high - low)
    counts = core.counts(seqlets) + base[:, None]
    ppm = counts / counts.sum(axis=0)
    information = (ppm * np.log(ppm / base[:, None])).sum(axis=0)
    codes, support = seqlets.codes[row], np.maximum(np.sign(cwm.sum()) * seqlets.contributions[row].astype(float), 0)
    places = []
    middle = (seqlets.width - core.width) // 2
    for start in range(middle - REACH, middle + REACH + 1):
        for reverse in (False, True):
            here = slice(start, start + core.width)
            word, weight = codes[here], support[here]
            if reverse:
                word, weight = reverse_complement(word), weight[::-1]
            fit = np.prod([ppm[b, j] / base[b] for j, b in enumerate(word) if b < 4])
            places.append((float(information @ weight), float(fit), start, reverse))
    total = sum(prior for prior, *_ in places)
    odds = [prior / total * fit for prior, fit, *_ in places]
    _, _, start, reverse = places[int(np.argmax(odds))]
    whole = Alignment(np.array([row]), np.array([start]), np.array([reverse]), core.width).window(-low, one.width)
    return sum(odds), int(whole.start[0]), reverse


def test_the_mixture_straight_from_its_definition(mixed: tuple[Seqlets, list[Alignment], Planted]) -> None:
    whole, _, planted = mixed
    seqlets = whole.take(np.concatenate([np.arange(20), np.arange(60, 70), np.arange(105, 115)]))
    clustered = [true_alignment(planted, seqlets, word).take(np.arange(6)) for word in (REB1, CTCF)]  # leaves doubt
    n_clustered = 14
    base = one_hot(seqlets.codes).mean(axis=(0, 2), dtype=float)
    base /= base.sum()
    share = np.array([6, 6]) / n_clustered
    share *= min(1.0, MOST_SHARE / share.sum())
    expected = [as_set(one) for one in clustered]
    for row in np.setdiff1d(np.arange(len(seqlets)), np.concatenate([one.rows for one in clustered])):
        found = [slow_odds(one, seqlets, base, row) for one in clustered]
        odds = share * [one[0] for one in found]
        best = int(np.argmax(odds))
        if odds[best] > 0.5 * (1 - share.sum() + odds.sum()):
            expected[best].add((int(row), *found[best][1:]))
    assert [as_set(one) for one in with_instances(clustered, seqlets, n_clustered)] == expected
    assert [len(one) > 6 for one in expected] == [True, True]


def test_nothing_to_add(mixed: tuple[Seqlets, list[Alignment], Planted]) -> None:
    seqlets, true, _ = mixed
    assert with_instances([], seqlets, 10) == []
    whole = seqlets.take(np.concatenate([one.rows for one in true]))
    everything = Alignment(np.arange(len(whole)), np.full(len(whole), 40), np.zeros(len(whole), bool), WIDTH)
    assert with_instances([everything], whole, len(whole)) == [everything]


def test_sites_near_the_end_of_the_context_are_within_it(rng: np.random.Generator) -> None:
    planted = plant(rng, {REB1: (20, 1.0)})
    seqlets = cut_seqlets(planted.attr, planted.peaks, context_bp=41).rounded()
    codes, track = seqlets.codes.copy(), np.zeros_like(seqlets.contributions)
    codes[:, 16:24], track[:, 16:24] = encode(REB1), 1
    codes[-1], track[-1] = np.roll(codes[-1], 14), np.roll(track[-1], 14)  # its 24 bp would end beyond the context
    moved = Seqlets(seqlets.table, codes, np.zeros_like(seqlets.hypothetical), track, False)
    aligned = Alignment(np.arange(10), np.full(10, 16 - BEFORE), np.zeros(10, bool), WIDTH)
    (found,) = with_instances([aligned], moved, 10)
    assert set(found.rows.tolist()) == set(range(19))
    assert len(found.within(41)) == 19


class Recorder:
    """Stands in for TF-MoDISco: aligned k-mers, and what they were given."""

    def __init__(self) -> None:
        self.given: list[Seqlets] = []

    def __call__(self, seqlets: Seqlets) -> Sequence[Alignment]:
        self.given.append(seqlets)
        rng = np.random.default_rng(0)
        return align_kmers(seqlets, rng.integers(0, 4, (500, 100), dtype=np.uint8))


def test_some_are_clustered_and_instances_are_found_in_all(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(rng, {REB1: (300, 1.0), CTCF: (60, 0.3)})  # the weaker motif is not among the strongest
    recorder = Recorder()
    monkeypatch.setattr("seqsal.motifs.discover.align_modisco", recorder)
    result = discover_motifs(planted.attr, planted.peaks, max_clustered=120)
    assert [len(one) for one in recorder.given] == [120]
    names = cut_seqlets(planted.attr, planted.peaks).table["name"]
    assert recorder.given[0].table["name"].tolist() == names[::3].tolist()
    assert list(result.table["n_seqlets"]) == [300, 60]
    for pattern, word in zip(result.patterns, (REB1, CTCF), strict=True):
        assert pattern.motif.consensus in (word, decode(reverse_complement(encode(word))))
    assert any("360 peaks raise the prediction: TF-MoDISco clustered 120 of them" in line for line in result.warnings)
    strands = planted.sites.assign(name=planted.peaks["name"]).set_index("name")["strand"]
    for pattern in result.patterns:
        same = pattern.seqlets["strand"].to_numpy() == strands.loc[pattern.seqlets["name"]].to_numpy()
        assert max(same.mean(), 1 - same.mean()) > 0.99  # CCGG of the one word reads the same on both strands


def test_what_was_too_rare_to_be_clustered_is_found_among_the_rest(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(rng, {REB1: (400, 1.0), CTCF: (12, 1.0)})

    def most_frequent(seqlets: Seqlets) -> Sequence[Alignment]:
        return Recorder()(seqlets)[:1]

    monkeypatch.setattr("seqsal.motifs.discover.align_modisco", most_frequent)
    result = discover_motifs(planted.attr, planted.peaks, max_clustered=100)
    assert list(result.table["algorithm"]) == ["modisco", "kmers"]
    assert list(result.table["n_seqlets"]) == [400, 12]


def test_seqlets_that_cannot_be_clustered(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(seqlets: Seqlets) -> Sequence[Alignment]:
        raise MotifError(f"seqlets: TF-MoDISco cannot cluster these {len(seqlets)} (NaN), expected some")

    planted = plant(rng, {REB1: (130, 1.0)})
    monkeypatch.setattr("seqsal.motifs.discover.align_modisco", fails)
    result = discover_motifs(planted.attr, planted.peaks, max_clustered=110)
    assert list(result.table["n_seqlets"]) == [110]
    assert any("cannot cluster these 110" in line for line in result.warnings)
    with pytest.raises(MotifError, match="cannot cluster these 110"):
        discover_motifs(planted.attr, planted.peaks, max_clustered=110, algorithm="modisco")
    with pytest.raises(UsageError, match="max_clustered: got 99, expected 100 or more seqlets"):
        discover_motifs(planted.attr, planted.peaks, max_clustered=99)


def test_the_command_line_clusters_as_many_as_python() -> None:
    assert {one.name: one.default for one in motifs_command.params}["max_clustered"] == MAX_CLUSTERED


def test_work_of_leiden_is_bounded() -> None:
    runs = [leiden_runs(n) for n in range(100, MAX_CLUSTERED + 1)]
    assert runs == sorted(runs, reverse=True) and runs[0] == 16
    assert max(n * leiden_runs(n) for n in range(100, MAX_CLUSTERED + 1)) <= 2 * MAX_CLUSTERED
