"""The looks that all pictures share, and writing a picture to a file or into a page.

Figures are made with matplotlib's object interface, so nothing is registered with pyplot and nothing has to be closed.
The one exception are pictures that a user asks for in a notebook (`shown`): pyplot shows those beneath the cell. Text
stays text in SVG and PDF files (`svg.fonttype` none, `pdf.fonttype` 42), and the same picture gives the same bytes.
"""

from __future__ import annotations

import functools
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from seqsal.errors import UsageError
from seqsal.io.atomic import atomic_path
from seqsal.plot.page import PageAxes

__all__ = [
    "NEGATIVE", "POSITIVE", "PositionLocator", "SteadyLayout", "drawing_style", "frame_bases", "gallery_svg",
    "in_notebook", "ink", "inline_svg", "label_positions", "limits_with_air", "new_axes", "new_axes_column",
    "new_figure", "one_line", "own_style", "root_figure", "save_figure", "set_title", "shown", "two_lines",
]  # fmt: skip

POSITIVE = "#0072b2"  # Okabe and Ito's blue and vermilion: distinguishable with every kind of colour vision
NEGATIVE = "#d55e00"

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so a picture is the same on every machine
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "legend.frameon": False,
    "path.simplify": False,
    "text.usetex": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "seqsal",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
}
_METADATA: dict[str, dict[str, str | None]] = {
    ".svg": {"Date": None, "Creator": "seqsal"},
    ".png": {"Software": "seqsal"},
    ".pdf": {"CreationDate": None, "Creator": "seqsal", "Producer": "seqsal"},
}
_INK = "#010203"  # a colour that nothing else has, to be found again in the SVG text
_PAGE_COLORS = {_INK: "currentColor", POSITIVE: "var(--pos)", NEGATIVE: "var(--neg)"}
_DECIMALS = 2  # hundredths of a point
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_NOT_NEEDED = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")  # matplotlib writes > in texts and attributes as an entity
_OUTSIDE = re.compile(r' xmlns(?::\w+)?="[^"]*"|; font-family: [^;"]*|font-family: [^;"]*; ')
_REFERENCE = re.compile(r'(\bid="|\bhref="#|url\(#)')
_MAX_NAME = 60
_INCH_PER_TICK = 1.0
_IS_SHOWN: ContextVar[bool] = ContextVar("_IS_SHOWN", default=False)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@contextmanager
def drawing_style(**changes: Any) -> Iterator[None]:
    """Draw with the shared settings, given back at the end; `changes` are rcParams with `_` for the dots."""
    settings: Any = _STYLE | {key.replace("_", "."): value for key, value in changes.items()}
    with matplotlib.rc_context(settings):
        yield


@contextmanager
def own_style() -> Iterator[None]:
    """Draw as if there were no `matplotlibrc`: files that seqsal writes do not hang on the current folder."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def shown(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a notebook show the figures that `draw` makes beneath the cell."""

    @functools.wraps(draw)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        token = _IS_SHOWN.set(True)
        try:
            return draw(*args, **kwargs)
        finally:
            _IS_SHOWN.reset(token)

    return wrapper


class SteadyLayout(ConstrainedLayoutEngine):
    """Constrained layout, rounded: the last digits of its solver, and so ids in SVG, differ from process to process."""

    def execute(self, fig: Any) -> None:
        """Place the Axes."""
        super().execute(fig)
        for ax in fig.axes:
            ax._set_position(Bbox(np.round(ax.get_position(original=True).get_points(), 8)))


def new_figure(width: float, height: float) -> Figure:
    """Return a new figure of `width` × `height` inches; pyplot knows of it in a notebook that is to show it alone.

    Call it outside `drawing_style`: with its first figure pyplot may turn interactive, which has to last.
    """
    if _IS_SHOWN.get() and in_notebook():
        from matplotlib import pyplot

        return pyplot.figure(figsize=(width, height), layout=SteadyLayout())
    return Figure(figsize=(width, height), layout=SteadyLayout())


