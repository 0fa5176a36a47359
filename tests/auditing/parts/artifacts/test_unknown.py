"""Shortcuts of no library: exact, unexplained and used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from audit_cases import Ignores, context_of
from torch import nn

from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import NotTested, to_json
from seqsal.auditing.parts.artifacts import biology
from seqsal.auditing.parts.artifacts.biology import explaining_motif
from seqsal.auditing.parts.artifacts.unknown import exact_hits, find_unknown
from seqsal.motifs import Motif
from seqsal.sequence.codes import decode, encode, one_hot, reverse_complement
from tests.toys import random_codes

WORD = "GATTCCGTACAG"
LENGTH, N = 100, 120
CONTRACT = {
    "name", "kind", "sequence", "n_regions", "attribution_share", "enrichment", "marginal_effect", "ablation_effect",
    "q_value", "verdict",
}  # fmt: skip


class Reader(nn.Module):
    """f(X) = effect · max over places and strands of max(0, matches with a word - (w - 3))."""

    def __init__(self, word: str, effect: float = 2.0) -> None:
        super().__init__()
        strands = np.stack([encode(word), reverse_complement(encode(word))])
        self.kernel = nn.Parameter(torch.from_numpy(one_hot(strands)))
        self.effect, self.width = effect, len(word)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        matches = torch.nn.functional.conv1d(X, self.kernel).amax(dim=(1, 2))
        return self.effect * torch.relu(matches - (self.width - 3.5))


@pytest.fixture(autouse=True)
def small_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few motifs that resemble nothing here, instead of JASPAR, which takes seconds to read."""
    rng = np.random.default_rng(0)
    motifs = tuple(Motif(f"m{i}", "", rng.dirichlet(np.full(4, 0.3), 10).T * 50, 50) for i in range(60))
    monkeypatch.setattr(biology, "all_motifs", lambda: motifs)


def planted(rng: np.random.Generator, word: str = WORD, n_with: int = 50, at: int | None = None) -> np.ndarray:
    codes = random_codes(rng, N, LENGTH)
    for row in range(n_with):
        start = int(rng.integers(0, LENGTH - len(word))) if at is None else at
        codes[row, start : start + len(word)] = encode(word)
    return codes


def audited(module: nn.Module, codes: np.ndarray, **given: Any) -> AuditContext:
    import pandas as pd

    nothing = pd.DataFrame({"chrom": pd.Series(dtype=str), "start": pd.Series(dtype=int), "end": pd.Series(dtype=int)})
    return context_of(module, codes, method_options={"gradient_correction": False}, peaks=nothing, **given)


def test_an_exact_word_that_the_model_reads_is_a_shortcut(rng: np.random.Generator) -> None:
    (found,) = find_unknown(audited(Reader(WORD), planted(rng), negatives=random_codes(rng, 200, LENGTH)))
    assert to_json(found).keys() >= CONTRACT
    assert found.sequence in (WORD, decode(reverse_complement(encode(WORD))))
    assert (found.verdict, found.kind, found.n_regions) == ("shortcut", "unknown", 50)
    assert found.name == f"unknown_{found.sequence}"
    assert found.exactness > 0.95
    assert found.position is None
    assert found.marginal_effect == pytest.approx(7.0, abs=0.5)  # 2 · (12 - 8.5)
    assert found.ablation_effect == pytest.approx(7.0, abs=0.5)
    assert found.attribution_share > 0.85  # the rest is on chance words that resemble it
    assert f"raises the prediction by {found.marginal_effect:.3g}" in found.text


def test_a_word_at_one_place_has_a_position(rng: np.random.Generator) -> None:
    (found,) = find_unknown(audited(Reader(WORD), planted(rng, at=80)))
    assert found.position == 80
    assert "mostly at position 80" in found.text


@pytest.mark.parametrize("module", [Ignores(), Reader("CCATTTGGCGCA")])
def test_a_word_that_the_model_does_not_read_is_present(rng: np.random.Generator, module: nn.Module) -> None:
    found = find_unknown(audited(module, planted(rng)))
    assert [one.verdict for one in found] == ["present"]


def test_without_a_model_use_is_not_guessed(rng: np.random.Generator) -> None:
    context = audited(Reader(WORD), planted(rng))
    (found,) = find_unknown(AuditContext(context.attr, None, peaks=context.peaks))
    untested = NotTested("no model was given")
    assert (found.verdict, found.marginal_effect, found.ablation_effect) == ("present", untested, untested)
    assert "could not be tested" in found.text


def test_sites_of_a_motif_are_no_copies(rng: np.random.Generator) -> None:
    consensus = encode(WORD)
    codes = random_codes(rng, 300, LENGTH)
    for row in range(240):
        site = np.where(rng.random(12) < 0.85, consensus, rng.integers(0, 4, 12))
        start = int(rng.integers(0, LENGTH - 12))
        codes[row, start : start + 12] = site
    assert find_unknown(audited(Reader(WORD), codes)) == []


def test_an_exact_site_that_a_given_motif_explains_is_no_shortcut(rng: np.random.Generator) -> None:
    motif = Motif("exact", "", np.where(np.eye(4)[encode("TT" + WORD)].T > 0, 97.0, 1.0), 100)
    assert find_unknown(audited(Reader(WORD), planted(rng), motifs=[motif])) == []


def test_known_copies_are_not_reported_again(rng: np.random.Generator) -> None:
    codes = planted(rng)
    context = audited(Reader(WORD), codes)
    hits = exact_hits(codes, np.arange(N), encode(WORD))
    assert find_unknown(context, [hits]) == []


@pytest.mark.parametrize("word", ["GATTCCGTA", "CACACACACACACACA"])
def test_short_words_and_repeats_are_for_others(rng: np.random.Generator, word: str) -> None:
    assert find_unknown(audited(Reader(word), planted(rng, word))) == []


def test_one_region_and_all_n_have_no_words(rng: np.random.Generator) -> None:
    assert find_unknown(audited(Reader(WORD), planted(rng)[:1])) == []
    assert find_unknown(audited(Ignores(), np.full((8, LENGTH), 4, dtype=np.uint8))) == []


def test_the_same_call_gives_the_same_rows(rng: np.random.Generator) -> None:
    context = audited(Reader(WORD), planted(rng))
    assert find_unknown(context) == find_unknown(context)


class TestExplaining:
    def test_a_motif_explains_its_site_on_either_strand(self, rng: np.random.Generator) -> None:
        sharp = Motif("sharp", "", np.where(np.eye(4)[encode(WORD)].T > 0, 97.0, 1.0), 100)
        for word in (WORD, WORD[1:], "T" + WORD):
            for codes in (encode(word), reverse_complement(encode(word))):
                explained = explaining_motif(codes, [sharp])
                assert explained is not None
                assert explained.name == "sharp"

    def test_a_motif_over_half_of_a_word_explains_nothing(self) -> None:
        short = Motif("short", "", np.where(np.eye(4)[encode(WORD[:6])].T > 0, 97.0, 1.0), 100)
        assert explaining_motif(encode(WORD), [short]) is None

    def test_random_words_are_seldom_explained(self, rng: np.random.Generator) -> None:
        assert sum(explaining_motif(word) is not None for word in random_codes(rng, 10, 12)) <= 1
