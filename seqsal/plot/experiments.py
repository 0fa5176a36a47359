"""Pictures of experiments: what two elements do at each distance, and what each two of several do together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from seqsal.errors import UsageError
from seqsal.plot.style import NEGATIVE, POSITIVE, drawing_style, new_axes, one_line, root_figure, shown

__all__ = ["plot_cooperativity", "plot_spacing"]

_COLOURS = (POSITIVE, NEGATIVE, "#009e73", "#cc79a7")


@shown
def plot_spacing(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw what two elements do together at each distance, a curve for each orientation with its 95 % interval.

    Parameters
    ----------
    table
        Of :func:`seqsal.experiments.space`.
    ax
        Axes to draw on; None makes a figure.

    Raises
    ------
    UsageError
        The table is of another kind.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"a": "A", "b": "B", "orientation": "++", "low": 0.0, "high": 2.0}
    >>> table = pd.DataFrame([{**row, "distance": distance, "effect": 1.0} for distance in range(5)])
    >>> plot_spacing(table).get_xlabel()
    'distance between A and B (bp)'
    """
    _check(table, ("a", "b", "distance", "orientation", "effect", "low", "high"), "space")
    with drawing_style():
        axes = new_axes(6.0, 2.6) if ax is None else ax
        for colour, (signs, own) in zip(_COLOURS, table.groupby("orientation", sort=False), strict=False):
            rows = own.sort_values("distance")
            axes.plot(rows["distance"], rows["effect"], color=colour, linewidth=1.2, label=str(signs))
            axes.fill_between(rows["distance"], rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)
        axes.axhline(0, color="#7f7f7f", linewidth=0.6)
        names = [one_line(table[side].iloc[0]) for side in ("a", "b")]
        axes.set_xlabel(f"distance between {names[0]} and {names[1]} (bp)", parse_math=False)
        axes.set_ylabel("effect beyond each alone")
        axes.legend(frameon=False, title="orientation", ncols=4)
    return axes


@shown
def plot_cooperativity(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw what each two elements do together as a matrix, those with q ≤ 0.05 marked.

    Parameters
    ----------
    table
        Of :func:`seqsal.experiments.pair`.
    ax
        Axes to draw on; None makes a figure.

    Raises
    ------
    UsageError
        The table is of another kind.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"a": ["A", "A", "B"], "b": ["A", "B", "B"], "effect": [0, 1, 0], "q_value": [1, 0.01, 1]})
    >>> [text.get_text() for text in plot_cooperativity(table).texts]
    ['*', '*']
    """
    _check(table, ("a", "b", "effect", "q_value"), "pair")
    names = list(dict.fromkeys([*table["a"], *table["b"]]))
    matrix, marked = np.full((len(names), len(names)), np.nan), []
    for a, b, effect, q in table[["a", "b", "effect", "q_value"]].itertuples(index=False, name=None):
        i, j = names.index(a), names.index(b)
        matrix[i, j] = matrix[j, i] = effect
        marked += sorted({(i, j), (j, i)}) if q <= 0.05 else []
    most = float(np.nanmax(np.abs(matrix))) or 1.0
    with drawing_style():
        side = 1.6 + 0.3 * len(names)
        axes = new_axes(side + 0.8, side) if ax is None else ax
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
        for i, j in marked:
            axes.text(j, i, "*", ha="center", va="center")
        labels = [one_line(name) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), labels, parse_math=False)
        root_figure(axes).colorbar(image, ax=axes, label="effect beyond each alone")
    return axes


def _check(table: pd.DataFrame, columns: tuple[str, ...], verb: str) -> None:
    missing = [name for name in columns if name not in table]
    if missing or not len(table):
        raise UsageError(
            f"table: has no {missing[0] if missing else 'rows'}, expected one of seqsal.experiments.{verb}"
        )