def new_axes(width: float, height: float) -> Axes:
    """Return the only Axes of a new figure of `width` × `height` inches."""
    figure = new_figure(width, height)
    with drawing_style():
        return figure.add_subplot()


def new_axes_column(size: tuple[float, float], n_rows: int) -> list[Axes]:
    """Return `n_rows` Axes of `size` inches each, below each other in one new figure."""
    width, height = size
    figure = new_figure(width, height * n_rows)
    with drawing_style():
        return [figure.add_subplot(n_rows, 1, row + 1) for row in range(n_rows)]


def root_figure(ax: Axes) -> Figure:
    """Return the figure that `ax` ends up in, also through subfigures."""
    figure: Any = ax.figure
    return figure if isinstance(figure, Figure) else figure.figure


def two_lines(unit: str) -> str:
    """Break a unit such as `contribution to the logit` before its preposition, for the axis of a low picture."""
    return unit.replace(" to the ", "\nto the ").replace(" on the ", "\non the ")


def one_line(name: object, limit: int = _MAX_NAME) -> str:
    """Return a name from an input file fit for a picture: one line, printable, at most `limit` characters."""
    text = str(name)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def ink() -> Any:
    """Colour of lines that belong to the axes rather than to the data."""
    return matplotlib.rcParams["axes.edgecolor"]


class PositionLocator(MaxNLocator):
    """Ticks under the middle of whole bases: base p spans p to p + 1 on the axis, and its tick stands at p + 0.5."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Return tick places between two limits of the axis."""
        return np.asarray(super().tick_values(vmin - 0.5, vmax - 0.5)) + 0.5


def frame_bases(
    ax: Axes, span: tuple[str | None, int, int], unit: str, highlight: Sequence[tuple[int, int]], title: str | None
) -> None:
    """Label the axes of a picture whose x axis is bases of `span` (chrom, start, end), and shade the highlights."""
    for first, last in highlight:
        ax.axvspan(first, last, facecolor=ink(), alpha=0.12, linewidth=0, gid="highlight", zorder=0)
    ax.set_ylabel(unit, parse_math=False)
    label_positions(ax, *span)
    set_title(ax, title)


def set_title(ax: Axes, title: str | None) -> None:
    """Write a title, if there is one, above the Axes on the left."""
    if title is not None:
        ax.set_title(title, loc="left", parse_math=False)


def limits_with_air(low: float, high: float) -> tuple[float, float]:
    """Limits of a y axis with 0 on it and 5 % of air on each side that has values."""
    low, high = min(0.0, low), max(0.0, high)
    air = 0.05 * (high - low)
    return (low - air if low < 0 else 0.0, high + air if high > 0 else 0.0) if air else (-1.0, 1.0)


