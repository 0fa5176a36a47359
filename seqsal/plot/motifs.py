"""Logos of patterns: the PFM in bits and the CWM in units of the output, on both strands.

The height of a PFM's letters is their share of the position's information, f[b, j] · (2 + Σ_a f log2 f) bits (Schneider
and Stephens 1990, doi:10.1093/nar/18.20.6097). The CWM is what a base contributed on average over the instances, so a
base that lowers the prediction hangs below the axis.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from seqsal.motifs.matrices import Motif
from seqsal.motifs.patterns import MotifResult, Pattern
from seqsal.plot.logo import plot_letters
from seqsal.plot.style import SteadyLayout, drawing_style, new_axes, one_line, own_style, save_figure, two_lines

__all__ = ["plot_cwm", "plot_motif", "plot_pattern", "write_logos"]

_MAX_BITS = 2.0
_TICK_EVERY = 5
_INCH_PER_BASE, _LEAST_INCHES, _ROW_INCHES = 0.2, 1.6, 1.5


def plot_motif(motif: Motif, ax: Axes | None = None, *, reverse: bool = False, title: str | None = None) -> Axes:
    """Draw a motif's frequencies as a logo in bits, the axis from 0 to 2.

    Parameters
    ----------
    motif
        Of W positions.
    ax
        Axes to draw on; None makes a figure.
    reverse
        Draw the other strand.
    title
        Written above, on the left.

    Examples
    --------
    >>> import numpy as np
    >>> from seqsal.motifs import Motif
    >>> plot_motif(Motif("GATA", "", 20 * np.eye(4)[[2, 0, 3, 0]].T)).get_ylabel()
    'bits'
    """
    heights = motif.frequencies * np.maximum(motif.information, 0.0)
    axes = _logo(heights, ax, "bits", reverse, title)
    axes.set_ylim(0.0, _MAX_BITS)
    axes.set_yticks([0, 1, 2])
    return axes


def plot_cwm(
    cwm: ArrayLike,
    ax: Axes | None = None,
    *,
    unit: str = "mean contribution",
    reverse: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw mean contributions (4, W), rows A C G T, as a logo; negative ones hang below the axis.

    Parameters
    ----------
    cwm
        Of W positions.
    unit
        Label of the y axis.
    ax, reverse, title
        As for :func:`plot_motif`.

    Raises
    ------
    UsageError
        Another shape, or a value that is infinite.

    Examples
    --------
    >>> plot_cwm([[0.5, 0], [0, 0], [0, -0.2], [0, 0]], title="AG").get_title(loc="left")
    'AG'
    """
    return _logo(np.asarray(cwm, dtype=np.float64), ax, unit, reverse, title)


def plot_pattern(pattern: Pattern, *, unit: str = "contribution") -> list[Axes]:
    """Draw a pattern into a new figure: PFM above CWM, its reverse complement to the right.

    Parameters
    ----------
    pattern
        Of :func:`seqsal.discover_motifs`.
    unit
        Of the contributions, for example ``contribution to the logit``.

    Returns
    -------
    list of Axes
        PFM and its other strand, CWM and its other strand.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from seqsal.motifs import Motif, Pattern
    >>> motif = Motif("pos_pattern_1", "", 20 * np.eye(4)[[2, 0, 3, 3, 0]].T)  # GATTA
    >>> site = {"chrom": "chr1", "start": 10, "end": 15, "score": 4.0, "strand": "+", "sequence": "GATTA"}
    >>> seqlets = pd.DataFrame([site | {"name": "pos_1", "pattern": "pos_pattern_1"}])
    >>> match = {"match": "GAT1", "accession": "MA1", "p_value": 1e-6, "q_value": 1e-4}
    >>> pattern = Pattern("pos_pattern_1", "pos", "kmers", motif, motif.frequencies, seqlets, match)
    >>> len(plot_pattern(pattern))
    4
    """
    width = max(_LEAST_INCHES, _INCH_PER_BASE * pattern.motif.width) + 0.8
    with drawing_style():
        figure = Figure(figsize=(2 * width, 2 * _ROW_INCHES + 0.3), layout=SteadyLayout())
        axes = [figure.add_subplot(2, 2, i + 1) for i in range(4)]
        for i, reverse in enumerate((False, True)):
            plot_motif(pattern.motif, axes[i], reverse=reverse, title="reverse complement" if reverse else None)
            plot_cwm(pattern.cwm, axes[2 + i], unit=two_lines(f"mean {unit}"), reverse=reverse)
        for ax in (axes[1], axes[3]):
            ax.set_ylabel("")
        for ax in axes[2:]:
            ax.set_xlabel("position (bp)")
        text, match = f"{pattern.name}, {pattern.n_seqlets:,} instances", pattern.named_match
        named = "" if match is None else f", best match {one_line(match['match'], 24)} (q {match['q_value']:.1g})"
        figure.suptitle(text + named, fontsize="medium", parse_math=False)
    return axes


def write_logos(result: MotifResult, folder: str | os.PathLike[str], *, unit: str = "contribution") -> list[Path]:
    """Write `NAME.svg`, as :func:`plot_pattern` draws it, for every pattern into a folder that is there.

    Logos of an earlier run, of patterns that no longer exist, are removed.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        A file cannot be written.

    Examples
    --------
    >>> from seqsal.motifs import MotifResult
    >>> write_logos(MotifResult((), {"pos": 0, "neg": 0}), ".")
    []
    """
    target = Path(folder)
    with own_style():
        written = [
            save_figure(plot_pattern(pattern, unit=unit)[0], target / f"{pattern.name}.svg")
            for pattern in result.patterns
        ]
    for stale in sorted({*target.glob("pos_pattern_*.svg"), *target.glob("neg_pattern_*.svg")} - set(written)):
        stale.unlink()
    return written


def _logo(heights: NDArray[np.float64], ax: Axes | None, unit: str, reverse: bool, title: str | None) -> Axes:
    if ax is None:
        ax = new_axes(max(_LEAST_INCHES, _INCH_PER_BASE * heights.shape[-1]) + 0.8, _ROW_INCHES)
    axes = plot_letters(heights[::-1, ::-1] if reverse else heights, None, ax, start=1, unit=unit, title=title)
    positions = [1, *range(_TICK_EVERY, heights.shape[-1] + 1, _TICK_EVERY)]
    axes.set_xticks([position + 0.5 for position in positions], [str(position) for position in positions])
    axes.set_xlabel("")
    return axes
