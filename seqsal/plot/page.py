"""Pictures for a page's gallery, written as SVG at once; matplotlib takes half a minute for a hundred of them.

`PageAxes` has the methods of matplotlib's Axes that `plot_track`, `plot_letters`, `plot_motif` and `plot_cwm` call, so
one drawing serves pages, notebooks and files; distances and ticks are matplotlib's (a test compares the two).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from numpy.typing import ArrayLike, NDArray

__all__ = ["PageAxes"]

_POINTS = 72.0  # an inch
_FONT, _TITLE_FONT, _LINE_HEIGHT = 9.0, 10.0, 10.8
_TICK = 3.5  # its length, and from its end to its label
_BELOW, _LABEL_BELOW = 13.84, 26.84  # from the axis to the baseline of tick labels, and of the label below these
_HALF_DIGIT, _LABEL_GAP, _TITLE_GAP, _POWER_GAP = 3.42, 6.6, 6.0, 3.0
_ADVANCE = {".": 0.318, ",": 0.318, "−": 0.838}  # of DejaVu Sans, in sizes of the font; a digit is 0.636 wide
_COMMANDS = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}
_N_POINTS = {"Q": 2, "C": 3}


class _PageAxis:
    """What places and writes ticks, where that was set."""

    locator: Any = None
    formatter: Any = None

    def set_major_locator(self, locator: Any) -> None:
        self.locator = locator

    def set_major_formatter(self, formatter: Any) -> None:
        self.formatter = formatter


class PageAxes:
    """Axes of a picture of `size` inches, `margins` inches from its left, right, lower and upper edge.

    `colors` are written for others, as `var(--pos)`. What is drawn is kept until `svg`, which knows the limits.
    """

    def __init__(
        self, size: tuple[float, float], margins: tuple[float, float, float, float], colors: dict[str, str]
    ) -> None:
        self.xaxis = _PageAxis()
        self.width_inches = size[0] - margins[0] - margins[1]
        self._width, self._height = size[0] * _POINTS, size[1] * _POINTS
        self._left, self._right = margins[0] * _POINTS, self._width - margins[1] * _POINTS
        self._bottom, self._top = self._height - margins[2] * _POINTS, margins[3] * _POINTS
        self._colors = colors
        self._drawn: list[tuple[float, str, str, Callable[[], str]]] = []  # order, id, style, outline
        self._x_limits = self._y_limits = (0.0, 1.0)
        self._x_ticks: tuple[Sequence[float], Sequence[str]] | None = None
        self._y_ticks: Sequence[float] | None = None
        self._texts = {"x": "", "y": "", "title": ""}
        self._is_framed = True

    def set_xlim(self, low: float, high: float) -> None:
        """Limit the x axis."""
        self._x_limits = low, high

    def set_ylim(self, low: float, high: float) -> None:
        """Limit the y axis."""
        self._y_limits = low, high

    def set_xlabel(self, text: str, **_: Any) -> None:
        """Name the x axis."""
        self._texts["x"] = text

    def set_ylabel(self, text: str, **_: Any) -> None:
        """Name the y axis."""
        self._texts["y"] = text

    def set_title(self, text: str, **_: Any) -> None:
        """Write above, on the left."""
        self._texts["title"] = text

    def set_xticks(self, ticks: Sequence[float], labels: Sequence[str]) -> None:
        """Place and name the ticks of the x axis."""
        self._x_ticks = ticks, labels

    def set_yticks(self, ticks: Sequence[float]) -> None:
        """Place the ticks of the y axis."""
        self._y_ticks = ticks

    def set_axis_off(self) -> None:
        """Leave axes, ticks and texts out."""
        self._is_framed = False

    def stairs(self, values: ArrayLike, edges: ArrayLike, *, facecolor: str, gid: str, **_: Any) -> None:
        """Fill between 0 and a value for each bin; NaN leaves a gap."""
        heights, x = np.asarray(values, dtype=np.float64), np.asarray(edges, dtype=np.float64)
        self._drawn.append((1.0, gid, f"fill:{self._color(facecolor)}", lambda: self._steps(heights, x)))

    def axhline(self, y: float, *, color: Any, linewidth: float, zorder: float) -> None:
        """Draw a line from edge to edge."""
        style = f"fill:none;stroke:{self._color(color)};stroke-width:{linewidth}"
        self._drawn.append((zorder, "", style, lambda: f"M{_number(self._left)} {self._y(y)}H{_number(self._right)}"))

    def axvspan(
        self, first: float, last: float, ymin: float = 0.0, ymax: float = 1.0, *, facecolor: Any, gid: str,
        alpha: float = 1.0, zorder: float = 1.0, **_: Any,
    ) -> None:  # fmt: skip
        """Fill from `first` to `last`, between two shares of the height."""
        bottom, top = (_number(self._bottom + share * (self._top - self._bottom)) for share in (ymin, ymax))
        style = f"fill:{self._color(facecolor)}" + f";opacity:{alpha}" * (alpha < 1)
        self._drawn.append(
            (zorder, gid, style, lambda: f"M{self._x(first)} {bottom}H{self._x(last)}V{top}H{self._x(first)}Z")
        )

    def add_artist(self, patch: PathPatch) -> None:
        """Fill an outline."""
        style = f"fill:{self._color(to_hex(patch.get_facecolor()))}"
        self._drawn.append((1.0, str(patch.get_gid()), style, lambda: self._outline(patch.get_path())))

    def svg(self, key: str, label: str) -> str:
        """Return the picture as an element whose ids begin with `key`; `label` is for those who cannot see it."""
        shapes = "\n".join(
            "<path" + f' id="{key}-{gid}"' * bool(gid) + f' d="{outline()}" style="{style}"/>'
            for _, gid, style, outline in sorted(self._drawn, key=lambda drawn: drawn[0])
        )
        left, top, width, height = map(
            _number, (self._left, self._top, self._right - self._left, self._bottom - self._top)
        )
        return (
            f'<svg role="img" aria-label="{escape(label)}" '
            f'viewBox="0 0 {_number(self._width)} {_number(self._height)}">\n'
            f'<clipPath id="{key}-inside"><rect x="{left}" y="{top}" width="{width}" height="{height}"/></clipPath>\n'
            f'<g clip-path="url(#{key}-inside)">\n{shapes}\n</g>\n{self._frame() if self._is_framed else ""}</svg>'
        )

    def _color(self, color: Any) -> str:
        """Colour as the page has it: lines that belong to the axes are of its text's colour."""
        is_ink = color == matplotlib.rcParams["axes.edgecolor"]
        return "currentColor" if is_ink else self._colors.get(str(color), str(color))

    def _at_x(self, values: ArrayLike) -> NDArray[np.float64]:
        low, high = self._x_limits
        return self._left + (np.asarray(values) - low) / (high - low) * (self._right - self._left)

    def _at_y(self, values: ArrayLike) -> NDArray[np.float64]:
        low, high = self._y_limits
        return self._bottom + (np.asarray(values) - low) / (high - low) * (self._top - self._bottom)

    def _x(self, value: float) -> str:
        return _number(float(self._at_x(value)))

    def _y(self, value: float) -> str:
        return _number(float(self._at_y(value)))

    def _steps(self, heights: NDArray[np.float64], edges: NDArray[np.float64]) -> str:
        base, level, path = self._y(0.0), "", []
        known = [_number(y) if y == y else "" for y in self._at_y(heights).tolist()]
        for x, y in zip(self._at_x(edges).tolist(), [*known, ""], strict=True):
            if y == level:
                continue
            path.append(f"H{_number(x)}V{y or base}" if level else f"M{_number(x)} {base}V{y}")
            level = y
        return "".join(path)

    def _outline(self, outline: Outline) -> str:
        vertices = np.asarray(outline.vertices)
        points = zip(self._at_x(vertices[:, 0]).tolist(), self._at_y(vertices[:, 1]).tolist(), strict=True)
        path, more = [], 0
        for (x, y), code in zip(points, np.asarray(outline.codes).tolist(), strict=True):
            command = "" if more else _COMMANDS.get(code, "Z")
            more = more - 1 if more else _N_POINTS.get(command, 1) - 1
            path.append("Z" if command == "Z" else f"{command or ' '}{_number(x)} {_number(y)}")
        return "".join(path)

    def _frame(self) -> str:
        """Axes with ticks, labels and title."""
        x_ticks, x_labels = self._place_x_ticks()
        y_ticks, y_labels, power = self._place_y_ticks()
        left, bottom = _number(self._left), _number(self._bottom)
        lines = [f"M{left} {_number(self._top)}V{bottom}H{_number(self._right)}"]
        lines += [f"M{self._x(x)} {bottom}v{_TICK}" for x in x_ticks] + [
            f"M{left} {self._y(y)}h-{_TICK}" for y in y_ticks
        ]
        widest = max((sum(_ADVANCE.get(char, 0.636) for char in text) for text in y_labels), default=0.0) * _FONT
        title_at, power_at = self._top - _TITLE_GAP, max(self._top - _POWER_GAP, _FONT - 2)
        middle, edge = (self._left + self._right) / 2, self._left - 2 * _TICK
        groups = [
            ("middle", [_text(float(self._at_x(x)), self._bottom + _BELOW, text)
                        for x, text in zip(x_ticks, x_labels, strict=True)]
             + [_text(middle, self._bottom + _LABEL_BELOW, self._texts["x"])]
             + self._upright(edge - widest - _LABEL_GAP)),
            ("end", [_text(edge, float(self._at_y(y)) + _HALF_DIGIT, text)
                     for y, text in zip(y_ticks, y_labels, strict=True)]),
            ("start", [_text(self._left, title_at, self._texts["title"], f' font-size="{_TITLE_FONT:g}"'),
                       _text(self._left + 2, power_at, power)]),
        ]  # fmt: skip
        texts = "\n".join(f'<g text-anchor="{anchor}">\n{"".join(one)}</g>' for anchor, one in groups if any(one))
        return (
            f'<path d="{"".join(lines)}" style="fill:none;stroke:currentColor;stroke-width:0.8;stroke-linecap:square"/>'
            f'\n<g font-size="{_FONT:g}" fill="currentColor">\n{texts}\n</g>\n'
        )

    def _place_x_ticks(self) -> tuple[Sequence[float], Sequence[str]]:
        if self._x_ticks is not None or self.xaxis.locator is None:
            return self._x_ticks or ([], [])
        low, high = self._x_limits
        ticks = [tick for tick in self.xaxis.locator.tick_values(low, high) if low <= tick <= high]
        return ticks, self.xaxis.formatter.format_ticks(ticks)

    def _place_y_ticks(self) -> tuple[Sequence[float], list[str], str]:
        """Ticks, their labels, and the power of ten that multiplies them, or nothing."""
        low, high = self._y_limits
        ticks = self._y_ticks
        if ticks is None:
            n_ticks = int(np.clip((self._bottom - self._top) // (2 * _FONT), 1, 9))
            placed = MaxNLocator(n_ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
            air = 1e-9 * (high - low)
            ticks = [tick for tick in np.asarray(placed).tolist() if low - air <= tick <= high + air]
        formatter = ScalarFormatter(useOffset=False, useMathText=False, useLocale=False)
        formatter.set_powerlimits((-5, 6))
        formatter.create_dummy_axis()
        formatter.axis.set_view_interval(low, high)  # type: ignore[union-attr]
        labels = [text.replace("-", "−") for text in formatter.format_ticks(list(ticks))]
        return ticks, labels, formatter.get_offset().replace("-", "−")

    def _upright(self, x: float) -> list[str]:
        """Label of the y axis, its last line at `x`."""
        lines = self._texts["y"].split("\n")
        y = _number((self._top + self._bottom) / 2)
        return [
            f'<text transform="translate({_number(x - _LINE_HEIGHT * (len(lines) - 1 - i))} {y}) rotate(-90)">'
            f"{escape(line)}</text>\n"
            for i, line in enumerate(lines) if line
        ]  # fmt: skip


def _number(value: float) -> str:
    """Hundredths of a point, as short as can be."""
    return f"{round(value, 2) + 0.0:.7g}"


def _text(x: float, y: float, text: str, looks: str = "") -> str:
    return f'<text x="{_number(x)}" y="{_number(y)}"{looks}>{escape(text)}</text>\n' if text else ""