def label_positions(ax: Axes | PageAxes, chrom: str | None, start: int, end: int) -> None:
    """Limit and label the x axis as positions `start` to `end`, with as many ticks as labels have room for."""
    if isinstance(ax, PageAxes):
        width = ax.width_inches
    else:
        width = root_figure(ax).get_size_inches()[0] * ax.get_position().width
    digits = len(f"{end:,}")
    n_ticks = max(2, min(12, int(width / max(_INCH_PER_TICK, 0.09 * digits))))
    ax.set_xlim(start, end)
    ax.xaxis.set_major_locator(PositionLocator(nbins=n_ticks, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{int(np.floor(x)):,}"))
    where = "position in the window" if chrom is None else f"position on {one_line(chrom)}"
    ax.set_xlabel(f"{where} (bp, 0-based)", parse_math=False)


def save_figure(figure: Axes | Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
    """Write a figure as SVG, PNG or PDF, chosen by the suffix of `path`; the same figure gives the same bytes.

    Parameters
    ----------
    figure
        A Figure, or any of its Axes.
    path
        File to write; what was there is replaced only when the new file is complete.
    dpi
        Pixels per inch of a PNG.

    Raises
    ------
    UsageError
        The suffix is none of .svg, .png and .pdf.
    OutputError
        The file cannot be written.

    Examples
    --------
    >>> import seqsal
    >>> from seqsal.plot import plot_track
    >>> seqsal.save_figure(plot_track([0.1, 0.8, -0.2]), "track.svg").name
    'track.svg'
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in _METADATA:
        got = f"suffix {target.suffix!r}" if target.suffix else "no suffix"
        raise UsageError(f"{target}: {got}, expected .svg, .png or .pdf; rename the output file")
    root = figure if isinstance(figure, Figure) else root_figure(figure)
    with atomic_path(target) as temporary, drawing_style(), warnings.catch_warnings():
        # A name in a script that the font lacks: SVG viewers substitute a font, PNG and PDF show a box.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        content = io.BytesIO()  # a backend that cannot write says so in many ways
        root.savefig(
            content,
            format=suffix[1:],
            dpi=dpi,
            metadata=_METADATA[suffix],
            bbox_inches=None if root.get_layout_engine() else "tight",  # a layout engine leaves room for labels itself
            pad_inches=0.05,
        )
        temporary.write_bytes(content.getvalue())
    return target


def inline_svg(
    draw: Callable[[Axes], object],
    size: tuple[float, float],
    *,
    key: str,
    label: str,
    margins: tuple[float, float, float, float] | None = None,
) -> Markup:
    """Draw on new Axes of `size` inches and return the picture as an `<svg>` element for the middle of a page.

    Axes, ticks and text take the page's text colour, positive and negative fills its `--pos` and `--neg`. Nothing in
    the element points outside the page, and its ids begin with `key` (letters, digits and `-`), unique on the page.
    `label` says what the picture shows, for those who cannot see it; escaped here. `margins` are inches left, right,
    below and above the Axes, so that pictures below each other line up; None fits the labels.
    """
    ink = dict.fromkeys(
        ("text_color", "axes_edgecolor", "axes_labelcolor", "xtick_color", "ytick_color", "axes_titlecolor"), _INK
    )
    buffer = io.StringIO()
    with own_style(), drawing_style(**ink, svg_hashsalt=key), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")  # the browser has fonts of its own
        figure = Figure(figsize=size, layout=SteadyLayout() if margins is None else None)
        if margins is not None:
            left, right, below, above = margins
            edges = {"left": left / size[0], "right": 1 - right / size[0]}
            figure.subplots_adjust(**edges, bottom=below / size[1], top=1 - above / size[1])
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    # Texts in it were escaped by matplotlib, the label by _compact.
    return Markup(_compact(buffer.getvalue(), key, label))


def gallery_svg(
    draw: Callable[[Axes], object],
    size: tuple[float, float],
    margins: tuple[float, float, float, float],
    *,
    key: str,
    label: str,
) -> Markup:
    """Draw tracks, logos and motifs as `inline_svg` does, forty times as fast, on axes that line up.

    `margins` are inches left, right, below and above the Axes. `PageAxes` knows no other drawing.
    """
    axes = PageAxes(size, margins, _PAGE_COLORS)
    draw(cast(Axes, axes))
    return Markup(axes.svg(key, label))


def _compact(svg: str, key: str, label: str) -> str:
    """Strip what an element inside a page does not need, and hand its colours over to the page, in its tags alone."""
    svg = _TAG.sub(lambda match: _compact_tag(match[0], key), _NOT_NEEDED.sub("", svg).strip())
    head = f'<svg role="img" aria-label="{escape(label)}" '
    svg = re.sub(r'^<svg (?:width="[^"]*" )?(?:height="[^"]*" )?', lambda _: head, svg)
    return re.sub(r"\s*\n\s*", "\n", svg)


def _compact_tag(tag: str, key: str) -> str:
    tag = _OUTSIDE.sub("", tag).replace("xlink:href", "href")
    for color, page_color in _PAGE_COLORS.items():
        tag = tag.replace(color, page_color)
    tag = _LONG_NUMBER.sub(lambda match: f"{float(match[0]):.{_DECIMALS}f}".rstrip("0").rstrip("."), tag)
    return _REFERENCE.sub(rf"\1{key}-", tag)
