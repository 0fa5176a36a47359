"""Which windows a network was trained on, as its checkpoint's metadata has them, and which regions overlap one.

`seen` in the metadata holds, for each part of the split, the starts of its windows by chromosome (int32, sorted,
compressed, base64), with the windows' length; a FASTA record without genome coordinates is there by a hash of its
bases. Of checkpoints without `seen` it is known which chromosomes were in which part.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.sequence.draws import window_keys

__all__ = ["SEEN_REASON", "TRAINED_ON", "find_seen", "left_out_text", "record_seen", "seen_counts", "seen_text"]

TRAINED_ON = ("train", "valid")  # parts that a model was fitted to, or chosen by
SEEN_REASON = "the model was trained on it, and --held-out leaves it out"  # why a region is not attributed
_PARTS = ("test", "valid", "train")  # the last that holds a base of a region is the one that counts


def record_seen(windows: pd.DataFrame, parts: NDArray[np.str_], codes: NDArray[np.uint8]) -> dict[str, Any]:
    """Describe the windows of a training run for its checkpoint.

    They are (N,), of one length, with their part (`train`, `valid`, `test`) and bases (N, L) as seen by the model.
    """
    is_contig = (windows["chrom"] == windows["name"]).to_numpy()
    record: dict[str, Any] = {"length_bp": int((windows["end"] - windows["start"]).max()), "starts": {}, "bases": {}}
    for part in _PARTS:
        here = windows[(parts == part) & ~is_contig]
        by_chrom = here.groupby("chrom", sort=True)["start"]
        record["starts"][part] = {str(chrom): _pack(starts.to_numpy(np.int32)) for chrom, starts in by_chrom}
        record["bases"][part] = _pack(window_keys(codes[(parts == part) & is_contig]))
    return record


def find_seen(
    metadata: Mapping[str, Any], windows: pd.DataFrame, read: Callable[[NDArray[np.int64]], NDArray[np.uint8]]
) -> NDArray[np.object_] | None:
    """Find the part of the split that each window (N,) shares a base with, an empty text for none.

    None where the metadata do not say what a network was trained on; those of chromosomes where these alone are named.
    `read` gives the bases (n, L) of some rows.
    """
    found = np.full(len(windows), "", dtype=object)
    record = metadata.get("seen")
    if record is None:
        split = metadata.get("split", {})
        chroms = {chrom: part for part in _PARTS for chrom in split.get(part, {}).get("chroms", ())}
        if not chroms:
            return None
        return windows["chrom"].map(chroms).fillna("").to_numpy(dtype=object)
    contigs = np.flatnonzero((windows["chrom"] == windows["name"]).to_numpy())
    keys = window_keys(read(contigs)) if len(contigs) and any(record["bases"].values()) else None
    for part in _PARTS:
        for chrom, packed in record["starts"][part].items():
            rows = np.flatnonzero((windows["chrom"] == chrom).to_numpy())
            starts = _unpack(packed, np.int32)
            ends = windows["end"].to_numpy()[rows]
            last = np.searchsorted(starts, ends, side="left") - 1  # the last window that begins before the region ends
            reach = starts[np.maximum(last, 0)].astype(np.int64) + record["length_bp"]
            found[rows[(last >= 0) & (reach > windows["start"].to_numpy()[rows])]] = part
        if keys is not None:
            found[contigs[np.isin(keys, _unpack(record["bases"][part], np.uint64))]] = part
    return found


def seen_counts(seen: Any) -> dict[str, int]:
    """Count regions by part: `train`, `valid` and `held_out`, the others."""
    values = np.asarray(seen, dtype=object)
    counts = {part: int((values == part).sum()) for part in TRAINED_ON}
    return {**counts, "held_out": len(values) - sum(counts.values())}


def seen_text(counts: Mapping[str, int]) -> str:
    """Say how many of the regions a model was trained on; an empty text where it saw none."""
    n_seen, total = sum(counts.get(part, 0) for part in TRAINED_ON), sum(counts.values())
    if not n_seen:
        return ""
    return (
        f"{n_seen:,} of the {total:,} regions are ones that the model was trained on ({counts['train']:,} to fit it, "
        f"{counts['valid']:,} to choose the epoch): what it does there may not hold elsewhere; --held-out keeps the "
        f"other {counts['held_out']:,}"
    )


def left_out_text(rejected: pd.DataFrame) -> str:
    """Say how many regions were left out: those that cannot be used, and those that the model was trained on."""
    n_seen = int((rejected["reason"] == SEEN_REASON).sum()) if len(rejected) else 0
    parts = [(len(rejected) - n_seen, "unusable"), (n_seen, "seen in training")]
    return ", ".join(f"{n:,} {what}" for n, what in parts if n)


def _pack(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(np.sort(values).astype(values.dtype.newbyteorder("<")).tobytes())).decode()


def _unpack(text: str, kind: type) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.dtype(kind).newbyteorder("<"))
