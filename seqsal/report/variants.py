"""The section on variants: a table of all, and of those that matter most both alleles as logos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from seqsal.experiments.variants import VariantMaps
from seqsal.plot.experiments import draw_variant
from seqsal.plot.style import gallery_svg, one_line
from seqsal.regions import Region
from seqsal.report.inputs import ReportInputs
from seqsal.report.tables import Column, Table, make_table, two_digits

__all__ = ["VariantCard", "draw_variants", "rows_by_weight", "variant_regions", "variant_table"]

_WIDTH, _HEIGHT, _BELOW = 9.0, 1.05, (0.25, 0.25, 0.45)  # inches
_SIDES = ("Logo of the reference", "Logo of the alternative allele", "Difference of the two")


@dataclass(frozen=True)
class VariantCard:
    """One variant with its pictures."""

    key: str
    name: str
    place: Region
    chips: list[str]
    pictures: list[Markup]


def variant_regions(maps: VariantMaps) -> pd.DataFrame:
    """Where the variants lie: chrom, start, end, and the label and colour of a browser's box."""
    table = maps.table
    end = table["start"] + table["ref_bp"].clip(lower=1)
    return pd.DataFrame({"chrom": table["chrom"], "start": table["start"], "end": end, "label": maps.names})


def rows_by_weight(maps: VariantMaps) -> list[int]:
    """Return the rows by q-value, then by the size of the effect."""
    q, size = maps.table["q_value"].fillna(1.0).to_numpy(), maps.table["effect"].abs().to_numpy()
    return [int(row) for row in np.lexsort([-size, q])]


def draw_variants(inputs: ReportInputs, maps: VariantMaps) -> list[VariantCard]:
    """Draw those that matter most, as many as regions are pictured."""
    regions, cards = variant_regions(maps), []
    for number, row in enumerate(rows_by_weight(maps)[: inputs.n_top], start=1):
        known, key = maps.table.iloc[row], f"variant-{number}"
        name = one_line(maps.names[row])
        chips = [f"effect {known['effect']:+.3g}"]
        chips += [] if np.isnan(known["q_value"]) else [f"q {known['q_value']:.2g}"]
        pictures = [
            gallery_svg(
                lambda ax, row=row, part=part: draw_variant(maps, row, part, ax),  # type: ignore[misc]
                (_WIDTH, _HEIGHT + _BELOW[part]), (0.8, 0.35, _BELOW[part], 0.3), key=f"{key}-{part}",
                label=f"{_SIDES[part]} of {name}",
            )
            for part in range(3)
        ]  # fmt: skip
        cards.append(VariantCard(key, name, Region(*regions.iloc[row][["chrom", "start", "end"]]), chips, pictures))
    return cards


def variant_table(maps: VariantMaps) -> Table:
    """List all, those that matter most first."""
    rows = rows_by_weight(maps)
    table, regions = maps.table.iloc[rows], variant_regions(maps).iloc[rows].reset_index(drop=True)
    columns: list[Any] = [
        (Column("Variant", "place", "chrom:pos:REF>ALT, the position from 1, as in VCF"), regions["label"]),
        (Column("Id"), table["id"]),
        (Column("Effect", "number", "of the alternative allele less the reference"), table["effect"]),
        (Column("p-value", "number", "how often matched variants elsewhere do as much"), two_digits(table["p_value"])),
        (Column("q-value", "number", "expected share of false ones up to here"), two_digits(table["q_value"])),
    ]
    for name, label in (("motif_gained", "Motif made"), ("motif_lost", "Motif broken")):
        if name in table:
            columns.append((Column(label, "text", "name, bits, position of its first base, strand"), table[name]))
    return make_table("variants-table", columns, regions=regions)
