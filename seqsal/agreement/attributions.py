"""`seqsal.compare_attributions`: results in memory and in files, compared, with a bigWig of where they agree."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from seqsal.agreement import AGREEMENT_BP, Agreement, Comparable, check_width, open_results, write_agreement_bigwig
from seqsal.agreement import compare_attributions as compare_results
from seqsal.io.atomic import check_writable

__all__ = ["compare_attributions"]

_PATH = str | os.PathLike[str]


def compare_attributions(
    attributions: Comparable | Sequence[_PATH] | Mapping[str, Comparable],
    *,
    top: int | None = None,
    bigwig: _PATH | None = None,
    width: int = AGREEMENT_BP,
    progress: bool = False,
) -> Agreement:
    """Say how alike the attributions of several methods, seeds, folds or strands are, pair by pair.

    Parameters
    ----------
    attributions
        Results or files by name, `{"seed 0": attr, "seed 1": "B.h5"}`; or a list of files; or one result or file that
        was made with others, which are then all compared. `A.h5:ism` is that result of a file.
    top
        How many positions of largest magnitude a region's top overlap is about; None is 5 % of the window.
    bigwig
        Also write the local agreement of the tracks, from −1 to 1.
    width
        Bases that the local agreement at a base is about, odd.
    progress
        Show a progress bar.

    Returns
    -------
    Agreement
        `overall`, one row a pair; `regions`, one row a region and pair; `unmatched`, what not all results have.

    Raises
    ------
    UsageError, RegionError, StoreError, OutputError
        Fewer than two results, other window lengths, no common region, or a file that cannot be read or written.
    """
    results = open_results(attributions)
    if bigwig is not None:
        check_width(width)
        check_writable(bigwig)
    agreement = compare_results(results, top=top, progress=progress)
    if bigwig is not None:
        write_agreement_bigwig(results, bigwig, width=width, progress=progress)
    return agreement
