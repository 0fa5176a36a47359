"""Insertion and removal, on models whose answer is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from audit_cases import Ignores, context_of
from numpy.typing import NDArray
from scipy import stats
from torch import nn
from toys import Linear, random_codes

from seqsal.auditing.context import AuditContext
from seqsal.auditing.finding import Effect
from seqsal.auditing.part import NotTested
from seqsal.auditing.parts.artifacts import effects
from seqsal.auditing.parts.artifacts.effects import (
    MAX_CONTROL_WORDS,
    N_CONTROL_WORDS,
    ablation_effect,
    attribution_share,
    control_words,
    effect_against,
    marginal_effect,
)
from seqsal.auditing.parts.artifacts.search import Hits
from seqsal.sequence.codes import encode, one_hot, reverse_complement

LENGTH = 80
WORD = encode("AGATCGGAAGAGC")


@pytest.fixture(autouse=True)
def few_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "N_NEUTRAL", 24)
    monkeypatch.setattr(effects, "N_REMOVED", 16)


class Reads(nn.Module):
    """f(X) = effect · [the word is anywhere, on the forward strand] + something of every base."""

    def __init__(self, word: NDArray[np.uint8], effect: float) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.from_numpy(one_hot(word)))
        self.effect = effect

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        match = nn.functional.conv1d(X, self.kernel[None]).amax(dim=(1, 2))
        return self.effect * torch.relu(match - self.kernel.shape[1] + 1) + 0.01 * X[:, 2].sum(dim=1)


def hits_at(rows: NDArray[np.int64], start: int, strand: int = 1, first: int = 0, width: int = len(WORD)) -> Hits:
    n = len(rows)
    return Hits(
        rows,
        np.full(n, start),
        np.full(n, start + width),
        np.full(n, strand, np.int8),
        np.full(n, first),
        np.full(n, width),
    )


def planted(rng: np.random.Generator, n: int = 30) -> NDArray[np.uint8]:
    codes = random_codes(rng, n, LENGTH)
    codes[:, 20 : 20 + len(WORD)] = WORD
    return codes


def context_for(module: nn.Module, codes: NDArray[np.uint8]) -> AuditContext:
    return context_of(module, codes)


def test_a_model_that_reads_the_word_shows_its_effect(rng: np.random.Generator) -> None:
    context, hits = context_for(Reads(WORD, 3.0), planted(rng)), hits_at(np.arange(30), 20)
    for effect in (marginal_effect(context, WORD, hits, "word"), ablation_effect(context, WORD, hits, "word")):
        assert isinstance(effect, Effect) and effect.ci is not None
        assert effect.mean == pytest.approx(3.0, abs=0.1)
        assert effect.ci[0] <= effect.mean <= effect.ci[1]
        assert effect.p_value < 1e-6


def test_the_strand_of_the_hits_is_the_strand_that_is_written(rng: np.random.Generator) -> None:
    turned = reverse_complement(WORD)
    context, hits = context_for(Reads(turned, 3.0), planted(rng)), hits_at(np.arange(30), 20, strand=-1)
    effect = marginal_effect(context, WORD, hits, "word")
    assert isinstance(effect, Effect) and effect.mean == pytest.approx(3.0, abs=0.1)


def test_a_part_is_written_where_the_copies_have_it(rng: np.random.Generator) -> None:
    weight = torch.zeros(4, LENGTH)
    weight[WORD[5], 25] = 2.0
    context, hits = context_for(Linear(weight), planted(rng)), hits_at(np.arange(30), 20)
    effect = marginal_effect(context, WORD[3:], hits.of_part(3), "word")
    controls = control_words(context, WORD[3:], "word")[:N_CONTROL_WORDS]  # the effect is clearly none
    assert isinstance(effect, Effect)
    assert effect.mean == pytest.approx(2.0 * (1 - (controls[:, 2] == WORD[5]).mean()), abs=1e-5)


def test_a_model_that_ignores_its_input_has_no_effect(rng: np.random.Generator) -> None:
    context, hits = context_for(Ignores(), planted(rng)), hits_at(np.arange(30), 20)
    for effect in (marginal_effect(context, WORD, hits, "word"), ablation_effect(context, WORD, hits, "word")):
        assert isinstance(effect, Effect)
        assert (effect.mean, effect.p_value) == (0.0, 1.0)


def test_a_taste_for_bases_is_no_effect_of_a_word(rng: np.random.Generator) -> None:
    weight = torch.tensor([0.0, 0.5, 0.5, 0.0])[:, None].repeat(1, LENGTH)
    context, hits = context_for(Linear(weight), planted(rng)), hits_at(np.arange(30), 20)
    effect = marginal_effect(context, WORD, hits, "word")
    assert isinstance(effect, Effect) and abs(effect.mean) < 1e-4


def test_what_is_lost_anywhere_is_no_effect(rng: np.random.Generator) -> None:
    codes = planted(rng)
    codes[:, 40:70] = codes[0, 40:70]

    class Elsewhere(nn.Module):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return (X[:, :, 40:70] * torch.from_numpy(one_hot(codes[0, 40:70]))).sum(dim=(1, 2))

    effect = ablation_effect(context_for(Elsewhere(), codes), WORD, hits_at(np.arange(30), 20), "word")
    assert isinstance(effect, Effect) and effect.mean == 0.0


def test_too_few_copies_and_no_model_give_no_effect(rng: np.random.Generator) -> None:
    context, hits = context_for(Reads(WORD, 3.0), planted(rng)), hits_at(np.arange(4), 20)
    assert ablation_effect(context, WORD, hits, "word") == NotTested("only 4 regions with a copy, expected 5 or more")
    assert isinstance(marginal_effect(context, np.zeros(LENGTH + 1, np.uint8), hits, "word"), NotTested)
    bare = AuditContext(context.attr, None)
    assert marginal_effect(bare, WORD, hits, "word") == NotTested("no model was given")
    assert ablation_effect(bare, WORD, hits_at(np.arange(30), 20), "word") == NotTested("no model was given")


def test_one_region_has_a_marginal_effect(rng: np.random.Generator) -> None:
    context = context_for(Reads(WORD, 3.0), planted(rng, 1))
    effect = marginal_effect(context, WORD, hits_at(np.arange(1), 20), "word")
    assert isinstance(effect, Effect) and effect.n == 24


def test_controls_have_the_bases_of_the_word_and_are_unlike_it(rng: np.random.Generator) -> None:
    context = context_for(Ignores(), planted(rng))
    controls = control_words(context, WORD, "word")
    assert controls.shape == (MAX_CONTROL_WORDS, len(WORD))
    assert len(np.unique(controls, axis=0)) == len(controls)
    np.testing.assert_array_equal(np.sort(controls, axis=1), np.broadcast_to(np.sort(WORD), controls.shape))
    assert (controls == WORD).sum(axis=1).max() <= len(WORD) // 2 + 1


def words_asked(offset: float, effects: NDArray[np.float64], n: int = 40) -> tuple[list[int], Effect]:
    """Test an effect of so much beyond the controls' mean: how many words were asked each time, and the answer."""
    asked: list[int] = []

    def predict(words: NDArray[np.uint8]) -> NDArray[np.float64]:
        asked.append(len(words))
        return np.repeat(effects[words[:, 0]][:, None], n, axis=1)

    controls = np.arange(len(effects), dtype=np.uint8)[:, None]
    return asked, effect_against(predict, np.full((1, n), effects.mean() + offset), controls, np.zeros(n), 0.95)


