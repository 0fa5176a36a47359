"""Pictures of experiments: pairs of elements at each distance, of several elements and of bases; and of variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from seqsal.errors import UsageError
from seqsal.plot.logo import plot_letters
from seqsal.plot.style import (
    NEGATIVE,
    POSITIVE,
    drawing_style,
    limits_with_air,
    new_axes,
    new_axes_column,
    one_line,
    root_figure,
    shown,
)  # fmt: skip
from seqsal.plot.tracks import plot_track

if TYPE_CHECKING:  # it loads torch, which takes longer than drawing
    from seqsal.experiments.variants import VariantMaps

__all__ = ["draw_variant", "plot_cooperativity", "plot_interactions", "plot_spacing", "plot_variant"]

VARIANT_BP = 60

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
    axes = new_axes(6.0, 2.6) if ax is None else ax
    with drawing_style():
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
    side = 1.6 + 0.3 * len(names)
    axes = new_axes(side + 0.8, side) if ax is None else ax
    with drawing_style():
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
        for i, j in marked:
            axes.text(j, i, "*", ha="center", va="center")
        labels = [one_line(name) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), labels, parse_math=False)
        root_figure(axes).colorbar(image, ax=axes, label="effect beyond each alone")
    return axes


@shown
def plot_interactions(table: pd.DataFrame, region: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw what each two bases do together as a matrix, those with q ≤ 0.05 marked.

    Parameters
    ----------
    table
        Of :func:`seqsal.experiments.interactions`.
    region
        Which window; None for the first.
    ax
        Axes to draw on; None makes a figure.

    Raises
    ------
    UsageError
        The table is of another kind, or has no such region.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"region": "x", "a": 4, "b": 6, "base_a": "G", "base_b": "A", "effect": 1.0, "q_value": 0.01}
    >>> [text.get_text() for text in plot_interactions(pd.DataFrame([row])).texts]
    ['*']
    """
    _check(table, ("region", "a", "b", "base_a", "base_b", "effect", "q_value"), "interactions")
    name = table["region"].iloc[0] if region is None else region
    own = table[table["region"] == name]
    if not len(own):
        raise UsageError(f"region: got {name!r}, expected one of the table, such as {table['region'].iloc[0]!r}")
    first, last = int(own["a"].min()), int(own["b"].max()) + 1
    bases = dict(zip(own["a"], own["base_a"], strict=True)) | dict(zip(own["b"], own["base_b"], strict=True))
    matrix = np.full((last - first, last - first), np.nan)
    matrix[own["b"] - first, own["a"] - first] = own["effect"]
    most = float(np.nanmax(np.abs(matrix))) or 1.0
    side = 1.4 + 0.16 * len(matrix)
    axes = new_axes(side + 0.8, side) if ax is None else ax
    with drawing_style():
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
        for a, b in own.loc[own["q_value"] <= 0.05, ["a", "b"]].itertuples(index=False, name=None):
            axes.text(a - first, b - first, "*", ha="center", va="center")
        labels = [bases.get(at, "") for at in range(first, last)]
        axes.set_xticks(range(len(labels)), labels)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel(f"bases {first:,} to {last - 1:,} of {one_line(name)}", parse_math=False)
        root_figure(axes).colorbar(image, ax=axes, label="effect beyond each alone")
    return axes


@shown
def plot_variant(maps: VariantMaps, variant: str | int = 0, *, width: int = VARIANT_BP) -> list[Axes]:
    """Draw the maps of both alleles as logos, REF over ALT on one scale, and their difference underneath.

    Parameters
    ----------
    maps
        Of :func:`seqsal.experiments.variants.read_variant_maps`.
    variant
        Its number, its id or `chrom:pos:REF>ALT`.
    width
        Bases around the variant.

    Returns
    -------
    list of Axes
        REF, ALT and ALT − REF; where an allele has no base there is a gap.

    Raises
    ------
    UsageError
        There is no such variant.

    Examples
    --------
    >>> import numpy as np, pandas as pd, seqsal
    >>> from seqsal.experiments.variants import VariantMaps
    >>> from seqsal.regions import make_regions
    >>> windows = make_regions(["chr1"] * 2, [100] * 2, [108] * 2, name=["chr1:105:A>C|ref", "chr1:105:A>C|alt"])
    >>> codes = np.uint8([[0, 1, 2, 3] * 2, [0, 1, 2, 3, 1, 1, 2, 3]])
    >>> attr = seqsal.Attributions(windows, codes, np.eye(2, 8, 4, dtype=np.float32), np.float32([1, 2]))
    >>> table = pd.DataFrame({"id": ["."], "at": [4], "ref_bp": [1], "alt_bp": [1], "effect": [1.0], "q_value": [0.01]})
    >>> axes = plot_variant(VariantMaps(attr, table, np.diff(attr.track, axis=0)), "chr1:105:A>C")
    >>> [ax.get_title(loc="left").split()[0] for ax in axes]
    ['REF', 'ALT', 'ALT']
    """
    row = maps.find(variant)
    axes = new_axes_column((9.0, 1.5), 3)
    with drawing_style():
        for part, ax in enumerate(axes):
            draw_variant(maps, row, part, ax, width=width)
        known = maps.table.iloc[row]
        q = "" if np.isnan(known["q_value"]) else f", q {known['q_value']:.1g}"
        title = f"{one_line(maps.names[row])}: effect {known['effect']:+.3g}{q}"
        root_figure(axes[0]).suptitle(title, x=0.01, ha="left", fontsize="medium", parse_math=False)
    return axes


def draw_variant(maps: VariantMaps, row: int, part: int, ax: Axes, *, width: int = VARIANT_BP) -> None:
    """Draw one of the three rows of a variant: 0 REF, 1 ALT, 2 their difference."""
    aligned = maps.aligned(row, width)
    start = -aligned.first
    allele = [(0, aligned.last - aligned.first)]
    if part == 2:
        difference, title = aligned.difference, "ALT − REF"
        plot_track(difference, ax, start=start, unit="difference", highlight=allele, title=title)
    else:
        title = ("REF", "ALT")[part] + _changed_motif(maps, row, part)
        plot_letters(
            aligned.tracks[part],
            aligned.codes[part],
            ax,
            start=start,
            unit="attribution",
            highlight=allele,
            title=title,
        )
        heights = np.nan_to_num(aligned.tracks)
        ax.set_ylim(*limits_with_air(float(heights.min()), float(heights.max())))
    ax.set_xlabel("bp from the variant" if part == 2 else "")


def _changed_motif(maps: VariantMaps, row: int, part: int) -> str:
    """Name the motif that an allele has and the other has not, where that is known."""
    column = ("motif_lost", "motif_gained")[part]
    found = str(maps.table[column].iloc[row]) if column in maps.table else ""
    if not found:
        return ""
    name, bits, _, strand = found.rsplit("|", 3)
    return f", with {one_line(name)} ({strand} strand, {float(bits):.1f} bits more)"


def _check(table: pd.DataFrame, columns: tuple[str, ...], verb: str) -> None:
    missing = [name for name in columns if name not in table]
    if missing or not len(table):
        raise UsageError(
            f"table: has no {missing[0] if missing else 'rows'}, expected one of seqsal.experiments.{verb}"
        )
