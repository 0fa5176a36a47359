"""Pictures for the page: matplotlib Axes as small inline SVG whose colours follow the page, light or dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from html import escape

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqsal.plot.style import NEGATIVE, POSITIVE, drawing_style

__all__ = ["inline_svg"]

_INK = "#010203"  # a colour that nothing else has, to be found again in the SVG text
_PAGE_COLORS = {_INK: "currentColor", POSITIVE: "var(--pos)", NEGATIVE: "var(--neg)"}
_DECIMALS = 2  # hundredths of a point
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_NOT_NEEDED = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")  # matplotlib writes > in texts and attributes as an entity
_OUTSIDE = re.compile(r' xmlns(?::\w+)?="[^"]*"|; font-family: [^;"]*|font-family: [^;"]*; ')
_REFERENCE = re.compile(r'(\bid="|\bhref="#|url\(#)')


def inline_svg(
    draw: Callable[[Axes], object],
    size: tuple[float, float],
    *,
    key: str,
    label: str,
    margins: tuple[float, float, float, float] | None = None,
) -> Markup:
    """Draw on new Axes and return the picture as an `<svg>` element for the middle of a page.

    Axes, ticks and text take the page's text colour, positive and negative fills its `--pos` and `--neg`. Nothing in
    the element points outside the page, and its ids begin with `key`, so that pictures do not disturb each other.

    Parameters
    ----------
    draw
        Called with the Axes.
    size
        Width and height in inches.
    key
        Unique on the page; letters, digits and `-`.
    label
        What the picture shows, for those who cannot see it; escaped here.
    margins
        Inches left, right, below and above the Axes, so that pictures below each other line up; None fits the labels.
    """
    ink = dict.fromkeys(
        ("text_color", "axes_edgecolor", "axes_labelcolor", "xtick_color", "ytick_color", "axes_titlecolor"), _INK
    )
    buffer = io.StringIO()
    with drawing_style(**ink, svg_hashsalt=key), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")  # the browser has fonts of its own
        figure = Figure(figsize=size, layout="constrained" if margins is None else None)
        if margins is not None:
            left, right, below, above = margins
            edges = {"left": left / size[0], "right": 1 - right / size[0]}
            figure.subplots_adjust(**edges, bottom=below / size[1], top=1 - above / size[1])
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    # Texts in it were escaped by matplotlib, the label by _compact.
    return Markup(_compact(buffer.getvalue(), key, label))


def _compact(svg: str, key: str, label: str) -> str:
    """Strip what an element inside a page does not need, and hand its colours over to the page.

    Only tags are rewritten: a name or a tick label may look like anything.
    """
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
