"""`seqsal merge`: join the tasks of a plan."""

from __future__ import annotations

from pathlib import Path

import click

from seqsal.cli.options import config_option, path_type, talk_options, verb
from seqsal.errors import counted

__all__ = ["merge_command"]


@verb("merge", epilog="Example: seqsal merge plan/ --out A.h5")
@click.argument("plan", type=path_type)
@click.option("--out", type=path_type, required=True, metavar="FILE|DIR",
              help="Attribution file to write (.h5); a folder, for several models.")  # fmt: skip
@click.option(
    "--partial", is_flag=True, help="If tasks are missing, join the others, and name the missing ones in the file."
)
@config_option
@talk_options
def merge_command(plan: Path, out: Path, partial: bool, quiet: bool) -> None:
    """Join the tasks of a plan to the attribution file that `attribute` would have written."""
    from seqsal.pipeline.units import merge_units

    for path, missing in merge_units(plan, out, partial=partial):
        lacking = f"without {counted(len(missing), 'task')}" if missing else "complete"
        if not quiet:
            click.echo(f"{path}: {lacking}")
