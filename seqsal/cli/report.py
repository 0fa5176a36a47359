"""`seqsal report`: the page for any attribution file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    common_options,
    motif_db_option,
    optional_model_options,
    path_type,
    result_option,
    show_progress,
)

__all__ = ["report_command"]


@click.command("report", epilog="Example: seqsal report A.h5 --motif-db jaspar:2026:vertebrates --out report.html")
@click.argument("attributions", type=path_type)
@optional_model_options
@result_option
@motif_db_option
@click.option("--peaks", type=path_type, help="narrowPeak of `seqsal peaks`; called at q ≤ 0.05 without it.")
@click.option("--out", type=path_type, required=True, help="Page to write (.html).")
@common_options
def report_command(attributions: Path, out: Path, quiet: bool, **arguments: Any) -> None:
    """Call peaks, find motifs, audit, and put all of it on one page; for imported attributions too."""
    from seqsal.commands.report import report_to_file

    audit = report_to_file(attributions, out, progress=show_progress(quiet), **arguments)
    if not quiet:
        click.echo(f"{audit.verdict.text}\n{audit.verdict.answers}\n{out}")
