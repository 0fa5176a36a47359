from __future__ import annotations

import itertools

import logomaker
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline

from seqsal.errors import UsageError
from seqsal.plot.logo import compound_outline, stack_letters
from seqsal.sequence.codes import ALPHABET, encode


def by_logomaker(values: np.ndarray) -> list[tuple[int, str, float, float, bool, Outline]]:
    """Position, base, floor, ceiling, upside down and outline of each letter that logomaker draws."""
    table = pd.DataFrame(values.T, columns=list(ALPHABET))
    logo = logomaker.Logo(table, ax=Figure().add_subplot(), font_name="DejaVu Sans", font_weight="bold", width=0.95)
    return [(g.p, g.c, g.floor, g.ceiling, g.flip, g.patch.get_path()) for g in logo.glyph_list if g.ceiling > g.floor]


def split(outline: Outline) -> list[np.ndarray]:
    """Vertices of the copies in a compound path."""
    letter = compound_outline(stack_letters([1.0], [0]), 0, 0, True)
    n_vertices = len(letter.vertices)
    return list(outline.vertices.reshape(-1, n_vertices, 2))


def test_letters_are_where_logomaker_puts_them(rng: np.random.Generator) -> None:
    values = rng.normal(size=(4, 30)) * rng.integers(0, 2, size=(4, 30))
    letters = stack_letters(values)
    expected = sorted(
        (p, ALPHABET.index(c), floor, ceiling, flip) for p, c, floor, ceiling, flip, _ in by_logomaker(values)
    )
    got = sorted(
        zip(
            letters.position.tolist(),
            letters.base.tolist(),
            letters.floor.tolist(),
            (letters.floor + letters.height).tolist(),
            letters.negative.tolist(),
            strict=True,
        )
    )
    assert len(got) == np.count_nonzero(values)
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_outlines_are_those_of_logomaker(rng: np.random.Generator) -> None:
    values = np.zeros((4, 12))
    values[0] = rng.normal(size=12)
    expected = {p: path.vertices for p, _, _, _, _, path in by_logomaker(values)}
    outline = compound_outline(stack_letters(values), 0, start=7, flip_negative=True)
    drawn = {round(float(v[:, 0].mean() - 7.0), 9): v for v in split(outline)}
    assert len(drawn) == 12
    for vertices in drawn.values():
        position = int(np.floor(vertices[:-1, 0].mean() - 7.0))
        moves = np.any(vertices != vertices[-1], axis=1)
        # logomaker centres base p on p, here it spans p to p + 1; the last vertex only closes the path
        np.testing.assert_allclose(vertices[moves] - [7.5, 0.0], expected[position][moves], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (4, 7), elements=st.floats(-5, 5).filter(lambda x: x == 0 or abs(x) > 1e-3)))
def test_stacks_fill_the_sum_of_each_sign_without_gap_or_overlap(values: np.ndarray) -> None:
    letters = stack_letters(values)
    assert len(letters) == np.count_nonzero(values)
    for position in range(values.shape[1]):
        mine = letters.position == position
        column = values[:, position]
        spans = sorted(zip(letters.floor[mine], letters.floor[mine] + letters.height[mine], strict=True))
        if spans:
            assert spans[0][0] == pytest.approx(column[column < 0].sum())
            assert spans[-1][1] == pytest.approx(column[column > 0].sum())
        for (_, top), (bottom, _) in itertools.pairwise(spans):
            assert bottom == pytest.approx(top)
        assert (letters.floor[mine & ~letters.negative] >= -1e-9).all()


def test_largest_letters_are_outermost() -> None:
    letters = stack_letters(np.array([[3.0], [1.0], [-1.0], [-2.0]]))
    order = [ALPHABET[base] for base in letters.base[np.argsort(letters.floor)]]
    assert order == ["T", "G", "C", "A"]


def test_a_track_is_drawn_as_the_bases_that_are_there() -> None:
    letters = stack_letters([0.5, -0.25, 0.0, 2.0, np.nan, 1.0], encode("ACGNTT"))
    assert [ALPHABET[base] for base in letters.base] == ["A", "C", "T"]
    assert letters.position.tolist() == [0, 1, 5]
    assert letters.height.tolist() == [0.5, 0.25, 1.0]
    assert letters.floor.tolist() == [0.0, -0.25, 0.0]
    assert letters.negative.tolist() == [False, True, False]


@pytest.mark.parametrize("flip", [True, False])
def test_negative_letters_hang_upside_down_when_asked(flip: bool) -> None:
    upright = compound_outline(stack_letters([1.0], [0]), 0, 0, flip).vertices[:-1]
    below = compound_outline(stack_letters([-1.0], [0]), 0, 0, flip).vertices[:-1]
    expected = -upright[:, 1] if flip else upright[:, 1] - 1.0
    np.testing.assert_allclose(below[:, 1], expected, atol=1e-12)
    np.testing.assert_allclose(below[:, 0], upright[:, 0])


def test_wrong_shapes_and_values_are_refused() -> None:
    with pytest.raises(UsageError, match=r"shape \(5, 4\), expected .* transpose"):
        stack_letters(np.zeros((5, 4)))
    with pytest.raises(UsageError, match="codes: missing"):
        stack_letters(np.zeros(5))
    with pytest.raises(UsageError, match=r"codes: shape \(4,\), expected that of values, \(5,\)"):
        stack_letters(np.zeros(5), [0, 1, 2, 3])
    with pytest.raises(UsageError, match="leave codes out"):
        stack_letters(np.zeros((4, 5)), [0, 1, 2, 3, 0])
    with pytest.raises(UsageError, match="1 are infinite"):
        stack_letters([0.0, np.inf], [0, 1])
