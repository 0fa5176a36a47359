"""Maps of both alleles, next to each other in an attribution file, with the variants that they are of.

Rows 2i and 2i + 1 are REF and ALT of variant i, and the group `/variants` holds, V variants long, the columns of the
table (`chrom`, `pos`, … `q_value`, `motif_gained`, `motif_lost`), and `start` and `at`, where the normalised allele
begins on the chromosome and in the window, `ref_bp` and `alt_bp`, how long it is, and `difference` (V, L): ALT − REF at
the reference's bases. What the bases of an insertion contribute is added to the base to their left, so that a row sums
to the difference of the maps, but for what an insertion or deletion moves across the window's end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.attribution.api import attribute
from seqsal.attribution.request import AttributeOptions
from seqsal.errors import StoreError, UsageError, did_you_mean
from seqsal.experiments.variants.alleles import normalise, pairs_of, read_around
from seqsal.io.atomic import atomic_path
from seqsal.io.attributions import Attributions
from seqsal.io.fasta import Genome
from seqsal.io.store import read_attributions
from seqsal.io.variants import Variant
from seqsal.models import SequenceModel
from seqsal.regions import make_regions
from seqsal.sequence.codes import N_CODE, one_hot

__all__ = ["AlignedMaps", "VariantMaps", "has_variants", "read_variant_maps", "write_maps"]

GROUP = "variants"
NUMBERS = {"pos": np.int64, "start": np.int64, "at": np.int64, "ref_bp": np.int64, "alt_bp": np.int64}
SCORES = ("ref_score", "alt_score", "effect", "p_value", "q_value")
Codes = NDArray[np.uint8]
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AlignedMaps:
    """Both alleles base by base: `codes` and `tracks` of REF and ALT, (2, C), with N and NaN where one has no base.

    `first` and `last` are the columns of the allele, `last` not included.
    """

    codes: Codes
    tracks: Values
    first: int
    last: int

    @property
    def difference(self) -> Values:
        """ALT − REF, (C,), a base that is not there counting as 0."""
        ref, alt = np.nan_to_num(self.tracks)
        return np.asarray(alt - ref)


@dataclass(frozen=True, eq=False)
class VariantMaps:
    """Maps of both alleles of V variants.

    Attributes
    ----------
    attr
        Attributions of 2V windows: REF and ALT in turn.
    table
        (V rows) what is known of the variants, see the module.
    difference
        (V, L) ALT − REF at the reference's bases.
    """

    attr: Attributions
    table: pd.DataFrame
    difference: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def names(self) -> list[str]:
        """`chrom:pos:REF>ALT` of each."""
        return [str(name).removesuffix("|ref") for name in self.attr.regions["name"].iloc[::2]]

    @property
    def reference(self) -> Attributions:
        """The windows of REF alone."""
        return self.attr[np.arange(0, len(self.attr), 2)]

    def find(self, variant: str | int) -> int:
        """Return the number of a variant, given so or by its name or id; UsageError where there is none."""
        if isinstance(variant, str):
            known = [*self.names, *self.table["id"]]
            if variant not in known or variant == ".":
                hint = did_you_mean(variant, self.names)
                raise UsageError(f"variant: got {variant!r}, expected an id, or chrom:pos:REF>ALT of one{hint}")
            return known.index(variant) % len(self)
        if not 0 <= variant < len(self):
            raise UsageError(f"variant: got number {variant}, expected 0 to {len(self) - 1}")
        return int(variant)

    def aligned(self, variant: str | int, width: int | None = None) -> AlignedMaps:
        """Set both alleles side by side, `width` columns around the variant or all."""
        row = self.find(variant)
        at, ref_bp, alt_bp = (int(self.table[name].iloc[row]) for name in ("at", "ref_bp", "alt_bp"))
        n, length = max(ref_bp, alt_bp), self.attr.length
        kept = length - at - n  # columns right of the allele that both have
        codes, tracks = np.full((2, at + n + kept), N_CODE, np.uint8), np.full((2, at + n + kept), np.nan)
        for side, own in enumerate((ref_bp, alt_bp)):
            for out, array in ((codes, self.attr.codes), (tracks, self.attr.track)):
                values = np.asarray(array[2 * row + side])
                out[side, : at + own], out[side, at + n :] = values[: at + own], values[at + own : at + own + kept]
        low = 0 if width is None else max(at + n // 2 - width // 2, 0)
        high = at + n + kept if width is None else min(max(low + width, at + n), at + n + kept)
        low = min(low, at)
        return AlignedMaps(codes[:, low:high], tracks[:, low:high], at - low, at + n - low)


def write_maps(
    model: SequenceModel, genome: Genome, table: pd.DataFrame, out: str | os.PathLike[str], *, length: int,
    engine: AttributeOptions, device: str,
) -> None:  # fmt: skip
    """Attribute the windows of both alleles of the variants of a table, its first row of each.

    An insertion or deletion is anchored on the left, so that what is left of the allele can be compared base by base.
    """
    table = table.drop_duplicates(["chrom", "pos", "ref", "alt"]).reset_index(drop=True)
    codes, names, places = [], [], []
    for chrom, pos, name, ref, alt in table[["chrom", "pos", "id", "ref", "alt"]].itertuples(index=False, name=None):
        allele = normalise(genome, Variant(chrom, pos, name, ref, alt, 0), length)
        pairs = pairs_of(read_around(genome, [allele], length, abs(allele.shift) + 1), [allele], length, 0)
        codes += [pairs.ref[0], pairs.alts[0][0]]
        names += [f"{chrom}:{pos}:{ref[:20]}>{alt[:20]}|{side}" for side in ("ref", "alt")]
        places.append((allele.start, length // 2, len(allele.ref), len(allele.alt)))
    table = table.assign(**dict(zip(("start", "at", "ref_bp", "alt_bp"), np.array(places).T, strict=True)))
    starts = np.repeat(table["start"].to_numpy() - length // 2, 2)
    regions = make_regions(np.repeat(table["chrom"], 2), starts, starts + length, name=names)
    options: dict[str, Any] = {name: getattr(engine, name) for name in ("target", "contrast", "target_names", "seed")}
    with atomic_path(out) as temporary:
        attribute(
            model, X=one_hot(np.stack(codes)), regions=regions, out=temporary, rc_average=engine.rc_average,
            n_controls=0, device=device, resume=False, hypothetical=True, progress=False, **options,
        )  # fmt: skip
        _add_table(temporary, table, dict(genome.chrom_sizes))


def _add_table(path: os.PathLike[str], table: pd.DataFrame, chrom_sizes: dict[str, int]) -> None:
    """Add the variants to a file of their maps, with the differences and the sizes of the genome's chromosomes."""
    with h5py.File(path, "r+") as file:
        group, track = file.create_group(GROUP), file["track"][...]
        for name in table.columns:
            if name in (*NUMBERS, *SCORES):
                group[name] = table[name].to_numpy(NUMBERS.get(name, np.float64))
            elif name not in ("effect_sd", "model_sd", "distance"):
                text = table[name].astype(object).where(table[name].notna(), "").astype(str)
                group.create_dataset(name, data=text.to_numpy(object), dtype=h5py.string_dtype())
        group["difference"] = _differences(track, table)
        del file["chrom_sizes"]
        sizes = file.create_group("chrom_sizes")
        sizes.create_dataset("chrom", data=np.array(list(chrom_sizes), dtype=object), dtype=h5py.string_dtype())
        sizes["size"] = np.array(list(chrom_sizes.values()), dtype=np.int64)


