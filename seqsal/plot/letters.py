"""The letters of a logo: where they go, and their outlines.

Letter shapes and the order of stacking are those of logomaker (Tareen and Kinney 2020,
doi:10.1093/bioinformatics/btz921), with negative letters upside down as in logomaker and in the UCSC browser's dynseq
tracks. `logomaker.Logo` makes several text paths and a patch for every letter, over a second for a track of 500 bases
and four times that for stacks. Here `logomaker.Glyph` shapes each of the four letters once, numpy places the copies,
and one patch per base draws them all: the same picture in a fraction of the time (a test compares the two).
"""

from __future__ import annotations

from functools import cache

import logomaker
import numpy as np
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import UsageError
from seqsal.sequence.codes import ALPHABET, N_CODE

__all__ = ["Letters", "compound_outline", "stack_letters"]

_LETTER_WIDTH = 0.95
_FONT = ("DejaVu Sans", "bold")  # ships with matplotlib: the same letters on every machine


class Letters:
    """The letters of a logo as arrays, one entry a letter by position, then from below; none has height zero.

    Attributes
    ----------
    base
        Row of `ALPHABET`.
    position
        Column of the matrix.
    floor, height
        Lower edge and extent on the y axis; heights are positive.
    negative
        Whether the letter hangs below the axis.
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        order = np.argsort(values, axis=0, kind="stable")  # (4, L), lowest first: big letters end up outermost
        heights = np.abs(np.take_along_axis(values, order, axis=0))
        lowest = np.minimum(values, 0.0).sum(axis=0)
        floors = lowest + np.cumsum(heights, axis=0) - heights
        drawn = heights.T > 0  # (L, 4), so that letters come position by position
        self.base: NDArray[np.intp] = order.T[drawn]
        self.position: NDArray[np.intp] = np.nonzero(drawn)[0]
        self.floor: NDArray[np.float64] = floors.T[drawn]
        self.height: NDArray[np.float64] = heights.T[drawn]
        self.negative: NDArray[np.bool_] = values[self.base, self.position] < 0

    def __len__(self) -> int:
        return len(self.base)


def stack_letters(values: ArrayLike, codes: ArrayLike | None = None) -> Letters:
    """Place the letters of a logo.

    Parameters
    ----------
    values
        Track of shape (L,) with `codes`, or a matrix of shape (4, L), rows A C G T.
    codes
        (L,) codes of the bases that are there; an N (4) gets no letter.

    Raises
    ------
    UsageError
        The shapes do not fit, or a value is infinite. NaN, "no value", is drawn as nothing.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 1:
        array = _spread(array, codes)
    elif array.ndim != 2 or array.shape[0] != len(ALPHABET):
        raise UsageError(
            f"values: shape {array.shape}, expected (L,) with codes or (4, L) with rows A C G T; transpose (L, 4) first"
        )
    elif codes is not None:
        raise UsageError("codes: given with a (4, L) matrix, which names its bases itself; leave codes out")
    if np.isinf(array).any():
        raise UsageError(f"values: {int(np.isinf(array).sum())} are infinite, expected numbers; check the model")
    return Letters(np.nan_to_num(array, nan=0.0))


def _spread(track: NDArray[np.float64], codes: ArrayLike | None) -> NDArray[np.float64]:
    """(L,) values on the rows of their bases: (4, L)."""
    if codes is None:
        raise UsageError("codes: missing, a track of shape (L,) needs the codes of its bases to draw letters")
    bases = np.asarray(codes)
    if bases.shape != track.shape:
        raise UsageError(f"codes: shape {bases.shape}, expected that of values, {track.shape}")
    known = np.flatnonzero(bases < N_CODE)
    matrix = np.zeros((len(ALPHABET), len(track)))
    matrix[bases[known], known] = track[known]
    return matrix


@cache
def _letter_outline(base: str) -> Outline:
    """Outline of a letter one unit high on the floor 0, at x from 0 to 1, shaped by logomaker."""
    scratch = Figure().add_subplot()
    glyph = logomaker.Glyph(
        0.5, base, 0.0, 1.0, ax=scratch, width=_LETTER_WIDTH, font_name=_FONT[0], font_weight=_FONT[1]
    )
    return glyph.patch.get_path()


def compound_outline(letters: Letters, base: int, start: int, flip_negative: bool) -> Outline:
    """Return one path with every copy of a letter.

    Parameters
    ----------
    letters
        Where the letters are.
    base
        Which one, a row of `ALPHABET`.
    start
        What to add to positions.
    flip_negative
        Turn letters below the axis upside down.
    """
    outline = _letter_outline(ALPHABET[base])
    shape, moves = np.asarray(outline.vertices), np.asarray(outline.codes)
    mine = letters.base == base
    upside_down = (letters.negative[mine] & flip_negative)[:, None]
    y = shape[:, 1]
    y = np.where(upside_down, 1.0 - y, y) * letters.height[mine][:, None] + letters.floor[mine][:, None]
    x = shape[:, 0] + (letters.position[mine] + start)[:, None]
    vertices = np.stack([x, y], axis=-1).reshape(-1, 2)  # (n_letters × n_vertices, 2)
    return Outline(vertices, np.tile(moves, int(mine.sum())))
