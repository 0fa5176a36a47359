from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from toys import random_codes

from seqsal.auditing.parts.faithfulness import replacement as curves
from seqsal.auditing.parts.faithfulness.replacement import (
    area,
    first_in_order,
    replacement_counts,
    replacement_curves,
    replacement_orders,
    summarise_curves,
)
from seqsal.auditing.settings import AuditSettings
from seqsal.sequence.codes import N_CODE
from seqsal.sequence.draws import dinucleotide_shuffle

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
MAP, RANDOM, REVERSE, CENTRE, EDGES = range(5)


def pairwise(length: int) -> Predict:
    """A model that is not linear: products of neighbouring bases' weights."""
    weight = np.random.default_rng(8).normal(size=(5, length))

    def predict(codes: NDArray[np.uint8], _: object = None) -> NDArray[np.float64]:
        values = weight[codes, np.arange(length)]
        return values.sum(axis=1) + (values[:, 1:] * values[:, :-1]).sum(axis=1)

    return predict


def shuffles(codes: NDArray[np.uint8], n_draws: int) -> list[NDArray[np.uint8]]:
    return [dinucleotide_shuffle(codes, seed=5, draw=draw) for draw in range(n_draws)]


def slow_curve(
    predict: Predict, codes: NDArray[np.uint8], shuffled: NDArray[np.uint8], order: list[int], counts: NDArray[np.int64]
) -> list[float]:
    """Replace one region's bases one by one and ask the model at each count."""
    outputs = []
    for k in counts:
        perturbed = codes.copy()
        for position in order[:k]:
            perturbed[position] = shuffled[position]
        outputs.append(float(predict(perturbed[None])[0]))
    return outputs


@given(n_known=st.integers(1, 700), n_steps=st.integers(1, 40))
def test_counts_rise_to_all_bases_and_are_their_own_mirror_image(n_known: int, n_steps: int) -> None:
    (counts,) = replacement_counts(np.array([n_known]), n_steps)
    assert counts[0] == 0
    assert counts[-1] == n_known
    assert (np.diff(counts) >= 0).all()
    mirrored = n_known - counts[::-1]
    middle = n_steps / 2
    assert all(a == b for j, (a, b) in enumerate(zip(counts, mirrored, strict=True)) if j != middle)
    assert np.abs(counts - mirrored).max() <= 1


def test_a_quarter_of_the_steps_lie_in_the_first_tenth() -> None:
    (counts,) = replacement_counts(np.array([200]), 20)
    assert counts[:6].tolist() == [0, 1, 2, 6, 12, 20]
    assert counts[10] == 100


def test_the_largest_goes_first_and_unknown_bases_never(rng: np.random.Generator) -> None:
    importance = np.array([[0.5, 9.0, -2.0, 1.0, 0.0]])
    known = np.array([[True, False, True, True, True]])
    ranks = replacement_orders(importance, known, rng)[:, 0]
    assert ranks[MAP].tolist() == [1, 5, 3, 0, 2]
    assert ranks[REVERSE].tolist() == [2, 5, 0, 3, 1]
    assert ranks[CENTRE, 2] == 0
    assert ranks[EDGES, 2] == 3
    assert {ranks[CENTRE, 0], ranks[CENTRE, 4]} == {2, 3}
    for order in ranks:
        assert sorted(order[known[0]]) == [0, 1, 2, 3]
        assert order[1] == 5


def test_equal_values_come_in_random_order(rng: np.random.Generator) -> None:
    keys = np.tile(np.repeat([0.0, 1.0], 4), (2000, 1))
    ranks = first_in_order(keys, np.ones(keys.shape, dtype=bool), rng)
    np.testing.assert_allclose(ranks[:, :4].mean(axis=0), 1.5, atol=0.15)
    np.testing.assert_allclose(ranks[:, 4:].mean(axis=0), 5.5, atol=0.15)
    assert ranks[:, :4].max() == 3


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 23])
@pytest.mark.parametrize("share_unknown", [0.0, 0.1])
def test_curves_are_those_of_replacing_bases_one_by_one(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, share_unknown: float
) -> None:
    monkeypatch.setattr(curves, "CHUNK_BYTES", chunk_bytes)
    codes = random_codes(rng, 4, 31, share_unknown)
    importance, predict, draws = rng.normal(size=codes.shape), pairwise(31), shuffles(codes, 2)
    found = replacement_curves(predict, codes, importance, iter(draws), rng, 7)
    centre = np.abs(np.arange(31) - 15.0)
    for i in range(4):
        known = np.flatnonzero(codes[i] != N_CODE)
        counts = replacement_counts(np.array([len(known)]), 7)[0]
        np.testing.assert_allclose(found.share[i], counts / len(known))
        by_map = sorted(known, key=lambda p, i=i: -importance[i, p])
        for which, order in ((MAP, by_map), (REVERSE, by_map[::-1])):
            slow = np.mean([slow_curve(predict, codes[i], draw[i], order, counts) for draw in draws], axis=0)
            np.testing.assert_allclose(found.outputs[which, i], slow)
        for which in (CENTRE, EDGES):  # ties are free at all counts but those that split none
            order = sorted(known, key=lambda p: centre[p] if which == CENTRE else -centre[p])
            whole = [k for k in range(len(counts)) if counts[k] in (0, len(known)) or
                     centre[order[counts[k] - 1]] != centre[order[counts[k]]]]  # fmt: skip
            slow = np.mean([slow_curve(predict, codes[i], draw[i], order, counts) for draw in draws], axis=0)
            np.testing.assert_allclose(found.outputs[which, i, whole], slow[whole])
    np.testing.assert_allclose(found.prediction, predict(codes))
    np.testing.assert_allclose(found.shuffled_prediction, np.mean([predict(draw) for draw in draws], axis=0))


