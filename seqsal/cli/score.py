"""`seqsal score`: predictions for regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    common_options,
    input_options,
    model_options,
    path_type,
    show_progress,
    target_option,
)

__all__ = ["score_command"]


@click.command(
    "score", epilog="Example: seqsal score --model M.safetensors --genome hg38.fa --regions peaks.bed --out scores.tsv"
)
@model_options
@target_option
@input_options
@click.option("--out", type=path_type, required=True, help="File to write: .tsv, .bed or .bedgraph.")
@common_options
def score_command(out: Path, quiet: bool, **arguments: Any) -> None:
    """Predict each region and write a table, a BED with scores, or a bedGraph."""
    from seqsal.commands.score import score_to_file

    table = score_to_file(out, progress=show_progress(quiet), **arguments)
    if not quiet:
        click.echo(f"{out}: {len(table):,} regions scored")
