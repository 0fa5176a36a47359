"""Naming motifs with TOMTOM, and grouping those that are the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from seqsal.errors import UsageError
from seqsal.motifs.match import MATCH_COLUMNS, best_matches, group_motifs, match_motifs
from seqsal.motifs.matrices import Motif, read_motifs


@pytest.fixture(scope="module")
def fungi() -> list[Motif]:
    return read_motifs("jaspar:2026:fungi")


def sampled(motif: Motif, n_sites: int, rng: np.random.Generator, flank: int = 0) -> Motif:
    """The motif as estimated from some sites, with random bases around it."""
    columns = [np.full(4, 0.25)] * flank + list(motif.frequencies.T) + [np.full(4, 0.25)] * flank
    return Motif("sampled", "", np.array([rng.multinomial(n_sites, column) for column in columns]).T, n_sites)


def test_every_motif_is_its_own_best_match(fungi: list[Motif]) -> None:
    best = best_matches(fungi, fungi)
    assert list(best["query_idx"]) == list(range(len(fungi)))
    assert list(best["target_idx"]) == list(best["query_idx"])
    lopsided = [np.abs(motif.ppm - motif.reverse_complement().ppm).max() > 0.1 for motif in fungi]
    assert (best["strand"][lopsided] == "+").all()
    assert (best["offset"] == 0).all()
    assert list(best["overlap"]) == [motif.width for motif in fungi]
    assert list(best.columns) == list(MATCH_COLUMNS)


def test_the_other_strand_is_found(fungi: list[Motif]) -> None:
    best = best_matches([motif.reverse_complement() for motif in fungi], fungi)
    # palindromes are found on either strand
    assert (best["target"] == [motif.name for motif in fungi]).mean() > 0.99
    lopsided = [i for i, m in enumerate(fungi) if np.abs(m.ppm - m.ppm[::-1, ::-1]).max() > 0.7]
    assert (best["strand"][lopsided] == "-").all()
    assert (best["offset"][lopsided] == 0).all()


def test_offset_is_where_the_query_starts_in_the_target(fungi: list[Motif]) -> None:
    reb1 = next(motif for motif in fungi if motif.name == "REB1")
    inner = Motif("inner", "", reb1.counts[:, 2:-1])
    outer = Motif("outer", "", np.hstack([np.full((4, 3), 25.0), reb1.frequencies * 100, np.full((4, 1), 25.0)]))
    best = best_matches([inner, outer, inner.reverse_complement()], [reb1, *fungi])
    assert list(best["accession"]) == [reb1.accession] * 3
    assert list(best["offset"]) == [2, -3, 1]
    assert list(best["strand"]) == ["+", "+", "-"]
    assert list(best["overlap"]) == [reb1.width - 3, reb1.width, reb1.width - 3]


def test_patterns_from_few_sites_get_their_names(fungi: list[Motif], rng: np.random.Generator) -> None:
    chosen = [motif for motif in fungi if motif.name in ("REB1", "ABF1", "RAP1", "MCM1", "GCN4")]
    matches = best_matches([sampled(motif, 40, rng, flank=3) for motif in chosen], fungi)
    assert list(matches["target"]) == [motif.name for motif in chosen]
    assert (matches["q_value"] < 1e-3).all()


def test_q_values_are_over_the_database(fungi: list[Motif]) -> None:
    every = match_motifs(fungi[:3], fungi, q_max=1.0)
    assert len(every) == 3 * len(fungi)
    for _, rows in every.groupby("query_idx"):
        assert rows["p_value"].is_monotonic_increasing
        assert rows["q_value"].to_numpy() == pytest.approx(false_discovery_control(rows["p_value"]))
    few = match_motifs(fungi[:3], fungi, q_max=0.05)
    pd.testing.assert_frame_equal(few, every[every["q_value"] <= 0.05].reset_index(drop=True))


def test_p_values_of_a_motif_that_is_none_are_uniform_enough(fungi: list[Motif], rng: np.random.Generator) -> None:
    columns = np.concatenate([motif.frequencies for motif in fungi], axis=1)
    made_up = [Motif("x", "", columns[:, rng.integers(0, columns.shape[1], 9)]) for _ in range(40)]
    p_values = match_motifs(made_up, fungi, q_max=1.0)["p_value"]
    for level in (0.5, 0.1, 0.01):
        assert (p_values < level).mean() == pytest.approx(level, rel=0.5)


def test_a_small_database_has_the_p_values_of_a_large_one(fungi: list[Motif]) -> None:
    reb1, abf1 = (next(motif for motif in fungi if motif.name == name) for name in ("REB1", "ABF1"))
    matches = match_motifs([reb1], [abf1, reb1], q_max=1.0)
    assert list(matches["target"]) == ["REB1", "ABF1"]
    assert matches["p_value"][0] < 1e-10
    assert matches["p_value"][1] > 0.01
    assert matches["q_value"].to_numpy() == pytest.approx(false_discovery_control(matches["p_value"]))


def test_nothing_to_match(fungi: list[Motif]) -> None:
    assert list(match_motifs([], fungi).columns) == list(MATCH_COLUMNS)
    flat = Motif("flat", "", np.tile([[25.0], [26], [24], [25]], 6))
    assert len(best_matches([flat], fungi, q_max=1e-6)) == 0
    with pytest.raises(UsageError, match="database: holds no motifs"):
        match_motifs(fungi[:1], [])
    for q_max in (0, 1.5):
        with pytest.raises(UsageError, match=rf"q_max: got {q_max}, expected a rate"):
            match_motifs(fungi[:1], fungi, q_max=q_max)


def test_groups_of_the_same_motif(fungi: list[Motif], rng: np.random.Generator) -> None:
    reb1, abf1, gcn4 = (next(m for m in fungi if m.name == name) for name in ("REB1", "ABF1", "GCN4"))
    motifs = [
        sampled(reb1, 200, rng),
        sampled(abf1, 100, rng, flank=2),
        sampled(reb1, 60, rng, flank=3).reverse_complement(),
        sampled(gcn4, 100, rng),
        sampled(abf1, 60, rng).reverse_complement(),
        sampled(reb1, 60, rng, flank=1),
    ]
    assert group_motifs(motifs) == [[0, 2, 5], [1, 4], [3]]
    assert group_motifs(motifs, threshold=0.0) == [[i] for i in range(6)]
    assert group_motifs([]) == []


def test_likeness_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = np.array([[0, 1e-9, 1.0], [1e-9, 0, 1e-9], [1.0, 1e-3, 0]])
    monkeypatch.setattr("seqsal.motifs.match._tomtom", lambda queries, targets: chain[None])
    motif = Motif("x", "", np.ones((4, 5)))
    assert group_motifs([motif] * 3) == [[0, 1], [2]]
    assert group_motifs([motif] * 3, threshold=1e-2) == [[0, 1], [2]]