def _differences(track: NDArray[np.float32], table: pd.DataFrame) -> NDArray[np.float32]:
    """ALT − REF at the reference's bases, (V, L)."""
    found = -track[::2]
    places: Sequence[tuple[int, int, int]] = list(table[["at", "ref_bp", "alt_bp"]].itertuples(index=False, name=None))
    for row, (at, ref_bp, alt_bp) in enumerate(places):
        alt, shared = track[2 * row + 1], min(ref_bp, alt_bp)
        found[row, : at + shared] += alt[: at + shared]
        found[row, max(at + shared - 1, 0)] += alt[at + shared : at + alt_bp].sum()
        rest = min(found.shape[1] - at - ref_bp, len(alt) - at - alt_bp)
        found[row, at + ref_bp : at + ref_bp + rest] += alt[at + alt_bp : at + alt_bp + rest]
        found[row, at + ref_bp + rest :] = 0  # bases that the other allele's window does not reach
    return np.asarray(found)


def has_variants(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds maps of both alleles; one that cannot be read does not."""
    try:
        with h5py.File(path, "r") as file:
            return GROUP in file
    except OSError:
        return False


def read_variant_maps(path: str | os.PathLike[str], *, in_memory: bool = True) -> VariantMaps:
    """Read maps of both alleles, as `seqsal variants --attributions` writes them.

    Parameters
    ----------
    path
        The file.
    in_memory
        False leaves arrays on disk until they are asked for.

    Returns
    -------
    VariantMaps
        The maps, the variants and the differences.

    Raises
    ------
    StoreError
        The file is damaged, or of another kind.

    Examples
    --------
    >>> from seqsal.experiments.variants import read_variant_maps
    >>> read_variant_maps("missing.h5")
    Traceback (most recent call last):
    seqsal.errors.StoreError: missing.h5: no such file; ...
    """
    attr = read_attributions(path, in_memory=in_memory)
    try:
        with h5py.File(path, "r") as file:
            group = file[GROUP]
            table = pd.DataFrame({
                name: one.asstr()[...] if h5py.check_string_dtype(one.dtype) else one[...]
                for name, one in group.items() if name != "difference"
            })  # fmt: skip
            maps = VariantMaps(attr, table, group["difference"][...])
    except (KeyError, OSError, ValueError, TypeError, AttributeError) as error:
        raise _no_variants(path) from error
    known = {*NUMBERS, *SCORES, "chrom", "id", "ref", "alt", "target"} <= set(table)
    if not known or 2 * len(table) != len(attr) or maps.difference.shape != (len(table), attr.length):
        raise _no_variants(path)
    return maps


def _no_variants(path: str | os.PathLike[str]) -> StoreError:
    return StoreError(
        f"{os.fspath(path)}: holds no variants, expected maps of both alleles; make them with seqsal variants "
        "--attributions V.h5"
    )