def test_insertion_restores_bases_in_the_same_order(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 3, 30)
    importance, predict, draws = rng.normal(size=codes.shape), pairwise(30), shuffles(codes, 2)
    inserted = replacement_curves(predict, codes, importance, draws, rng, 8).insertion()
    for i in range(3):
        counts = np.rint(inserted.share[i] * 30).astype(int)
        order = list(np.argsort(-importance[i]))
        for name, which in (("map", order), ("reverse", order[::-1])):
            slow = np.mean([slow_curve(predict, draw[i], codes[i], which, counts) for draw in draws], axis=0)
            np.testing.assert_allclose(inserted.outputs[name][i], slow)


def test_deletion_of_a_linear_model_has_a_closed_form(rng: np.random.Generator) -> None:
    weight = rng.normal(size=(4, 50))
    codes = random_codes(rng, 6, 50)
    (shuffled,) = shuffles(codes, 1)
    place = np.arange(50)
    loss = weight[codes, place] - weight[shuffled, place]

    def predict(some: NDArray[np.uint8], _: object = None) -> NDArray[np.float64]:
        return weight[some, place].sum(axis=1)

    found = replacement_curves(predict, codes, loss, [shuffled], rng, 50).deletion()
    counts = replacement_counts(np.full(6, 50), 50)
    lost = np.concatenate([np.zeros((6, 1)), -np.sort(-loss, axis=1).cumsum(axis=1)], axis=1)
    expected = predict(codes)[:, None] - np.take_along_axis(lost, counts, axis=1)
    np.testing.assert_allclose(found.outputs["map"], expected)
    for order in ("random", "reverse", "centre"):  # nothing can be lost faster
        assert (found.outputs[order] >= found.outputs["map"] - 1e-9).all()


def test_a_model_that_reads_one_base_falls_at_the_first_step(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 8, 40)
    (shuffled,) = shuffles(codes, 1)
    importance = np.where(np.arange(40) == 17, 1.0, np.zeros(codes.shape))

    def predict(some: NDArray[np.uint8], _: object = None) -> NDArray[np.float64]:
        return np.array([3.0, -1.0, 0.0, 2.0])[some[:, 17]]

    found = replacement_curves(predict, codes, importance, [shuffled], rng, 10)
    first = (found.share > 0).argmax(axis=1)
    assert (first == first[0]).all()
    before, after = predict(codes)[:, None], predict(shuffled)[:, None]
    step = np.where(np.arange(11) < first[0], before, after)
    np.testing.assert_array_equal(found.deletion().outputs["map"], step)
    np.testing.assert_array_equal(found.insertion().outputs["map"], np.where(found.share == 0, after, before))


def test_no_sequence_of_an_order_is_predicted_twice(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 3, 12)
    seen: list[bytes] = []
    predict = pairwise(12)

    def counting(some: NDArray[np.uint8], _: object = None) -> NDArray[np.float64]:
        seen.extend(row.tobytes() for row in some)
        return predict(some)

    (shuffled,) = shuffles(codes, 1)
    found = replacement_curves(counting, codes, rng.normal(size=codes.shape), [shuffled], rng, 40)
    assert found.n_passes == len(seen)
    n_different = (codes != shuffled).sum(axis=1)
    assert len(seen) == 6 + 5 * np.maximum(n_different - 1, 0).sum()


def test_a_sequence_that_no_shuffle_changes_has_flat_curves(rng: np.random.Generator) -> None:
    codes = np.zeros((2, 9), dtype=np.uint8)
    found = replacement_curves(pairwise(9), codes, rng.normal(size=codes.shape), [codes, codes], rng, 4)
    assert found.n_passes == 6
    np.testing.assert_allclose(found.outputs, np.broadcast_to(found.prediction[:, None], found.outputs.shape))


def test_a_map_without_signs_is_judged_by_the_size_of_the_change(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 12, 40)
    (shuffled,) = shuffles(codes, 1)

    def one_by_one(some: NDArray[np.uint8], _: object = None) -> NDArray[np.float64]:
        return np.array([3.0, -1.0, 0.0, 2.0])[some[:, 17]]

    importance = np.where(np.arange(40) == 17, 1.0, np.zeros(codes.shape))
    found = replacement_curves(one_by_one, codes, importance, [shuffled], rng, 10, signed=False)
    size = np.abs(one_by_one(codes) - one_by_one(shuffled))[:, None]
    for kind in (found.deletion(), found.insertion()):  # all of the change comes with the first base
        np.testing.assert_allclose(kind.outputs["map"], np.where(kind.share > 0, size, 0.0))
    settings = AuditSettings(n_bootstrap=100)
    for kind_of in ("deletion", "insertion"):
        result, table = summarise_curves(found, kind_of, settings, rng)
        assert result.difference > 0 and result.ci is not None and result.ci[0] > 0
        assert table.loc[table["order"] == "map", "mean"].is_monotonic_increasing


def test_areas_are_those_of_trapezoids() -> None:
    share = np.array([[0.0, 0.1, 1.0], [0.0, 0.5, 1.0]])
    outputs = np.array([[1.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(area(outputs, share), [0.05, 2.0])