def test_more_words_are_asked_where_a_few_leave_it_open(rng: np.random.Generator) -> None:
    drawn, first = rng.normal(size=MAX_CONTROL_WORDS), N_CONTROL_WORDS
    asked, effect = words_asked(2.2, drawn)
    assert asked == [first, MAX_CONTROL_WORDS - first]
    own = np.array([drawn.mean() + 2.2])  # one value against K: the t-test of two samples
    assert effect.p_value == pytest.approx(stats.ttest_ind(own, drawn, equal_var=True).pvalue, rel=1e-6)
    for clear in (0.0, 20.0):
        assert words_asked(clear, drawn)[0] == [first]


def test_a_run_of_one_base_is_compared_with_neutral_sequence(rng: np.random.Generator) -> None:
    context = context_for(Ignores(), planted(rng))
    controls = control_words(context, np.zeros(20, dtype=np.uint8), "tail")
    assert (controls == 0).mean() < 0.6


def test_the_share_of_the_map_counts_bases_once(rng: np.random.Generator) -> None:
    codes = planted(rng, 10)
    context = context_for(Linear(torch.from_numpy(rng.normal(size=(4, LENGTH)).astype(np.float32))), codes)
    twice = hits_at(np.repeat(np.arange(5), 2), 20)
    assert attribution_share(context, twice) == pytest.approx(
        np.abs(context.track(np.arange(5))[:, 20:33]).sum() / np.abs(context.track(np.arange(10))).sum()
    )
    assert attribution_share(context_for(Ignores(), codes), twice) == NotTested("the map is 0")
