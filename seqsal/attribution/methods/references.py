"""Reference sequences of the user's own, for the methods that compare with references.

An array (K, 4, L) is one set for all windows, and so is a FASTA or BED file of K sequences. An array (N, K, 4, L) has K
for each of N windows. They are found by the window's own bases, so that a map still depends on nothing but its
sequence; what is not among the windows (a shuffled control, the other strand) has none, and is refused.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.errors import MethodError, did_you_mean, shown
from seqsal.io.inputs import open_input
from seqsal.sequence.codes import one_hot
from seqsal.sequence.tensors import nearest_codes

__all__ = ["GivenReferences", "as_references", "open_references"]

_TABLES = (".bed", ".bed.gz", ".narrowpeak", ".narrowpeak.gz")


class GivenReferences:
    """References as given.

    Parameters
    ----------
    values
        (K, 4, L) for all windows, or (N, K, 4, L).
    codes
        Codes (N, L) of the windows that the latter are for; None as long as these are not known.
    origin
        Name of the file that they were read from.
    """

    def __init__(self, values: NDArray[np.float32], codes: NDArray[np.uint8] | None = None, origin: str = "") -> None:
        if values.ndim not in (3, 4) or values.shape[-2] != 4 or 0 in values.shape:
            raise MethodError(
                f"references: got an array of shape {values.shape}, expected (K, 4, L), the same for all windows, or "
                "(N, K, 4, L), K for each window"
            )
        self._values, self._codes = values, codes
        self.n_references = values.shape[-3]
        digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
        self._name = f"{origin or 'array'} {values.shape} sha256 {digest}"
        if codes is None:
            return
        if values.shape[-1] != codes.shape[1] or (values.ndim == 4 and len(values) != len(codes)):
            raise MethodError(
                f"references: have shape {values.shape} for {len(codes)} windows of {codes.shape[1]} bp, expected "
                f"(K, 4, {codes.shape[1]}) or ({len(codes)}, K, 4, {codes.shape[1]})"
            )
        self._rows: dict[bytes, int] = {}
        for i, window in enumerate(codes if values.ndim == 4 else ()):
            same = self._rows.setdefault(window.tobytes(), i)
            if same != i and not np.array_equal(values[same], values[i]):
                raise MethodError(
                    f"references: windows {same} and {i} have the same bases but different references; give them the "
                    "same, or one set (K, 4, L) for all"
                )

    def bound(self, codes: NDArray[np.uint8]) -> GivenReferences:
        """Return the references of windows with these codes (N, L)."""
        found = GivenReferences(self._values, codes)
        found._name = self._name
        return found

    def of(self, X: torch.Tensor) -> torch.Tensor:
        """Return the references of windows (N, 4, L): (N, K, 4, L)."""
        if self._values.ndim == 3:
            values = torch.from_numpy(self._values).to(X)
            if values.shape[2] != X.shape[2]:
                raise MethodError(
                    f"references: have {values.shape[2]} bp, expected {X.shape[2]} bp, the length of the windows"
                )
            return values.expand(len(X), *values.shape)
        rows = (
            [self._rows.get(window.tobytes(), -1) for window in nearest_codes(X)] if self._codes is not None else [-1]
        )
        if -1 in rows:
            raise MethodError(
                "references: were given window by window, and this is none of the windows (a shuffled control, or the "
                "other strand?); give one set (K, 4, L) for all"
            )
        return torch.from_numpy(self._values[rows]).to(X)

    def __str__(self) -> str:
        return self._name


def as_references(value: Any, kinds: tuple[str, ...]) -> str | GivenReferences:
    """Take the kind of references, a file's name, or an array.

    Raises
    ------
    MethodError
        It is none of these.
    """
    if isinstance(value, GivenReferences) or (isinstance(value, str) and value in kinds):
        return value
    if isinstance(value, (str, os.PathLike)):
        if not Path(value).exists():
            raise MethodError(
                f"references: got {os.fspath(value)!r}, expected {', '.join(kinds)}, or a FASTA or BED file"
                f"{did_you_mean(os.fspath(value), kinds)}"
            )
        return os.fspath(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray) or value.dtype == object:
        raise MethodError(
            f"references: got {shown(value)}, expected {', '.join(kinds)}, a FASTA or BED file, or an array (K, 4, L)"
        )
    return GivenReferences(value.astype(np.float32))


def open_references(
    value: Any, genome: str | os.PathLike[str] | None, codes: NDArray[np.uint8], kinds: tuple[str, ...]
) -> str | GivenReferences:
    """Read references from a file, and fit them to windows with these codes (N, L).

    Raises
    ------
    SeqsalError
        The file cannot be read; a BED file needs the genome.
    """
    given = as_references(value, kinds)
    if isinstance(given, GivenReferences):
        return given.bound(codes)
    if given in kinds:
        return given
    is_table = given.lower().endswith(_TABLES)
    if is_table and genome is None:
        raise MethodError(f"references: {given} holds regions, whose bases come from a genome; give a FASTA file")
    with open_input(
        genome=genome if is_table else None, regions=given if is_table else None,
        fasta=None if is_table else given, length=codes.shape[1],
    ) as source:  # fmt: skip
        return GivenReferences(one_hot(source.read(slice(None))), codes, Path(given).name)
