"""`seqsal demo`: the whole of seqsal on the data that come with it."""

from __future__ import annotations

from pathlib import Path

import click

from seqsal.cli.options import common_options, path_type, show_progress, verb

__all__ = ["demo_command"]


@verb("demo", epilog="Example: seqsal demo --out demo_out")
@click.option("--out", type=path_type, default=Path("seqsal_demo"), show_default=True, help="Folder to write.")
@common_options
def demo_command(out: Path, device: str, seed: int, quiet: bool) -> None:
    """Train on real CTCF sites, explain held-out ones and mend a model that cheats; about two minutes on two cores.

    Each step says what it does and why it takes its time; the last lines say what to open and what to type next.
    """
    from seqsal.pipeline.demo import run_demo

    result = run_demo(out, device=device, seed=seed, progress=show_progress(quiet))
    if not quiet:
        click.echo(result.summary())
