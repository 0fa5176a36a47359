"""Logos: letters whose heights are attributions, up for positive and down for negative.

Base i of a chromosome spans i to i + 1 on the x axis, so that letters, tracks and half-open peaks line up.

Letter shapes and the order of stacking are those of logomaker (Tareen and Kinney 2020,
doi:10.1093/bioinformatics/btz921), with negative letters upside down as in logomaker and in the UCSC browser's dynseq
tracks. `logomaker.Logo` makes several text paths and a patch for every letter, over a second for a track of 500 bases
and four times that for stacks. Here `logomaker.Glyph` shapes each of the four letters once, numpy places the copies,
and one patch per base draws them all: the same picture in a fraction of the time (a test compares the two).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import logomaker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.plot.locus import read_locus
from seqsal.plot.style import (
    frame_bases,
    ink,
    limits_with_air,
    new_axes,
    new_axes_column,
    root_figure,
    set_title,
    shown,
    two_lines,
)  # fmt: skip
from seqsal.regions import Region
from seqsal.sequence.codes import ALPHABET, N_CODE

__all__ = [
    "BASE_COLORS", "MAX_LOGO_BP", "Letters", "compound_outline", "plot_letters", "plot_logo", "plot_region_rows",
    "stack_letters",
]  # fmt: skip

_LETTER_WIDTH = 0.95
_FONT = ("DejaVu Sans", "bold")  # ships with matplotlib: the same letters on every machine


class Letters:
    """The letters of a logo as arrays, one entry a letter by position, then from below; none has height zero."""

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

    @property
    def limits(self) -> tuple[float, float]:
        """Limits of the y axis."""
        return limits_with_air(self.floor.min(initial=0.0), (self.floor + self.height).max(initial=0.0))


def stack_letters(values: ArrayLike, codes: ArrayLike | None = None) -> Letters:
    """Place the letters of a track (L,) with its `codes` (L,), or of a matrix (4, L), rows A C G T.

    NaN, "no value", and N are drawn as nothing; infinite values and shapes that do not fit raise `UsageError`.
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
    """Return one path with every copy of a letter, a row of `ALPHABET`; `start` is added to positions."""
    outline = _letter_outline(ALPHABET[base])
    shape, moves = np.asarray(outline.vertices), np.asarray(outline.codes)
    mine = letters.base == base
    upside_down = (letters.negative[mine] & flip_negative)[:, None]
    y = shape[:, 1]
    y = np.where(upside_down, 1.0 - y, y) * letters.height[mine][:, None] + letters.floor[mine][:, None]
    x = shape[:, 0] + (letters.position[mine] + start)[:, None]
    vertices = np.stack([x, y], axis=-1).reshape(-1, 2)  # (n_letters × n_vertices, 2)
    return Outline(vertices, np.tile(moves, int(mine.sum())))


BASE_COLORS: dict[str, dict[str, str]] = {
    # The hues that biologists expect, of medium lightness, so that they show on white and on black.
    "classic": {"A": "#2e9f4f", "C": "#3b6fd4", "G": "#f0a30a", "T": "#d8423d"},
    # Of the Okabe–Ito colours that show on white and on black, the four that stay furthest apart (CIELAB) for normal,
    # protan, deutan and tritan vision as modelled by Machado et al. 2009, doi:10.1109/TVCG.2009.113.
    "colorblind": {"A": "#56b4e9", "C": "#0072b2", "G": "#e69f00", "T": "#d55e00"},
}
MAX_LOGO_BP = 5_000


