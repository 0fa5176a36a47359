"""Patterns as TF-MoDISco writes them, so that `modisco report` and `finemo call-hits` read ours, and we read theirs.

For each pattern, from 0 within its sign, a group (modisco-lite 2; W positions, n instances, bases last)::

    /{pos,neg}_patterns/pattern_K/sequence                (W, 4)  frequencies
                                 /contrib_scores          (W, 4)  mean contributions, the CWM
                                 /hypothetical_contribs   (W, 4)  mean scores of all four bases
                                 /seqlets/{n_seqlets, example_idx, start, end, is_revcomp}
                                 /seqlets/{sequence, contrib_scores, hypothetical_contribs}   (n, W, 4)

`example_idx` is the row of the window, and `start` the offset in it, on the forward strand, as `seqsal export --format
chrombpnet-h5` and `npz` write windows. TF-MoDISco's pattern_0 is called pos_pattern_1 here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from seqsal.errors import MotifError
from seqsal.io.atomic import atomic_path
from seqsal.io.attributions import Attributions
from seqsal.io.hdf5 import create_hdf5, undisturbed
from seqsal.io.sweep import Axis, forward_layers
from seqsal.motifs.matrices import Motif
from seqsal.motifs.patterns import NAME_COLUMNS, NAMED_Q, SEQLET_COLUMNS, Pattern, core_columns
from seqsal.sequence.codes import one_hot

__all__ = ["MODISCO_FILE", "read_patterns", "write_modisco_h5"]

MODISCO_FILE = "motifs.h5"
ROWS = 256  # seqlets read at once
LEAST_BP = 30  # of a pattern with its surroundings, as TF-MoDISco has them
ARRAYS = {"sequence": np.int8, "contrib_scores": np.float32, "hypothetical_contribs": np.float32}
SIGNS = ("pos", "neg")


def write_modisco_h5(patterns: Sequence[Pattern], path: str | os.PathLike[str], attr: Attributions) -> None:
    """Write patterns found in attributions, with their surroundings; instances at windows' ends are left out.

    Parameters
    ----------
    patterns
        As of :func:`seqsal.discover_motifs`.
    path
        The file.
    attr
        What they were found in.

    Raises
    ------
    OutputError
        The file cannot be written.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.motifs.modisco_h5 import read_patterns, write_modisco_h5
    >>> from seqsal.regions import make_regions
    >>> codes, track = np.uint8([[0, 1, 2, 3] * 2]), np.zeros((1, 8), np.float32)
    >>> attr = seqsal.Attributions(make_regions(["chr1"], [100], [108]), codes, track, np.float32([1.5]))
    >>> write_modisco_h5([], "motifs.h5", attr)
    >>> read_patterns("motifs.h5")
    []
    """
    width = max([LEAST_BP, *(pattern.motif.width for pattern in patterns)])  # finemo wants one for all
    with atomic_path(path) as temporary, create_hdf5(temporary) as (file, raw), undisturbed():
        file.attrs["window_size"] = attr.length
        for sign in SIGNS:
            own = [pattern for pattern in patterns if pattern.sign == sign]
            group = file.create_group(f"{sign}_patterns") if own else None
            for number, pattern in enumerate(own):
                assert group is not None
                _write(group.create_group(f"pattern_{number}"), pattern, attr, min(width, attr.length))
        raw.check()


def _write(group: h5py.Group, pattern: Pattern, attr: Attributions, width: int) -> None:
    """Write one pattern with its surroundings, `width` bp in all."""
    reverse = (pattern.seqlets["strand"] == "-").to_numpy()
    flank = width - pattern.motif.width
    start = pattern.seqlets["start"].to_numpy(np.int64) - np.where(reverse, flank - flank // 2, flank // 2)
    spans = pd.DataFrame({"chrom": pattern.seqlets["chrom"], "start": start, "end": start + width})
    rows, offset = Axis.of(attr).windows_over(spans, attr.length)
    held = np.flatnonzero(rows >= 0)
    rows, offset, reverse = rows[held], offset[held], reverse[held]
    arrays: dict[str, Any] = {name: np.zeros((len(held), width, 4), kind) for name, kind in ARRAYS.items()}
    for part in (slice(first, first + ROWS) for first in range(0, len(held), ROWS)):
        codes, layers = forward_layers(attr, rows[part])
        columns = offset[part, None] + np.arange(width)
        own = np.take_along_axis(layers, columns[:, None], axis=2)
        X = one_hot(np.take_along_axis(codes, columns, axis=1))
        for name, values in zip(ARRAYS, (X, X * own[:, :1], own[:, 1:]), strict=True):
            turned = np.where(reverse[part, None, None], values[:, ::-1, ::-1], values)
            arrays[name][part] = turned.transpose(0, 2, 1)
    alone = (pattern.motif.frequencies.T, pattern.cwm.T, pattern.cwm.T)  # where no window holds an instance whole
    for (name, values), matrix in zip(arrays.items(), alone, strict=True):
        padded = np.pad(matrix, ((flank // 2, flank - flank // 2), (0, 0)))
        group[name] = values.mean(axis=0, dtype=np.float64) if len(held) else padded
    seqlets = group.create_group("seqlets")
    seqlets["n_seqlets"] = np.array([len(held)])
    places = {"example_idx": rows, "start": offset, "end": offset + width, "is_revcomp": reverse}
    for name, values in (places | arrays).items():
        seqlets[name] = values


def read_patterns(path: str | os.PathLike[str]) -> list[Pattern]:
    """Read patterns of a folder of `seqsal motifs`, or of a file of TF-MoDISco.

    Parameters
    ----------
    path
        The folder, which names them by their matches too, or the file (.h5).

    Returns
    -------
    list of Pattern
        Cut to the columns that contribute, and without their instances, whose windows the file does not name.

    Raises
    ------
    MotifError
        There is no such file, or it is of another kind.

    Examples
    --------
    >>> from seqsal.motifs.modisco_h5 import read_patterns
    >>> read_patterns("nothing.h5")
    Traceback (most recent call last):
    seqsal.errors.MotifError: nothing.h5: no such file, ...
    """
    given, found = Path(path), []
    file_path = given / MODISCO_FILE if given.is_dir() else given
    if not file_path.is_file():
        made = (
            "a folder of `seqsal motifs` (made by this version: run it again)" if given.is_dir() else "motifs.h5 there"
        )
        raise MotifError(f"{file_path}: no such file, expected {made}, or a file of TF-MoDISco")
    try:
        with h5py.File(file_path, "r") as file:
            for sign in SIGNS:
                group = file.get(f"{sign}_patterns", {})
                for name in sorted(group, key=lambda name: int(name.rpartition("_")[2])):
                    found.append(_read(group[name], f"{sign}_pattern_{int(name.rpartition('_')[2]) + 1}", sign))
            if not found and "window_size" not in file.attrs:
                raise KeyError("pos_patterns")
    except (KeyError, OSError, ValueError, TypeError, AttributeError) as error:
        raise MotifError(
            f"{file_path}: cannot be read as patterns, expected those of `seqsal motifs` or TF-MoDISco "
            "(pos_patterns/pattern_0/contrib_scores)"
        ) from error
    table = given / "motifs.tsv"
    return _named(found, pd.read_csv(table, sep="\t", na_values=".")) if given.is_dir() and table.is_file() else found


def _read(group: h5py.Group, name: str, sign: str) -> Pattern:
    n = int(np.ravel(group["seqlets/n_seqlets"][...])[0])
    frequencies, cwm = (np.asarray(group[key][...], dtype=np.float64).T for key in ("sequence", "contrib_scores"))
    if frequencies.shape[0] != 4 or frequencies.shape != cwm.shape or not np.isfinite(cwm).all():
        raise ValueError(name)
    first, last = core_columns(cwm)
    none = pd.DataFrame({key: pd.Series(dtype=kind) for key, kind in SEQLET_COLUMNS.items()})
    motif = Motif(name, "", frequencies[:, first:last] * max(n, 1), float(max(n, 1)))
    return Pattern(name, sign, "modisco", motif, cwm[:, first:last], none)


def _named(patterns: Sequence[Pattern], table: pd.DataFrame) -> list[Pattern]:
    """Give patterns the matches that they have in `motifs.tsv`."""
    known: dict[str, Any] = {
        str(row["pattern"]): {key: row[key] for key in NAME_COLUMNS}
        for row in table.to_dict("records")
        if row["q_value"] <= NAMED_Q
    }
    return [replace(pattern, match=known.get(pattern.name)) for pattern in patterns]
