"""`seqsal info`: what a file is and where it comes from."""

from __future__ import annotations

from pathlib import Path

import click

from seqsal.cli.options import path_type, verb

__all__ = ["info_command"]


@verb("info", epilog="Example: seqsal info results/attributions.h5 --json")
@click.argument("file", type=path_type)
@click.option("--json", "as_json", is_flag=True, help="As JSON, with whole checksums.")
def info_command(file: Path, as_json: bool) -> None:
    """Say what a file or folder of seqsal is, what made it, from what, and what is in it.

    FILE may be a checkpoint, attributions (.h5), the folder of a run, run.json, audit.json, a table, track or report.
    """
    from seqsal.pipeline.info import describe_file

    info = describe_file(file)
    click.echo(info.to_json() if as_json else info.summary())
