"""Which known motif a pattern is: TOMTOM, and grouping of patterns that are the same motif.

TOMTOM (Gupta et al. 2007, doi:10.1186/gb-2007-8-2-r24), as memelite implements it: the distance of two positions is
Euclidean, a query is slid over every target and its reverse complement, and the p-value of the best alignment is that
of a target whose positions are drawn from all target positions. It needs a large target set, so one of fewer than
`MIN_TARGETS` is filled up with JASPAR's vertebrates, which serve as background only and are never reported. Q-values
are those of Benjamini and Hochberg (1995) over the database, for each query on its own.

*Same motif.* Two motifs are the same when each finds the other with p ≤ 1e-5. Among the 1,019 vertebrate motifs of
JASPAR 2026, sets of 30 and 100 sites drawn from one motif, with three random bases added at either end, find it and are
found by it in 99 % and 100 % of cases at that threshold (95 % at 1e-6), whereas 5 % of pairs from one family of
factors and 0.03 % of pairs from different classes do (0.07 % at 1e-4).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import UsageError
from seqsal.motifs.matrices import Motif, read_motifs

__all__ = [
    "MATCH_COLUMNS", "MIN_TARGETS", "SAME_MOTIF_P", "announce_compilation", "best_matches", "group_motifs",
    "match_motifs", "threads_kept",
]  # fmt: skip

MIN_TARGETS = 50  # below which the MEME suite's tomtom warns
SAME_MOTIF_P = 1e-5
MIN_P = 1e-300
MATCH_COLUMNS = {
    "query_idx": np.int64, "query": str, "target_idx": np.int64, "target": str, "accession": str, "p_value": np.float64,
    "q_value": np.float64, "offset": np.int64, "strand": str, "overlap": np.int64,
}  # fmt: skip
_BACKGROUND_SPEC = "jaspar:2026:vertebrates"
logger = logging.getLogger(__name__)


def match_motifs(queries: Sequence[Motif], database: Sequence[Motif], *, q_max: float = 0.1) -> pd.DataFrame:
    """Find the known motifs that each query resembles.

    Parameters
    ----------
    queries
        Patterns to be named, Q of them.
    database
        Known motifs, T of them.
    q_max
        Largest q-value reported, in (0, 1].

    Returns
    -------
    DataFrame
        Columns `MATCH_COLUMNS`, sorted by query, then from the best match on. `query_idx` and `target_idx` count from
        0; `offset` is the position of the query's first base in the target, read on `strand` (negative when the
        query starts before it); `overlap` the number of aligned positions. A query without a match has no row.

    Raises
    ------
    UsageError
        An empty database, or `q_max` outside its range.

    Examples
    --------
    >>> from seqsal.motifs import Motif
    >>> from seqsal.sequence.codes import encode, one_hot
    >>> gata, ebox = (Motif(word, "", 20 * one_hot(encode(word))) for word in ("AGATAAG", "CACGTG"))
    >>> found = match_motifs([gata.reverse_complement()], [gata, ebox] * 30)  # q-values take many targets
    >>> found[["query", "target", "strand"]].iloc[0].tolist()
    ['AGATAAG', 'AGATAAG', '-']
    """
    if not 0 < q_max <= 1:
        raise UsageError(f"q_max: got {q_max}, expected a rate above 0 and at most 1, for example 0.1")
    if not len(database):
        raise UsageError("database: holds no motifs, expected some to compare with; pass those of `read_motifs`")
    if not len(queries):
        return pd.DataFrame(columns=list(MATCH_COLUMNS)).astype(MATCH_COLUMNS)
    from scipy.stats import false_discovery_control  # here because it takes half a second to load

    found = _tomtom(queries, database)
    p_values = np.clip(found[0], MIN_P, 1.0)
    q_values = false_discovery_control(p_values, axis=1, method="bh")
    query, target = np.nonzero(q_values <= q_max)
    order = np.lexsort((target, -found[1][query, target], p_values[query, target], query))
    query, target = query[order], target[order]
    _, _, offset, overlap, reverse = found[:, query, target]
    columns = {
        "query_idx": query,
        "query": [queries[i].name for i in query.tolist()],
        "target_idx": target,
        "target": [database[i].name for i in target.tolist()],
        "accession": [database[i].accession for i in target.tolist()],
        "p_value": p_values[query, target],
        "q_value": q_values[query, target],
        "offset": offset,
        "strand": np.where(reverse == 1, "-", "+"),
        "overlap": overlap,
    }
    return pd.DataFrame(columns).astype(MATCH_COLUMNS)


def best_matches(queries: Sequence[Motif], database: Sequence[Motif], *, q_max: float = 1.0) -> pd.DataFrame:
    """Find the best match of each query, as :func:`match_motifs`: one row a query, or none where q exceeds `q_max`."""
    matches = match_motifs(queries, database, q_max=q_max)
    return matches.drop_duplicates("query_idx", keep="first").reset_index(drop=True)


def group_motifs(motifs: Sequence[Motif], threshold: float = SAME_MOTIF_P) -> list[list[int]]:
    """Group motifs that are the same, each with the first of its group.

    A motif joins the first group whose leader it is the same as, so that likeness is not passed on from one to the
    next; give the motifs in order of importance.

    Parameters
    ----------
    motifs
        In order of importance.
    threshold
        Largest TOMTOM p-value, in both directions, of motifs that are the same.

    Returns
    -------
    list of list of int
        Indices into `motifs`: every one once, the leader first in its group, groups in order of their leaders.

    Examples
    --------
    >>> from seqsal.motifs import Motif
    >>> from seqsal.sequence.codes import encode, one_hot
    >>> gata, ebox = (Motif(word, "", 20 * one_hot(encode(word))) for word in ("AGATAAG", "CACGTG"))
    >>> group_motifs([gata, ebox, gata.reverse_complement()], threshold=1e-2)  # doctest: +SKIP
    [[0, 2], [1]]
    """
    if not len(motifs):
        return []
    p_values = _tomtom(motifs, motifs)[0]
    same = np.maximum(p_values, p_values.T) <= threshold
    groups: dict[int, list[int]] = {}
    for i in range(len(motifs)):
        groups.setdefault(next((leader for leader in groups if same[leader, i]), i), []).append(i)
    return list(groups.values())


def _tomtom(queries: Sequence[Motif], targets: Sequence[Motif]) -> NDArray[np.float64]:
    """P-value, score, offset, overlap and strand (1 for reverse), (5, Q, T)."""
    from memelite import tomtom  # here because it loads numba, half a second that most commands can do without

    announce_compilation("memelite", "TOMTOM", 80)
    fill = _background() if len(targets) < MIN_TARGETS else ()
    probabilities = [motif.ppm for motif in (*targets, *fill)]
    with threads_kept():
        found = np.asarray(tomtom([motif.ppm for motif in queries], probabilities))
    return found[:, :, : len(targets)]


@cache
def announce_compilation(package: str, what: str, seconds: int) -> None:
    """Say in one line when numba has the kernels of an imported package to compile, as after its installation."""
    from numba.core.dispatcher import Dispatcher

    modules = [module for name, module in list(sys.modules.items()) if name.startswith(package)]
    kernels = {value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)}
    folders = {Path(kernel.stats.cache_path) for kernel in kernels if kernel.stats.cache_path}
    if not any(any(folder.glob("*.nbi")) for folder in folders):
        logger.warning("motifs: compiling %s, once after installation: about %d s", what, seconds)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Give torch its number of threads back, which numba's OpenMP sets for the whole process when a kernel starts."""
    torch = sys.modules.get("torch")
    n_threads = None if torch is None else torch.get_num_threads()
    try:
        yield
    finally:
        if torch is not None:
            torch.set_num_threads(n_threads)


@cache
def _background() -> tuple[Motif, ...]:
    return tuple(read_motifs(_BACKGROUND_SPEC))