def _colors(colors: str | Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(colors, str):
        if colors not in BASE_COLORS:
            raise UsageError(f"colors: got {colors!r}, expected one of {', '.join(BASE_COLORS)}, or a color per base")
        return BASE_COLORS[colors]
    if missing := [base for base in ALPHABET if base not in colors]:
        raise UsageError(f"colors: none for {', '.join(missing)}; give one for each of {', '.join(ALPHABET)}")
    return colors


def _logo_size(n_bases: int) -> tuple[float, float]:
    """Inches that leave every letter at least 5 points wide up to 500 bases."""
    return float(np.clip(0.13 * n_bases, 5.0, 40.0)), 2.2


def plot_letters(
    values: ArrayLike,
    codes: ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    start: int = 0,
    chrom: str | None = None,
    unit: str = "attribution",
    colors: str | Mapping[str, str] = "classic",
    flip_negative: bool = True,
    highlight: Sequence[tuple[int, int]] = (),
    title: str | None = None,
) -> Axes:
    """Draw a track over its bases, or a matrix of all four bases, as letters.

    The base at column i spans `start` + i to `start` + i + 1 on the x axis; its tick, where it has one, stands under
    its middle and names its 0-based position.

    Parameters
    ----------
    values
        Attributions of shape (L,), to be drawn as the letters in `codes`; or hypothetical scores or a CWM of shape
        (4, L), rows A C G T, stacked at each position with the largest outermost. NaN is drawn as nothing.
    codes
        (L,) uint8, A C G T N = 0 1 2 3 4; with a track only.
    ax
        Axes to draw on; None makes a figure as wide as L asks for.
    start
        Position of the first base on its chromosome, 0-based.
    chrom
        Name for the x axis.
    unit
        Label of the y axis, for example "contribution to the logit".
    colors
        "classic", "colorblind" or a color for each of A, C, G, T.
    flip_negative
        Turn letters below the axis upside down.
    highlight
        Spans (start, end) on the x axis to shade.
    title
        Written above, on the left.

    Raises
    ------
    UsageError
        The shapes do not fit, a value is infinite, or `colors` is unknown.

    Examples
    --------
    >>> from seqsal.sequence.codes import encode
    >>> plot_letters([0.1, 0.9, -0.4], encode("GAT"), unit="contribution to the logit").get_ylabel()
    'contribution to the logit'
    """
    letters = stack_letters(values, codes)
    n_bases = np.shape(values)[-1]
    palette = _colors(colors)
    axes = new_axes(*_logo_size(n_bases)) if ax is None else ax
    for base, letter in enumerate(ALPHABET):
        if (letters.base == base).any():
            outline = compound_outline(letters, base, start, flip_negative)
            patch = PathPatch(outline, facecolor=palette[letter], linewidth=0, gid=f"letters-{letter}")
            axes.add_artist(patch)  # add_patch would measure every curve for limits that are set below
    axes.axhline(0.0, color=ink(), linewidth=0.6, zorder=0.5)
    axes.set_ylim(*letters.limits)
    frame_bases(axes, (chrom, start, start + n_bases), unit, highlight, title)
    return axes


@shown
def plot_logo(
    attr: Attributions,
    region: str | int | Region | None = None,
    ax: Axes | None = None,
    *,
    hypothetical: bool = False,
    colors: str | Mapping[str, str] = "classic",
    flip_negative: bool = True,
    highlight: Sequence[tuple[int, int]] = (),
    title: str | None = None,
) -> Axes:
    """Draw the attributions of a region of the genome, + strand, as a logo.

    Where several windows cover a base, their mean is drawn, as in the bigWig file; windows of strand "-" are turned.
    What no window covers is cut off at the ends and left blank in between.

    Parameters
    ----------
    attr
        Attributions of N windows.
    region
        `chrom:start-end`, 0-based half-open, the name of a region of the attributions, or its row; None is the region
        with the highest prediction.
    hypothetical
        Draw the scores of all four bases instead of those of the bases that are there.
    ax, colors, flip_negative, highlight, title
        As for :func:`plot_letters`.

    Raises
    ------
    RegionError
        No window covers any of `region`, or the windows over it span more than `MAX_LOGO_BP`.
    UsageError
        Hypothetical scores were not kept, or `colors` is unknown.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> codes, track = np.uint8([[0, 1, 2, 3] * 2]), np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(make_regions(["chr1"], [100], [108]), codes, track, np.float32([1.5]))
    >>> ax = seqsal.plot_logo(attr, "chr1:101-106", title="a site")
    >>> ax.get_title(loc="left")
    'a site'
    """
    locus = read_locus(attr, region, hypothetical=hypothetical, max_bp=MAX_LOGO_BP)
    values, codes = (locus.track, locus.codes) if locus.hypothetical is None else (locus.hypothetical, None)
    unit = two_lines("hypothetical " * hypothetical + attr.unit)
    return plot_letters(
        values, codes, ax, start=locus.start, chrom=locus.chrom, unit=unit, colors=colors, flip_negative=flip_negative,
        highlight=highlight, title=title,
    )  # fmt: skip


def plot_region_rows(
    attr: Attributions,
    region: str | int | Region | None = None,
    *,
    row_bp: int = 100,
    hypothetical: bool = False,
    colors: str | Mapping[str, str] = "classic",
    title: str | None = None,
) -> list[Axes]:
    """Draw a logo too long for one line as lines of `row_bp` bases below each other, all on the same y scale.

    Parameters
    ----------
    attr, region, hypothetical, colors, title
        As for :func:`plot_logo`.
    row_bp
        Bases a line.

    Returns
    -------
    list of Axes
        One a line, in a figure of their own.

    Raises
    ------
    RegionError, UsageError
        As for :func:`plot_logo`.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> codes, track = np.uint8([[0, 1, 2, 3] * 2]), np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(make_regions(["chr1"], [100], [108]), codes, track, np.float32([1.5]))
    >>> len(plot_region_rows(attr, "chr1:100-108", row_bp=3))
    3
    """
    if row_bp < 1:
        raise UsageError(f"row_bp: got {row_bp}, expected a number of bases, 1 or more")
    locus = read_locus(attr, region, hypothetical=hypothetical, max_bp=MAX_LOGO_BP)
    values = locus.track if locus.hypothetical is None else locus.hypothetical
    n_bases = locus.end - locus.start
    n_rows = -(-n_bases // row_bp)
    limits = stack_letters(values, locus.codes if values.ndim == 1 else None).limits
    axes = new_axes_column(_logo_size(min(n_bases, row_bp)), n_rows)
    for row, ax in enumerate(axes):
        part = slice(row * row_bp, min((row + 1) * row_bp, n_bases))
        codes = locus.codes[part] if values.ndim == 1 else None
        plot_letters(
            values[..., part], codes, ax, start=locus.start + part.start, chrom=locus.chrom, unit="", colors=colors
        )
        ax.set(xlim=(locus.start + part.start, locus.start + part.start + min(n_bases, row_bp)), ylim=limits)
        if row < n_rows - 1:
            ax.set_xlabel("")
    root_figure(axes[0]).supylabel("hypothetical " * hypothetical + attr.unit, fontsize="medium", parse_math=False)
    set_title(axes[0], title)
    return axes
