"""`seqsal scan`: a tile at a time shuffled along windows."""

import click

from seqsal.cli.experiments import experiment

__all__ = ["scan_command"]

scan_command = experiment(
    "scan", "--width 20", "Shuffle a tile at a time along windows: which stretch matters?",
    click.option("--width", type=click.IntRange(min=1), default=20, show_default=True, help="Width of a tile (bp)."),
    click.option("--step", type=click.IntRange(min=1), help="bp from tile to tile [default: half a tile]."),
    click.option("--n-draws", type=click.IntRange(min=2), default=10, show_default=True, help="Shuffles of each tile."),
)  # fmt: skip
