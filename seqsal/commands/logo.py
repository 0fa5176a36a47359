"""`seqsal logo`: one region as letters, in a picture."""

from __future__ import annotations

from pathlib import Path

from seqsal.commands.arguments import PathArgument
from seqsal.io.atomic import check_writable
from seqsal.io.store import read_attributions
from seqsal.regions import parse_region

__all__ = ["logo_to_file"]

LOGO_ROW_BP = 100  # longer logos are wrapped


def logo_to_file(attributions: PathArgument, region: str, out: PathArgument, *, result: str | None = None) -> Path:
    """Do what `seqsal logo` does: draw one region into a picture."""
    from seqsal.plot import plot_logo, plot_region_rows, save_figure

    check_writable(out)
    attr = read_attributions(attributions, result, in_memory=False)
    span = parse_region(region)
    title = f"{attr.method}, target {attr.target}"
    if span.end - span.start > LOGO_ROW_BP * 1.2:
        return save_figure(plot_region_rows(attr, region, row_bp=LOGO_ROW_BP, title=title)[0], out)
    return save_figure(plot_logo(attr, region, title=title), out)
