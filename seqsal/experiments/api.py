"""Experiments as functions: each takes a model, windows and elements, and gives a table; see `designs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from seqsal.attribution.api import open_request
from seqsal.attribution.request import make_request
from seqsal.experiments.designs import Bench, read_elements

__all__ = ["insert", "interactions", "pair", "remove", "scan", "space", "swap"]

OWN = (
    "motifs", "a", "b", "gap", "distances", "mismatches", "width", "step", "n_draws", "within", "n_shuffles",
    "n_sequences", "progress",
)  # fmt: skip


def _run(
    model: Any, work: Callable[[Bench], pd.DataFrame], n_sequences: int, rc_average: bool, progress: bool | None,
    windows: dict[str, Any],
) -> pd.DataFrame:  # fmt: skip
    """Open what was given, and do an experiment on it."""
    with open_request(make_request(model, known=OWN, rc_average=rc_average, **windows)) as opened:
        with Bench(opened, n_sequences=n_sequences, rc_average=rc_average, progress=progress) as bench:
            return work(bench)


def insert(
    model: Any, motifs: Any, *, n_sequences: int = 100, rc_average: bool = True, progress: bool | None = None,
    **windows: Any,
) -> pd.DataFrame:  # fmt: skip
    """Put each motif into many neutral sequences, to see whether it suffices.

    Parameters
    ----------
    model
        As for :func:`seqsal.attribute`.
    motifs
        Bases, a FASTA, a motif file or database (`jaspar:2026:vertebrates`), motifs such as those of
        :func:`seqsal.discover_motifs`, or several of these. Of a motif the most frequent bases are written.
    n_sequences
        Backgrounds, shuffles of the windows.
    rc_average
        Average predictions over both strands.
    progress
        Show a progress bar; None shows one on a terminal where it takes long.
    windows
        `genome` and `regions`, `fasta` or `X`, and `target`, `contrast`, `seed`, `device`, … as for
        :func:`seqsal.attribute`.

    Returns
    -------
    DataFrame
        A row a motif: `element`, `effect` (of the mean prediction, against control words), `low` and `high` (its 95 %
        interval), `p_value`, `q_value` and `n`.

    Raises
    ------
    SeqsalError
        Input that cannot be used, or a motif that does not fit into the window.

    Examples
    --------
    >>> import numpy as np, seqsal, torch
    >>> from seqsal.sequence.codes import one_hot
    >>> from seqsal.experiments import insert
    >>> class Tata(torch.nn.Module):  # counts TATAA
    ...     def forward(self, X):
    ...         word = torch.from_numpy(one_hot([3, 0, 3, 0, 0]))[None]
    ...         return torch.relu(torch.conv1d(X, word) - 4).sum((1, 2))
    >>> X = one_hot(np.random.default_rng(0).integers(0, 4, (20, 40)))
    >>> table = insert(Tata(), ["TATAA", "GATTC"], X=X, device="cpu", rc_average=False)
    >>> (table["q_value"] < 0.01).tolist()
    [True, False]
    """
    return _run(model, lambda bench: bench.insert(read_elements(motifs)), n_sequences, rc_average, progress, windows)


def remove(
    model: Any, motifs: Any, *, mismatches: int = 1, n_sequences: int = 100, rc_average: bool = True,
    progress: bool | None = None, **windows: Any,
) -> pd.DataFrame:  # fmt: skip
    """Replace each motif where it stands, to see whether it is needed.

    The best copy of each window, of at most `mismatches`, is replaced by control words; what the same replacement
    elsewhere takes away is left out. Parameters, columns and errors as for :func:`insert`; `n` windows had a copy, and
    with fewer than five nothing is tested.
    """
    return _run(
        model, lambda bench: bench.remove(read_elements(motifs), mismatches=mismatches), n_sequences, rc_average,
        progress, windows,
    )  # fmt: skip


def swap(
    model: Any, a: Any, motifs: Any, *, mismatches: int = 1, n_sequences: int = 100, rc_average: bool = True,
    progress: bool | None = None, **windows: Any,
) -> pd.DataFrame:  # fmt: skip
    """Write each motif over the copies of motif `a`, to see whether it can stand in.

    Parameters, columns and errors as for :func:`insert` and :func:`remove`; `a` and `b` name the two.
    """

    def work(bench: Bench) -> pd.DataFrame:
        return bench.swap(read_elements(a)[0], read_elements(motifs), mismatches=mismatches)

    return _run(model, work, n_sequences, rc_average, progress, windows)


def pair(
    model: Any, motifs: Any, *, gap: int = 10, n_sequences: int = 100, rc_average: bool = True,
    progress: bool | None = None, **windows: Any,
) -> pd.DataFrame:  # fmt: skip
    """Put two motifs at a time into neutral sequences, to see what they do beyond what each does alone.

    `effect` is f(AB) − f(A) − f(B) + f(background), the two `gap` bp apart, against pairs of control words. Parameters
    and errors as for :func:`insert`; a row for each two motifs `a` and `b`, one with itself too.
    """
    return _run(
        model, lambda bench: bench.pair(read_elements(motifs), gap=gap), n_sequences, rc_average, progress, windows
    )


def space(
    model: Any, a: Any, b: Any, *, distances: Iterable[int] = range(0, 51), n_sequences: int = 100,
    rc_average: bool = True, progress: bool | None = None, **windows: Any,
) -> pd.DataFrame:  # fmt: skip
    """Put two motifs into neutral sequences at every distance and orientation, to see where they work together.

    Parameters and errors as for :func:`insert`; `distances` are bp between the two, `a` on the left. `effect` as for
    :func:`pair`, tested over backgrounds by a paired t-test; columns `a`, `b`, `distance`, `orientation` and the rest.
    """
    return _run(
        model, lambda bench: bench.space(read_elements(a)[0], read_elements(b)[0], distances=distances), n_sequences,
        rc_average, progress, windows,
    )  # fmt: skip


def scan(
    model: Any, *, width: int = 20, step: int | None = None, n_draws: int = 10, n_sequences: int = 100,
    rc_average: bool = True, progress: bool | None = None, **windows: Any,
) -> pd.DataFrame:  # fmt: skip
    """Shuffle a tile at a time along windows, to see which stretch matters.

    Parameters and errors as for :func:`insert`; tiles of `width` bp begin every `step` (half a tile by default), and
    each is shuffled `n_draws` times. Columns `region`, `start` and `end` (offsets in the window, as the model reads it)
    and the rest; `effect` is f(window) − f(shuffled).
    """
    return _run(
        model, lambda bench: bench.scan(width=width, step=step, n_draws=n_draws), n_sequences, rc_average, progress,
        windows,
    )  # fmt: skip


def interactions(
    model: Any, *, within: tuple[int, int] | None = None, n_shuffles: int | None = None, n_sequences: int = 10,
    rc_average: bool = True, progress: bool | None = None, **windows: Any,
) -> pd.DataFrame:  # fmt: skip
    """Change two bases at a time, to see which depend on each other.

    Parameters and errors as for :func:`insert`; `within` are offsets (start, end) in the window, its middle 20 bp by
    default, and `n_sequences` the windows at most. Columns `region`, `a` and `b` (offsets), `base_a`, `base_b`, and
    `effect`: f(ab) − f(a) − f(b) + f(window) on average over the 3 × 3 changes, above 0 where the two bases are worth
    more together than alone; `p_value`, against pairs as far apart in `n_shuffles` shuffled windows
    (10, or all of fewer); `q_value`.
    """
    return _run(
        model, lambda bench: bench.interactions(within=within, n_shuffles=n_shuffles), n_sequences, rc_average,
        progress, windows,
    )  # fmt: skip
