"""`seqsal doctor`: what is installed, and whether it works."""

from __future__ import annotations

from pathlib import Path

import click

from seqsal.cli.options import path_type, verb
from seqsal.errors import counted

__all__ = ["doctor_command"]


@verb("doctor", epilog="Example: seqsal doctor --folder results/")
@click.option("--folder", type=path_type, default=Path(), show_default="here", help="Where results are to be written.")
@click.pass_context
def doctor_command(ctx: click.Context, folder: Path) -> None:
    """Check versions, extras, devices, permissions and known motifs, and test seqsal on each device, in seconds.

    Please put the output into bug reports. Exit code 1 if something that seqsal needs fails.
    """
    from seqsal.pipeline.doctor import examine

    failed = 0
    for check in examine(folder):
        click.echo(str(check))
        failed += check.ok is False
    click.echo(f"{counted(failed, 'check')} failed" if failed else "all is well")
    ctx.exit(int(failed > 0))
