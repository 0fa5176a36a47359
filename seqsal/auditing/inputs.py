"""What an audit is made from, read and checked before any work."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.context import Codes
from seqsal.auditing.parts.artifacts.library import Artifact, read_artifacts
from seqsal.auditing.parts.strata import read_strata
from seqsal.auditing.settings import AuditSettings
from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.bed import read_bed
from seqsal.io.inputs import open_input
from seqsal.io.store import read_attributions
from seqsal.motifs import Motif, read_motifs
from seqsal.peaks import read_peaks
from seqsal.sequence.codes import codes_from_one_hot
from seqsal.training.sources import is_fasta

__all__ = [
    "Sequences",
    "describe_inputs",
    "open_audited",
    "read_evidence",
    "read_peaks_of",
    "read_sequences",
]

Sequences = str | os.PathLike[str] | pd.DataFrame | NDArray[Any]
_PATH = str | os.PathLike[str]


def read_evidence(
    regions: pd.DataFrame,
    length: int,
    *,
    motif_db: _PATH | Sequence[Motif] | None = None,
    annotations: _PATH | pd.DataFrame | None = None,
    artifacts: _PATH | Sequence[Artifact] | None = None,
    positives: Sequences | None = None,
    negatives: Sequences | None = None,
    genome: _PATH | None = None,
    strata: str | pd.DataFrame | None = None,
    settings: AuditSettings | Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Read what an audit is given besides attributions and model, which may be before there are any.

    `regions`, `length`: region table of the windows that are attributed, and their length in bp. `motif_db`,
    `annotations`, `artifacts`, `positives`, `negatives`, `genome`, `strata`, `settings`: of :func:`seqsal.audit`.
    Returns dict: Arguments of :class:`seqsal.auditing.context.AuditContext`. Raises SeqsalError: Something cannot be
    read.
    """
    sizes = settings if isinstance(settings, AuditSettings) else AuditSettings().changed(settings or {})
    classes = {
        name: None if given is None else read_sequences(given, name, length, genome=genome, n_most=sizes.n_examples)
        for name, given in (("positives", positives), ("negatives", negatives))
    }
    return {
        "settings": sizes,
        "motifs": _read(motif_db, read_motifs),
        "annotations": _read(annotations, read_bed),
        "artifacts": _read(artifacts, read_artifacts),
        "strata": _read(strata, lambda spec: read_strata(str(spec), regions)),
        **classes,
    }


def read_sequences(
    given: Sequences, name: str, length: int, *, genome: _PATH | None = None, n_most: int = 5_000
) -> Codes:
    """Read windows of one class.

    `given`: FASTA or BED file, region table, codes (n, L) or one-hot (n, 4, L). `name`: `positives` or `negatives`, for
    messages. `length`: L, bases of a window: regions are centred, records cropped or padded with N. `genome`: FASTA
    that regions are read from. `n_most`: of more, so many are taken, evenly spread. Returns ndarray of uint8, shape (n,
    L). Raises UsageError: Regions without a genome, or arrays of another length. Raises FastaError, BedError,
    RegionError: A file cannot be used.
    """
    if isinstance(given, np.ndarray):
        codes = _as_codes(given, name, length)
        return codes[_evenly(len(codes), n_most)]
    if not isinstance(given, pd.DataFrame) and not Path(given).is_file():
        raise UsageError(f"{name}: {given}: no such file, expected a FASTA or BED file; check the path")
    if is_fasta(given):
        source = open_input(fasta=given, length=length)  # type: ignore[arg-type]
    elif genome is None:
        raise UsageError(
            f"{name}: are regions, which need a genome to be read from; give --genome, or a FASTA file instead"
        )
    else:
        source = open_input(genome=genome, regions=given, length=length)
    with source:
        return source.read(_evenly(len(source), n_most))


def describe_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Name the inputs for the record: files without their folder, which does not change what is in them."""
    return {name: _describe(value) for name, value in inputs.items() if value is not None}


def _describe(value: Any) -> str:
    if isinstance(value, str):
        return value.rpartition("/")[2]
    return value.name if isinstance(value, Path) else f"{type(value).__name__} of {len(value)}"


def open_audited(attr: Attributions | _PATH | None) -> Attributions:
    """Open the attributions to be audited; a file stays on disk.

    Raises UsageError: None are given. Raises StoreError: The file cannot be read. Raises RegionError: They are of no
    regions.
    """
    if attr is None:
        raise UsageError("attr: none given, expected attributions or a file of them; give seqsal.audit(model, attr)")
    opened = attr if isinstance(attr, Attributions) else read_attributions(attr, in_memory=False)
    if not len(opened):
        raise RegionError("attributions: hold no regions, expected at least one; check how they were made")
    return opened


def _read(given: Any, read: Callable[[Any], Any]) -> Any:
    """Read a file; what is no file, or None, stays."""
    return read(given) if isinstance(given, (str, os.PathLike)) else given


def read_peaks_of(attr: Attributions, peaks: _PATH | pd.DataFrame | None) -> pd.DataFrame | None:
    """Read peaks that were called on attributions; a table, or None, stays as it is.

    Raises BedError: The file is no narrowPeak. Raises RegionError: No peak is on a chromosome of the attributions.
    """
    if peaks is None or isinstance(peaks, pd.DataFrame):
        return peaks
    table = read_peaks(peaks)
    if len(table) and not table["chrom"].isin(attr.regions["chrom"]).any():
        raise RegionError(
            f"{peaks}: no peak is on a chromosome of the attributions ({table['chrom'].iloc[0]} against "
            f"{attr.regions['chrom'].iloc[0]}); give the peaks that were called on them"
        )
    return table if "sign" in table else table.assign(sign=np.where(table["signal"] < 0, "neg", "pos"))


def _as_codes(array: NDArray[Any], name: str, length: int) -> Codes:
    codes = codes_from_one_hot(array) if array.ndim == 3 else array
    if codes.ndim != 2 or codes.shape[1] != length or not len(codes) or codes.dtype != np.uint8:
        raise UsageError(
            f"{name}: got an array {array.shape} of {array.dtype}, expected codes (n, {length}) of uint8 or one-hot "
            f"(n, 4, {length}); cut the sequences to the windows of the attributions"
        )
    return codes


def _evenly(n: int, n_most: int) -> NDArray[np.int64]:
    """Return at most so many of n rows, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, n_most)).round().astype(np.int64))
