"""`seqsal erf`: how far each layer of a model looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import check_picture, common_options, model_options, path_type, pop_reading, verb

__all__ = ["erf_command"]

TABLE = ".tsv"


@verb("erf", epilog="Example: seqsal erf --model M.safetensors --out erf.svg")
@model_options
@click.option("--out", type=path_type, help="Picture (.svg, .png, .pdf) or table (.tsv) to write.")
@common_options
def erf_command(model: str, out: Path | None, quiet: bool, **arguments: Any) -> None:
    """Measure the effective receptive field of each layer: σ of its response to single bases, and how far it looks.

    Prints a line for each layer and one for the output, with σ and the theoretical field in bp.
    """
    from seqsal.attribution.receptive_field import receptive_field
    from seqsal.io.bed import write_tsv

    if out is not None:
        check_picture(out, TABLE)
    field = receptive_field(model, **pop_reading(arguments), **arguments)
    if out is not None and out.suffix.lower() == TABLE:
        write_tsv(field, out)
    elif out is not None:
        from seqsal.plot import plot_receptive_field, save_figure
        from seqsal.plot.style import own_style

        with own_style():
            save_figure(plot_receptive_field(field)[0], out)
    if quiet:
        return
    width = max(map(len, field["layer"]))
    for row in field.itertuples():
        least = "≥" if row.is_cut and row.depth else ""
        click.echo(f"{row.layer:<{width}}  σ {row.sigma_bp:.1f} bp  field {least}{row.field_bp} bp")
    slope, r2 = field.attrs["sqrt_slope"], field.attrs["sqrt_r2"]
    if r2 == r2:
        click.echo(f"σ = {slope:.3g} bp · √depth (R² {r2:.2f}); {field.attrs['field_slope']:.2g} of the field "
                   f"(R² {field.attrs['field_r2']:.2f})")  # fmt: skip
