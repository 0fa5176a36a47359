"""Which examples train, which choose the best epoch, and which are kept for the final test.

Chromosomes are held out whole, so that no test sequence overlaps, or is homologous by duplication in tandem to, a
training sequence. Records of a FASTA file without genome coordinates are split by a hash of their names: the same
record falls into the same part whatever else the file holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import TrainingError, counted

__all__ = ["PARTS", "assign_parts", "choose_chroms"]

PARTS = ("train", "valid", "test")


def choose_chroms(
    chroms: Sequence[str] | NDArray[np.str_],
    *,
    valid_chroms: Iterable[str] | None,
    test_chroms: Iterable[str] | None,
    valid_fraction: float,
    test_fraction: float,
) -> dict[str, str]:
    """Give each chromosome to one part.

    Chromosomes that are not named go, the one with most positives first, to the part that is furthest below its share.

    Parameters
    ----------
    chroms
        Chromosome of each positive, shape (N,).
    valid_chroms, test_chroms
        The user's choice; None chooses.
    valid_fraction, test_fraction
        Shares of the positives that the parts are to have when they are chosen.

    Returns
    -------
    dict
        Chromosome → ``train``, ``valid`` or ``test``.

    Raises
    ------
    TrainingError
        A chromosome named for both parts or without positives, or too few chromosomes for three parts.
    """
    counts = pd.Series(np.asarray(chroms, dtype=object)).value_counts()
    order = sorted(counts.index, key=lambda chrom: (-counts[chrom], chrom))
    named = {chrom: "valid" for chrom in valid_chroms or ()}
    for chrom in test_chroms or ():
        if chrom in named:
            raise TrainingError(f"chromosome {chrom}: named for validation and for test; name it for one of them")
        named[chrom] = "test"
    unknown = sorted(set(named) - set(order))
    if unknown:
        raise TrainingError(
            f"chromosome {unknown[0]}: held out, but no positive lies on it; the positives lie on {_some(order)}"
        )
    shares = {"train": 1 - valid_fraction - test_fraction, "valid": valid_fraction, "test": test_fraction}
    shares = {part: share * len(chroms) for part, share in shares.items()}
    for part, given in (("valid", valid_chroms), ("test", test_chroms)):
        if given is not None:
            shares.pop(part)
    free = [chrom for chrom in order if chrom not in named]
    for n_left, chrom in zip(range(len(free), 0, -1), free, strict=True):
        empty = [part for part in shares if part not in named.values()]
        part = max(empty if n_left <= len(empty) else shares, key=lambda part: shares[part])
        named[chrom] = part
        shares[part] -= counts[chrom]
    missing = [part for part in PARTS if part not in named.values()]
    if missing:
        raise TrainingError(
            f"split: the positives lie on {counted(len(order), 'chromosome')} ({_some(order)}), which leaves none for "
            f"{missing[0]}; at least 3 are needed, or other --valid-chroms and --test-chroms"
        )
    return named


def assign_parts(
    windows: pd.DataFrame, is_contig: NDArray[np.bool_], chrom_parts: dict[str, str], *, valid: float, test: float
) -> NDArray[np.str_]:
    """Give each window to a part: by its chromosome, or by its name's hash when it is a contig of its own.

    A chromosome that no positive lies on trains.
    """
    parts = [
        chrom_parts.get(chrom) or (_hashed_part(chrom, valid, test) if contig else "train")
        for chrom, contig in zip(windows["chrom"], is_contig, strict=True)
    ]
    return np.array(parts, dtype="<U5")


def _hashed_part(name: str, valid: float, test: float) -> str:
    digest = hashlib.sha256(name.encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64  # uniform in [0, 1)
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def _some(names: Sequence[str], n_shown: int = 6) -> str:
    return ", ".join(names[:n_shown]) + (", …" if len(names) > n_shown else "")
